"""Correlations pooled over batches against a plain loop, and their p-values against enumeration and Monte-Carlo."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from statsmodels.stats.multitest import multipletests
from tests.reference import pooled as reference

from lava_sc.core.correlation.batched import batch_scores, batches_of, pooled_null, pooled_pairs
from lava_sc.core.correlation.fdr import LocalityPairs, significant
from lava_sc.core.correlation.measures import PEARSON, SPEARMAN
from lava_sc.core.correlation.partial import Covariate
from lava_sc.core.correlation.permutation_null import correlation_pvalues
from lava_sc.core.correlation.unbatched import plain_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lava_sc.core.correlation.scores import Scores

    Floats = NDArray[np.float64]
    Batches = NDArray[np.integer]

LEVELS = np.array([1e-2, 1e-3, 1e-4, 1e-5])
SIZES = {
    "one": [60],
    "two": [70, 30],
    "equal": [40, 40, 40],
    "five": [50, 31, 14, 9, 6],
    "too small to count": [30, 3, 20, 1, 2],
    "smallest": [4, 4, 5, 4, 6, 1],
    "many": [5, 7, 9, 11, 8, 6, 4, 4, 10, 12, 3, 9, 9, 5, 21],
}


def codes(sizes: Sequence[int], seed: int = 0) -> Batches:
    """Batches of these sizes, their samples in any order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def genes(batch: Batches, n_features: int, seed: int, *, strength: float = 0.6) -> Floats:
    """Counts (n, D) of many ties, correlated, different in mean between batches, and constant in some."""
    rng = np.random.default_rng([seed, len(batch)])
    n, n_batches = len(batch), int(batch.max()) + 1
    level = rng.normal(size=(n_batches, n_features))[batch]
    shared = rng.normal(size=(n, 1)) * rng.normal(size=n_features)
    counts = rng.poisson(np.exp(strength * shared + 0.7 * level + rng.uniform(-1.5, 1.5, n_features))).astype(float)
    counts[(rng.random((n_batches, n_features)) < 0.15)[batch]] = 2.0
    return counts


def scores_of(
    X: Floats,
    batch: Batches,
    *,
    ranked: bool = True,
    max_tie_fraction: float = 0.75,
    covariates: Sequence[Covariate] = (),
) -> list[Scores]:
    samples = np.arange(len(X))
    measure = SPEARMAN if ranked else PEARSON
    batches = batches_of(batch, samples, covariates, measure)
    return batch_scores(sparse.csr_matrix(X), samples, batches, max_tie_fraction, measure)


def kept_pairs(parts: Sequence[Scores], fdr: float | None) -> LocalityPairs:
    return pooled_pairs(parts, None) if fdr is None else significant([pooled_pairs(parts, fdr)], fdr)[0]


def as_dict(pairs: LocalityPairs) -> dict[tuple[int, int], reference.Pooled]:
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.rho.tolist(), pairs.statistic.tolist())
    return {(a, b): reference.Pooled(rho, linear) for a, b, rho, linear in zip(*columns, strict=True)}


def assert_like_the_loop(X: Floats, batch: Batches, *, ranked: bool, max_tie_fraction: float, tolerance: float) -> None:
    parts = scores_of(X, batch, ranked=ranked, max_tie_fraction=max_tie_fraction)
    pairs = pooled_pairs(parts, None)
    expected = reference.correlations(X, batch, max_tie_fraction, ranked=ranked)
    defined = [a for a in range(X.shape[1]) if reference.is_defined(X[:, a], batch, max_tie_fraction)]
    assert pairs.features.tolist() == defined
    assert pairs.n_tests == len(expected)
    found = as_dict(pairs)
    assert found.keys() <= expected.keys()
    for pair, one in expected.items():
        assert found.get(pair, (0.0, one.linear)) == pytest.approx(one, abs=tolerance)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("max_tie_fraction", [0.5, 0.75, 1.0])
