"""Features that are measured alike: levels by plain means, groups, and random features by their frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from lava_sc.core.nulls.exchanged_genes import (
    DetectionStats,
    detection_stats,
    exchanges,
    permutation_test,
    ranked_by_level,
)
from lava_sc.io.blocks import InMemory


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_array], ids=["dense", "csr", "csc"])
def test_levels_are_means_over_the_localities(kind) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (50, 7)).astype(np.float32) / 3
    members = np.array([np.sort(rng.permutation(50)[:12]) for _ in range(5)])
    levels = detection_stats(InMemory(kind(X)), members)
    np.testing.assert_allclose(levels.detected, [(X[cells] > 0).mean(axis=0) for cells in members])
    np.testing.assert_allclose(levels.means, [X[cells].mean(axis=0) for cells in members], atol=1e-6)
    order = rng.permutation(50)
    place = np.argsort(order)
    again = detection_stats(InMemory(kind(X[order])), place[members])
    np.testing.assert_array_equal(again.detected, levels.detected)
    np.testing.assert_array_equal(again.means, levels.means)


def test_order_by_detection_then_mean_then_name() -> None:
    levels = DetectionStats(np.array([[0.5, 0.2, 0.5, 0.5]]), np.array([[1.0, 9.0, 3.0, 1.0]]))
    assert levels.order(0, np.arange(4)).tolist() == [1, 0, 3, 2]
    assert levels.order(0, np.array([3, 1, 2, 0])).tolist() == [1, 3, 0, 2]


def test_ranking_does_not_depend_on_where_features_are() -> None:
    rng = np.random.default_rng(1)
    defined, names = rng.random((6, 160)) < rng.random(160), rng.permutation(160)
    detected = np.round(rng.random((6, 160)), 0)
    levels = DetectionStats(detected, detected)
    ranked = ranked_by_level(defined, levels, names)
    keys = [(int(defined[:, f].sum()), float(detected[:, f].sum()), int(names[f])) for f in ranked]
    assert keys == sorted(keys)
    order = rng.permutation(160)
    again = ranked_by_level(defined[:, order], levels.take(order), names[order])
    np.testing.assert_array_equal(order[again], ranked)


@pytest.mark.parametrize(("n_features", "width"), [(1, 30), (20, 30), (200, 30), (3000, 100)])
def test_exchanges_stay_near(n_features: int, width: int) -> None:
    rng = np.random.default_rng(0)
    ranked = rng.permutation(n_features)
    labels = exchanges(ranked, 50, rng)
    np.testing.assert_array_equal(labels[0], np.arange(n_features))
    np.testing.assert_array_equal(np.sort(labels, axis=1), labels[[0] * 51])
    place = np.argsort(ranked)
    assert np.abs(place[labels] - place).max() < width
    assert n_features < 200 or np.abs(place[labels] - place).max() > width * 0.7


def test_exchanges_favour_no_side() -> None:
    """Half of a gene's partners are measured better, wherever it is but for the ends; each is itself as often as any."""
    place = exchanges(np.arange(200), 4000, np.random.default_rng(0))[1:]
    middle = np.arange(40, 160)
    moved = place[:, middle] - middle
    assert np.abs((moved > 0).mean(axis=0) - (moved < 0).mean(axis=0)).max() < 0.08
    assert abs(moved.mean()) < 0.1
    assert (moved == 0).mean() == pytest.approx(1 / 30, rel=0.05)


def test_against_random_by_counting() -> None:
    figures = np.array([[3.0, np.nan, 1.0, 2.0], [1, 1, np.nan, 2], [3, 2, np.nan, 2], [5, 0, 4, 2]])
    z, pvalues = permutation_test(figures)
    np.testing.assert_allclose(pvalues, [3 / 4, np.nan, 1, 1])
    np.testing.assert_allclose(z, [0, np.nan, np.nan, np.nan])
    rng = np.random.default_rng(0)
    figures = rng.normal(size=(20, 2, 3))
    z, pvalues = permutation_test(figures)
    np.testing.assert_allclose(z, (figures[0] - figures[1:].mean(axis=0)) / figures[1:].std(axis=0))
    np.testing.assert_allclose(pvalues, stats.rankdata(-figures, axis=0)[0] / 20)
