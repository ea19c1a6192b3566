"""Presences refitted to given modules, against plain loops over the loss as the reference states it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse
from tests.reference.amf_numpy import batch_loss, reconstruct, row_weights

from lava_sc.core.factorise.amf.presences import GRID, refit_presences, sample_pairs
from lava_sc.core.factorise.problem import make_problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc.core.factorise.problem import Problem

    Floats = NDArray[Any]  # float32 or float64

NU = 9.0


def example(
    seed: int, n_localities: int = 7, n_modules: int = 3, n_pairs: int = 40, *, n_zero: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Signed C with no empty column, sparse but for its last row; the last ``n_zero`` rows but that are 0. Then P and M."""
    rng = np.random.default_rng(seed)
    C = rng.uniform(-1, 1, (n_localities, n_pairs)) * (rng.random((n_localities, n_pairs)) < 0.4)
    C[-1] = rng.uniform(0.1, 1, n_pairs)
    C[n_localities - 1 - n_zero : -1] = 0
    P = rng.random((n_localities, n_modules)) * (rng.random((n_localities, n_modules)) < 0.7)
    M = rng.random((n_modules, n_pairs)) * (rng.random((n_modules, n_pairs)) < 0.6)
    return C.astype(np.float32), P.astype(np.float32), M.astype(np.float32)


def problem_of(C: Floats) -> Problem:
    return make_problem(sparse.csr_matrix(C))


def own_losses(C: Floats, P: Floats, M: Floats, gamma: float) -> Floats:
    """Loss of each locality by itself, (l,)."""
    C, P, M = (np.abs(values).astype(np.float64) for values in (C, P, M))
    return np.array([batch_loss(C, P, M, np.array([i]), nu=NU, gamma=gamma) for i in range(len(C))])


def plain_refit(C: Floats, P: Floats, M: Floats, counts: Floats, gamma: float, sweeps: int) -> Floats:
    """Coordinate descent in loops; a pair counts ``counts`` times in a locality's sums, not in its weight."""
    C, P, M = (np.abs(values).astype(np.float64) for values in (C, P, M))
    weights = row_weights(C)

    def loss(i: int, presences: Floats) -> float:
        chat = reconstruct(presences[None], M)[0]
        w = np.where(chat > C[i], NU, 1.0)
        x, y = w * C[i] * np.sqrt(counts), w * chat * np.sqrt(counts)
        cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y) if x.any() and y.any() else 0.0
        return float(weights[i] * (1 - cosine) + gamma * (counts * np.abs(C[i] - chat)).sum() / C.shape[1])

    for i in range(len(C)):
        for _ in range(sweeps):
            for m in range(len(M)):
                best = P[i].copy()
                for presence in GRID:  # equal ones (a cosine does not see the length) are for the lower
                    tried = best.copy()
                    tried[m] = presence
                    if loss(i, tried) < loss(i, best) - 1e-6 * weights[i]:
                        best = tried
                P[i] = best
    return P


