"""Places for the nodes of a network and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import shortest_path

if TYPE_CHECKING:
    from lava_sc._types import BoolArray, FloatArray, IntArray

_STEPS: Final = 200
_TOLERANCE: Final = 1e-4
_PUSHES: Final = 600
_EVEN: Final = 0.4  # how far crowds are spread out: 0 not at all, 1 until all coordinates are equally spaced
_GAP: Final = 0.03  # between boxes, inches


def place_nodes(n: int, edges: IntArray, strengths: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Places (n, 2) whose distances are those along the edges as well as can be; strong edges are short.

    Stress majorisation with weights d⁻² (Gansner et al. 2004) from classical scaling, slightly displaced.

    Parameters
    ----------
    n
        Nodes.
    edges
        (K, 2).
    strengths
        (K,), positive.
    rng
        Of the displacements.
    """
    distances = _path_lengths(n, edges, strengths)
    places = _classical(distances) + 0.05 * distances.mean() * rng.standard_normal((n, 2))
    weights = np.divide(1.0, distances**2, out=np.zeros_like(distances), where=distances > 0)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    inverse = np.linalg.inv(laplacian + 1 / n) - 1 / n if n > 1 else np.zeros((1, 1))
    for _ in range(_STEPS):
        found = np.linalg.norm(places[:, None] - places, axis=2)
        ratio = -weights * np.divide(distances, found, out=np.zeros_like(found), where=found > 0)
        np.fill_diagonal(ratio, -ratio.sum(axis=1))
        moved = inverse @ (ratio @ places)
        change = np.abs(moved - places).max() / distances.max(initial=1.0)
        places = moved
        if change < _TOLERANCE:
            break
    return _upright(places)


def _path_lengths(n: int, edges: IntArray, strengths: FloatArray) -> FloatArray:
    """Along the edges, 1 for the strongest to 2; between parts of the network half of what each is wide, and 1 more."""
    lengths = 2.0 - strengths / strengths.max(initial=np.finfo(float).tiny)
    graph = sparse.coo_matrix((lengths, tuple(edges.T)), shape=(n, n)).tocsr()
    distances = shortest_path(graph, directed=False)
    apart = np.isinf(distances)
    half_widths = np.where(apart, 0.0, distances).max(axis=1, initial=0.0) / 2
    return np.where(apart, half_widths[:, None] + half_widths + 1.0, distances)


def _classical(distances: FloatArray) -> FloatArray:
    """Classical scaling."""
    centred = -0.5 * distances**2
    centred = centred - centred.mean(axis=0) - centred.mean(axis=1)[:, None] + centred.mean()
    values, vectors = np.linalg.eigh(centred)
    vectors = (
        vectors[:, -2:] * np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])] < 0, -1, 1)[-2:]
    )
    found = np.zeros((len(distances), 2))
    found[:, : vectors.shape[1]] = vectors * np.sqrt(np.maximum(values[-2:], 0))
    return found[:, ::-1]


def _upright(places: FloatArray) -> FloatArray:
    """Centred, longest from left to right."""
    centred = places - places.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    return centred @ axes.T


def fit(places: FloatArray, halves: FloatArray, size: FloatArray) -> FloatArray:
    """Centres of boxes within the page, spread over it and pushed off each other as far as there is room.

    Parameters
    ----------
    places
        (n, 2) any coordinates.
    halves
        (n, 2) half widths and heights of the boxes, in inches.
    size
        (2,) width and height of the page.
    """
    low, high = halves, np.maximum(size - halves, halves)
    extent = np.ptp(places, axis=0)
    share = np.divide(places - places.min(axis=0), extent, out=np.full_like(places, 0.5), where=extent > 1e-9)
    ranks = places.argsort(axis=0, kind="stable").argsort(axis=0) / max(len(places) - 1, 1)
    share = np.where(extent > 1e-9, (1 - _EVEN) * share + _EVEN * ranks, share)
    at = low + share * (high - low)
    for _ in range(_PUSHES):
        push = _push(at, halves + _GAP / 2)
        if not push.any():
            break
        at = np.clip(at + 0.55 * push, low, high)
    return at


def _push(at: FloatArray, halves: FloatArray) -> FloatArray:
    """Half the way that takes each pair of boxes apart, along the shorter of the two ways, summed over pairs."""
    gap = at[:, None] - at
    excess = halves[:, None] + halves - np.abs(gap)
    i, j = np.nonzero(np.triu((excess > 0).all(axis=2), 1))
    axis = excess[i, j].argmin(axis=1)
    way = 0.5 * excess[i, j, axis] * np.where(gap[i, j, axis] >= 0, 1.0, -1.0)
    push = np.zeros_like(at)
    np.add.at(push, (i, axis), way)
    np.add.at(push, (j, axis), -way)
    return push


def without_overlap(at: FloatArray, halves: FloatArray) -> BoolArray:
    """Boxes to keep: each that meets none kept before, in the order in which they come."""
    kept = np.zeros(len(at), dtype=bool)
    for i in range(len(at)):
        meets = (np.abs(at[kept] - at[i]) < halves[kept] + halves[i]).all(axis=1)
        kept[i] = not meets.any()
    return kept
