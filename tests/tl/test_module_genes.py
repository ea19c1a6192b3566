from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from tests.helpers import assert_unchanged, module_genes

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def test_fields_have_the_documented_shapes_and_dtypes(stages: Mapping[str, AnnData]) -> None:
    table = stages["module_genes"].uns["lava"]["module_genes"]
    assert table.columns.tolist() == ["module", "gene", "weight", "rank"]
    assert table.index.tolist() == [str(i) for i in range(len(table))]
    assert table["module"].dtype.kind == table["rank"].dtype.kind == "i"
    assert table["weight"].dtype == np.float64
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
