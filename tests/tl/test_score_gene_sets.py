"""Gene sets in localities: planted ones are found, random ones are not, scores are what scipy's correlations give."""

from __future__ import annotations

import logging
import sys
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, spearmanr
from tests.helpers import GENE_SETS, assert_same, assert_unchanged

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

FEW = {"n_random": 39}
SUMMARY = ["gene_set", "n_genes", "n_localities", "score", "expected", "positive", "z", "p_value", "p_adj"]


@pytest.fixture(scope="module")
def scored(stages: Mapping[str, AnnData]) -> AnnData:
    """The small toy, all its genes correlated, with scores of its sets. Shared: copy before changing anything."""
    adata = stages["locality_corr"].copy()
    lava.tl.score_gene_sets(adata, GENE_SETS, n_random=199)
    return adata


def tables(adata: AnnData) -> tuple[pd.DataFrame, pd.DataFrame]:
    return adata.uns["lava"]["gene_set_summary"], adata.uns["lava"]["gene_set_scores"]


def test_fields_are_as_documented(scored: AnnData) -> None:
    summary, table = tables(scored)
    assert summary.columns.tolist() == [*SUMMARY, "n_significant"]
    assert summary["gene_set"].tolist() == list(GENE_SETS)
    assert table.columns.tolist() == [
        *("gene_set", "locality", "n_genes", "score", "expected", "positive", "z", "p_value", "p_adj")
    ]
    assert scored.obsm["lava_gene_set_scores"].shape == (300, 3)
    params = {"min_size": 5, "max_size": 500, "n_random": 199, "network": False, "rng": 0}
    assert scored.uns["lava"]["params"]["gene_set_scores"] == params


def test_planted_sets_are_found_where_they_act(scored: AnnData) -> None:
    """Marker genes, which are as high as any in their regions and independent of each other there, are not."""
    summary, table = tables(scored)
    summary = summary.set_index("gene_set")
    assert (summary.loc[["first", "second"], "p_value"] == 1 / 200).all()
    assert summary.loc["markers", "p_value"] > 0.2
    assert (summary.loc[["first", "second"], "positive"] > 0.7).all()
    cells = lava.get.gene_set_scores(scored).groupby(scored.obs["region"], observed=True).mean()
    assert cells["first"].idxmax() == "R1"
    assert cells["second"].idxmax() == "R2"
    inside = scored.obsm["lava_localities"].T @ (scored.obs["region"] == "R1").to_numpy(dtype=float) / 60
    first = table[table["gene_set"] == "first"].set_index("locality")
    assert (first["p_adj"][np.flatnonzero(inside > 0.9)] <= 0.05).all()
    assert (first["p_adj"][np.flatnonzero(inside < 0.1)] > 0.05).all()


def test_scores_are_means_of_scipy_correlations(scored: AnnData) -> None:
    _, table = tables(scored)
    X, genes = scored.X.toarray(), scored.uns["lava"]["genes"]
    members = scored.obsm["lava_localities"].tocsc()
    defined = scored.uns["lava"]["defined"]
    for (name, i), row in table.set_index(["gene_set", "locality"]).iterrows():
        cells = members[:, i].indices
        there = [
            gene for gene, is_defined in zip(genes, defined[i], strict=True) if is_defined and gene in GENE_SETS[name]
        ]
        columns = [X[cells, scored.var_names.get_loc(gene)] for gene in there]
        rho = np.array([spearmanr(a, b).statistic for a, b in combinations(columns, 2)])
        assert row["n_genes"] == len(there)
        assert row["score"] == pytest.approx(np.abs(rho).mean(), rel=1e-5)
        assert row["positive"] == pytest.approx(np.maximum(rho, 0).sum() / np.abs(rho).sum(), rel=1e-4)
    assert len(table) > 30


def test_adjusted_p_values_and_counts(scored: AnnData) -> None:
    summary, table = tables(scored)
    np.testing.assert_allclose(summary["p_adj"], false_discovery_control(summary["p_value"]))
    for k, (name, part) in enumerate(table.groupby("gene_set", observed=False, sort=False)):
        np.testing.assert_allclose(part["p_adj"], false_discovery_control(part["p_value"]))
        assert summary["n_significant"].iloc[k] == (part["p_adj"] <= 0.05).sum()
        assert summary["n_localities"].iloc[k] == len(part)
        n = part["n_genes"] * (part["n_genes"] - 1)
        assert summary["score"].iloc[k] == pytest.approx(np.average(part["score"], weights=n))
        assert name == list(GENE_SETS)[k]


def test_cells_have_the_mean_of_their_localities(scored: AnnData) -> None:
    _, table = tables(scored)
    found = lava.get.gene_set_scores(scored)
    assert found.columns.tolist() == list(GENE_SETS)
    belongs = scored.obsm["lava_localities"].toarray()
    for name, part in table.groupby("gene_set", observed=True):
        z = np.full(belongs.shape[1], np.nan)
        z[part["locality"]] = part["z"]
        expected = [np.nanmean(z[row]) if np.isfinite(z[row]).any() else np.nan for row in belongs]
        np.testing.assert_allclose(found[name], expected)


