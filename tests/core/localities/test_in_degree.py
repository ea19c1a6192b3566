"""Neighbourhoods and in-degrees against sorting all distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.neighbors import KNeighborsTransformer, RadiusNeighborsTransformer
from tests.core.layouts import LAYOUTS, layout
from tests.reference import placement as reference

from lava_sc.core.localities import in_degree, kd_index
from lava_sc.core.localities.in_degree import nearest_samples, neighborhoods, searched_neighborhoods
from lava_sc.core.localities.kd_index import build_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc.core.localities.in_degree import Neighborhoods

    Floats = NDArray[np.float64]

DIMENSIONS = [1, 2, 4, 10, 30]


def exact_in_degree(Z: Floats, n: int) -> Floats:
    return reference.in_degree(reference.neighbourhoods(Z, n))


def assert_exact(Z: Floats, n: int, *, n_jobs: int = 1) -> None:
    expected = reference.neighbourhoods(Z, n)
    found = neighborhoods(build_index(Z), n, n_jobs=n_jobs)
    np.testing.assert_array_equal(found.in_degree, reference.in_degree(expected))
    assert found.in_degree.sum() == pytest.approx(n, rel=1e-12)
    np.testing.assert_allclose(found.mean_distance, reference.mean_distance(Z, expected), rtol=1e-12)


def assert_members_exact(Z: Floats, probes: Floats, n: int) -> None:
    found = nearest_samples(build_index(Z), probes, n, n_jobs=1)
    assert found.shape == (len(probes), n)
    expected = [np.flatnonzero(column) for column in reference.membership(Z, probes, n).T]
    np.testing.assert_array_equal(found, expected)


@pytest.fixture
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves of one or two samples, so that few samples are many leaves and, from 32 leaves on, several groups of them."""
    monkeypatch.setattr(kd_index, "_LEAF", 2)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_samples_against_brute_force(name: str, dimension: int) -> None:
    """Whole neighbourhoods, since each sample's in-degree is a count: exact, also among tied distances."""
    for n_samples, n in ((10, 3), (10, 10), (61, 1), (250, 40), (400, 399), (700, 12)):
        assert_exact(layout(name, n_samples, dimension), n)


@pytest.mark.usefixtures("small_leaves")
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_many_leaves_against_brute_force(name: str, dimension: int) -> None:
    for n_samples, n in ((70, 5), (300, 20), (200, 200)):
        assert_exact(layout(name, n_samples, dimension), n, n_jobs=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dimension", "n"),
    [
        ("random", 2, 50),
        ("random", 30, 200),
        ("clusters far apart", 4, 1500),
        ("more duplicates than neighbours", 2, 30),
        ("lattice", 3, 500),
    ],
)
def test_five_thousand_samples_against_brute_force(name: str, dimension: int, n: int) -> None:
    Z = layout(name, 5000, dimension)
    np.testing.assert_array_equal(neighborhoods(build_index(Z), n).in_degree, exact_in_degree(Z, n))
    probes = np.vstack([Z[:20], Z[:20] * 0.999, Z[20:40].mean(axis=0, keepdims=True)])
    assert_members_exact(Z, probes, n)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_points_against_brute_force(name: str, dimension: int) -> None:
    """Probes anywhere, on samples, far outside, and half way between samples of the lattice, where the rim is tied."""
    Z = layout(name, 400, dimension)
    rng = np.random.default_rng(1)
    probes = np.vstack([rng.normal(size=(10, dimension)), Z[:10], np.round(Z[10:20] * 8) / 8 + 0.125, Z[:3] + 1e7])
    for n in (1, 9, 150, 400):
        assert_members_exact(Z, probes, n)


@pytest.mark.parametrize(
    ("Z", "n", "expected"),
    [
        # of four duplicates each takes itself and then the first; nobody else reaches them
        ([0, 0, 0, 0], 2, [4, 2, 1, 1]),
        # 0 and 4 are as far from 2: its third place goes to sample 0
        ([0, 4, 2, 2], 3, [3, 1, 4, 4]),
        ([4, 0, 2, 2], 3, [3, 1, 4, 4]),
        ([5, 1, 0, -1], 1, [1, 1, 1, 1]),
    ],
)
def test_ties_by_hand(Z: list[float], n: int, expected: list[int]) -> None:
    found = neighborhoods(build_index(np.array(Z, dtype=float)[:, None]), n, n_jobs=1)
    np.testing.assert_array_equal(found.in_degree * 4, expected)


