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
    # anndata loads Dask where that is installed, and Dask loads jinja2
    code = f"import sys, anndata; there = set(sys.modules); import lava_sc; print(*sorted({HEAVY} & {{*sys.modules}} - there))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
    assert done.stderr == ""