def test_equals_a_plain_loop(sizes: str, ranked: bool, max_tie_fraction: float) -> None:
    tolerance = 1e-12 if ranked else 1e-7
    for seed in range(2):
        batch = codes(SIZES[sizes], seed)
        X = genes(batch, 9, seed)
        assert_like_the_loop(X, batch, ranked=ranked, max_tie_fraction=max_tie_fraction, tolerance=tolerance)


@given(
    batch=st.lists(st.integers(0, 3), min_size=4, max_size=40),
    n_values=st.integers(2, 5),
    max_tie_fraction=st.sampled_from([0.3, 0.75, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_equals_a_plain_loop_whatever_the_ties(
    batch: list[int], n_values: int, max_tie_fraction: float, seed: int
) -> None:
    X = np.random.default_rng(seed).integers(-1, n_values - 1, (len(batch), 6)).astype(float)
    assert_like_the_loop(X, np.array(batch), ranked=True, max_tie_fraction=max_tie_fraction, tolerance=1e-12)


@pytest.mark.parametrize("ranked", [True, False])
def test_covariates_are_taken_out_within_each_batch_and_cost_it_a_sample(ranked: bool) -> None:
    batch = codes([25, 14, 5, 4])
    X, covariate = genes(batch, 6, 0), np.random.default_rng(1).normal(size=len(batch)) + batch
    X[np.ix_(batch == 3, [0, 1])] = np.random.default_rng(2).normal(size=(4, 2))
    X += np.random.default_rng(3).normal(size=X.shape)
    parts = scores_of(X, batch, ranked=ranked, covariates=[Covariate(covariate, categorical=False)])
    assert [part.n_effective for part in parts] == [24, 13, 4]
    found = as_dict(pooled_pairs(parts, None))
    for (a, b), one in found.items():
        assert one == pytest.approx(
            reference.correlation(X[:, a], X[:, b], batch, ranked=ranked, covariate=covariate), abs=1e-7
        )
    assert len(found) == 15


@pytest.mark.parametrize("n", [5, 40, 400])
def test_one_batch_is_the_plain_correlation_to_the_last_bit(n: int) -> None:
    """And its evidence that of the plain correlation."""
    batch = np.zeros(n, dtype=int)
    X = genes(batch, 30, 1)
    X[:, 1] = X[:, 0]
    parts = scores_of(X, batch)
    pairs = pooled_pairs(parts, None)
    (scores,) = parts
    a, b = np.triu_indices(len(scores.features), 1)
    products = scores.values.astype(float) @ scores.values.T.astype(float)
    rho = np.clip(products[a, b] / np.sqrt(products[a, a] * products[b, b]), -1, 1)
    plain = dict(
        zip(zip(scores.features[a].tolist(), scores.features[b].tolist(), strict=True), rho.tolist(), strict=True)
    )
    assert {pair: one.rho for pair, one in as_dict(pairs).items()} == {
        pair: one for pair, one in plain.items() if one != 0
    }
    assert pairs.n_tests == len(a)
    (kept,) = significant([plain_pairs(scores, 0.05)], 0.05)
    assert as_dict(kept_pairs(parts, 0.05)) == as_dict(kept)
    of_all = LocalityPairs(scores.features, scores.features[a], scores.features[b], rho, rho, None, len(rho))
    expected = correlation_pvalues(rho, scores.moments.take(a), scores.moments.take(b), n_effective=n)
    np.testing.assert_allclose(pooled_null(of_all, parts).pvalues(rho), expected, rtol=1e-9)


def test_order_of_cells_and_genes_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    batch = codes([40, 25, 12, 7])
    X = genes(batch, 40, 2)
    expected = as_dict(pooled_pairs(scores_of(X, batch), None))
    cells, columns = rng.permutation(len(X)), rng.permutation(X.shape[1])
    found = as_dict(pooled_pairs(scores_of(X[cells][:, columns], batch[cells]), None))
    names = columns.tolist()
    assert {(min(names[a], names[b]), max(names[a], names[b])): one for (a, b), one in found.items()} == expected


def test_genes_that_never_vary_in_the_same_batch_are_no_test() -> None:
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], 20)
    X = rng.normal(size=(40, 3))
    X[batch == 0, 0] = X[batch == 1, 1] = 5.0
    parts = scores_of(X, batch)
    for fdr in (None, 0.9999):
        pairs = kept_pairs(parts, fdr)
        assert list(as_dict(pairs)) == [(0, 2), (1, 2)]
        assert pairs.n_tests == 2
    assert pairs.features.tolist() == [0, 1, 2]


@pytest.mark.parametrize("sizes", [[], [3], [1, 2, 3]])
def test_no_batch_with_enough_cells_leaves_nothing(sizes: list[int]) -> None:
    batch = codes(sizes)
    parts = scores_of(np.random.default_rng(0).normal(size=(len(batch), 4)), batch)
    for fdr in (None, 0.05):
        pairs = kept_pairs(parts, fdr)
        assert pairs.rho.size == 0
        assert pairs.n_tests == 0
    assert pairs.features.size == 0


def test_a_perfect_batch_counts_as_if_one_unrelated_sample_had_joined_it() -> None:
    """The bound 1 - 1/n against the mean rank correlation over all places of one more sample, and what it lets through."""
    for n in (4, 10, 30):
        d = np.subtract.outer(np.arange(n + 1), np.arange(n + 1)).astype(float)
        joined = 1 - 6 * np.mean(d**2 + np.abs(d)) / ((n + 1) * ((n + 1) ** 2 - 1))
        assert joined == pytest.approx(1 - 1 / (n + 1) - 2 / (n + 1) ** 2)
        assert abs(joined - (1 - 1 / n)) < 1.5 / n**2
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], [200, 10])
    X = rng.normal(size=(210, 2))
    X[batch == 1, 1] = X[batch == 1, 0]
    alone = reference.correlation(*X[:200].T, batch[:200])
    pairs = pooled_pairs(scores_of(X, batch), None)
    assert alone is not None
    assert pairs.rho[0] - alone.rho < 2 * 7 / 204


