"""Medoids against all sets of medoids, silhouettes against their definition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from lava_sc.core.n_modules.medoids import cosine_distances, k_medoids, most_alike, silhouette, silhouette_of_runs


def points(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3))


def test_cosine_distances() -> None:
    X = points(6, 0).astype(np.float32)
    np.testing.assert_allclose(cosine_distances(X), cdist(X, X, "cosine"), atol=1e-6)
    with_nothing = cosine_distances(np.array([[1.0, 0], [0, 0], [0, 0]]))
    np.testing.assert_array_equal(with_nothing, [[0, 1, 1], [1, 0, 1], [1, 1, 0]])


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_no_swap_lowers_the_cost(seed: int, k: int) -> None:
    distances = cdist(points(14, seed), points(14, seed))
    found = k_medoids(distances, k)
    assert found.cost == pytest.approx(distances[:, found.medoids].min(axis=1).sum())
    np.testing.assert_array_equal(distances[:, found.medoids].argmin(axis=1), found.labels)
    for out in found.medoids:
        for into in range(14):
            swapped = [into, *(m for m in found.medoids if m != out)]
            assert distances[:, swapped].min(axis=1).sum() >= found.cost * (1 - 1e-9)


def test_the_best_medoids_of_all() -> None:
    """On clustered points the swaps end where trying every set of medoids does."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = np.repeat(rng.normal(size=(3, 2)) * 4, 4, axis=0) + rng.normal(size=(12, 2))
        distances = cdist(X, X)
        best = min(distances[:, list(some)].min(axis=1).sum() for some in combinations(range(12), 3))
        assert k_medoids(distances, 3).cost == pytest.approx(best)


def test_coinciding_points() -> None:
    found = k_medoids(np.zeros((4, 4)), 3)
    assert sorted(found.labels[found.medoids]) == [0, 1, 2]
    assert found.cost == 0


def test_silhouette_by_its_definition() -> None:
    """Rousseeuw (1987): (b − a) / max(a, b), a: mean distance in the own cluster, b: to the nearest other; 0 if alone."""
    X, labels = points(10, 1), np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    distances = cdist(X, X)
    widths = []
    for i in range(10):
        own = [j for j in range(10) if labels[j] == labels[i] and j != i]
        others = [distances[i, labels == k].mean() for k in range(4) if k != labels[i]]
        a, b = np.mean([distances[i, j] for j in own]) if own else 0, min(others)
        widths.append((b - a) / max(a, b) if own else 0)
    assert silhouette(distances, labels) == pytest.approx(np.mean(widths))
    assert np.isnan(silhouette(distances, np.zeros(10)))
    assert np.isnan(silhouette(distances, np.arange(10)))


def test_runs_that_agree_and_runs_that_do_not() -> None:
    modules = np.eye(4, 20, dtype=np.float32)
    assert silhouette_of_runs([modules, modules[::-1], modules]) == pytest.approx(1)
    rng = np.random.default_rng(0)
    assert silhouette_of_runs([rng.random((4, 20)) for _ in range(5)]) < 0.3
    assert np.isnan(silhouette_of_runs([modules[:1], modules[:1]]))
    assert silhouette_of_runs([modules, modules[:3]]) == pytest.approx(
        6 / 7
    )  # one module died: its cluster has one member


def test_the_two_most_alike_modules() -> None:
    runs = [points(4, seed).astype(np.float32) for seed in range(3)]
    largest = [max(1 - cdist(M, M, "cosine")[a, b] for a, b in combinations(range(4), 2)) for M in runs]
    assert most_alike(runs) == pytest.approx(np.median(largest), rel=1e-5)
    assert np.isnan(most_alike([points(1, 0)]))
