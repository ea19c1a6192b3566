"""Epochs of Adam and the stopping rule against the float64 restatement over the same batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lava_sc.core.factorise.amf.fit import FitOptions, Stop, StoppingRule, fit
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import make_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lava_sc.core.factorise.amf.fit import Fit
    from lava_sc.core.factorise.problem import Problem

    Floats = NDArray[np.floating]


def example(n_localities: int = 30, n_pairs: int = 60, n_modules: int = 3) -> tuple[Problem, Floats, Floats]:
    """A problem without empty columns, built from modules, with noise; and a start."""
    rng = np.random.default_rng(n_pairs)
    C = (rng.random((n_localities, 3, 1)) ** 2 * rng.random((3, n_pairs)) ** 3).max(axis=1)
    C = np.where(rng.random(C.shape) < 0.3, 0, C + 0.05 * rng.random(C.shape)).astype(np.float32)
    C[3] = 0
    C[4] = np.maximum(C[4], 0.1)
    problem = make_problem(sparse.csr_matrix(C))
    assert len(problem.columns) == n_pairs
    return problem, rng.random((n_localities, n_modules)), rng.random((n_modules, n_pairs))


def schedule(problem: Problem, batch_size: int, seed: int) -> Iterator[list[NDArray[np.intp]]]:
    """Batches that a generator with this seed gives: an epoch goes through a permutation of the localities."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(problem.n_localities)
        yield [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def reference_fit(
    problem: Problem, P: Floats, M: Floats, options: FitOptions, seed: int
) -> tuple[Floats, Floats, list[float]]:
    pytest.importorskip("torch")
    from tests.reference import amf

    batches = (b for _, b in zip(range(options.max_epochs), schedule(problem, options.batch_size, seed), strict=False))
    found = amf.fit(
        problem.absolute().toarray(),
        P.astype(np.float32),
        M.astype(np.float32),
        batches,
        nu=options.nu,
        gamma=options.gamma,
        n_pairs=problem.n_pairs,
        learning_rate=options.learning_rate,
        tol=options.tol,
        patience=options.patience,
    )
    return found.P, found.M, found.losses


def run(problem: Problem, P: Floats, M: Floats, seed: int = 0, **options: float) -> Fit:
    return fit(cpu_engines(problem), problem, P, M, FitOptions(**options), np.random.default_rng(seed))


@pytest.mark.parametrize("batch_size", [7, 30, 64])
@pytest.mark.parametrize(("nu", "gamma"), [(9.0, 1e-4), (1.0, 10.0)])
def test_one_epoch(nu: float, gamma: float, batch_size: int) -> None:
    """One to five steps of 1e-2 times a ratio of gradients that are right to 1e-5: together 5e-7, and float32 has 6e-8."""
    problem, P, M = example()
    options = FitOptions(nu=nu, gamma=gamma, batch_size=batch_size, max_epochs=1)
    found = fit(cpu_engines(problem), problem, P, M, options, np.random.default_rng(3))
    expected_P, expected_M, losses = reference_fit(problem, P, M, options, 3)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    for ours, theirs in ((found.P, expected_P), (found.M, expected_M)):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_pairs", [60, 1300])
def test_many_epochs_follow_the_reference(n_pairs: int) -> None:
    """75 steps of 1e-2 times gradients that are right to 1e-5: 1e-5. Where a module just wins an entry a value may part."""
    problem, P, M = example(n_pairs=n_pairs)
    options = FitOptions(batch_size=10, learning_rate=1e-2, max_epochs=25)
    found = fit(cpu_engines(problem), problem, P, M, options, np.random.default_rng(1))
    expected_P, expected_M, losses = reference_fit(problem, P, M, options, 1)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    assert found.losses[-1] < 0.8 * found.losses[0]
    for ours, theirs in ((found.P, expected_P), (found.M, expected_M)):
        assert (np.abs(ours - theirs) < 1e-5).mean() > 0.98
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-2)


def test_stops_and_returns_as_the_reference_does() -> None:
    """With a large step the loss goes up and down, so that the best epoch is not the last."""
    problem, P, M = example()
    options = FitOptions(batch_size=30, learning_rate=0.05, tol=0.02, patience=30, max_epochs=400)
    found = fit(cpu_engines(problem), problem, P, M, options, np.random.default_rng(1))
    expected_P, expected_M, losses = reference_fit(problem, P, M, options, 1)
    assert found.converged
    assert len(found.losses) == len(losses) < 400
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4)
    best = int(np.argmin(found.losses))
    assert best == np.argmin(losses) < len(losses) - 1
    for ours, theirs in ((found.P, expected_P), (found.M, expected_M)):
        assert np.median(np.abs(ours - theirs)) < 1e-5
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.05)


def test_returns_the_epoch_with_the_lowest_loss() -> None:
    """Run again for just that many epochs, P and M are those at its end."""
    problem, P, M = example()
    found = run(problem, P, M, batch_size=11, learning_rate=0.2, patience=15)
    best = int(np.argmin(found.losses))
    assert best < len(found.losses) - 1
    again = run(problem, P, M, batch_size=11, learning_rate=0.2, patience=15, max_epochs=best + 1)
    np.testing.assert_array_equal(found.P, again.P)
    np.testing.assert_array_equal(found.M, again.M)
    np.testing.assert_array_equal(found.losses[: best + 1], again.losses)
    assert not again.converged
    later = run(problem, P, M, batch_size=11, learning_rate=0.2, patience=15, max_epochs=best + 2)
    np.testing.assert_array_equal(found.M, later.M)