@pytest.mark.parametrize("sizes", [[5, 4], [4, 4, 4], [6, 4]])
def test_moments_equal_those_over_all_permutations(sizes: list[int]) -> None:
    """Of the sum that p-values are made from; a batch of four has no fifth index to sum over."""
    batch = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(len(batch))
    x, y = rng.lognormal(size=len(batch)), rng.integers(0, 3, len(batch)) + 2.0 * (np.arange(len(batch)) % 4 == 0)
    parts = scores_of(np.column_stack([x, y]), batch, ranked=False, max_tie_fraction=1.0)
    null = pooled_null(pooled_pairs(parts, None), parts)
    R = reference.enumerated_means(x, y, batch)
    second, third, fourth, fifth = (np.mean(R**k) for k in (2, 3, 4, 5))
    assert np.mean(R) == pytest.approx(0, abs=1e-12)
    expected = [second, third, fourth - 3 * second**2, fifth - 10 * third * second]
    np.testing.assert_allclose(null.cumulants[:, 0], expected, rtol=1e-6, atol=1e-10)


def sparse_design(kind: str, batch: Batches) -> tuple[Floats, Floats]:
    """Two features of 60 to 75 % zeros in every batch, or one of them and one without ties."""
    rng = np.random.default_rng([len(batch), 7])
    x, y = np.zeros((2, len(batch)))
    for values in (x, y):
        for cells in reference.usable(batch):
            chosen = cells[: round(len(cells) * rng.uniform(0.25, 0.4))]
            values[chosen] = (
                1.0 + np.arange(len(chosen)) if kind == "continuous" else 1.0 + np.arange(len(chosen)) % 4 // 2
            )
    return x, rng.normal(size=len(batch)) if kind == "counts beside no ties" else y