def test_ties_of_points_by_hand() -> None:
    index = build_index(np.array([[3.0], [1.0], [3.0], [1.0], [9.0]]))
    found = nearest_samples(index, np.array([[2.0], [3.0], [1.0]]), 3, n_jobs=1)
    np.testing.assert_array_equal(found, [[0, 1, 2], [0, 1, 2], [0, 1, 3]])


@pytest.mark.parametrize("dimension", [3, 30])
def test_threads_change_nothing(dimension: int) -> None:
    Z = layout("some duplicates", 1500, dimension)
    index, probes = build_index(Z), Z[::7] + 0.01
    one, more = (neighborhoods(index, 25, n_jobs=n_jobs) for n_jobs in (1, 3))
    np.testing.assert_array_equal(one.in_degree, more.in_degree)
    np.testing.assert_array_equal(one.mean_distance, more.mean_distance)
    members = [nearest_samples(index, probes, 25, n_jobs=n_jobs) for n_jobs in (1, 3, None)]
    np.testing.assert_array_equal(members[0], members[1])
    np.testing.assert_array_equal(members[0], members[2])


def test_order_of_samples_permutes_the_in_degrees() -> None:
    Z = layout("random", 800, 2)
    order = np.random.default_rng(0).permutation(800)
    found, permuted = (neighborhoods(build_index(rows), 9) for rows in (Z, Z[order]))
    np.testing.assert_array_equal(found.in_degree[order], permuted.in_degree)
    np.testing.assert_allclose(found.mean_distance[order], permuted.mean_distance, rtol=1e-12)


def test_order_of_points_permutes_the_members() -> None:
    Z = layout("lattice", 500, 2)
    probes = np.random.default_rng(0).random((40, 2))
    index = build_index(Z)
    np.testing.assert_array_equal(nearest_samples(index, probes[::-1], 30)[::-1], nearest_samples(index, probes, 30))


def test_read_only_embedding_is_left_alone() -> None:
    Z = layout("lattice", 200, 2)
    before = Z.copy()
    Z.flags.writeable = False
    assert_exact(Z, 6)
    assert_members_exact(Z, Z[:5].copy(), 6)
    np.testing.assert_array_equal(Z, before)


@pytest.mark.parametrize("scale", [1e-60, 1e-9, 1e9, 1e99])
def test_scale_changes_nothing(scale: float) -> None:
    """A power of two scales without rounding."""
    Z, factor = layout("some duplicates", 300, 3), 2.0 ** np.round(np.log2(scale))
    np.testing.assert_array_equal(neighborhoods(build_index(Z * factor), 20).in_degree, exact_in_degree(Z, 20))


@pytest.mark.usefixtures("small_leaves")
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_whole_numbers(data: st.DataObject) -> None:
    """Small whole numbers tie in every way there is."""
    dimension = data.draw(st.sampled_from([1, 2, 3, 9, 13]))
    n_samples = data.draw(st.integers(2, 80))
    Z = data.draw(arrays(np.float64, (n_samples, dimension), elements=st.integers(-3, 3).map(float)))
    n = data.draw(st.integers(1, n_samples))
    assert_exact(Z, n)
    assert_members_exact(
        Z, data.draw(arrays(np.float64, (4, dimension), elements=st.integers(-8, 8).map(lambda v: v / 2))), n
    )


@pytest.mark.usefixtures("small_leaves")
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_numbers(data: st.DataObject) -> None:
    """Numbers of every size at once: bounds carried from one query to the next are rounded, the result is not."""
    numbers = st.floats(-1e8, 1e8, allow_subnormal=False).map(lambda v: v if abs(v) > 1e-50 else 0.0)
    n_samples, dimension = data.draw(st.integers(2, 80)), data.draw(st.integers(1, 3))
    Z = data.draw(arrays(np.float64, (n_samples, dimension), elements=numbers))
    n = data.draw(st.integers(1, n_samples))
    assert_exact(Z, n)
    assert_members_exact(Z, data.draw(arrays(np.float64, (4, dimension), elements=numbers)), n)


