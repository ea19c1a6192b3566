"""Scores of sets in a few localities, against plain loops over pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse
from tests.reference.excess import groups_by_level, scaled_excess

from lava_sc.core.interpret.set_scores import Part, score_sets
from lava_sc.core.nulls.exchanged_genes import DetectionStats, permutation_test

N_FEATURES, N_LOCALITIES = 60, 5


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, DetectionStats, list[np.ndarray]]:
    """Correlations of all defined pairs as tables (one of them 0), defined features, levels, sets and random ones."""
    rng = np.random.default_rng(0)
    defined = rng.random((N_LOCALITIES, N_FEATURES)) < 0.7
    rho = rng.uniform(-1, 1, (N_LOCALITIES, N_FEATURES, N_FEATURES)).astype(np.float32)
    rho = np.triu(rho, 1) * (defined[:, :, None] & defined[:, None, :])
    a, b = np.argwhere(rho[0])[3]
    rho[0, a, b] = 0
    draws = [np.array([rng.permutation(N_FEATURES)[:k] for _ in range(20)]) for k in (3, 5, 12)]
    draws[1][0, :2] = a, b
    levels = DetectionStats(rng.random((N_LOCALITIES, N_FEATURES)), rng.random((N_LOCALITIES, N_FEATURES)))
    return rho, defined, levels, draws


def parts_of(rho: np.ndarray, defined: np.ndarray, at_once: int) -> list[Part]:
    C = sparse.csr_matrix(rho[:, *np.triu_indices(N_FEATURES, 1)])
    groups = np.array_split(np.arange(N_LOCALITIES)[::-1], -(-N_LOCALITIES // at_once))
    return [Part(group, C[group], defined[group]) for group in groups]


def test_scores_by_loops(data: tuple[np.ndarray, np.ndarray, DetectionStats, list[np.ndarray]]) -> None:
    rho, defined, levels, draws = data
    names = np.arange(N_FEATURES)
    scores, totals = score_sets(parts_of(rho, defined, 5), levels, names, draws, n_jobs=1)
    sums = np.full((3, 20), np.nan)
    for i in range(N_LOCALITIES):
        order = np.lexsort((levels.means[i], levels.detected[i]))
        groups = groups_by_level(defined[i], order)
        size = {(a, b): abs(float(rho[i, a, b])) for a, b in combinations(range(N_FEATURES), 2) if rho[i, a, b]}
        excess = np.full((20, 3), np.nan)
        for k, sets in enumerate(draws):
            for n, members in enumerate(sets):
                there = sorted(set(members) & set(groups))
                if len(there) >= 3:
                    pairs = list(combinations(there, 2))
                    excess[n, k], absolute, expected = scaled_excess(size, groups, [(pair, 1.0) for pair in pairs])
                    sums[k, n] = np.nan_to_num(sums[k, n]) + excess[n, k]
                    if n == 0:
                        signed = [float(rho[i][pair]) for pair in pairs]
                        assert scores.means[i, k] == pytest.approx(absolute / len(pairs), rel=1e-5)
                        assert scores.expected[i, k] == pytest.approx(expected / len(pairs), rel=1e-5)
                        share = sum(r for r in signed if r > 0) / sum(map(abs, signed))
                        assert scores.positive[i, k] == pytest.approx(share, rel=1e-4)
                        assert scores.n_pairs[i, k] == len(pairs)
            assert scores.n_defined[i, k] == len(set(sets[0]) & set(groups))
        z, pvalues = permutation_test(excess)
        np.testing.assert_allclose(scores.z[i], z, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(scores.pvalues[i], pvalues)
    np.testing.assert_allclose(totals, sums, rtol=1e-3, atol=1e-4)


def test_parts_and_threads_change_nothing(
    data: tuple[np.ndarray, np.ndarray, DetectionStats, list[np.ndarray]],
) -> None:
    rho, defined, levels, draws = data
    found = [
        score_sets(parts_of(rho, defined, at_once), levels, np.arange(N_FEATURES), draws, n_jobs=n_jobs)
        for at_once, n_jobs in ((5, 1), (5, 2), (2, 1))
    ]
    for scores, totals in found[1:]:
        np.testing.assert_allclose(totals, found[0][1], rtol=1e-12)
        for name in ("n_defined", "means", "expected", "positive", "z", "pvalues"):
            np.testing.assert_array_equal(getattr(scores, name), getattr(found[0][0], name))


def test_pooled_over_the_localities(data: tuple[np.ndarray, np.ndarray, DetectionStats, list[np.ndarray]]) -> None:
    rho, defined, levels, draws = data
    scores, _ = score_sets(parts_of(rho, defined, 5), levels, np.arange(N_FEATURES), draws, n_jobs=1)
    mean, expected, positive = scores.pooled()
    for k, sets in enumerate(draws):
        values = [
            float(rho[i][pair])
            for i in range(N_LOCALITIES)
            for pair in combinations(sorted(set(sets[0]) & set(np.flatnonzero(defined[i]))), 2)
            if scores.n_defined[i, k] >= 3
        ]
        assert mean[k] == pytest.approx(np.mean(np.abs(values)), rel=1e-5)
        assert positive[k] == pytest.approx(np.maximum(values, 0).sum() / np.abs(values).sum(), rel=1e-5)
        n = scores.n_pairs[:, k]
        assert expected[k] == pytest.approx((np.nan_to_num(scores.expected[:, k]) * n).sum() / n.sum())


def test_a_set_that_is_defined_nowhere() -> None:
    rho = np.zeros((2, N_FEATURES, N_FEATURES), dtype=np.float32)
    defined = np.tile(np.arange(N_FEATURES) < 30, (2, 1))
    levels = DetectionStats(np.ones((2, N_FEATURES)), np.ones((2, N_FEATURES)))
    C = sparse.csr_matrix(rho[:, *np.triu_indices(N_FEATURES, 1)])
    draws = [np.array([[40, 41, 42, 43], [1, 2, 3, 4]])]
    scores, totals = score_sets([Part(np.arange(2), C, defined)], levels, np.arange(N_FEATURES), draws, n_jobs=1)
    assert np.isnan(totals[0, 0])
    assert totals[0, 1] == 0
    assert np.isnan(scores.means).all()
    assert all(np.isnan(figure).all() for figure in scores.pooled())