@pytest.mark.parametrize("sizes", [[90, 60], [80, 50, 30, 20, 12], [10] * 15], ids=str)
@pytest.mark.parametrize("kind", ["continuous", "counts", "counts beside no ties"])
def test_pvalues_are_calibrated_when_samples_are_shuffled_within_batches(kind: str, sizes: list[int]) -> None:
    """Within 10 % and 4 binomial errors of the level."""
    batch = np.repeat(np.arange(len(sizes)), sizes)
    x, y = sparse_design(kind, batch)
    parts = scores_of(np.column_stack([x, y]), batch, max_tie_fraction=0.8)
    pairs = pooled_pairs(parts, None)
    grid = np.linspace(0, 1, 20_001)
    pvalues = pooled_null(pairs.take(np.zeros(grid.size, dtype=int)), parts).pvalues(grid)
    critical = np.array([grid[pvalues <= level].min() for level in LEVELS])
    counts, n_draws = reference.exceedances(x, y, batch, critical, 5e7, np.random.default_rng(0))
    np.testing.assert_array_less(np.abs(counts / n_draws / LEVELS - 1), 0.1 + 4 / np.sqrt(n_draws * LEVELS))


@pytest.mark.parametrize(
    ("sizes", "n_x", "n_y"),
    [
        ([50, 50], [12, 12], [12, 12]),
        ([50, 50], [12, 13], [12, 15]),
        ([120, 30], [40, 8], [30, 10]),
        ([60, 30, 20, 12], [16, 8, 5, 4], [15, 10, 7, 4]),
        ([10] * 6, [3] * 6, [4] * 6),
    ],
    ids=str,
)
def test_two_valued_features_against_the_exact_distribution(sizes: list[int], n_x: list[int], n_y: list[int]) -> None:
    """Never more than 5 % below the exact p-value; above it by a factor of up to 8, for want of a common lattice."""
    batch = np.repeat(np.arange(len(sizes)), sizes)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    position = np.arange(len(batch)) - first[batch]
    X = np.column_stack([position < np.take(n, batch) for n in (n_x, n_y)]).astype(float)
    parts = scores_of(X, batch, max_tie_fraction=0.9)
    pairs = pooled_pairs(parts, None)
    size, exact = reference.two_valued_tail(sizes, n_x, n_y)
    tested = (exact > 1e-7) & (exact < 1e-2)
    found = pooled_null(pairs.take(np.zeros(tested.sum(), dtype=int)), parts).pvalues(size[tested])
    assert (found >= exact[tested] / 1.05).all(), (exact[tested] / found).max()
    assert (found <= 8 * exact[tested]).all(), (found / exact[tested]).max()


@pytest.mark.parametrize("fdr", [0.05, 0.5])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_pairs_kept_are_those_of_benjamini_hochberg(sizes: str, fdr: float) -> None:
    for seed in range(3):
        batch = codes(SIZES[sizes], seed)
        parts = scores_of(genes(batch, 25, seed, strength=1.0), batch)
        every = pooled_pairs(parts, None)
        pvalues = np.append(pooled_null(every, parts).pvalues(every.statistic), np.ones(every.n_tests - len(every.rho)))
        expected = every.take(np.flatnonzero(multipletests(pvalues, alpha=fdr, method="fdr_bh")[0]))
        found = kept_pairs(parts, fdr)
        assert found.n_tests == every.n_tests
        assert as_dict(found) == as_dict(expected)


def test_a_difference_between_donors_is_no_correlation() -> None:
    """Genes independent within five donors, who differ in their means: plainly correlated, pooled at most by chance."""
    rng = np.random.default_rng(0)
    batch, n_localities = np.repeat(np.arange(5), [40, 30, 25, 15, 10]), 300
    any_pooled = any_plain = 0
    for _ in range(n_localities):
        mean = rng.normal(-0.5, 1.0, size=(5, 30))[batch]
        X = rng.poisson(np.exp(mean)).astype(float)
        any_pooled += kept_pairs(scores_of(X, batch), 0.05).rho.size > 0
        any_plain += kept_pairs(scores_of(X, np.zeros_like(batch)), 0.05).rho.size > 0
    assert 0.01 <= any_pooled / n_localities <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_localities)
    assert any_plain / n_localities > 0.95
