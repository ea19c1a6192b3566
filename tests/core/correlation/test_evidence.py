"""The p-values behind `fdr` against enumeration, exact distributions, Monte-Carlo and statsmodels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from tests.reference import evidence as reference

from lava_sc.core.correlation.fdr import (
    LocalityPairs,
    adjusted_pvalues,
    benjamini_hochberg,
    possible_pairs,
    significant,
    student_critical,
)
from lava_sc.core.correlation.pearson_tails import bounded_beta_tail
from lava_sc.core.correlation.permutation_null import PermutationNull, TailMoments, correlation_pvalues, tail_moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def significant_pairs(
    rho: Floats,
    a: NDArray[np.intp],
    b: NDArray[np.intp],
    moments: TailMoments,
    *,
    n_effective: int,
    level: float,
    n_tests: int | None = None,
) -> NDArray[np.bool_]:
    """Which correlations of one locality are kept; those that are left out have to be impossible ones."""
    n_tests = rho.size if n_tests is None else n_tests
    possible = possible_pairs(np.abs(rho), n_effective, level=level, n_tests=n_tests)
    null = PermutationNull.of_pairs(moments.take(a[possible]), moments.take(b[possible]), n_effective)
    numbers = np.arange(rho.size)[possible]
    (kept,) = significant([LocalityPairs(a, numbers, numbers, rho[possible], rho[possible], null, n_tests)], level)
    return np.isin(np.arange(rho.size), kept.first)


LEVELS = np.array([1e-2, 1e-3, 1e-4, 1e-5, 1e-6])


def sparse_gene(n: int, *, tied: float = 0.75, kind: str = "continuous") -> Floats:
    """Exactly floor(tied·n) zeros, and non-zeros that are distinct, small integers or all equal."""
    n_nonzero = n - int(tied * n)
    nonzeros = {
        "continuous": 1.0 + np.arange(n_nonzero),
        "integer": np.minimum(np.random.default_rng(3).geometric(0.6, n_nonzero), 6),
        "equal": np.ones(n_nonzero),
    }[kind]
    return np.concatenate([np.zeros(n - n_nonzero), nonzeros])


def tie_design(name: str, n: int) -> tuple[Floats, Floats]:
    """Ranks of two features."""
    dense, counts = np.arange(n, dtype=float), np.random.default_rng(1).poisson(1.0, n).astype(float)
    heavy, integers = sparse_gene(n), sparse_gene(n, kind="integer")
    x, y = {
        "no ties": (dense, dense),
        "75 % in both": (heavy, heavy),
        "75 % in both, integers": (integers, integers),
        "75 % in one": (heavy, dense),
        "75 % in one, integers in both": (integers, counts),
        "50 % in both": (sparse_gene(n, tied=0.5), sparse_gene(n, tied=0.5)),
        "75 % lowest in one, highest in the other": (heavy, -heavy),
    }[name]
    return stats.rankdata(x), stats.rankdata(y)


def pvalues_of(rho: Floats, x: Floats, y: Floats, n_effective: int | None = None) -> Floats:
    first, second = (tail_moments((v - np.mean(v))[None]).take(np.zeros(len(rho), dtype=int)) for v in (x, y))
    return correlation_pvalues(rho, first, second, n_effective=n_effective or len(x))


def critical_sizes(x: Floats, y: Floats, levels: Floats) -> Floats:
    """Smallest |ρ| on a fine grid with a p-value of at most each level, infinite where there is none."""
    grid = np.linspace(0, 1, 100_001)
    pvalues = pvalues_of(grid, x, y)
    assert (np.diff(pvalues) <= 1e-12).all()
    return np.array([grid[pvalues <= level].min(initial=np.inf) for level in levels])


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
@given(seed=st.integers(0, 2**32 - 1), tied=st.integers(0, 4))
@settings(max_examples=8, deadline=None)
def test_moments_equal_those_over_all_permutations(n: int, seed: int, tied: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.lognormal(size=n), rng.integers(0, 4, n) + 4 * np.eye(n)[0]
    x[: min(tied, n - 1)] = 0
    null = PermutationNull.of_pairs(*(tail_moments(reference.unit(v)[None]) for v in (x, y)), n)
    second, third, fourth, fifth = (np.mean(reference.enumerated_correlations(x, y) ** k) for k in (2, 3, 4, 5))
    assert second == pytest.approx(1 / (n - 1))
    expected = [second, third, fourth - 3 * second**2, fifth - 10 * third * second]
    np.testing.assert_allclose(null.cumulants[:, 0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [50, 150, 500])
@pytest.mark.parametrize(
    "design",
    [
        "no ties",
        "75 % in both",
        "75 % in both, integers",
        "75 % in one",
        "75 % in one, integers in both",
        "50 % in both",
        "75 % lowest in one, highest in the other",
    ],
)
def test_pvalues_are_calibrated(design: str, n: int) -> None:
    """Within the error of the approximation (1e9 draws: 0.63 to 1.31 at n = 50, 0.86 to 1.05 above) and 4 binomial errors."""
    x, y = tie_design(design, n)
    counts, n_draws = reference.exceedances(x, y, critical_sizes(x, y, LEVELS), 1e8, np.random.default_rng(n))
    ratio, error = counts / n_draws / LEVELS, 4 / np.sqrt(n_draws * LEVELS)
    lowest, highest = (0.6, 1.35) if n == 50 else (0.85, 1.1)
    assert (ratio <= highest + error).all(), ratio
    assert (ratio >= lowest - error).all(), ratio


def test_students_t_is_not_calibrated_with_heavy_ties() -> None:
    """What the moments are for; if this fails they can go."""
    x, y = tie_design("75 % in both", 50)
    size = np.sqrt(stats.beta.isf(1e-5, 0.5, 24))
    count, n_draws = reference.exceedances(x, y, np.array([size]), 2e7, np.random.default_rng(0))
    assert count[0] / n_draws > 4e-5


@pytest.mark.parametrize(("n", "n_x", "n_y"), [(50, 13, 13), (150, 38, 60), (500, 125, 125), (500, 250, 130)])
def test_two_valued_features_against_the_hypergeometric_distribution(n: int, n_x: int, n_y: int) -> None:
    """Never more than 5 % below the exact p-value; above it by less than a lattice step, which is a factor of up to 5."""
    null = stats.hypergeom(n, n_x, n_y)
    overlap = np.arange(max(0, n_x + n_y - n), min(n_x, n_y) + 1)
    rho = (overlap * n - n_x * n_y) / math.sqrt(n_x * (n - n_x) * n_y * (n - n_y))
    exact = np.array([null.pmf(overlap[np.abs(rho) >= abs(r) - 1e-12]).sum() for r in rho])
    x, y = (np.arange(n) < n_ones for n_ones in (n_x, n_y))
    found = pvalues_of(rho, x.astype(float), y.astype(float))
    tested = (exact > 1e-7) & (exact < 1e-2)
    assert (found >= exact / 1.05)[tested].all(), (exact / found)[tested]
    assert (found <= 5 * exact)[tested].all(), (exact / found)[tested]


@pytest.mark.parametrize("n", [50, 150, 500])
def test_pearson_of_lognormal_values_errs_on_the_safe_side_far_out(n: int) -> None:
    values = np.exp(stats.norm.ppf((np.arange(n) + 0.5) / n))
    levels = np.array([1e-4, 1e-5])
    for other in (values, np.arange(n, dtype=float)):
        sizes = critical_sizes(values, other, levels)
        counts, n_draws = reference.exceedances(values, other, sizes, 2e7, np.random.default_rng(n))
        assert (counts / n_draws <= levels * (1 + 4 / np.sqrt(n_draws * levels))).all()


@pytest.mark.parametrize("n", [50, 150])
def test_partial_correlations_are_calibrated(n: int) -> None:
    """Two covariates that genes do not depend on; within 10 % and 4 binomial errors of the level."""
    rng = np.random.default_rng(n)
    d, n_localities, levels = 150, 60, np.array([1e-2, 1e-3, 1e-4])
    a, b = np.triu_indices(d, 1)
    counts = np.zeros(3)
    for _ in range(n_localities):
        genes = np.where(np.arange(n) < rng.integers(n // 4 + 1, n + 1, d)[:, None], rng.lognormal(size=(d, n)), 0)
        ranks = stats.rankdata(rng.permuted(genes, axis=1), axis=1)
        design = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
        residuals = ranks - ranks @ np.linalg.pinv(design).T @ design.T
        moments = tail_moments(residuals)
        pvalues = correlation_pvalues(np.corrcoef(residuals)[a, b], moments.take(a), moments.take(b), n_effective=n - 2)
        counts += [np.count_nonzero(pvalues <= level) for level in levels]
    n_draws = a.size * n_localities
    np.testing.assert_array_less(np.abs(counts / n_draws / levels - 1), 0.1 + 4 / np.sqrt(n_draws * levels))


@pytest.mark.parametrize("heaviest", [False, True])
def test_shuffled_genes_keep_an_edge_in_few_localities(heaviest: bool) -> None:
    """At most 5 % of 600 localities, give or take 3 binomial errors, and not next to none (3 % with 75 % ties in all)."""
    rng = np.random.default_rng(5)
    n, d, n_localities = 60, 120, 600
    a, b = np.triu_indices(d, 1)
    any_kept = 0
    for _ in range(n_localities):
        n_nonzero = np.full(d, n // 4) if heaviest else rng.integers(n // 4, n + 1, d)
        genes = np.where(np.arange(n) < n_nonzero[:, None], rng.lognormal(size=(d, n)), 0)
        ranks = stats.rankdata(rng.permuted(genes, axis=1), axis=1)
        ranks -= ranks.mean(axis=1, keepdims=True)
        rho = np.corrcoef(ranks)[a, b]
        any_kept += significant_pairs(rho, a, b, tail_moments(ranks), n_effective=n, level=0.05).any()
    assert 0.01 <= any_kept / n_localities <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_localities)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.5, 0.999])
@pytest.mark.parametrize(("n", "d", "n_covariates"), [(30, 12, 0), (150, 40, 2), (6, 5, 0), (4, 6, 2)])
def test_only_possible_pairs_are_computed_and_none_is_missed(
    n: int, d: int, n_covariates: int, level: float, strength: float
) -> None:
    rng = np.random.default_rng(0)
    a, b = np.triu_indices(d, 1)
    for _ in range(5):
        genes = rng.normal(size=(d, n)) + strength * rng.normal(size=n)
        ranks = stats.rankdata(np.maximum(genes, np.quantile(genes, 0.6, axis=1, keepdims=True)), axis=1)
        ranks -= ranks.mean(axis=1, keepdims=True)
        rho, moments = np.corrcoef(ranks)[a, b], tail_moments(ranks)
        found = significant_pairs(rho, a, b, moments, n_effective=n - n_covariates, level=level)
        pvalues = correlation_pvalues(rho, moments.take(a), moments.take(b), n_effective=n - n_covariates)
        expected = multipletests(pvalues, alpha=level, method="fdr_bh")[0]
        np.testing.assert_array_equal(found, expected)
        left = np.flatnonzero(np.abs(rho) >= student_critical(level, n - n_covariates))
        of_left = dict(n_effective=n - n_covariates, level=level, n_tests=rho.size)
        np.testing.assert_array_equal(
            significant_pairs(rho[left], a[left], b[left], moments, **of_left), expected[left]
        )
        assert not np.delete(expected, left).any()


@given(
    st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.025, 0.05, 1.0]), min_size=1, max_size=40),
    st.sampled_from([1e-6, 0.01, 0.05, 0.2, 0.9]),
)
def test_benjamini_hochberg_equals_statsmodels(pvalues: list[float], level: float) -> None:
    p = np.array(pvalues)
    expected = multipletests(p, alpha=level, method="fdr_bh")[0]
    np.testing.assert_array_equal(benjamini_hochberg(p, level), expected)
    low = p <= level
    np.testing.assert_array_equal(benjamini_hochberg(p[low], level, n_tests=p.size), expected[low])


def test_adjusted_p_values_are_those_of_statsmodels() -> None:
    p = np.random.default_rng(0).random(20) ** 3
    holes = p.copy()
    holes[[2, 5]] = np.nan
    np.testing.assert_allclose(adjusted_pvalues(p), multipletests(p, method="fdr_bh")[1])
    there = ~np.isnan(holes)
    np.testing.assert_allclose(adjusted_pvalues(holes)[there], multipletests(p[there], method="fdr_bh")[1])
    assert np.isnan(adjusted_pvalues(holes)[[2, 5]]).all()
    assert np.isnan(adjusted_pvalues(np.full(3, np.nan))).all()


@given(
    rho=st.floats(-1, 1),
    n=st.integers(3, 3000),
    n_covariates=st.integers(0, 4),
    shape=st.sampled_from([0.1, 1.0, 3.0]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_pvalues_are_probabilities_whatever_the_data(
    rho: float, n: int, n_covariates: int, shape: float, seed: int
) -> None:
    """Outliers, one sample unlike all others, mirrored tails: in [0, 1], and above 0 unless beyond float range."""
    rng = np.random.default_rng(seed)
    scores = np.vstack(
        [np.exp(shape * rng.normal(size=n)), -rng.pareto(shape, n), np.eye(n)[0], rng.normal(size=n) ** 3]
    )
    scores -= scores.mean(axis=1, keepdims=True)
    moments = tail_moments(scores)
    a, b = np.triu_indices(4)
    pvalues = correlation_pvalues(np.full(10, rho), moments.take(a), moments.take(b), n_effective=n - n_covariates)
    assert (pvalues <= 1).all()
    assert (pvalues >= (0 if n > 150 else np.finfo(float).tiny)).all()
    if n - n_covariates >= 3:
        null = PermutationNull.of_pairs(moments.take(a), moments.take(b), n - n_covariates)
        assert (null.pvalues(np.full(10, rho), bounded_beta_tail) >= pvalues).all()


def test_sign_and_scale_of_the_scores_do_not_matter() -> None:
    x, y = tie_design("75 % in both", 80)
    rho = np.linspace(-1, 1, 41)
    expected = pvalues_of(rho, x, y)
    np.testing.assert_allclose(pvalues_of(-rho, x, y), expected)
    np.testing.assert_allclose(pvalues_of(rho, -1e3 * x, 1e-3 * y), expected, rtol=1e-9)


def test_no_pairs_no_features_and_too_few_samples() -> None:
    nothing = np.empty(0)
    none = np.empty(0, dtype=int)
    moments = tail_moments(np.empty((0, 5)))
    assert correlation_pvalues(nothing, moments, moments, n_effective=5).shape == (0,)
    assert benjamini_hochberg(nothing, 0.05).shape == (0,)
    assert significant_pairs(nothing, none, none, moments, n_effective=5, level=0.05).shape == (0,)
    one = TailMoments(np.zeros(1), np.ones(1), np.zeros(1))
    np.testing.assert_array_equal(correlation_pvalues(np.ones(1), one, one, n_effective=2), [1.0])
