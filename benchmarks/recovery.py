"""How well planted modules are found again, by locality size: ``python benchmarks/recovery.py``.

For each of six toys (``datasets.planted`` at its defaults, 2,000 cells) the smallest cosine between a planted module, its
pairs being 1, and the module that is matched to it.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

import lava_sc as lava

N_MODULES = 4


def smallest_cosine(n_neighbors: int | None, optimizer: str, seed: int) -> float:
    adata = lava.datasets.planted(n_modules=N_MODULES, rng=seed)
    lava.tl.localities(adata, n_neighbors=n_neighbors, optimizer=optimizer)
    lava.pp.select_genes(adata, n_top_genes=None, localities_key="lava")
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, N_MODULES, n_runs=3)
    genes = adata.var_names[adata.var["lava_genes"]]
    pairs = np.triu_indices(len(genes), 1)
    planted = [np.outer(column, column)[pairs] for column in adata[:, genes].varm["planted_modules"].T]
    found = [
        lava.get.module(adata, m).reindex(index=genes, columns=genes).fillna(0).to_numpy()[pairs]
        for m in range(adata.uns["lava"]["presences"].shape[1])
    ]
    unit = [np.array([row / np.linalg.norm(row) for row in rows]) for rows in (found, planted)]
    cosines = unit[0] @ unit[1].T
    return float(cosines[linear_sum_assignment(-cosines)].min())


def main() -> None:
    for n_neighbors in (100, 150, None, 200):
        for optimizer in ("moves", "direct"):
            row = [smallest_cosine(n_neighbors, optimizer, seed) for seed in range(6)]
            print(f"n={n_neighbors or 'default':<8} {optimizer:7}", *(f"{value:.3f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
