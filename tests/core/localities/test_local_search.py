"""Local moves: they lower L, know L, and answer for every move by a search of all samples."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.core.layouts import LAYOUTS, layout
from tests.reference import placement as reference

from lava_sc.core.localities import kd_index, local_search
from lava_sc.core.localities.kd_index import build_index
from lava_sc.core.localities.local_search import refine_probes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DIMENSIONS = [1, 2, 4, 30]


ANYWHERE = 1.0  # no cell of a locality is farther away than its farthest


@pytest.fixture
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves of one or two samples, so that what is passed over would be missed."""
    monkeypatch.setattr(kd_index, "_LEAF", 2)


def degree(Z: Floats, n: int) -> Floats:
    return reference.in_degree(reference.neighbourhoods(Z, n))


def loss(Z: Floats, probes: Floats, n: int, wanted: Floats | None = None) -> float:
    return reference.loss(degree(Z, n) if wanted is None else wanted, reference.membership(Z, probes, n))


def some_probes(Z: Floats, k: int = 15) -> Floats:
    """Samples and points between and beside them."""
    rng = np.random.default_rng(7)
    return Z[rng.choice(len(Z), k)] + rng.normal(size=(k, Z.shape[1])) * (np.arange(k) % 2)[:, None] * Z.std() * 0.3


