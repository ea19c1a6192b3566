"""The partition into leaves, and the bounds and selections that the searches rely on, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.core.layouts import LAYOUTS, layout
from tests.reference.placement import squared_distances

from lava_sc.core.localities import kd_index
from lava_sc.core.localities.kd_index import build_index, collect, leaves_near, squared_gap, squared_reach

NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6))


@pytest.mark.parametrize("dimension", [1, 2, 30])
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("n_samples", [1, 64, 65, 1000, 3000])
def test_leaves_hold_every_sample_once_within_their_boxes(name: str, dimension: int, n_samples: int) -> None:
    Z = layout(name, n_samples, dimension)
    index = build_index(Z)
    np.testing.assert_array_equal(np.sort(index.samples), np.arange(n_samples))
    np.testing.assert_array_equal(index.points, Z[index.samples])
    sizes = np.diff(index.starts)
    assert (index.starts[0], index.starts[-1]) == (0, n_samples)
    assert 1 <= sizes.min() <= sizes.max() <= 64
    assert index.n_leaves == len(sizes) <= max(1, n_samples // 16)
    leaf = np.repeat(np.arange(index.n_leaves), sizes)
    for k in range(index.n_leaves):
        np.testing.assert_array_equal(index.low[k], index.points[leaf == k].min(axis=0))
        np.testing.assert_array_equal(index.high[k], index.points[leaf == k].max(axis=0))
    for g in range(-(-index.n_leaves // 32)):
        group = index.points[leaf // 32 == g]
        np.testing.assert_array_equal(index.group_low[g], group.min(axis=0))
        np.testing.assert_array_equal(index.group_high[g], group.max(axis=0))


def test_any_memory_layout_gives_the_same_index() -> None:
    Z = layout("random", 300, 3)
    expected = build_index(Z)
    read_only = Z.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(Z), np.repeat(Z, 2, axis=0)[::2], read_only):
        for part, other in zip(expected.arrays, build_index(same).arrays, strict=True):
            assert other.flags.c_contiguous
            np.testing.assert_array_equal(part, other)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_gap_and_reach_bound_every_distance_in_floating_point(data: st.DataObject) -> None:
    """Not only up to rounding: whatever is passed over would have lost the comparison of the distances themselves."""
    dimension = data.draw(st.integers(1, 5))
    a, b = (data.draw(arrays(np.float64, (4, dimension), elements=NUMBERS)) for _ in range(2))
    low_a, high_a, low_b, high_b = a.min(axis=0), a.max(axis=0), b.min(axis=0), b.max(axis=0)
    distances = squared_distances(a, b)
    assert squared_gap(low_a, high_a, low_b, high_b) <= distances.min()
    for i in range(4):
        assert squared_gap(a[i], a[i], low_b, high_b) <= distances[i].min()
        assert distances[i].max() <= squared_reach(low_b, high_b, a[i])
        np.testing.assert_array_equal(squared_gap(a[i], a[i], b[i], b[i]), distances[i, i])


@given(values=arrays(np.float64, st.integers(1, 40), elements=st.one_of(st.integers(0, 3).map(float), st.floats(0, 9))))
@settings(max_examples=150, deadline=None)
def test_selection_against_sorting(values: np.ndarray) -> None:
    for k in range(len(values)):
        work = np.append(values, -1.0)  # what comes after the first ones does not count
        assert kd_index._select(work, len(values), k) == np.sort(values)[k]
        np.testing.assert_array_equal(np.sort(work[:-1]), np.sort(values))
        assert work[-1] == -1


@pytest.mark.parametrize("dimension", [1, 2, 10])
@pytest.mark.parametrize("name", LAYOUTS)
def test_leaves_within_a_distance(name: str, dimension: int) -> None:
    """Exactly those whose boxes are as near, in their order, whichever groups were passed over."""
    index = build_index(layout(name, 4000, dimension))
    leaves = np.empty(index.n_leaves, np.int64)
    for i, j in ((0, 1), (2000, 3999)):
        low, high = np.minimum(index.points[i], index.points[j]), np.maximum(index.points[i], index.points[j])
        gaps = (np.maximum(np.maximum(low - index.high, index.low - high), 0) ** 2).sum(axis=1)
        for bound in (0.0, float(np.median(gaps)), np.inf):
            n_near = leaves_near(index.arrays, low, high, bound * (1 + 1e-12), leaves)
            np.testing.assert_array_equal(leaves[:n_near], np.flatnonzero(gaps <= bound))


@pytest.mark.parametrize("dimension", [1, 2, 10])
@pytest.mark.parametrize("name", LAYOUTS)
def test_points_within_a_distance(name: str, dimension: int) -> None:
    """All points and no others, also at the very distance, and from the leaves near a box that holds the query."""
    index = build_index(layout(name, 700, dimension))
    near, squared, leaves = np.empty(700, np.int64), np.empty(700), np.empty(index.n_leaves, np.int64)
    for i in (0, 350, 699):
        query = index.points[i]
        expected = squared_distances(query[None], index.points)[0]
        for bound in (0.0, np.sort(expected)[40], expected.max(), np.inf):
            n_near = leaves_near(index.arrays, query, query, bound, leaves)
            count = collect(index.arrays, leaves, n_near, query, bound, near, squared)
            np.testing.assert_array_equal(near[:count], np.flatnonzero(expected <= bound))
            np.testing.assert_array_equal(squared[:count], expected[near[:count]])


def test_far_leaves_are_passed_over() -> None:
    """What makes it fast: of 10,000 points in the plane, the leaves near a small disc are few."""
    index = build_index(np.random.default_rng(0).random((10_000, 2)))
    leaves = np.empty(index.n_leaves, np.int64)
    centre = np.full(2, 0.5)
    assert leaves_near(index.arrays, centre, centre, 0.05**2, leaves) < 0.1 * index.n_leaves
