"""Neighbourhoods and in-degrees against sorting all distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.reference import placement as reference

from lava_sc.core import neighbors
from lava_sc.core.neighbors import MAX_TREE_DIMENSION, NearestSamples, neighborhoods

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Both ways to search and, between 8 and 12, the dimensions in which a k-d tree rounds otherwise than a plain sum does
DIMENSIONS = [1, 2, 4, 8, 10, MAX_TREE_DIMENSION, MAX_TREE_DIMENSION + 1, 30]


def layout(name: str, n_samples: int, dimension: int) -> Floats:
    """Point sets whose distances are far from tied or tied exactly, whatever the order of the sums."""
    rng = np.random.default_rng([n_samples, dimension])
    normal, shape = rng.normal(size=(n_samples, dimension)), (n_samples, dimension)
    return {
        "random": normal,
        "some duplicates": normal[rng.integers(0, -(-n_samples // 5), n_samples)],
        "more duplicates than neighbours": normal[rng.integers(0, 3, n_samples)],
        "one point": np.full(shape, 0.1),
        "lattice": rng.integers(0, 4, shape) * 0.25,
        "collinear": np.outer(rng.permutation(n_samples) // 2, rng.integers(1, 4, dimension)).astype(float),
        "clusters far apart": normal + 1e4 * rng.integers(0, 4, (n_samples, 1)),
    }[name]


LAYOUTS = [
    "random",
    "some duplicates",
    "more duplicates than neighbours",
    "one point",
    "lattice",
    "collinear",
    "clusters far apart",
]


def assert_exact(Z: Floats, n: int) -> None:
    expected = reference.neighbourhoods(Z, n)
    found = neighborhoods(Z, n, n_jobs=1)
    np.testing.assert_array_equal(found.in_degree, reference.in_degree(expected))
    assert found.in_degree.sum() == pytest.approx(n, rel=1e-12)
    np.testing.assert_allclose(found.mean_distance, reference.mean_distance(Z, expected), rtol=1e-9, atol=1e-12)
    indices, distances = NearestSamples(Z, n, n_jobs=1).of_samples(np.arange(len(Z)))
    np.testing.assert_array_equal(np.sort(indices, axis=1), np.sort(expected, axis=1))
    plain = np.sqrt(reference.squared_distances(Z, Z))
    np.testing.assert_allclose(distances, np.take_along_axis(plain, indices, axis=1), rtol=1e-9, atol=1e-12)
    assert (np.diff(distances, axis=1) >= 0).all()


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_samples_against_brute_force(name: str, dimension: int) -> None:
    for n_samples, n in ((10, 3), (10, 10), (61, 7), (61, 60), (250, 40)):
        assert_exact(layout(name, n_samples, dimension), n)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_points_against_brute_force(name: str, dimension: int) -> None:
    """Probes anywhere, on samples, and on lattice points half way between samples, where the boundary is tied."""
    Z = layout(name, 120, dimension)
    rng = np.random.default_rng(1)
    probes = np.vstack([rng.normal(size=(10, dimension)), Z[:10], np.round(Z[10:20] * 8) / 8 + 0.125])
    for n in (1, 9, 120):
        indices, distances = NearestSamples(Z, n, n_jobs=1).of_points(probes)
        members = np.zeros((120, len(probes)), dtype=bool)
        members[indices, np.arange(len(probes))[:, None]] = True
        np.testing.assert_array_equal(members, reference.membership(Z, probes, n))
        assert members.sum() == n * len(probes)
        assert distances.shape == (len(probes), n)


@pytest.mark.parametrize("dimension", [2, 9, MAX_TREE_DIMENSION + 1])
def test_distances_tied_up_to_rounding_give_a_valid_neighbourhood(dimension: int) -> None:
    """On a lattice of 0.1 equal distances come out unequal by rounding: which sample is taken is open, how near it is not."""
    Z = np.random.default_rng(0).integers(0, 4, (150, dimension)) * 0.1
    indices, distances = NearestSamples(Z, 12, n_jobs=1).of_samples(np.arange(150))
    nearest = np.sqrt(np.sort(reference.squared_distances(Z, Z), axis=1)[:, :12])
    np.testing.assert_allclose(distances, nearest, atol=1e-12)
    assert all(len(set(row)) == 12 for row in indices.tolist())
    assert neighborhoods(Z, 12, n_jobs=1).in_degree.sum() == pytest.approx(12)


@pytest.mark.parametrize("dimension", [2, 10, 30])
def test_a_sample_is_in_its_own_neighbourhood_whatever_its_duplicates(dimension: int) -> None:
    Z = layout("more duplicates than neighbours", 90, dimension)
    indices, _ = NearestSamples(Z, 4, n_jobs=1).of_samples(np.arange(90))
    assert (indices == np.arange(90)[:, None]).any(axis=1).all()


@pytest.mark.parametrize("dimension", [3, MAX_TREE_DIMENSION + 1])
def test_blocks_of_samples_and_threads_change_nothing(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Z = layout("some duplicates", 100, dimension)
    whole = neighborhoods(Z, 8, n_jobs=1)
    threads = neighborhoods(Z, 8, n_jobs=2)
    monkeypatch.setattr(neighbors, "_BLOCK_ENTRIES", 700)
    assert len(list(NearestSamples(Z, 8).blocks())) > 1
    blocks = neighborhoods(Z, 8, n_jobs=1)
    for other in (threads, blocks):
        np.testing.assert_array_equal(whole.in_degree, other.in_degree)
        np.testing.assert_array_equal(whole.mean_distance, other.mean_distance)


def test_order_of_samples_permutes_the_in_degrees() -> None:
    Z = layout("random", 80, 2)
    order = np.random.default_rng(0).permutation(80)
    found, permuted = neighborhoods(Z, 9), neighborhoods(Z[order], 9)
    np.testing.assert_array_equal(found.in_degree[order], permuted.in_degree)


def test_read_only_embedding_is_left_alone() -> None:
    Z = layout("lattice", 50, 2)
    before = Z.copy()
    Z.flags.writeable = False
    assert_exact(Z, 6)
    np.testing.assert_array_equal(Z, before)


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_whole_numbers(data: st.DataObject) -> None:
    """Small whole numbers tie in every way there is."""
    dimension = data.draw(st.sampled_from([1, 2, 3, 9, 13]))
    n_samples = data.draw(st.integers(2, 30))
    Z = data.draw(arrays(np.float64, (n_samples, dimension), elements=st.integers(-3, 3).map(float)))
    assert_exact(Z, data.draw(st.integers(1, n_samples)))
