"""What `fdr` keeps, against statsmodels, under the null, and with depth as a covariate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse, stats
from statsmodels.stats.multitest import multipletests
from tests.core.correlation.cases import (
    TOLERANCE,
    correlate,
    embedded,
    some_members,
    with_programs,
)
from tests.reference import correlation as reference

import lava_sc as lava
from lava_sc.core.correlation.partial import Covariate
from lava_sc.core.correlation.permutation_null import correlation_pvalues, tail_moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Members = NDArray[np.intp]


def own_pvalues(X: Floats, rows: Members, numeric: Floats, *, ranked: bool) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Correlations, p-values and columns of C of the defined pairs of one locality, from residuals by least squares."""
    features = [f for f in range(X.shape[1]) if reference.is_defined(X[rows, f])]
    transform = stats.rankdata if ranked else np.asarray
    local = np.column_stack([np.empty((len(rows), 0)), *(transform(c) for c in numeric[rows].T)])
    scores = np.array([reference.residuals(transform(X[rows, f]), local, np.empty((len(rows), 0))) for f in features])
    a, b = np.triu_indices(len(features), 1)
    rho, moments = np.corrcoef(scores)[a, b], tail_moments(scores)
    pvalues = correlation_pvalues(rho, moments.take(a), moments.take(b), n_effective=len(rows) - numeric.shape[1])
    pairs = {pair: column for column, pair in enumerate(zip(*np.triu_indices(X.shape[1], 1), strict=True))}
    return rho, pvalues, np.array([pairs[features[i], features[j]] for i, j in zip(a, b, strict=True)])


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("n_covariates", [0, 2])
@pytest.mark.parametrize("level", [0.001, 0.05, 0.3])
@pytest.mark.parametrize("kind", ["log counts", "heavy ties", "continuous"])
def test_fdr_keeps_what_benjamini_hochberg_keeps(kind: str, level: float, n_covariates: int, ranked: bool) -> None:
    X, members = with_programs(kind, 200, 24), some_members(200, 60, 5)
    numeric = np.random.default_rng(2).normal(size=(200, n_covariates))
    covariates = [Covariate(column, False) for column in numeric.T]
    found = correlate(X, members, ranked=ranked, fdr=level, covariates=covariates)
    n_tests = 0
    for i, rows in enumerate(members):
        rho, pvalues, columns = own_pvalues(X, rows, numeric, ranked=ranked)
        expected = np.zeros(found.C.shape[1])
        rejected = multipletests(pvalues, level, method="fdr_bh")[0]
        expected[columns[rejected]] = rho[rejected]
        np.testing.assert_allclose(found.C[i].toarray()[0], expected, rtol=0, atol=TOLERANCE)
        assert found.n_kept_pairs[i] == rejected.sum() <= found.n_defined_pairs[i] == len(rho)
        n_tests += len(rho)
    assert 0 < found.n_kept_pairs.sum() < n_tests


@pytest.mark.parametrize("n_covariates", [0, 2])
@pytest.mark.parametrize("kind", ["heavy ties", "all kinds of ties"])
def test_shuffled_genes_keep_edges_in_one_of_twenty_localities_at_most(kind: str, n_covariates: int) -> None:
    """400 disjoint localities of independent genes: by chance alone 5 % keep an edge, more than 35 in one of 1,000 cases.

    A single pair is kept at p < 7e-6, where Student's t would keep edges in 64 of them with the heavy ties.
    """
    n_localities, n, n_genes = 400, 100, 120
    rng = np.random.default_rng(7)
    X = rng.geometric(0.5, (n_localities * n, n_genes)).astype(np.float64)
    zeros = np.full(n_genes, 0.75) if kind == "heavy ties" else rng.uniform(0, 0.75, n_genes)
    for rows in np.arange(len(X)).reshape(n_localities, n):
        for gene, share in enumerate(zeros):
            X[rng.permutation(rows)[: int(share * n)], gene] = 0
    covariates = [Covariate(v, False) for v in rng.normal(size=(n_covariates, len(X)))]
    members = np.arange(len(X)).reshape(n_localities, n)
    found = correlate(sparse.csr_matrix(X), members, fdr=0.05, covariates=covariates, n_jobs=None)
    assert (found.n_defined_pairs > 6000).all()
    assert (found.n_kept_pairs > 0).sum() <= stats.binom.isf(1e-3, n_localities, 0.05)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_genes_that_only_follow_depth_are_not_kept_once_depth_is_given(method: str) -> None:
    """Two genes follow the depth of the cell, eighteen follow nothing, two more each other."""
    rng = np.random.default_rng(3)
    log_depth, program = rng.normal(size=(2, 1200))
    X = rng.normal(size=(1200, 22))
    X[:, :2] += 1.2 * log_depth[:, None]
    X[:, 2:4] += 1.2 * program[:, None]
    adata = embedded(X - X.min(), log_depth=log_depth)
    n_localities = adata.obsm["lava_localities"].shape[1]
    a, b = np.triu_indices(22, 1)
    by_depth, real = np.flatnonzero((a == 0) & (b == 1))[0], np.flatnonzero((a == 2) & (b == 3))[0]
    for covariates, kept_by_depth in ((None, n_localities), ("log_depth", 0)):
        lava.tl.locality_corr(adata, method=method, covariates=covariates, fdr=0.05)
        C = adata.uns["lava"]["C"].toarray()
        assert np.count_nonzero(C[:, by_depth]) == kept_by_depth
        assert np.count_nonzero(C[:, real]) == n_localities


def test_depth_does_not_tie_sparse_counts_together() -> None:
    """Counts of genes that are independent given the depth: without it all localities keep edges, with it one in ten.

    More than the 5 % of independent genes, since the ranks of counts are not quite linear in those of the depth.
    """
    rng = np.random.default_rng(11)
    n_localities, n = 200, 120
    log_depth = rng.normal(0, 0.6, n_localities * n)
    X = rng.poisson(np.exp(log_depth[:, None] + np.linspace(-0.9, 1.5, 30))).astype(float)
    members = np.arange(len(X)).reshape(n_localities, n)
    depth = [Covariate(np.exp(log_depth), False)]
    without, given_depth = (
        (correlate(sparse.csr_matrix(X), members, fdr=0.05, covariates=c).n_kept_pairs > 0).mean() for c in ([], depth)
    )
    assert without > 0.95
    assert given_depth < 0.2