def test_random_sets_pass_as_often_as_the_level_says() -> None:
    """At 5 %, over all localities and in each; binomial limits for as many independent sets, doubled for shared genes."""
    adata = lava.datasets.planted(n_cells=500, n_genes=250, genes_per_module=10)
    lava.tl.localities(adata, n_neighbors=80, max_evals=3)
    lava.tl.locality_corr(adata)
    rng = np.random.default_rng(0)
    sets = {str(k): rng.choice(adata.var_names, 8, replace=False).tolist() for k in range(300)}
    lava.tl.score_gene_sets(adata, sets, n_random=99)
    summary, table = tables(adata)
    assert 0.02 <= (summary["p_value"] <= 0.05).mean() <= 0.085
    assert 0.03 <= (table["p_value"] <= 0.05).mean() <= 0.07
    assert 0.4 < summary["p_value"].mean() < 0.6


def test_any_order_of_genes_and_cells(stages: Mapping[str, AnnData], scored: AnnData) -> None:
    start = stages["locality_corr"]
    rng = np.random.default_rng(0)
    adata = start[rng.permutation(300)][:, rng.permutation(40)].copy()
    lava.tl.locality_corr(adata)
    lava.tl.score_gene_sets(adata, {name: GENE_SETS[name][::-1] for name in GENE_SETS}, n_random=199)
    for found, expected in zip(tables(adata), tables(scored), strict=True):
        pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(
        lava.get.gene_set_scores(adata).loc[scored.obs_names], lava.get.gene_set_scores(scored)
    )


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_workers_and_parts_change_nothing(
    stages: Mapping[str, AnnData], monkeypatch: pytest.MonkeyPatch, n_jobs: int
) -> None:
    whole, parts = (stages["locality_corr"].copy() for _ in range(2))
    lava.tl.score_gene_sets(whole, GENE_SETS, **FEW)
    monkeypatch.setattr(sys.modules["lava_sc.tl.score_gene_sets"], "_MOST_AT_ONCE", 8 * 780)
    lava.tl.score_gene_sets(parts, GENE_SETS, **FEW, n_jobs=n_jobs)
    assert_same(parts.uns["lava"]["gene_set_scores"], whole.uns["lava"]["gene_set_scores"])
    pd.testing.assert_frame_equal(parts.uns["lava"]["gene_set_summary"], whole.uns["lava"]["gene_set_summary"])


def test_stored_correlations_are_taken_where_all_are_stored(stages: Mapping[str, AnnData], scored: AnnData) -> None:
    adata = stages["localities"].copy()
    lava.tl.locality_corr(adata, fdr=None)
    lava.tl.score_gene_sets(adata, GENE_SETS, n_random=199)
    for found, expected in zip(tables(adata), tables(scored), strict=True):
        pd.testing.assert_frame_equal(found, expected)


def test_sets_that_are_too_small_or_too_large(stages: Mapping[str, AnnData], caplog: pytest.LogCaptureFixture) -> None:
    adata = stages["locality_corr"].copy()
    sets = GENE_SETS | {"four": adata.var_names[:4], "all": adata.var_names, "elsewhere": ["A", "B"]}
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        lava.tl.score_gene_sets(adata, sets, **FEW, max_size=30)
    assert "3 of 6 gene sets have 5 to 30 correlated genes" in caplog.text
    assert tables(adata)[0]["gene_set"].tolist() == list(GENE_SETS)
    lava.tl.score_gene_sets(adata, sets, **FEW)
    summary = tables(adata)[0].set_index("gene_set")
    assert summary.loc["all", "p_value"] == 1
    with pytest.raises(ValueError, match=r"no gene set with 5 to 6 correlated genes, .*max_size\."):
        lava.tl.score_gene_sets(adata, {"first": GENE_SETS["first"]}, max_size=6)


def test_a_set_without_a_score(stages: Mapping[str, AnnData]) -> None:
    """Its genes are nowhere defined together: there is nothing to say of it, and of others it changes nothing."""
    adata = stages["locality_corr"].copy()
    rare = adata.var_names[:5]
    X = adata.X.toarray()
    X[:, :5] *= np.random.default_rng(0).random((300, 5)) < 0.05
    adata.X = X
    lava.tl.locality_corr(adata)
    lava.tl.score_gene_sets(adata, {"rare": rare, "second": GENE_SETS["second"]}, **FEW)
    summary, table = tables(adata)
    assert summary["n_localities"].tolist() == [0, 15]
    assert summary.iloc[0][["score", "expected", "positive", "z", "p_value", "p_adj"]].isna().all()
    assert summary["p_adj"].iloc[1] == summary["p_value"].iloc[1]
    assert set(table["gene_set"]) == {"second"}
    assert lava.get.gene_set_scores(adata)["rare"].isna().all()


def test_copies_leave_the_object_alone(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"].copy()
    found = lava.tl.score_gene_sets(adata, GENE_SETS, **FEW, copy=True)
    assert_unchanged(adata, stages["ora"])
    assert "modules" in found.uns["lava"]
    lava.tl.score_gene_sets(adata, GENE_SETS, **FEW)
    assert_unchanged(adata, found)
    lava.tl.locality_corr(adata)
    assert_unchanged(adata, stages["locality_corr"])
