"""Draw the picture of the README: ``python docs/readme_picture.py``."""

from __future__ import annotations

from pathlib import Path

import lava_sc as lava

adata = lava.datasets.pbmc68k()
lava.tl.explain(adata, n_modules=4, covariates="n_counts")
figure = lava.pl.modules(adata, n_genes=8, show=False)
figure.savefig(Path(__file__).parent / "_static" / "modules_pbmc68k.png", dpi=110, bbox_inches="tight")
