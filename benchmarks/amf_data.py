"""Correlations on which AMF is measured, for ``starts.py``: real ones, and such with modules that are known.

Data are read from the folder LAVA_SC_DATA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from correlation import data_folder, mnist
from scipy import sparse

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


@dataclass(frozen=True)
class Data:
    """Correlations, how many modules to look for, and the modules (M, J) and presences (ℓ, M) if they are known."""

    C: sparse.csr_matrix
    n_modules: int
    modules: np.ndarray | None = None
    presences: np.ndarray | None = None


def correlated(
    adata: AnnData,
    *,
    n_modules: int,
    n_neighbors: int,
    overlap: float = 3.0,
    fdr: float | None = 0.05,
    use_rep: str | None = None,
    selection: dict[str, Any] | None = None,
) -> Data:
    lava.tl.localities(adata, n_neighbors=n_neighbors, overlap=overlap, use_rep=use_rep)
    if selection is not None:
        lava.pp.select_genes(adata, **selection)
    lava.tl.locality_corr(adata, fdr=fdr)
    return Data(adata.uns["lava"]["C"], n_modules)


def mnist_digits() -> Data:
    from anndata import AnnData

    X, Z = mnist(70_000)
    return correlated(AnnData(X, obsm={"X_umap": Z}), n_modules=9, n_neighbors=3000, overlap=12, fdr=None)


def small_digits() -> Data:
    from anndata import AnnData
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    X = load_digits().data
    adata = AnnData(X.astype(np.float32), obsm={"X_pca": PCA(2).fit_transform(X)})
    return correlated(adata, n_modules=9, n_neighbors=150, overlap=12, fdr=None, use_rep="X_pca")


def stored(name: str, **arguments: Any) -> Data:
    import anndata

    return correlated(anndata.read_h5ad(data_folder() / name), **arguments)


def planted(**arguments: Any) -> Data:
    adata = lava.datasets.planted(**arguments)
    selection = {"n_top_genes": None, "localities_key": "lava"}
    n_modules = adata.varm["planted_modules"].shape[1]
    found = correlated(adata, n_modules=n_modules, n_neighbors=100, overlap=6, selection=selection)
    members = adata[:, list(adata.uns["lava"]["genes"])].varm["planted_modules"]
    pairs = np.triu_indices(len(members), 1)
    modules = np.array([np.outer(column, column)[pairs] for column in np.asarray(members, dtype=float).T])
    localities = adata.obsm["lava_localities"].astype(float).T
    presences = localities @ adata.obsm["planted_presences"] / np.asarray(localities.sum(axis=1))
    return Data(found.C, n_modules, modules, np.asarray(presences))


def largest_of_modules(size_of_own: int = 0) -> Data:
    """The model itself: localities with one to three of six modules, neighbours among which share half of their genes.

    Noise of 0.07 is added, and values below 0.2 are cut off. With a size, each locality also correlates so many genes as no
    other does.
    """
    rng = np.random.default_rng(5)
    n_localities, n_modules, n_genes, n_members = 150, 6, 100, 24
    modules = np.array([block(np.arange(24) + m * n_members // 2, n_genes, rng) for m in range(n_modules)])
    presences = np.zeros((n_localities, n_modules))
    for row in presences:
        present = rng.choice(n_modules, rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]), replace=False)
        row[present] = rng.uniform(0.3, 1, len(present))
    C = np.max(presences[:, :, None] * modules, axis=1)
    for row in C if size_of_own else ():
        own = block(rng.choice(n_genes, size_of_own, replace=False), n_genes, rng)
        row[:] = np.maximum(row, rng.uniform(0.3, 1) * own)
    C = np.clip(C + rng.normal(0, 0.07, C.shape), 0, 1)
    C[C < 0.2] = 0
    return Data(sparse.csr_matrix(C.astype(np.float32)), n_modules, modules, presences)


def block(members: np.ndarray, n_genes: int, rng: np.random.Generator) -> np.ndarray:
    """Correlations of some genes with one another, (J,)."""
    weights = np.zeros(n_genes)
    weights[members] = rng.uniform(0.6, 1, len(members))
    return np.outer(weights, weights)[np.triu_indices(n_genes, 1)]


DATA: dict[str, Callable[[], Data]] = {
    "mnist": mnist_digits,
    "digits": small_digits,
    "pbmc68k": lambda: correlated(lava.datasets.pbmc68k(), n_modules=8, n_neighbors=100),
    "kang": lambda: stored("kang_ifnb/kang_muscat_donors_1556.h5ad", n_modules=8, n_neighbors=150, selection={}),
    "xenium": lambda: stored("xenium_breast/xenium_breast_17k.h5ad", n_modules=9, n_neighbors=300),
    "pbmc3k": lambda: stored(
        "pbmc3k/pbmc3k_processed.h5ad", n_modules=8, n_neighbors=150, selection={"localities_key": "lava"}
    ),
    "shared both": lambda: planted(rng=0, shared_genes=5, n_shared_regions=2),
    "shared both, 6 modules": lambda: planted(
        rng=1, n_modules=6, shared_genes=5, n_shared_regions=3, n_genes=250, n_cells=3000
    ),
    "shared regions": lambda: planted(rng=2, n_shared_regions=2),
    "shared genes": lambda: planted(rng=3, shared_genes=6),
    "model": largest_of_modules,
    "model, own correlations": lambda: largest_of_modules(40),
}


def made(names: list[str]) -> dict[str, Data]:
    data = {}
    for name in names:
        try:
            data[name] = DATA[name]()
        except FileNotFoundError:
            print(f"{name}: left out, not in {data_folder().name}")
    return data
