"""Weighted k-means against Lloyd's algorithm as it is written down, with every distance to every centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.cluster import KMeans
from tests.core.layouts import LAYOUTS, layout
from tests.reference.placement import squared_distances

from lava_sc.core.localities import kd_index
from lava_sc.core.localities import weighted_kmeans as kmeans_module
from lava_sc.core.localities.kd_index import build_index
from lava_sc.core.localities.weighted_kmeans import weighted_kmeans
from lava_sc.parallel.threads import split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc.core.localities.kd_index import SpatialIndex

    Floats = NDArray[np.float64]

DIMENSIONS = [1, 2, 4, 30]


def plain_lloyd(Z: Floats, weights: Floats, centres: Floats, n_steps: int = 50, tolerance: float = 1e-4) -> Floats:
    """At most 50 steps; done when the centres move by no more than 1e-4 of the total variance (squared), as scikit-learn."""
    centres = centres.copy()
    for _ in range(n_steps):
        labels = squared_distances(Z, centres).argmin(axis=1)
        before = centres.copy()
        for k in range(len(centres)):
            own = labels == k
            if weights[own].sum() > 0:
                centres[k] = (weights[own, None] * Z[own]).sum(axis=0) / weights[own].sum()
        if ((centres - before) ** 2).sum() <= tolerance * Z.var(axis=0).sum():
            break
    return centres


def assert_nearest(index: SpatialIndex, places: SpatialIndex, centres: Floats) -> None:
    """Without any tolerance: of several nearest centres the lowest, whichever were passed over."""
    labels = np.full(len(index.points), -1)
    kmeans_module._assign_all(index, split(index.n_leaves), places, labels, 1)
    np.testing.assert_array_equal(labels, squared_distances(index.points, centres).argmin(axis=1))


def assert_lloyd(Z: Floats, weights: Floats, start: Floats) -> None:
    expected = plain_lloyd(Z, weights, start)
    for n_jobs in (1, 2):
        found = weighted_kmeans(build_index(Z), weights, start, n_jobs=n_jobs)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(Z).max())


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", ["random", "clusters far apart", "collinear", "some duplicates"])
@pytest.mark.parametrize("k", [1, 7, 150])
def test_against_plain_lloyd(name: str, dimension: int, k: int) -> None:
    """From samples, and from centres far away of which most get nothing."""
    rng = np.random.default_rng(k)
    Z = layout(name, 700, dimension)
    weights = rng.random(700) ** 4
    places = np.unique(Z, axis=0)[:k]
    assert_lloyd(Z, weights, places + 1e-3 * rng.random(places.shape))
    assert_lloyd(Z, weights, Z.mean(axis=0) + 30 * rng.normal(size=(k, dimension)))


@pytest.mark.parametrize("dimension", [1, 2, 5])
@pytest.mark.parametrize("name", ["lattice", "more duplicates than neighbours", "one point"])
def test_ties_against_plain_lloyd(name: str, dimension: int) -> None:
    """Coordinates and weights whose sums have no rounding, so that the same centres are tied: the lowest gets the sample."""
    rng = np.random.default_rng(0)
    Z = np.round(layout(name, 300, dimension) * 4) / 4
    weights = rng.integers(0, 3, 300).astype(float)
    anywhere = rng.integers(-4, 5, (9, dimension)) / 2
    for start in (Z[:12], np.repeat(Z[:4], 3, axis=0), np.zeros((3, dimension)), anywhere):
        assert_lloyd(Z, weights, start)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_assignments_are_exact(name: str, dimension: int) -> None:
    Z = layout(name, 900, dimension)
    index = build_index(Z)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(300, dimension))
    for centres in (Z[:300], Z[:300] + noise, Z[:1] + 1e7 * noise, np.repeat(Z[:100] + noise[:100], 3, axis=0)):
        assert_nearest(index, build_index(centres), centres)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_assignments_of_any_numbers_are_exact(data: st.DataObject) -> None:
    numbers = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6))
    dimension = data.draw(st.integers(1, 4))
    Z, centres = (
        data.draw(arrays(np.float64, (data.draw(st.integers(1, 60)), dimension), elements=numbers)) for _ in range(2)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kd_index, "_LEAF", 1)
        index, places = build_index(Z), build_index(centres)
    assert_nearest(index, places, centres)


@pytest.mark.parametrize("dimension", [1, 2, 13])
def test_against_scikit_learn(dimension: int) -> None:
    """From the same centres: weighted sum of squares at most 1 % above that of scikit-learn run to convergence."""
    rng = np.random.default_rng(2)
    Z, weights = rng.normal(size=(400, dimension)), rng.random(400) ** 3
    start = Z[:12]
    found = weighted_kmeans(build_index(Z), weights, start)
    model = KMeans(12, init=start, n_init=1, tol=0, max_iter=1000).fit(Z, sample_weight=weights)
    ours = (weights * squared_distances(Z, found).min(axis=1)).sum()
    begun = (weights * squared_distances(Z, start).min(axis=1)).sum()
    assert ours <= 1.01 * model.inertia_ < begun


def test_a_centre_without_weight_stays_where_it_is() -> None:
    Z = np.array([[0.0], [1.0], [10.0], [11.0]])
    found = weighted_kmeans(build_index(Z), np.array([1.0, 3.0, 0.0, 0.0]), np.array([[0.4], [10.4], [99.0]]))
    np.testing.assert_allclose(found, [[0.75], [10.4], [99.0]])


def test_no_weight_at_all_moves_nothing() -> None:
    Z = layout("random", 100, 2)
    np.testing.assert_array_equal(weighted_kmeans(build_index(Z), np.zeros(100), Z[:5]), Z[:5])


def test_weights_belong_to_samples_whatever_their_order() -> None:
    rng = np.random.default_rng(3)
    Z, weights, order = rng.normal(size=(500, 2)), rng.random(500) ** 4, rng.permutation(500)
    found = weighted_kmeans(build_index(Z), weights, Z[:20])
    np.testing.assert_allclose(weighted_kmeans(build_index(Z[order]), weights[order], Z[:20]), found, atol=1e-12)
    whole = weighted_kmeans(build_index(np.repeat(Z, 2, axis=0)), np.repeat(weights, 2), Z[:20])
    np.testing.assert_allclose(whole, found, atol=1e-12)
    np.testing.assert_allclose(weighted_kmeans(build_index(Z), weights * 1e-9, Z[:20]), found, atol=1e-12)


def test_the_start_is_left_alone_and_threads_change_nothing() -> None:
    rng = np.random.default_rng(4)
    Z, weights = rng.normal(size=(2000, 3)), rng.random(2000)
    start, before = Z[:50].copy(), Z[:50].copy()
    index = build_index(Z)
    found = [weighted_kmeans(index, weights, start, n_jobs=n_jobs) for n_jobs in (1, 3, None)]
    np.testing.assert_array_equal(start, before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