def refine(Z: Floats, probes: Floats, n: int, n_sweeps: int = 8, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return refine_probes(build_index(Z), degree(Z, n), probes, n, n_sweeps, rng, lambda: None)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_loss_never_rises_from_sweep_to_sweep(name: str, dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the plain restatement, after each sweep, wherever the probes start."""
    Z, n = layout(name, 250, dimension), 20
    probes, wanted = some_probes(Z), degree(Z, n)
    losses = [loss(Z, probes, n, wanted)]
    sweep = local_search._sweep

    def watched(index: object, probes: Floats, *rest: object) -> None:
        sweep(index, probes, *rest)
        losses.append(loss(Z, probes, n, wanted))

    monkeypatch.setattr(local_search, "_sweep", watched)
    found = refine(Z, probes, n)
    assert len(losses) == 9
    assert all(after <= before + 1e-12 for before, after in pairwise(losses))
    assert losses[-1] == loss(Z, found, n, wanted)
    if name in {"random", "clusters far apart", "some duplicates"}:
        assert losses[-1] < losses[0]


@pytest.mark.usefixtures("small_leaves")
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_what_the_sweeps_keep_track_of_is_what_a_search_from_nothing_finds(name: str, dimension: int) -> None:
    """Members, radii and Σ|missing|/ℓ = L: moves are accepted by these, so a drift would go unnoticed."""
    Z, n = layout(name, 250, dimension), 20
    index, probes = build_index(Z), some_probes(Z)
    wanted = degree(Z, n)[index.samples] * len(probes)
    rng = np.random.default_rng(1)
    state = local_search._start(index.arrays, wanted, probes, n)
    for n_done in range(6):
        members, radii, missing = state
        expected = reference.membership(Z, probes, n)
        for p in range(len(probes)):
            np.testing.assert_array_equal(np.sort(index.samples[members[p]]), np.flatnonzero(expected[:, p]))
        farthest = np.where(expected.T, reference.squared_distances(probes, Z), 0).max(axis=1)
        np.testing.assert_allclose(radii, np.sqrt(farthest), rtol=1e-14)
        np.testing.assert_allclose(missing, wanted - expected[index.samples].sum(axis=1), atol=1e-10)
        assert np.abs(missing).sum() / len(probes) == pytest.approx(loss(Z, probes, n), rel=1e-10, abs=1e-10)
        steps = 0.5 * rng.standard_normal((len(probes), 3, dimension))  # more than the first sweep's
        local_search._sweep(
            index.arrays, probes, n, state, rng.permutation(len(probes)), steps / (1 + n_done), ANYWHERE
        )


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_samples_and_steps(data: st.DataObject) -> None:
    """Ties and steps of any length, some far beyond the longest that is drawn."""
    dimension, n_samples = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 50))
    numbers = st.integers(-6, 6).map(lambda v: v / 4)
    Z = data.draw(arrays(np.float64, (n_samples, dimension), elements=numbers))
    probes = data.draw(arrays(np.float64, (3, dimension), elements=numbers))
    n = data.draw(st.integers(1, n_samples))
    steps = data.draw(arrays(np.float64, (3, 3, dimension), elements=st.floats(-5, 5)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kd_index, "_LEAF", 1)
        index = build_index(Z)
    wanted, before = degree(Z, n)[index.samples] * 3, loss(Z, probes, n)
    state = local_search._start(index.arrays, wanted, probes, n)
    local_search._sweep(index.arrays, probes, n, state, np.array([2, 0, 1]), steps, ANYWHERE)
    expected = reference.membership(Z, probes, n)
    np.testing.assert_array_equal(
        np.sort(index.samples[state[0]], axis=1), [np.flatnonzero(column) for column in expected.T]
    )
    assert loss(Z, probes, n) <= before + 1e-12


@pytest.mark.usefixtures("small_leaves")
@pytest.mark.parametrize("farthest", [0.1, ANYWHERE])
@pytest.mark.parametrize("length", [0.05, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_a_probe_takes_the_best_of_its_positions(seed: int, length: float, farthest: float) -> None:
    """One probe and its steps tried one by one in plain numpy; the first goes where the samples around the rim are wanted.

    Positions whose nearest sample is farther away than that share of the locality's radius are out.
    """
    rng = np.random.default_rng(seed)
    Z, n = layout("random", 200, 2), 25
    index, probes = build_index(Z), some_probes(Z)
    steps = rng.normal(size=(len(probes), 3, 2)) * length
    wanted = degree(Z, n)
    before = probes.copy()
    state = local_search._start(index.arrays, wanted[index.samples] * len(probes), probes, n)
    local_search._sweep(index.arrays, probes, n, state, np.array([4]), steps.copy(), farthest)

    distances = np.sqrt(reference.squared_distances(before[4:5], Z)[0])
    radius = np.sort(distances)[n - 1]
    others = np.delete(before, 4, axis=0)
    missing = wanted * len(probes) - reference.membership(Z, others, n).sum(axis=1)
    gain = np.abs(missing) - np.abs(missing - 1)
    rim = (distances > radius / np.sqrt(2)) & (distances <= 1.3 * radius)
    direction = (gain[rim, None] * (Z[rim] - before[4])).sum(axis=0)
    first = direction / np.linalg.norm(direction) * np.linalg.norm(steps[4, 0])
    positions = before[4] + radius * np.vstack([np.zeros(2), first, steps[4, 1:]])
    losses = [loss(Z, np.vstack([others, position]), n, wanted) for position in positions]
    sorted_distances = np.sqrt(np.sort(reference.squared_distances(positions, Z), axis=1))
    outside = sorted_distances[:, 0] > farthest * sorted_distances[:, n - 1]
    outside[0] = False  # staying is always allowed
    losses = np.where(outside, np.inf, losses)
    np.testing.assert_allclose(probes[4], positions[np.argmin(losses)], rtol=1e-9)
    np.testing.assert_array_equal(np.delete(probes, 4, axis=0), others)


@pytest.mark.usefixtures("small_leaves")
def test_a_long_step_finds_what_lies_beyond_it() -> None:
    """From 0 (radius 1) to 1.5: its second neighbour is 3.9 away from where the probe was, close to 1 + 2·1.5 radii."""
    index = build_index(np.array([[-1.0], [-1.0], [-1.0], [3.9]]))
    probes = np.array([[0.0]])
    wanted = np.array([1.0, 0.0, 0.0, 1.0])[index.samples]
    state = local_search._start(index.arrays, wanted, probes, 2)
    local_search._sweep(index.arrays, probes, 2, state, np.array([0]), np.array([[[0.0], [1.5], [-0.5]]]), ANYWHERE)
    np.testing.assert_array_equal(probes, [[1.5]])
    np.testing.assert_array_equal(np.sort(index.samples[state[0][0]]), [0, 3])
    np.testing.assert_array_equal(state[2], 0)


def test_same_generator_same_probes_and_the_start_is_left_alone() -> None:
    Z = layout("random", 300, 2)
    start = some_probes(Z)
    before = start.copy()
    first, again, other = (refine(Z, start, 25, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(start, before)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_sweep_is_announced() -> None:
    Z, calls = layout("random", 100, 2), []
    rng = np.random.default_rng(0)
    refine_probes(build_index(Z), degree(Z, 10), Z[:7], 10, 5, rng, lambda: calls.append(1))
    assert len(calls) == 5


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_probes_do_not_leave_their_samples(dimension: int) -> None:
    """Where a probe went, the nearest sample is at a small share of the radius; in the middle of n uniform ones it is n^(−1/d)."""
    Z, n = layout("random", 400, dimension), 30
    start = some_probes(Z, 40)
    found = refine(Z, start, n)
    moved = (found != start).any(axis=1)
    distances = np.sqrt(np.sort(reference.squared_distances(found[moved], Z), axis=1))
    assert moved.sum() > 20
    assert (distances[:, 0] / distances[:, n - 1]).max() <= 0.15 + 0.85 * n ** (-1 / dimension) + 1e-12


@pytest.mark.parametrize(("n", "k"), [(100, 4), (1, 30), (100, 1), (3, 100)])
def test_extreme_sizes(n: int, k: int) -> None:
    Z = layout("random", 100, 2)
    found = refine(Z, Z[:k], n, n_sweeps=3)
    assert np.isfinite(found).all()
    assert loss(Z, found, n) <= loss(Z, Z[:k], n) + 1e-12


def test_a_perfect_placement_stays() -> None:
    """Every sample a probe: the localities are the neighbourhoods themselves, and L is 0."""
    Z = layout("random", 120, 2)
    np.testing.assert_array_equal(refine(Z, Z, 10), Z)
