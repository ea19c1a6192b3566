"""Whether `tl.choose_n_modules` finds the number of modules that is there, and none in noise.

    python benchmarks/n_modules.py                         # all tables
    python benchmarks/n_modules.py --table noise --seeds 5

noise: data without modules, 20 seeds of each kind: PBMC 68k with every gene shuffled over all cells; independent Poisson counts
with varying depth, normalised; Gaussian numbers. Where no correlation passes fdr at all, that is the answer.
planted: `datasets.planted` with 2 to 8 modules, ten seeds, at its default strength and weaker: how often the number is right,
how often another one is given as clear, and as unclear; and how often the elbow of the loss is right.
real: the tables of MNIST, Kang, Xenium (UMAP and tissue) and PBMC 68k, with the choice and its reason.

Data are read from the folder LAVA_SC_DATA.
"""

from __future__ import annotations

import argparse
import collections
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from amf_data import data_folder, mnist
from anndata import AnnData

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NUMBERS = range(2, 11)
QUICK: dict[str, Any] = {"n_runs": 3, "n_permutations": 5}


def shuffled(rng: np.random.Generator) -> AnnData:
    adata = lava.datasets.pbmc68k()
    X = adata.to_df().to_numpy()
    return AnnData(rng.permuted(X, axis=0).astype(np.float32), obsm={"X_pca": adata.obsm["X_umap"]})


def poisson(rng: np.random.Generator, n_cells: int = 1500, n_genes: int = 300) -> AnnData:
    depth = np.exp(rng.normal(0, 0.6, n_cells))
    counts = rng.poisson(np.exp(rng.normal(0.5, 1, n_genes)) * depth[:, None])
    total = counts.sum(axis=1) + rng.poisson(2000 * depth)
    return embedded(np.log1p(counts / total[:, None] * 1e4), total)


def gaussian(rng: np.random.Generator, n_cells: int = 1500, n_genes: int = 200) -> AnnData:
    return embedded(rng.normal(size=(n_cells, n_genes)))


def embedded(X: np.ndarray, total: np.ndarray | None = None) -> AnnData:
    from sklearn.decomposition import PCA

    adata = AnnData(X.astype(np.float32), obsm={"X_pca": PCA(2, random_state=0).fit_transform(X)})
    if total is not None:
        adata.obs["total_counts"] = total
    return adata


NOISE: dict[str, Callable[[np.random.Generator], AnnData]] = {
    "shuffled": shuffled,
    "poisson": poisson,
    "gaussian": gaussian,
}


def answer(adata: AnnData, **options: Any) -> dict[str, Any]:
    """The choice; 0 where no correlation passes fdr."""
    try:
        lava.tl.locality_corr(adata)
    except ValueError as error:
        if "correlations at fdr" not in str(error):
            raise
        return {"n_modules": 0, "clear": True, "elbow": 0}
    lava.tl.choose_n_modules(adata, **options)
    choice: dict[str, Any] = adata.uns["lava"]["n_modules_choice"]
    return choice


def table_of_noise(seeds: range) -> None:
    print(f"{'noise':10} {'0 modules':>10} {'others':30}")
    for name, make in NOISE.items():
        found = []
        for seed in seeds:
            adata = make(np.random.default_rng(seed))
            lava.tl.localities(adata, n_neighbors=100, overlap=4)
            found.append(answer(adata, n_modules=range(2, 6), n_runs=5, n_permutations=10)["n_modules"])
        others = [n for n in found if n]
        print(f"{name:10} {found.count(0):4d} of {len(seeds):2d} {others!s:30}", flush=True)


def table_of_planted(seeds: range, numbers: Sequence[int], strengths: Sequence[float], n_cells: int) -> None:
    columns = ["right", "of these clear", "wrong, clear", "wrong, unclear", "0", "elbow right"]
    print("   ".join(["cells", "strength", "modules", *columns]))
    for strength in strengths:
        for n_modules in numbers:
            counts: collections.Counter[str] = collections.Counter()
            for seed in seeds:
                planted = {"n_modules": n_modules, "strength": strength, "n_cells": n_cells}
                adata = lava.datasets.planted(**planted, n_genes=250, rng=seed)
                lava.tl.localities(adata, n_neighbors=100)
                choice = answer(adata, n_modules=NUMBERS, **QUICK)
                counts.update(judged(choice, n_modules))
            cells = [f"{counts[name]:{len(name)}d}" for name in columns]
            print("   ".join([f"{n_cells:5d}", f"{strength:8g}", f"{n_modules:7d}", *cells]), flush=True)


