"""Every picture of `lava_sc.pl`, to be looked at: few and many cells, few and many modules, on white and on black.

    python benchmarks/gallery.py pictures                          # 700 and 200,000 cells, 2 and 15 modules
    python benchmarks/gallery.py pictures --cells 700 --modules 15

Simulated cells (`datasets.planted`; few modules have 150 genes each, many 20) with donors, a condition of half of the donors that nothing
follows, and gene sets of which some are modules. `pl.n_modules` and `pl.stability` show no cells and are drawn for few of them only.
Prints the seconds that each picture took, on white.
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

STYLES = {"white": "default", "black": "dark_background"}
FEW = 20_000  # cells
QUICK: dict[str, Any] = {"n_runs": 2, "n_permutations": 2, "n_splits": 3}


def analysed(n_cells: int, n_modules: int) -> AnnData:
    adata = lava.datasets.planted(n_cells=n_cells, n_modules=n_modules, n_genes=450, genes_per_module=300 // n_modules)
    adata.var["pixel"] = np.arange(adata.n_vars)
    lava.tl.locality_size(adata)
    lava.tl.localities(adata, n_neighbors=max(60, n_cells // 120))
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, n_modules, n_runs=2)
    if n_cells <= FEW:
        lava.tl.choose_n_modules(adata, range(max(1, n_modules - 2), n_modules + 3), **QUICK)
        lava.tl.stability(adata, n_placements=2, n_runs=2, n_resamples=3)
    lava.tl.co_presence(adata)
    lava.tl.module_genes(adata)
    rng = np.random.default_rng(0)
    genes = np.asarray(adata.var_names)
    sets = {f"random set {k}, with a name that is long": [*rng.choice(genes, 20, replace=False)] for k in range(20)}
    weights = adata.varm["lava_gene_weights"]
    for m in range(min(5, weights.shape[1])):
        sets[f"genes of module {m}"] = [*genes[np.argsort(-np.nan_to_num(weights[:, m]))[:12]]]
    lava.tl.ora(adata, sets)
    lava.tl.name_modules(adata)
    donors = rng.integers(12, size=n_cells)
    adata.obs["donor"] = [f"donor {d}" for d in donors]
    adata.obs["condition"] = np.where(donors < 6, "stimulated", "control")
    lava.tl.presence_association(adata, "condition", donor_key="donor")
    return adata


def pictures(adata: AnnData) -> dict[str, Callable[..., object]]:
    """What to call, by name, without the object."""
    pl, busiest = lava.pl, int(adata.uns["lava"]["presences"].sum(axis=1).argmax())
    shown = {"n_modules": pl.n_modules, "stability": pl.stability} if adata.n_obs <= FEW else {}
    return shown | {
        "association": partial(pl.association, module=0, category="stimulated"),
        "centrality": pl.centrality,
        "co_presence": pl.co_presence,
        "image_modules": partial(pl.image_modules, shape=(-(-adata.n_vars // 25), 25), pixel_key="pixel"),
        "localities": pl.localities,
        "localities_two": partial(pl.localities, localities=[0, 1], color="donor"),
        "locality_similarity": partial(pl.locality_similarity, locality=busiest),
        "locality_size": pl.locality_size,
        "module_genes": pl.module_genes,
        "module_network_15": partial(pl.module_network, module=0, n_genes=15),
        "module_network_150": partial(pl.module_network, module=0, n_genes=150),
        "modules": pl.modules,
        "ora": pl.ora,
        "presences": pl.presences,
        "reconstruction": partial(pl.reconstruction, locality=busiest),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--cells", type=int, nargs="+", default=[700, 200_000])
    parser.add_argument("--modules", type=int, nargs="+", default=[2, 15])
    arguments = parser.parse_args()
    mpl.use("agg")
    warnings.simplefilter("ignore")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for n_cells in arguments.cells:
        for n_modules in arguments.modules:
            adata = analysed(n_cells, n_modules)
            for name, draw in pictures(adata).items():
                for color, style in STYLES.items():
                    began = time.perf_counter()
                    with plt.style.context(style):
                        made = draw(adata, show=False)
                        getattr(made, "figure", made).savefig(
                            arguments.folder / f"{name}_{n_cells}_{n_modules}_{color}.png", dpi=100, bbox_inches="tight"
                        )
                    if color == "white":
                        print(
                            f"{n_cells:7,} cells {n_modules:3d} modules {name:20} {time.perf_counter() - began:6.1f} s",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