# A neighbour search of the user's choice


class Others(BaseEstimator):
    """Finds the nearest samples without the sample itself, in no order, and knows no ``n_neighbors``."""

    def __init__(self, k: int) -> None:
        self.k = k

    def fit(self, X: Floats) -> Others:
        self.samples_ = X
        return self

    def transform(self, X: Floats) -> sparse.coo_array:
        square = reference.squared_distances(X, self.samples_)
        square[np.arange(len(X)), square.argmin(axis=1)] = np.inf  # no duplicates here: 0 is the sample itself
        columns = np.argsort(square, axis=1)[:, : self.k][:, ::-1]
        rows = np.repeat(np.arange(len(X)), self.k)
        distances = np.sqrt(np.take_along_axis(square, columns, axis=1)).ravel()
        return sparse.coo_array((distances, (rows, columns.ravel())), shape=square.shape)


def assert_same_neighborhoods(found: Neighborhoods, expected: Neighborhoods) -> None:
    np.testing.assert_array_equal(found.in_degree, expected.in_degree)
    np.testing.assert_allclose(found.mean_distance, expected.mean_distance, rtol=1e-6)


@pytest.mark.parametrize(
    "transformer",
    [
        KNeighborsTransformer(),
        KNeighborsTransformer(n_neighbors=2, algorithm="brute"),
        KNeighborsTransformer(n_neighbors=190, algorithm="kd_tree"),
        RadiusNeighborsTransformer(radius=99.0),
        Others(17),
        Others(60),
    ],
    ids=str,
)
@pytest.mark.parametrize("dimension", [2, 12])
def test_any_neighbour_search(transformer: Any, dimension: int) -> None:
    """With the sample or without it, more neighbours than needed or as many, in any order."""
    Z = layout("random", 200, dimension)
    before = transformer.get_params()
    found = searched_neighborhoods(Z, 18, transformer)
    assert_same_neighborhoods(found, neighborhoods(build_index(Z), 18))
    assert transformer.get_params() == before
    assert {name for name in vars(transformer) if name.endswith("_") and not name.startswith("_")} == set()


def test_a_fitted_search_is_not_fitted_anew() -> None:
    Z = layout("random", 90, 2)
    transformer = KNeighborsTransformer(n_neighbors=4).fit(Z[:50])
    searched_neighborhoods(Z, 18, transformer)
    assert (transformer.n_neighbors, transformer.n_samples_fit_) == (4, 50)


def test_blocks_of_a_search_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Z = layout("random", 200, 2)
    whole = searched_neighborhoods(Z, 18, KNeighborsTransformer())
    monkeypatch.setattr(in_degree, "_BLOCK", 100)
    blocks = searched_neighborhoods(Z, 18, KNeighborsTransformer())
    np.testing.assert_array_equal(whole.in_degree, blocks.in_degree)
    np.testing.assert_array_equal(whole.mean_distance, blocks.mean_distance)


def test_duplicates_found_by_a_search_are_neighbours_at_distance_0() -> None:
    """Which duplicates are taken is the search's choice; that the sample is among its own is not."""
    Z = layout("more duplicates than neighbours", 120, 2)
    found = searched_neighborhoods(Z, 8, KNeighborsTransformer())
    np.testing.assert_array_equal(found.mean_distance, 0)
    assert found.in_degree.sum() == pytest.approx(8)
    assert found.in_degree.min() >= 1 / 120


def test_a_search_for_all_samples() -> None:
    """``KNeighborsTransformer`` finds one more than it is asked for, and there is no such sample."""
    Z = layout("random", 40, 2)
    found = searched_neighborhoods(Z, 40, KNeighborsTransformer())
    np.testing.assert_array_equal(found.in_degree, 1.0)


@pytest.mark.parametrize("transformer", [Others(16), RadiusNeighborsTransformer(radius=0.3)], ids=str)
def test_too_few_neighbours(transformer: Any) -> None:
    with pytest.raises(ValueError, match=r"Found \d+ neighbours of cell \d+ by the transformer, expected at least 18"):
        searched_neighborhoods(layout("random", 200, 2), 18, transformer)