def judged(choice: dict[str, Any], n_modules: int) -> list[str]:
    """Columns of the table in which an answer counts."""
    right, clear, none = choice["n_modules"] == n_modules, choice["clear"], choice["n_modules"] == 0
    elbow = ["elbow right"] if choice["elbow"] == n_modules else []
    if right:
        return ["right", *(["of these clear"] if clear else []), *elbow]
    return ["0" if none else "wrong, clear" if clear else "wrong, unclear", *elbow]


def stored(name: str, *, n_neighbors: int, use_rep: str | None = None, depth: str | None = None) -> AnnData:
    import anndata

    adata = anndata.read_h5ad(data_folder() / name)
    lava.tl.localities(adata, n_neighbors=n_neighbors, use_rep=use_rep)
    lava.pp.select_genes(adata, localities_key="lava")
    lava.tl.locality_corr(adata, covariates=depth)
    return adata


def digits() -> AnnData:
    X, Z = mnist(70_000)
    adata = AnnData(X, obsm={"X_umap": Z})
    lava.tl.localities(adata, n_neighbors=3000, overlap=12)
    lava.tl.locality_corr(adata)
    return adata


def pbmc() -> AnnData:
    adata = lava.datasets.pbmc68k()
    lava.tl.localities(adata, n_neighbors=100)
    lava.tl.locality_corr(adata)
    return adata


XENIUM = "xenium_breast/xenium_breast_17k.h5ad"
REAL: dict[str, Callable[[], AnnData]] = {
    "pbmc68k": pbmc,
    "kang": lambda: stored("kang_ifnb/kang_muscat_donors_1556.h5ad", n_neighbors=150),
    "xenium, UMAP": lambda: stored(XENIUM, n_neighbors=300, use_rep="X_umap"),
    "xenium, UMAP, depth taken out": lambda: stored(XENIUM, n_neighbors=300, use_rep="X_umap", depth="n_counts"),
    "xenium, tissue, depth taken out": lambda: stored(XENIUM, n_neighbors=300, use_rep="spatial", depth="n_counts"),
    "mnist": digits,
}


def tables_of_real(names: list[str], largest: int | None) -> None:
    columns = ["loss", "cosine", "overestimation", "silhouette", "held_out", "other_cells", "other_cells_se"]
    shares = ["explained", "weakest", "null_best", "n_beyond_null", "n_replicated"]
    nulls = ["loss_null", "cosine_null", "silhouette_null", "other_cells_null"]
    for name in names:
        adata, began = REAL[name](), time.perf_counter()
        few: dict[str, Any] = dict(QUICK) if name == "mnist" or "taken out" in name else {}
        if largest is not None:
            few["n_modules"] = range(2, largest + 1)
        lava.tl.choose_n_modules(adata, **few)
        found = adata.uns["lava"]
        print(f"{name}: {time.perf_counter() - began:.0f} s; {found['n_modules_choice']['reason']}")
        print(f"elbow of the loss: {found['n_modules_choice']['elbow']}")
        print(found["n_modules"][[*columns, *shares, *nulls]].round(3).to_string(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--table", choices=["noise", "planted", "real"], action="append", help="only this, may be repeated"
    )
    parser.add_argument("--data", choices=REAL, action="append", help="of the real ones only this, may be repeated")
    parser.add_argument("--largest", type=int, help="of real ones try so many modules instead of up to 15")
    parser.add_argument("--modules", type=int, action="append", help="planted ones, only so many, may be repeated")
    parser.add_argument("--strength", type=float, action="append", help="of planted ones, only this, may be repeated")
    parser.add_argument("--seeds", type=int, help="20 of noise and 10 of planted modules by default")
    parser.add_argument("--cells", type=int, default=2000, help="of planted modules")
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tables, first = arguments.table or ["noise", "planted", "real"], arguments.first_seed
    if "noise" in tables:
        table_of_noise(range(first, first + (arguments.seeds or 20)))
    if "planted" in tables:
        seeds = range(first, first + (arguments.seeds or 10))
        strengths = arguments.strength or (1.0, 0.4)
        table_of_planted(seeds, arguments.modules or range(2, 9), strengths, arguments.cells)
    if "real" in tables:
        tables_of_real(arguments.data or list(REAL), arguments.largest)


if __name__ == "__main__":
    main()
