"""Canonical form and repeated runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from tests.reference import amf_numpy as reference

from lava_sc.core.amf.fit import Options
from lava_sc.core.amf.runs import canonical, run_many
from lava_sc.core.amf.starts import STARTS
from lava_sc.core.amf.target import make_target
from lava_sc.core.summary import PRESENT_ABOVE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc.core.amf.runs import Run
    from lava_sc.core.amf.target import Target

    Floats = NDArray[np.floating]


def factors(seed: int = 0, n_modules: int = 4) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    M = rng.random((n_modules, 30)) * rng.uniform(0.2, 1, (n_modules, 1))
    return rng.random((12, n_modules)).astype(np.float32), M.astype(np.float32)


@given(seed=st.integers(0, 2**32 - 1), n_modules=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_canonical_form(seed: int, n_modules: int) -> None:
    P, M = factors(seed, n_modules)
    before = P.copy(), M.copy()
    new_P, new_M = canonical(P, M)
    np.testing.assert_allclose(reference.reconstruct(new_P, new_M), reference.reconstruct(P, M), rtol=1e-6)
    np.testing.assert_array_equal(new_M.max(axis=1), 1)
    assert 0 <= new_P.min() <= new_P.max() <= 1
    totals = new_P.sum(axis=0, dtype=np.float64)
    assert (np.diff(totals) <= 1e-6).all()
    assert new_P.dtype == new_M.dtype == np.float32
    np.testing.assert_array_equal(P, before[0])
    np.testing.assert_array_equal(M, before[1])


def test_canonical_form_forgets_how_a_product_is_split() -> None:
    P, M = factors()
    scale = np.float32([0.5, 0.25, 1.0, 0.125])
    order = [2, 0, 3, 1]
    for first, second in zip(
        canonical(P, M), canonical((P * scale)[:, order], (M / scale[:, None])[order]), strict=True
    ):
        np.testing.assert_allclose(first, second, rtol=1e-6)


def test_dead_modules_are_left_out() -> None:
    """Dead by presence, by its own values, or by both together; just alive stays."""
    P, M = factors(n_modules=5)
    M /= M.max(axis=1, keepdims=True)
    P[:, 0] = 0
    P[:, 1] *= 0.9 * PRESENT_ABOVE / P[:, 1].max()
    P[:, 2] *= 0.09 / P[:, 2].max()
    M[2] *= 0.1
    P[:, 3] *= 1.01 * PRESENT_ABOVE / P[:, 3].max()
    new_P, new_M = canonical(P, M)
    np.testing.assert_allclose(new_M, M[[4, 3]], rtol=1e-6)
    np.testing.assert_allclose(new_P, P[:, [4, 3]], rtol=1e-6)


def test_the_strongest_stays_when_all_are_dead() -> None:
    P, M = factors(n_modules=3)
    P *= np.float32([1e-3, 3e-3, 2e-3]) / P.max(axis=0)
    new_P, new_M = canonical(P, M)
    assert new_P.shape == (12, 1)
    np.testing.assert_allclose(new_M[0], M[1] / M[1].max(), rtol=1e-6)


@pytest.mark.parametrize("which", ["presences", "modules", "both"])
def test_nothing_at_all_stays_finite(which: str) -> None:
    P, M = factors(n_modules=2)
    new_P, new_M = canonical(P * (which == "modules"), M * (which == "presences"))
    assert np.isfinite(new_P).all()
    assert np.isfinite(new_M).all()
    assert new_P.shape[1] == len(new_M) >= 1
    assert not reference.reconstruct(new_P, new_M).any()


def planted() -> tuple[Target, Floats, Floats]:
    """Three modules of forty pairs, neighbours sharing ten, in 40 localities, each with one or two of them."""
    rng = np.random.default_rng(2)
    M = np.zeros((3, 110))
    for m in range(3):
        M[m, 35 * m : 35 * m + 40] = rng.uniform(0.3, 1.0, 40)
    P = np.zeros((40, 3))
    P[np.arange(40), np.arange(40) % 3] = rng.uniform(0.5, 0.9, 40)
    P[:10, 0] = rng.uniform(0.5, 0.9, 10)
    C = reference.reconstruct(P, M) * rng.uniform(0.95, 1.05, (40, 110))
    return make_target(sparse.csr_matrix(np.where(C > 0, C, 0).astype(np.float32))), P, M


def runs(
    target: Target, n_runs: int = 3, *, seed: int = 0, init: str = "kmeans", n_jobs: int = 1, n: int = 3
) -> list[Run]:
    options = Options(max_epochs=60, patience=20)
    return run_many(target, n, options, init=init, n_runs=n_runs, rng=np.random.default_rng(seed), n_jobs=n_jobs)


def assert_same_runs(first: list[Run], second: list[Run]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.P, other.P)
        np.testing.assert_array_equal(one.M, other.M)
        assert one.quality == other.quality
        assert one.n_epochs == other.n_epochs


@pytest.mark.parametrize("init", STARTS)
def test_same_seed_same_runs_whatever_the_number_of_threads_and_of_further_runs(init: str) -> None:
    target, _, _ = planted()
    first = runs(target, init=init)
    assert_same_runs(first, runs(target, init=init))
    assert_same_runs(first, runs(target, init=init, n_jobs=2))
    assert_same_runs(first[:2], runs(target, 2, init=init))
    others = runs(target, init=init, seed=1)
    assert not np.array_equal(first[0].P, first[1].P)
    assert not np.array_equal(first[0].P, others[0].P)


@pytest.mark.parametrize("init", STARTS)
def test_quality_is_that_of_what_is_returned(init: str) -> None:
    target, _, _ = planted()
    C = target.C.toarray().astype(np.float64)
    for run in runs(target, 2, init=init):
        P, M = run.P.astype(np.float64), run.M.astype(np.float64)
        chat = reference.reconstruct(P, M)
        loss = reference.batch_loss(C, P, M, np.arange(40), nu=9.0, gamma=1e-4, n_pairs=110)
        assert run.quality.loss == pytest.approx(loss, rel=1e-5)
        assert run.quality.cosine == pytest.approx(reference.mean_cosine(C, chat), rel=1e-5)
        assert run.quality.overestimation == pytest.approx(reference.overestimation_ratio(C, chat), rel=1e-4)
        np.testing.assert_array_equal(M.max(axis=1), 1)
        assert run.n_epochs <= 60
        assert run.converged == (run.n_epochs < 60)
        assert run.seconds > 0


def test_planted_modules_are_found_from_a_kmeans_start() -> None:
    target, P, M = planted()
    options = Options(max_epochs=1000)
    found = run_many(target, 3, options, init="kmeans", n_runs=3, rng=np.random.default_rng(0), n_jobs=1)
    best = min(found, key=lambda run: run.quality.loss)
    cosines = (M / np.linalg.norm(M, axis=1, keepdims=True)) @ (
        best.M / np.linalg.norm(best.M, axis=1, keepdims=True)
    ).T
    module, match = linear_sum_assignment(-cosines)
    assert cosines[module, match].min() > 0.95
    present = P * M.max(axis=1)
    assert np.abs(best.P[:, match] - present[:, module]).mean() < 0.1


def test_more_modules_than_correlated_localities() -> None:
    C = np.zeros((5, 20), dtype=np.float32)
    C[:2] = np.random.default_rng(0).random((2, 20))
    target = make_target(sparse.csr_matrix(C))
    for init in STARTS:
        for run in runs(target, 1, init=init, n=4):
            assert np.isfinite(run.quality.loss)
            assert run.P.shape == (5, len(run.M))
            assert 1 <= len(run.M) <= 4