@pytest.mark.parametrize("gamma", [0.0, 1e-4, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_one_module_gets_the_best_presence_of_the_grid(seed: int, gamma: float) -> None:
    """Brute force over the grid; a presence stays where none of it is better."""
    C, P, M = example(seed, n_modules=1, n_zero=1)
    found = refit_presences(problem_of(C), P, M, nu=NU, gamma=gamma, rng=np.random.default_rng(0))
    tried = np.array([own_losses(C, np.full_like(P, presence), M, gamma) for presence in GRID])
    lowest = np.minimum(tried.min(axis=0), own_losses(C, P, M, gamma))
    np.testing.assert_allclose(own_losses(C, found, M, gamma), lowest, atol=2e-6)
    assert np.isin(found, np.append(GRID, P)).all()
    assert not np.array_equal(found, P)


@pytest.mark.parametrize("sweeps", [1, 2])
@pytest.mark.parametrize("gamma", [0.0, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_sweeps_equal_plain_loops(seed: int, gamma: float, sweeps: int) -> None:
    C, P, M = example(seed, n_zero=2)
    found = refit_presences(problem_of(C), P, M, nu=NU, gamma=gamma, rng=np.random.default_rng(0), sweeps=sweeps)
    np.testing.assert_array_equal(found, plain_refit(C, P, M, np.ones(C.shape[1]), gamma, sweeps).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from([1, 3, 60, 2500]),
    st.sampled_from([0, 1e-4, 10]),
)
def test_no_locality_gets_worse(seed: int, n_localities: int, n_modules: int, n_pairs: int, gamma: float) -> None:
    """On the pairs used, here all. 1e-6: what cosines of float32 sums are off by."""
    C, P, M = example(seed, n_localities, n_modules, n_pairs)
    P_before = P.copy()
    found = refit_presences(problem_of(C), P, M, nu=NU, gamma=gamma, rng=np.random.default_rng(seed), most_pairs=10**6)
    np.testing.assert_array_equal(P, P_before)
    assert found.dtype == np.float32
    assert found.shape == P.shape
    assert 0 <= found.min() <= found.max() <= 1
    weights, slack = row_weights(np.abs(C).astype(np.float64)), 1e-6 * (1 + gamma)
    assert (own_losses(C, found, M, gamma) <= own_losses(C, P, M, gamma) + slack * np.maximum(weights, 1)).all()


def test_brings_back_a_presence_that_is_zero() -> None:
    """A locality with two modules, of which one was lost: no gradient reaches it, since it wins no pair."""
    modules = np.zeros((2, 30), dtype=np.float32)
    modules[0, :18] = modules[1, 12:] = 0.9
    presences = np.array([[1, 0], [0, 1], [0.8, 0.5]], dtype=np.float32)
    C = (presences[:, :, None] * modules).max(axis=1)
    lost = np.array([[1, 0], [0, 1], [0.8, 0]], dtype=np.float32)
    found = refit_presences(problem_of(C), lost, modules, nu=NU, gamma=1e-4, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found, presences)


def test_zero_localities() -> None:
    """They have a loss only by γ, which asks for presences of 0; without it any will do."""
    C, _, M = example(0, n_zero=3)
    P = np.full((len(C), len(M)), 0.35, dtype=np.float32)
    zero = ~C.any(axis=1)
    assert zero.sum() == 3
    for gamma, expected in ((1e-4, 0.0), (0.0, np.float32(0.35))):
        found = refit_presences(problem_of(C), P, M, nu=NU, gamma=gamma, rng=np.random.default_rng(0))
        np.testing.assert_array_equal(found[zero], expected)


def test_threads_change_nothing() -> None:
    C, P, M = example(3, n_localities=90, n_modules=4, n_pairs=300)
    one, three = (
        refit_presences(
            problem_of(C), P, M, nu=NU, gamma=1.0, rng=np.random.default_rng(5), most_pairs=100, n_jobs=n_jobs
        )
        for n_jobs in (1, 3)
    )
    np.testing.assert_array_equal(one, three)
    assert not np.array_equal(one, P)


def test_only_the_sampled_pairs_count_and_each_for_those_it_stands_for() -> None:
    C, P, M = example(4, n_localities=6, n_pairs=120)
    problem = problem_of(C)
    pairs, scales = sample_pairs(problem, 30, np.random.default_rng(8))
    found = refit_presences(problem, P, M, nu=NU, gamma=1.0, rng=np.random.default_rng(8), most_pairs=30)
    counts = np.zeros(120)
    counts[pairs] = scales.astype(np.float64) ** 2
    np.testing.assert_array_equal(found, plain_refit(C, P, M, counts, 1.0, 2).astype(np.float32))
    left_out = np.setdiff1d(np.arange(120), pairs)
    M[:, left_out] = np.random.default_rng(0).random((len(M), len(left_out)))
    same = refit_presences(problem, P, M, nu=NU, gamma=1.0, rng=np.random.default_rng(8), most_pairs=30)
    np.testing.assert_array_equal(found, same)


def test_pairs_are_drawn_by_their_share_of_the_localities() -> None:
    """Frequencies over 4,000 draws, within 5 binomial standard errors; and sums of what was drawn are right on average."""
    rng = np.random.default_rng(0)
    C = rng.random((5, 60)) * np.geomspace(0.01, 1, 60)
    C[4] *= 100  # a strong locality counts no more than the others
    C[3, 11:] = 0  # hangs on a few pairs, of which one is never missed
    C[:4, 10] = 0.9
    C /= C.max()
    problem, n_draws = problem_of(C.astype(np.float32)), 4000
    shares = np.sqrt((C**2 / (C**2).sum(axis=1, keepdims=True)).sum(axis=0))
    factor = optimize.brentq(lambda factor: np.minimum(1, factor * shares).sum() - 12, 0, 1e4)
    expected = np.minimum(1, factor * shares)
    assert expected[10] == 1
    drawn, totals = np.zeros(60), []
    for _ in range(n_draws):
        pairs, scales = sample_pairs(problem, 12, rng)
        assert len(pairs) == 12
        assert (np.diff(pairs) > 0).all()
        drawn[pairs] += 1
        totals.append((C[:, pairs] * scales**2).sum(axis=1))
    error = np.sqrt(expected * (1 - expected) / n_draws)
    np.testing.assert_array_less(np.abs(drawn / n_draws - expected), 5 * error + 2e-3)
    assert drawn[10] == n_draws
    spread = np.std(totals, axis=0) / np.sqrt(n_draws)
    np.testing.assert_array_less(np.abs(np.mean(totals, axis=0) - C.sum(axis=1)), 5 * spread)


def test_all_pairs_where_there_are_no_more() -> None:
    problem = problem_of(example(0)[0])
    for most in (40, 41):
        pairs, scales = sample_pairs(problem, most, np.random.default_rng(0))
        np.testing.assert_array_equal(pairs, np.arange(40))
        np.testing.assert_array_equal(scales, 1)


def test_pairs_without_a_correlation_are_never_drawn() -> None:
    """Stored zeros: fewer pairs than asked for."""
    C = np.zeros((2, 20), dtype=np.float32)
    C[0, :3] = 0.5
    stored = sparse.csr_matrix((np.ones(40, np.float32), np.tile(np.arange(20), 2), [0, 20, 40]), shape=(2, 20))
    stored.data[:] = C.ravel()
    problem = make_problem(stored)
    pairs, scales = sample_pairs(problem, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(pairs, [0, 1, 2])
    np.testing.assert_array_equal(scales, 1)
