"""Run the tutorials again.

    python tutorials/run.py                      # all, and store their outputs
    python tutorials/run.py 01_pbmc.ipynb        # one
    python tutorials/run.py --small              # quickly, with small settings; stores nothing

Data are read from the folder LAVA_SC_DATA. Notebooks whose data are not there are left out, and this is said.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
WIDEST = 760  # pixels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="all by default")
    parser.add_argument("--small", action="store_true", help="small settings, nothing is stored")
    arguments = parser.parse_args()
    data = Path(os.environ.get("LAVA_SC_DATA", HERE.parent.parent / "shared" / "data")).resolve()
    os.environ["LAVA_SC_DATA"] = str(data)
    if arguments.small:
        os.environ["LAVA_SC_TUTORIALS_SMALL"] = "1"
    for path in [HERE / one.name for one in arguments.notebooks] or sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        missing = [name for name in notebook.metadata["lava_sc"]["data"] if not (data / name).is_file()]
        if missing:
            print(f"{path.name}: left out, {missing[0]} is not in LAVA_SC_DATA")
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}}).execute()
        if not arguments.small:
            normalise(notebook)
            nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return 0


def normalise(notebook: Any) -> None:
    """Leave nothing of the machine and the time: progress bars and warnings with paths, times, versions of the kernel."""
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    for i, cell in enumerate(notebook.cells):
        cell["id"], cell["metadata"] = f"cell-{i:02d}", {}
        if cell["cell_type"] == "code":
            cell["outputs"] = [one for one in cell["outputs"] if one.get("name") != "stderr"]
            for data in (one["data"] for one in cell["outputs"] if "image/png" in one.get("data", {})):
                data["image/png"] = smaller(data["image/png"])


def smaller(picture: str) -> str:
    """The same picture no wider than a page shows it and in 200 colours, rare ones among them, base64."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    with io.BytesIO() as file:
        image.quantize(200, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    sys.exit(main())
