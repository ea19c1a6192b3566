"""Modules and their genes against shuffled genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from anndata import AnnData
from tests.helpers import assert_same

import lava_sc as lava

QUICK: dict[str, Any] = {"n_permutations": 4, "n_decoys": 5}


@pytest.fixture(scope="module")
def planted() -> AnnData:
    adata = lava.datasets.planted(n_cells=1000, n_modules=3, n_genes=120)
    lava.tl.localities(adata, n_neighbors=100)
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 3, n_runs=2)
    lava.tl.module_evidence(adata, **QUICK)
    return adata


def test_planted_modules(planted: AnnData) -> None:
    table = planted.uns["lava"]["module_evidence"]
    assert len(table) == 3
    assert table["exceeds_chance"].all()
    assert (table["p_value"] == 1 / 5).all()
    np.testing.assert_allclose(table["beyond_null"], table["explained"] - table["null_best"])
    assert table["n_genes"].tolist() == planted_sizes(planted)
    assert (table["fdr"] <= 0.1).all()


def planted_sizes(adata: AnnData) -> list[int]:
    """Genes on the list, as tl.module_genes has them."""
    lava.tl.module_genes(adata)
    return adata.uns["lava"]["module_genes"].groupby("module").size().tolist()


def test_q_values_find_the_planted_genes(planted: AnnData) -> None:
    """At q ≤ 0.1 each module holds all of its planted genes, and few others."""
    q, truth = planted.varm["lava_gene_q"], planted.varm["planted_modules"] > 0
    found = q <= 0.1
    for m in range(3):
        k = int(np.argmax(truth[found[:, m]].sum(axis=0)))
        assert found[truth[:, k], m].all()
        assert found[~truth[:, k], m].sum() <= 2


def test_explained_share_by_the_definition(planted: AnnData) -> None:
    found = planted.uns["lava"]
    C, P, M = abs(found["C"]).toarray(), found["presences"], found["modules"].toarray()
    hat = np.max(P[:, :, None] * M, axis=1)
    with np.errstate(invalid="ignore"):
        accounted = np.nan_to_num((C * hat).sum(axis=1) ** 2 / (hat**2).sum(axis=1)).sum()
    assert found["module_evidence"]["explained"].sum() == pytest.approx(accounted / (C**2).sum(), rel=1e-4)


def test_modules_of_noise_do_not_exceed_chance() -> None:
    rng = np.random.default_rng(0)
    adata = AnnData(rng.uniform(size=(600, 60)).astype(np.float32), obsm={"X_pca": rng.normal(size=(600, 2))})
    lava.tl.localities(adata, n_neighbors=100, overlap=4)
    lava.tl.locality_corr(adata, fdr=None)
    lava.tl.amf(adata, 3, n_runs=2)
    lava.tl.module_evidence(adata, n_permutations=3, n_decoys=1)
    table = adata.uns["lava"]["module_evidence"]
    assert not table["exceeds_chance"].any()
    assert table["p_value"].max() > 0.5
    assert (table["fdr"] > 0.5).all()


def test_any_number_of_workers(planted: AnnData) -> None:
    one, two = (lava.tl.module_evidence(planted, **QUICK, n_jobs=n_jobs, copy=True) for n_jobs in (1, 2))
    assert_same(one.uns["lava"]["module_evidence"], two.uns["lava"]["module_evidence"])
    assert_same(one.varm["lava_gene_q"], two.varm["lava_gene_q"])
