from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from tests import helpers
from tests.helpers import assert_unchanged, module_genes

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def test_fields_have_the_documented_shapes_and_dtypes(stages: Mapping[str, AnnData]) -> None:
    table = stages["module_genes"].uns["lava"]["module_genes"]
    assert table.columns.tolist() == ["module", "gene", "weight", "rank", "positive"]
    assert table.index.tolist() == [str(i) for i in range(len(table))]
    assert table["module"].dtype.kind == table["rank"].dtype.kind == "i"
    assert table["weight"].dtype == table["positive"].dtype == np.float64
    assert pd.api.types.is_string_dtype(table["gene"])
    assert stages["module_genes"].uns["lava"]["params"]["module_genes"] == {"threshold": 0.05}


@pytest.mark.parametrize("threshold", [0, 0.05, 0.5, 1, 1.0])
def test_genes_above_the_threshold_strongest_first(stages: Mapping[str, AnnData], threshold: float) -> None:
    adata = stages["amf"].copy()
    module_genes(adata, threshold=threshold)
    weights = pd.DataFrame(adata.varm["lava_gene_weights"], index=adata.var_names).dropna()
    expected = []
    for m in range(2):
        strongest = sorted(weights.index, key=lambda gene: -weights.loc[gene, m])
        chosen = [g for g in strongest if weights.loc[g, m] >= threshold * weights[m].max() and weights.loc[g, m] > 0]
        expected += [(m, gene, weights.loc[gene, m], rank + 1) for rank, gene in enumerate(chosen)]
    table = adata.uns["lava"]["module_genes"]
    assert list(table[["module", "gene", "weight", "rank"]].itertuples(index=False, name=None)) == expected
    assert adata.uns["lava"]["params"]["module_genes"] == {"threshold": threshold}


def test_so_many_genes_instead_of_a_threshold(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()
    everything = lava.tl.module_genes(adata, threshold=0, copy=True).uns["lava"]["module_genes"]
    for n_genes in (1, 5, np.int64(12), 10_000):
        module_genes(adata, n_genes=n_genes)
        expected = everything[everything["rank"] <= n_genes].reset_index(drop=True)
        pd.testing.assert_frame_equal(adata.uns["lava"]["module_genes"].reset_index(drop=True), expected)
        assert adata.uns["lava"]["params"]["module_genes"] == {"n_genes": n_genes}


def positive_by_loop(adata: AnnData, m: int, gene: str) -> float:
    genes, C = list(adata.uns["lava"]["genes"]), adata.uns["lava"]["C"].toarray().astype(np.float64)
    module = adata.uns["lava"]["modules"].toarray()[m].astype(np.float64)
    present = adata.uns["lava"]["presences"][:, m] > 0.01
    pairs = [(a, b) for a in range(len(genes)) for b in range(a + 1, len(genes))]
    own = [j for j, pair in enumerate(pairs) if genes.index(gene) in pair]
    counted = C[np.ix_(present, own)] * module[own]
    return counted[counted > 0].sum() / np.abs(counted).sum()


def test_share_of_positive_correlations(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()
    signs = np.random.default_rng(0).choice([-1, 1], adata.uns["lava"]["C"].nnz).astype(np.float32)
    adata.uns["lava"]["C"].data *= signs
    module_genes(adata, n_genes=8)
    table = adata.uns["lava"]["module_genes"]
    expected = [positive_by_loop(adata, m, gene) for m, gene in zip(table["module"], table["gene"], strict=True)]
    assert min(expected) < 0.6 < max(expected)
    np.testing.assert_allclose(table["positive"], expected, rtol=1e-6)


def test_a_gene_that_falls_as_the_others_rise(stages: Mapping[str, AnnData]) -> None:
    adata = stages["start"].copy()
    turned = "M1_01"
    column = adata.X[:, [adata.var_names.get_loc(turned)]].toarray().ravel()
    X = adata.X.toarray()
    X[:, adata.var_names.get_loc(turned)] = column.max() - column
    adata.X = X
    helpers.run_steps(adata, "localities", "locality_corr", "amf", "module_genes")
    table = adata.uns["lava"]["module_genes"]
    own = table[table["module"] == table.loc[table["gene"] == turned, "module"].iloc[0]].set_index("gene")["positive"]
    assert own[turned] < 0.05
    assert (own[[f"M1_{i:02d}" for i in range(2, 9)]] > 0.5).all()


def test_fine_tuning_changes_no_gene(stages: Mapping[str, AnnData]) -> None:
    """Direction is looked up where AMF found the module, so that gene lists and what follows need no second call."""
    adata = lava.tl.finetune_presences(stages["module_genes"], tau=0.001, copy=True)
    assert not np.array_equal(adata.uns["lava"]["presences"], stages["amf"].uns["lava"]["presences"])
    before = adata.copy()
    module_genes(adata)
    assert_unchanged(adata, before)


def test_nothing_is_known_of_a_module_that_is_nowhere(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()
    adata.uns["lava"]["presences"][:, 1] = 0.01
    module_genes(adata)
    table = adata.uns["lava"]["module_genes"]
    assert table.groupby("module")["positive"].apply(lambda column: column.isna().all()).tolist() == [False, True]


def test_planted_genes_are_listed(stages: Mapping[str, AnnData]) -> None:
    table = stages["module_genes"].uns["lava"]["module_genes"]
    found = {frozenset(genes) for _, genes in table[table["rank"] <= 8].groupby("module")["gene"]}
    planted = stages["start"].varm["planted_modules"].astype(bool)
    assert found == {frozenset(stages["start"].var_names[column]) for column in planted.T}


def test_copy_and_views(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()
    found = lava.tl.module_genes(adata, copy=True)
    assert_unchanged(adata, stages["amf"])
    view = adata[:, :]
    assert lava.tl.module_genes(view) is None
    assert_unchanged(adata, stages["amf"])
    assert_unchanged(view, found)
    assert_unchanged(found, stages["module_genes"])
