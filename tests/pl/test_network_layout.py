"""Places of a network's nodes: distances as along the edges, boxes that do not meet."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from lava_sc.pl._network_layout import fit, place_nodes, without_overlap


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_chain_is_laid_out_straight() -> None:
    edges = np.array([(i, i + 1) for i in range(5)])
    places = place_nodes(6, edges, np.ones(5), rng())
    expected = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    np.testing.assert_allclose(squareform(pdist(places)), expected, atol=0.05)
    assert np.ptp(places[:, 0]) > 4.9  # from left to right


def test_strong_edges_are_short() -> None:
    places = place_nodes(3, np.array([(0, 1), (1, 2)]), np.array([1.0, 0.1]), rng())
    lengths = squareform(pdist(places))
    np.testing.assert_allclose([lengths[0, 1], lengths[1, 2], lengths[0, 2]], [1.0, 1.9, 2.9], atol=0.05)


def test_parts_stand_apart() -> None:
    edges = np.array([*combinations(range(6), 2), *combinations(range(6, 12), 2)])
    places = place_nodes(12, edges, np.ones(len(edges)), rng())
    within = max(pdist(places[:6]).max(), pdist(places[6:]).max())
    between = np.linalg.norm(places[:6].mean(axis=0) - places[6:].mean(axis=0))
    assert between > within / 2
    assert np.linalg.norm(places[:6, None] - places[None, 6:], axis=2).min() > 0.3


@pytest.mark.parametrize("n", [1, 2, 5])
def test_no_edges(n: int) -> None:
    places = place_nodes(n, np.empty((0, 2), dtype=np.int64), np.empty(0), rng())
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()
    assert n == 1 or pdist(places).min() > 0.2


def test_same_seed_same_places() -> None:
    edges, strengths = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (0, 4)]), np.linspace(0.2, 1, 5)
    np.testing.assert_array_equal(place_nodes(5, edges, strengths, rng()), place_nodes(5, edges, strengths, rng()))


def meeting(at: np.ndarray, halves: np.ndarray) -> list[tuple[int, int]]:
    apart = [(i, j) for i, j in combinations(range(len(at)), 2) if (abs(at[i] - at[j]) < halves[i] + halves[j]).all()]
    return [(i, j) for i, j in apart if ((halves[i] + halves[j] - abs(at[i] - at[j])) > 1e-9).all()]


@pytest.mark.parametrize("crowd", [1.0, 1e-3])
@pytest.mark.parametrize("n", [1, 2, 15, 150])
def test_boxes_do_not_meet_where_there_is_room(n: int, crowd: float) -> None:
    generator = rng()
    halves = np.column_stack([generator.uniform(0.1, 0.35, n), np.full(n, 0.11)])
    side = np.sqrt(4 * halves.prod(axis=1).sum() / 0.16)
    size = np.maximum([1.25 * side, side / 1.25], 2.0)
    at = fit(crowd * generator.standard_normal((n, 2)), halves, size)
    assert not meeting(at, halves)
    assert (at - halves >= -1e-9).all()
    assert (at + halves <= size + 1e-9).all()


def test_of_boxes_that_meet_the_first_are_kept() -> None:
    at, halves = np.array([[0.0, 0], [0.5, 0], [1.0, 0], [1.5, 3]]), np.full((4, 2), 0.3)
    assert without_overlap(at, halves).tolist() == [True, False, True, True]
    many, some = rng().uniform(0, 3, (60, 2)), np.full((60, 2), 0.2)
    kept = without_overlap(many, some)
    assert not meeting(many[kept], some[kept])
    for i in np.flatnonzero(~kept):
        earlier = np.flatnonzero(kept[:i])
        assert (np.abs(many[earlier] - many[i]) < 0.4).all(axis=1).any()