def test_values_are_clamped_and_both_bounds_are_met() -> None:
    problem, P, M = example()
    found = run(problem, P, M, learning_rate=0.5, max_epochs=5)
    for values in (found.P, found.M):
        assert values.dtype == np.float32
        assert values.min() == 0
        assert values.max() == 1


def test_start_is_left_alone_and_the_seed_decides() -> None:
    problem, P, M = example()
    before = P.copy(), M.copy()
    P.flags.writeable = M.flags.writeable = False
    first, again, other = (run(problem, P, M, seed, batch_size=10, max_epochs=4) for seed in (5, 5, 6))
    np.testing.assert_array_equal(P, before[0])
    np.testing.assert_array_equal(M, before[1])
    np.testing.assert_array_equal(first.M, again.M)
    assert not np.array_equal(first.M, other.M)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_no_bit(threads: int) -> None:
    problem, P, M = example(40, 5200, 4)
    options = FitOptions(batch_size=16, max_epochs=10)
    found = [fit(cpu_engines(problem, n), problem, P, M, options, np.random.default_rng(0)) for n in (1, threads)]
    for name in ("P", "M", "losses"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


def test_a_caller_can_end_a_fit_and_has_the_best_epoch_so_far() -> None:
    problem, P, M = example()

    def on_epoch(_: float) -> None:
        if next(count) == 3:
            raise Stop

    count = iter(range(1, 100))
    found = fit(cpu_engines(problem), problem, P, M, FitOptions(), np.random.default_rng(0), on_epoch)
    short = run(problem, P, M, max_epochs=3)
    assert not found.converged
    np.testing.assert_array_equal(found.losses, short.losses)
    np.testing.assert_array_equal(found.M, short.M)


def test_every_epoch_is_reported() -> None:
    problem, P, M = example()
    losses: list[float] = []
    found = fit(
        cpu_engines(problem), problem, P, M, FitOptions(max_epochs=6), np.random.default_rng(0), on_epoch=losses.append
    )
    np.testing.assert_array_equal(found.losses, losses)
    assert len(losses) == 6


def test_presences_outside_a_batch_keep_their_momentum() -> None:
    """Plain Adam: a locality of the first batch still moves in the second, by the moments it has."""
    problem, P, M = example(20)
    order = np.random.default_rng(0).permutation(20)
    whole = run(problem, P, M, batch_size=10, max_epochs=1, gamma=1.0)
    first = order[:10]
    one = fit(
        cpu_engines(problem),
        problem,
        P,
        M,
        FitOptions(batch_size=20, max_epochs=1, gamma=1.0),
        np.random.default_rng(0),
    )
    moved = np.abs(whole.P - P.astype(np.float32))[first]
    once = np.abs(one.P - P.astype(np.float32))[first]
    inner = (P[first] > 0.05) & (P[first] < 0.95) & (once > 5e-3)
    # the second step: 0.9·0.1/(1 − 0.9²) of the gradient over the root of 0.999·0.001/(1 − 0.999²) of its square
    expected = 1e-2 + 1e-2 * (0.09 / 0.19) / np.sqrt(0.000999 / (1 - 0.999**2))
    np.testing.assert_allclose(moved[inner], expected, rtol=1e-3)


def stops_after(losses: list[float], tol: float, patience: int) -> int:
    """Number of epochs after which the rule ends a run, by going back over all losses after each; 0 for never."""
    for n in range(1, len(losses) + 1):
        reference, at = losses[0], 0
        for k in range(1, n):
            if (reference - losses[k]) / reference > tol:
                reference, at = losses[k], k
        if n - 1 - at >= patience:
            return n
    return 0


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([1.0, 1.0, 1.0], 3, 0),
        ([1.0, 1.0, 1.0, 1.0], 3, 4),
        ([1.0, 0.995, 0.992, 0.988], 3, 0),  # together more than 1 % below the reference
        ([1.0, 0.995, 0.993, 0.992], 3, 4),
        ([1.0, 0.5, 0.6, 0.497, 0.6], 3, 5),
        ([1.0, 2.0], 1, 2),
    ],
)
def test_stopping_rule_by_hand(losses: list[float], patience: int, expected: int) -> None:
    stop = StoppingRule(0.01, patience)
    answers = [stop(loss) for loss in losses]
    assert stops_after(losses, 0.01, patience) == expected
    assert next((k for k, answer in enumerate(answers, 1) if answer), 0) == expected


def test_no_improvement_is_enough_at_a_tolerance_of_one() -> None:
    stop = StoppingRule(1.0, 2)
    assert [stop(loss) for loss in (1.0, 0.5, 0.1)] == [False, False, True]


@given(
    steps=st.lists(st.integers(-4, 3), min_size=1, max_size=40),
    tol=st.sampled_from([0.0, 0.013, 0.2, 0.9]),
    patience=st.integers(1, 6),
)
def test_stopping_rule_on_any_losses(steps: list[int], tol: float, patience: int) -> None:
    """Factors of 0.99 and so on, never exactly at a tolerance."""
    losses = [float(loss) for loss in np.exp(np.cumsum(steps) * 0.00997)]
    stop = StoppingRule(tol, patience)
    answers = [stop(loss) for loss in losses]
    assert next((k for k, answer in enumerate(answers, 1) if answer), 0) == stops_after(losses, tol, patience)
