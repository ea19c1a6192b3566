"""What is planted is found again, where it was planted and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from tests.helpers import localities_with_pairs

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData

pytestmark = pytest.mark.slow


def explain(n_modules: int, n_neighbors: int | None, **kwargs: int) -> AnnData:
    adata = lava.datasets.planted(n_modules=n_modules, **kwargs)
    lava.tl.localities(adata, n_neighbors=n_neighbors)
    lava.pp.select_genes(adata, n_top_genes=None, localities_key="lava")
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, n_modules, n_runs=3, n_jobs=1)
    return adata


def cosines(adata: AnnData) -> pd.DataFrame:
    """Stored × planted modules: cosine of the pair patterns over all selected genes, planted pairs being 1."""
    genes = adata.var_names[adata.var["lava_genes"]]
    pairs = np.triu_indices(len(genes), 1)
    truth = adata[:, genes].varm["planted_modules"]
    planted = [np.outer(column, column)[pairs] for column in truth.T]
    found = []
    for m in range(adata.uns["lava"]["presences"].shape[1]):
        pattern = lava.get.module(adata, m)
        found.append(pattern.reindex(index=genes, columns=genes).fillna(0).to_numpy()[pairs])
    unit = [np.array([row / np.linalg.norm(row) for row in rows]) for rows in (found, planted)]
    return pd.DataFrame(unit[0] @ unit[1].T)


def matched(adata: AnnData) -> np.ndarray:
    """The stored module that belongs to each planted one; asserts that it is like it, and like no other."""
    similar = cosines(adata)
    rows, columns = linear_sum_assignment(-similar.to_numpy())
    assert len(columns) == adata.varm["planted_modules"].shape[1]
    assert similar.to_numpy()[rows, columns].min() >= 0.9, similar
    return rows[np.argsort(columns)]


def regions_of_localities(adata: AnnData) -> np.ndarray:
    """(l, regions): share of each locality's cells that are in each region."""
    indicators = pd.get_dummies(adata.obs["region"]).to_numpy(dtype=float)
    membership = adata.obsm["lava_localities"].astype(float)
    return (membership.T @ indicators) / adata.uns["lava"]["params"]["localities"]["n_neighbors"]


def presences_inside_and_outside(
    adata: AnnData, planted: int, stored: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Presences of one module: of localities wholly in its regions, wholly outside, and of the cells outside."""
    active = adata.obsm["planted_presences"][:, planted] > 0
    share = (adata.obsm["lava_localities"].T.astype(float) @ active) / adata.obsm["lava_localities"].sum(axis=0).A1
    presences = adata.uns["lava"]["presences"][:, stored]
    return presences[share == 1], presences[share == 0], active


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("n_neighbors", [None, 150])
def test_planted_modules_are_recovered(seed: int, n_neighbors: int | None) -> None:
    adata = explain(4, n_neighbors, rng=seed)
    of_planted = matched(adata)
    presences = lava.get.presences(adata)
    for planted, stored in enumerate(of_planted):
        inside, outside, active = presences_inside_and_outside(adata, planted, stored)
        assert len(inside) > 0
        assert inside.min() > 0.3
        assert len(outside) > 0
        assert outside.max() < 0.05
        assert presences.loc[active, stored].mean() > 10 * presences.loc[~active, stored].mean()
        assert presences.loc[active, stored].mean() > 0.4
    empty = regions_of_localities(adata)[:, -1] == 1
    assert adata.uns["lava"]["evidence"].loc[empty, "n_kept_pairs"].mean() < 2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_modules_are_co_present_where_both_are_active(seed: int) -> None:
    adata = explain(4, 150, n_shared_regions=2, rng=seed)
    of_planted = matched(adata)
    shares = regions_of_localities(adata)
    P = adata.uns["lava"]["presences"][:, of_planted]
    for region, both in ((4, [0, 1]), (5, [2, 3])):
        within = shares[:, region] == 1
        assert within.any()
        assert P[within][:, both].min() > 0.2
        others = [m for m in range(4) if m not in both]
        assert P[within][:, others].max() < 0.05
    for m in range(4):
        alone = shares[:, m] == 1
        assert P[alone, m].min() > 0.3
        assert np.delete(P[alone], m, axis=1).max() < 0.05


def test_genes_of_two_modules_are_in_both() -> None:
    adata = explain(2, 150, n_cells=1000, n_genes=100, shared_genes=5, rng=0)
    of_planted = matched(adata)
    lava.tl.module_genes(adata, threshold=0.3)
    listed = adata.uns["lava"]["module_genes"]
    for planted, stored in enumerate(of_planted):
        genes = set(adata.var_names[adata.varm["planted_modules"][:, planted] > 0])
        assert set(listed.loc[listed["module"] == stored, "gene"]) == genes


def test_the_whole_way_at_its_defaults() -> None:
    adata = lava.datasets.planted(n_cells=1000)
    lava.tl.explain(adata, 4, n_neighbors=100, n_runs=2, n_jobs=1)
    matched(adata)


def test_nothing_planted_leaves_next_to_nothing() -> None:
    """With independent genes few of the localities keep a pair.

    Localities overlap threefold and some reach across regions, where markers do go together: hence not 5 %.
    """
    adata = lava.datasets.planted(n_modules=0, rng=1)
    lava.tl.localities(adata, n_neighbors=100)
    assert localities_with_pairs(adata) <= 0.15 * adata.obsm["lava_localities"].shape[1]
