"""Canonical form and repeated runs."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from scipy.optimize import linear_sum_assignment
from tests.reference import amf_numpy as reference

from lava_sc.core.factorise.amf import run as run_module
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.restarts import run_many
from lava_sc.core.factorise.amf.run import canonical, one_run
from lava_sc.core.factorise.amf.starts import STARTS
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import make_problem
from lava_sc.core.interpret.summary import PRESENT_ABOVE, co_presence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc.core.factorise.amf.run import Run
    from lava_sc.core.factorise.problem import Problem

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


def planted() -> tuple[Problem, Floats, Floats]:
    """Three modules of forty pairs, neighbours sharing ten, in 40 localities, each with one or two of them."""
    rng = np.random.default_rng(2)
    M = np.zeros((3, 110))
    for m in range(3):
        M[m, 35 * m : 35 * m + 40] = rng.uniform(0.3, 1.0, 40)
    P = np.zeros((40, 3))
    P[np.arange(40), np.arange(40) % 3] = rng.uniform(0.5, 0.9, 40)
    P[:10, 0] = rng.uniform(0.5, 0.9, 10)
    C = reference.reconstruct(P, M) * rng.uniform(0.95, 1.05, (40, 110))
    return make_problem(sparse.csr_matrix(np.where(C > 0, C, 0).astype(np.float32))), P, M


def runs(
    problem: Problem, n_runs: int = 3, *, seed: int = 0, init: str = "kmeans", n_jobs: int = 1, n: int = 3
) -> list[Run]:
    options = FitOptions(max_epochs=60, patience=20)
    rng = np.random.default_rng(seed)
    return run_many(problem, n, options, init=init, n_runs=n_runs, rng=rng, n_jobs=n_jobs, keep_all=True).runs


def assert_same_runs(first: list[Run], second: list[Run]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.P, other.P)
        np.testing.assert_array_equal(one.M, other.M)
        assert one.quality == other.quality
        assert one.n_epochs == other.n_epochs


@pytest.mark.parametrize("init", STARTS)
def test_same_seed_same_runs_whatever_the_number_of_threads_and_of_further_runs(init: str) -> None:
    problem, _, _ = planted()
    first = runs(problem, init=init)
    assert_same_runs(first, runs(problem, init=init))
    assert_same_runs(first, runs(problem, init=init, n_jobs=2))
    assert_same_runs(first[:2], runs(problem, 2, init=init))
    others = runs(problem, init=init, seed=1)
    assert not np.array_equal(first[0].P, first[1].P)
    assert not np.array_equal(first[0].P, others[0].P)


@pytest.mark.parametrize("init", STARTS)
def test_quality_is_that_of_what_is_returned(init: str) -> None:
    problem, _, _ = planted()
    C = problem.absolute().toarray().astype(np.float64)
    for run in runs(problem, 2, init=init):
        P, M = run.P.astype(np.float64), run.M.astype(np.float64)
        chat = reference.reconstruct(P, M)
        loss = reference.batch_loss(C, P, M, np.arange(40), nu=9.0, gamma=1e-4, n_pairs=110)
        assert run.quality.loss == pytest.approx(loss, rel=1e-5, abs=1e-7)  # 1 − cos, in single precision
        assert run.quality.cosine == pytest.approx(reference.mean_cosine(C, chat), rel=1e-5)
        assert run.quality.overestimation == pytest.approx(reference.overestimation_ratio(C, chat), rel=1e-4)
        np.testing.assert_array_equal(M.max(axis=1), 1)
        assert run.n_epochs <= 60
        assert run.converged == (run.n_epochs < 60)
        assert run.seconds > 0


def test_planted_modules_are_found_from_a_kmeans_start() -> None:
    problem, P, M = planted()
    options = FitOptions(max_epochs=1000)
    found = run_many(problem, 3, options, init="kmeans", n_runs=3, rng=np.random.default_rng(0), n_jobs=1)
    best_P, best_M = found.factors
    cosines = (M / np.linalg.norm(M, axis=1, keepdims=True)) @ (
        best_M / np.linalg.norm(best_M, axis=1, keepdims=True)
    ).T
    module, match = linear_sum_assignment(-cosines)
    assert cosines[module, match].min() > 0.95
    present = P * M.max(axis=1)
    assert np.abs(best_P[:, match] - present[:, module]).mean() < 0.1


def test_more_modules_than_correlated_localities() -> None:
    C = np.zeros((5, 20), dtype=np.float32)
    C[:2] = np.random.default_rng(0).random((2, 20))
    problem = make_problem(sparse.csr_matrix(C))
    for init in STARTS:
        for run in runs(problem, 1, init=init, n=4):
            assert np.isfinite(run.quality.loss)
            assert run.P.shape == (5, len(run.M))
            assert 1 <= len(run.M) <= 4


def test_co_presence_by_hand() -> None:
    """One module, two equally, four equally, and 3 to 1; where none is present there is nothing to share."""
    P = np.float32([[0.3, 0, 0, 0], [0.2, 0.2, 0, 0], [1, 1, 1, 1], [0, 0.6, 0.2, 0], [0, 0.001, 0, 0]])
    assert co_presence(P) == pytest.approx((0 + 1 + 2 + stats.entropy([3, 1], base=2)) / 4)
    assert co_presence(P[4:]) == 0


def test_the_best_run_is_kept_and_of_the_others_their_figures() -> None:
    problem, _, _ = planted()
    every = runs(problem, 4, init="random", n_jobs=2)
    options = FitOptions(max_epochs=60, patience=20)
    found = run_many(problem, 3, options, init="random", n_runs=4, rng=np.random.default_rng(0), n_jobs=2)
    losses = [run.quality.loss for run in every]
    assert len(set(losses)) == 4
    assert found.best == int(np.argmin(losses))
    assert [run.quality.loss for run in found.runs] == losses
    assert [run.P is None for run in found.runs] == [k != found.best for k in range(4)]
    np.testing.assert_array_equal(found.factors[0], every[found.best].P)
    np.testing.assert_array_equal(found.factors[1], every[found.best].M)


def test_a_run_comes_from_its_seed() -> None:
    problem, _, _ = planted()
    second = runs(problem, 2, init="random")[1]
    options = FitOptions(max_epochs=60, patience=20)
    again = one_run(cpu_engines(problem), problem, 3, options, init="random", seed=second.seed)
    assert_same_runs([again], [second])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_come_in_order_and_in_the_calling_thread(n_jobs: int) -> None:
    problem, _, _ = planted()
    calls: list[tuple[int, int, float]] = []
    threads = set()

    def callback(run: int, epoch: int, loss: float) -> None:
        calls.append((run, epoch, loss))
        threads.add(threading.get_ident())

    options, rng = FitOptions(max_epochs=40, n_refits=1), np.random.default_rng(0)
    found = run_many(problem, 3, options, init="random", n_runs=3, rng=rng, n_jobs=n_jobs, callback=callback)
    assert threads == {threading.get_ident()}
    for k, run in enumerate(found.runs):
        assert [epoch for i, epoch, _ in calls if i == k] == list(range(run.n_epochs))
    assert all(np.isfinite(loss) for *_, loss in calls)
    assert not found.interrupted


@pytest.mark.usefixtures("in_step")
def test_an_interrupt_keeps_the_best_so_far() -> None:
    """It comes in the third epoch of the second run; runs that would follow are left out."""
    problem, _, _ = planted()

    def callback(run: int, epoch: int, _: float) -> None:
        if (run, epoch) == (1, 2):
            raise KeyboardInterrupt

    options, rng = FitOptions(max_epochs=10**6, tol=0, patience=10**6, n_refits=0), np.random.default_rng(0)
    short = FitOptions(max_epochs=5, n_refits=0)
    first = run_many(problem, 3, short, init="random", n_runs=1, rng=np.random.default_rng(0), n_jobs=1)
    found = run_many(problem, 3, options, init="random", n_runs=9, rng=rng, n_jobs=2, callback=callback)
    assert found.interrupted
    assert found.runs[0].seed == first.runs[0].seed
    assert len(found.runs) == 2
    assert not any(run.converged for run in found.runs)
    P, M = found.factors
    assert np.isfinite(P).all()
    assert np.isfinite(M).all()
    assert found.runs[found.best].quality.loss == min(run.quality.loss for run in found.runs)
    assert found.runs[1].n_epochs == 3


@pytest.mark.usefixtures("in_step")
@pytest.mark.parametrize("last", [1, 29, 30])
def test_an_interrupted_run_ends_after_the_epoch_it_is_in(last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first fit presences are not refitted any more, and the best epoch of those that were run is returned."""
    problem, _, _ = planted()
    refits, losses = [], []
    refit = run_module.refit_presences
    monkeypatch.setattr(run_module, "refit_presences", lambda *a, **how: refits.append(1) or refit(*a, **how))

    def callback(run: int, epoch: int, loss: float) -> None:
        losses.append(loss)
        if epoch == last:
            raise KeyboardInterrupt

    options, how = FitOptions(n_refits=1), {"init": "random", "n_jobs": 1, "n_runs": 1}
    found = run_many(problem, 3, options, rng=np.random.default_rng(0), callback=callback, **how)
    assert found.interrupted
    assert not found.runs[0].converged
    assert found.runs[0].n_epochs == len(losses) == last + 1
    assert len(refits) == (last == 30)
    if not refits:
        short = FitOptions(n_refits=0, max_epochs=last + 1)
        (expected,) = run_many(problem, 3, short, rng=np.random.default_rng(0), **how).runs
        np.testing.assert_array_equal(found.runs[0].P, expected.P)
        np.testing.assert_array_equal(found.runs[0].M, expected.M)


