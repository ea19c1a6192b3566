from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lava_sc

HEAVY = {"torch", "umap", "gseapy", "networkx", "scanpy", "sklearn", "matplotlib.pyplot", "jinja2", "joblib", "IPython"}


def test_import_loads_nothing_heavy() -> None:
    sources = str(Path(lava_sc.__file__).resolve().parents[1])
    path = os.pathsep.join([sources, *filter(None, [os.environ.get("PYTHONPATH")])])
    code = f"import sys, lava_sc; print(*sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
    assert done.stderr == ""
