"""Weighted k-means whose assignments pass over centres that cannot be nearest to any sample of a leaf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from lava_sc.core.localities.kd_index import build_index, squared_gap, squared_reach
from lava_sc.parallel.threads import quiet_thread_map, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.localities.kd_index import SpatialIndex

_MAX_STEPS: Final = 50
_TOLERANCE: Final = 1e-4  # of the variance of the samples, as scikit-learn's


def weighted_kmeans(
    index: SpatialIndex, weights: FloatArray, centres: FloatArray, *, n_jobs: int | None = None
) -> FloatArray:
    """Lloyd's algorithm from given centres; a centre that no weight falls to stays where it is.

    Parameters
    ----------
    index
        The E samples.
    weights
        (E,) non-negative, by sample.
    centres
        (k, D_L) start.
    n_jobs
        Number of threads of the assignment; the sums are done in one order, so it changes no number.

    Returns
    -------
    (k, D_L).
    """
    points, weights = index.points, weights[index.samples]
    labels = np.empty(len(points), dtype=np.int64)
    tolerance = _TOLERANCE * points.var(axis=0).sum()
    parts = split(index.n_leaves)
    for _ in range(_MAX_STEPS):
        _assign_all(index, parts, build_index(centres), labels, n_jobs)
        mass = np.bincount(labels, weights=weights, minlength=len(centres))
        sums = [np.bincount(labels, weights=weights * column, minlength=len(centres)) for column in points.T]
        filled = mass > 0
        moved = centres.copy()
        moved[filled] = np.column_stack(sums)[filled] / mass[filled, None]
        shift = ((moved - centres) ** 2).sum()
        centres = moved
        if shift <= tolerance:
            break
    return centres


def _assign_all(
    index: SpatialIndex, parts: Sequence[IntArray], centres: SpatialIndex, labels: IntArray, n_jobs: int | None
) -> None:
    def assign(leaves: IntArray) -> None:
        _assign(index.arrays, leaves[0], leaves[-1] + 1, centres.arrays, labels)

    quiet_thread_map(assign, parts, n_jobs=n_jobs)


@njit(nogil=True, cache=True)
def _assign(index, first, last, centres, labels):  # type: ignore[no-untyped-def]
    """Nearest centre of the points of some leaves, the lowest of several, into ``labels``."""
    points, _, starts, low, high, _, _ = index
    places, names, groups, group_low, group_high, _, _ = centres
    candidates, gaps = np.empty(len(places), np.int64), np.empty(len(places))
    guess = 0
    for leaf in range(first, last):
        bound = squared_reach(low[leaf], high[leaf], places[guess])  # some centre is as near to all points of the leaf
        count = 0
        for group in range(len(groups) - 1):
            if squared_gap(group_low[group], group_high[group], low[leaf], high[leaf]) > bound:
                continue
            for c in range(groups[group], groups[group + 1]):
                gaps[count] = squared_gap(places[c], places[c], low[leaf], high[leaf])
                if gaps[count] <= bound:
                    candidates[count] = c
                    count += 1
                    bound = min(bound, squared_reach(low[leaf], high[leaf], places[c]))
        for i in range(starts[leaf], starts[leaf + 1]):
            guess = _nearest_place(points[i], places, names, candidates, gaps, count, bound)
            labels[i] = names[guess]


@njit(nogil=True, cache=True)
def _nearest_place(point, places, names, candidates, gaps, count, bound):  # type: ignore[no-untyped-def]
    best, found = np.inf, -1
    for k in range(count):
        if gaps[k] > bound:
            continue
        c = candidates[k]
        distance = 0.0
        for d in range(len(point)):
            difference = point[d] - places[c, d]
            distance += difference * difference
        if distance < best or (distance == best and names[c] < names[found]):
            best, found = distance, c
    return found