def test_an_interrupt_of_this_process_keeps_the_best_so_far() -> None:
    """A signal, as Ctrl-C sends, while runs go on in threads. Background jobs of a shell are started with it ignored."""
    problem, _, _ = planted()
    options, rng = FitOptions(max_epochs=200_000, tol=0, patience=10**6), np.random.default_rng(0)
    seen, both = set[int](), threading.Event()

    def callback(run: int, epoch: int, loss: float) -> None:
        seen.add(run)
        if len(seen) == 2:
            both.set()

    def interrupt() -> None:
        if both.wait(180):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt).start()
        found = run_many(problem, 3, options, init="random", n_runs=2, rng=rng, n_jobs=2, callback=callback)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found.interrupted
    assert len(found.runs) == 2


def test_a_second_interrupt_is_let_through() -> None:
    problem, _, _ = planted()

    def callback(*_: float) -> None:
        raise KeyboardInterrupt

    options, rng = FitOptions(max_epochs=50, tol=0, n_refits=0), np.random.default_rng(0)
    with pytest.raises(KeyboardInterrupt):
        run_many(problem, 3, options, init="random", n_runs=2, rng=rng, n_jobs=2, callback=callback)


def test_errors_of_runs_and_callbacks_reach_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _, _ = planted()

    def callback(_run: int, epoch: int, _loss: float) -> None:
        if epoch == 3:
            raise ZeroDivisionError

    options = FitOptions(max_epochs=10**6, tol=0, patience=10**6)
    with pytest.raises(ZeroDivisionError):
        run_many(
            problem, 3, options, init="random", n_runs=3, rng=np.random.default_rng(0), n_jobs=2, callback=callback
        )
    starts = iter(range(10))

    def start(*_: object) -> None:
        if next(starts) == 1:
            raise LookupError
        time.sleep(0.2)
        raise OverflowError

    monkeypatch.setitem(run_module.STARTS, "random", start)  # type: ignore[arg-type]
    with pytest.raises((LookupError, OverflowError)):
        run_many(problem, 3, options, init="random", n_runs=3, rng=np.random.default_rng(0), n_jobs=2)


def test_refits_take_their_epochs_from_the_run() -> None:
    problem, _, _ = planted()
    for n_refits, max_epochs in ((0, 45), (1, 45), (3, 45), (1, 30), (1, 3), (2, 61)):
        options = FitOptions(max_epochs=max_epochs, tol=0, patience=10**6, n_refits=n_refits)
        run = one_run(cpu_engines(problem), problem, 3, options, init="random", seed=0)
        assert run.n_epochs == max_epochs
        assert not run.converged
