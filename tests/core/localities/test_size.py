"""Agreement of neighbourhoods against scikit-learn's neighbours, and chance against random sets."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from lava_sc.core.localities.size import default_size, jaccard_by_chance, jaccard_by_size, size_grid, suggest_size


def jaccard_by_sets(first: np.ndarray, second: np.ndarray, samples: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Set by set, for data without ties."""
    found = np.empty((len(samples), len(sizes)))
    for k, n in enumerate(sizes):
        sets = [NearestNeighbors(n_neighbors=n, algorithm="kd_tree").fit(Z).kneighbors(Z)[1] for Z in (first, second)]
        for row, i in enumerate(samples):
            a, b = (set(neighbors[i].tolist()) for neighbors in sets)
            found[row, k] = len(a & b) / len(a | b)
    return found


def jaccard_with_ties(first: np.ndarray, second: np.ndarray, samples: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """By sorting: the sample itself, then the nearest, then the lowest index."""
    found = np.empty((len(samples), len(sizes)))
    for row, i in enumerate(samples):
        order = [sorted(range(len(Z)), key=lambda j: (j != i, ((Z[j] - Z[i]) ** 2).sum(), j)) for Z in (first, second)]
        for k, n in enumerate(sizes):
            a, b = (set(ranked[:n]) for ranked in order)
            found[row, k] = len(a & b) / len(a | b)
    return found


@pytest.mark.parametrize("n_dimensions", [2, 10])
def test_against_neighbours_of_scikit_learn(n_dimensions: int) -> None:
    rng = np.random.default_rng(n_dimensions)
    first = rng.normal(size=(150, n_dimensions))
    second = first[:, :2] + rng.normal(scale=0.5, size=(150, 2))
    samples, sizes = np.array([0, 7, 8, 149]), np.array([2, 3, 10, 40, 75, 149])
    found = jaccard_by_size((first, second), samples, sizes)
    np.testing.assert_allclose(found, jaccard_by_sets(first, second, samples, sizes), rtol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 40), st.integers(1, 4), st.integers(0, 10_000))
def test_duplicates_and_grids_are_ordered_by_index(n_samples: int, n_values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(0, n_values, size=(n_samples, 2)).astype(np.float64) for _ in range(2))
    samples = np.arange(n_samples)
    sizes = np.unique(rng.integers(1, n_samples + 1, size=6))
    found = jaccard_by_size((first, second), samples, sizes)
    np.testing.assert_array_equal(found, jaccard_with_ties(first, second, samples, sizes))


def test_identical_spaces_agree_at_every_size() -> None:
    Z = np.random.default_rng(0).normal(size=(80, 3)).round(1)
    assert (jaccard_by_size((Z, Z.copy()), np.arange(80), np.arange(1, 81)) == 1).all()


def test_number_of_threads_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    spaces = (rng.normal(size=(300, 5)), rng.normal(size=(300, 2)))
    found = [jaccard_by_size(spaces, np.arange(0, 300, 3), np.array([5, 50]), n_jobs=n_jobs) for n_jobs in (1, 2, 7)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize(("n_samples", "n"), [(5, 2), (50, 7), (50, 25), (50, 49), (400, 120)])
def test_chance_against_random_sets(n_samples: int, n: int) -> None:
    rng = np.random.default_rng(n)
    found = []
    for _ in range(4000):
        a, b = (set(rng.choice(n_samples - 1, n - 1, replace=False).tolist()) | {n_samples} for _ in range(2))
        found.append(len(a & b) / len(a | b))
    error = np.std(found) / np.sqrt(len(found))
    assert jaccard_by_chance(n_samples, np.array([n]))[0] == pytest.approx(np.mean(found), abs=4 * error + 1e-12)


def test_chance_of_independent_spaces() -> None:
    rng = np.random.default_rng(1)
    sizes = np.array([3, 20, 100])
    found = jaccard_by_size((rng.normal(size=(600, 6)), rng.normal(size=(600, 2))), np.arange(600), sizes)
    assert np.abs(found.mean(axis=0) - jaccard_by_chance(600, sizes)).max() < 0.003


def test_chance_at_both_ends_and_in_large_data() -> None:
    np.testing.assert_allclose(jaccard_by_chance(30, np.array([1, 30])), 1)
    q = np.array([0.01, 0.1, 0.5])
    np.testing.assert_allclose(jaccard_by_chance(1_000_000, (1_000_000 * q).astype(int)), q / (2 - q), atol=1e-4)


@pytest.mark.parametrize("n_samples", [4, 5, 19, 20, 21, 100, 1_000_000])
def test_grid(n_samples: int) -> None:
    sizes = size_grid(n_samples)
    assert sizes[0] == min(10, n_samples // 2)
    assert sizes[-1] == n_samples // 2
    assert (np.diff(sizes) > 0).all()
    assert len(sizes) == 40 or n_samples <= 200
    assert 2 <= default_size(n_samples) <= min(500, n_samples // 2)


def curves(mean: list[float], noise: float = 0.01) -> np.ndarray:
    """Of 400 samples, with independent errors around a mean."""
    return np.asarray(mean) + np.random.default_rng(0).normal(scale=noise, size=(400, len(mean)))


SIZES = np.array([10, 30, 60, 100, 300, 500, 800])


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1], 100),
        ([0.1, 0.2, 0.3, 0.2, 0.1, 0.2, 0.1], 60),  # the higher of two
        ([0.1, 0.2, 0.3, 0.4, 0.3, 0.6, 0.9], 100),  # whatever the end
        ([0.9, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1], 100),  # or the start
        ([0.1, 0.5, 0.1, 0.2, 0.3, 0.2, 0.1], 300),  # too few cells at the first peak
    ],
)
def test_the_highest_peak_is_suggested(mean: list[float], expected: int) -> None:
    found = suggest_size(SIZES, curves(mean), 1600)
    assert (found.size, found.is_peak) == (expected, True)
    assert "highest peak between 50 and 800 cells" in found.reason


@pytest.mark.parametrize(
    ("mean", "noise", "reason"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 0.01, r"no peak .*highest, 0\.(69|70)., at 800\)"),
        ([0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 0.01, r"no peak .*highest, 0\.(69|70)., at 10\)"),
        ([0.2, 0.3, 0.4, 0.3, 0.31, 0.3, 0.5], 1.0, "no peak"),  # within the noise
        ([0.0] * 7, 0.01, "not to be seen at any size"),
        ([-0.5, -0.4, -0.3, -0.2, -0.3, -0.4, -0.5], 0.01, "not to be seen at any size"),
        ([1.0] * 7, 0.0, "no peak"),
        ([0.1, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1], 0.001, "no peak"),  # too few cells at the only one
    ],
)
def test_without_a_peak_the_default_is_suggested_and_said_so(mean: list[float], noise: float, reason: str) -> None:
    found = suggest_size(SIZES, curves(mean, noise), 1600)
    assert (found.size, found.is_peak) == (160, False)
    assert re.search(rf"{reason}.*, so this is the default for 1600 cells\.$", found.reason)


@pytest.mark.parametrize("n_samples", [4, 10, 60, 99])
def test_few_samples_get_half_of_them(n_samples: int) -> None:
    sizes = size_grid(n_samples)
    assert suggest_size(sizes, np.ones((5, len(sizes))), n_samples).size <= n_samples // 2
