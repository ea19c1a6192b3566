"""Exact nearest samples, by leaves of a k-d partition whose boxes tell which of them can matter.

Queries that follow one another are close to one another, so the radius of one bounds that of the next, and most leaves
are passed over. Unlike a k-d tree's heap, which pays log n for each of n neighbours, the n nearest are then selected among
few candidates. In many dimensions this turns into brute force by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from typing import TypeAlias

    from lava_sc._types import FloatArray, IntArray

    _Arrays: TypeAlias = tuple[FloatArray, IntArray, IntArray, FloatArray, FloatArray, FloatArray, FloatArray]

_LEAF: Final = 64  # samples
_GROUP = 32  # leaves
NO_POINT: Final = np.int64(-1)  # a literal -1 would have the kernels that it is passed to compiled once more
SLACK = 1 + 1e-9  # bounds are rounded; the distances that decide are compared as they are


@dataclass(frozen=True)
class SpatialIndex:
    """Samples in the order of their leaves.

    Attributes
    ----------
    points
        (E, D_L) float64, C-contiguous.
    samples
        (E,) which sample each point is.
    starts
        (n_leaves + 1,) where each leaf starts.
    low, high
        (n_leaves, D_L) boxes around the leaves.
    group_low, group_high
        (n_groups, D_L) boxes around 32 leaves each, which lie together.
    """

    points: FloatArray
    samples: IntArray
    starts: IntArray
    low: FloatArray
    high: FloatArray
    group_low: FloatArray
    group_high: FloatArray

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return len(self.starts) - 1

    @property
    def arrays(self) -> _Arrays:
        """Arrays that the kernels take."""
        return self.points, self.samples, self.starts, self.low, self.high, self.group_low, self.group_high


def build_index(Z: FloatArray) -> SpatialIndex:
    """Halve the samples along their widest axis until at most 64 are left together."""
    samples = np.arange(len(Z))
    parts, starts = [(0, len(Z))], []
    while parts:
        start, stop = parts.pop()
        if stop - start <= _LEAF:
            starts.append(start)
            continue
        part = samples[start:stop]
        axis = int(np.argmax(np.ptp(Z[part], axis=0)))
        half = (stop - start) // 2
        samples[start:stop] = part[np.argpartition(Z[part, axis], half)]
        parts += [(start + half, stop), (start, start + half)]
    points = np.ascontiguousarray(Z[samples], dtype=np.float64)
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    groups = np.arange(0, len(starts), _GROUP)
    group_low, group_high = np.minimum.reduceat(low, groups), np.maximum.reduceat(high, groups)
    return SpatialIndex(points, samples, np.array([*starts, len(Z)]), low, high, group_low, group_high)


@njit(nogil=True, cache=True)
def squared_gap(low_a, high_a, low_b, high_b):  # type: ignore[no-untyped-def]
    """Squared distance between two boxes."""
    total = 0.0
    for d in range(len(low_a)):
        gap = max(0.0, low_a[d] - high_b[d], low_b[d] - high_a[d])
        total += gap * gap
    return total


@njit(nogil=True, cache=True)
def squared_reach(low, high, point):  # type: ignore[no-untyped-def]
    """Squared distance from a point to the farthest corner of a box."""
    total = 0.0
    for d in range(len(low)):
        reach = max(abs(low[d] - point[d]), abs(high[d] - point[d]))
        total += reach * reach
    return total


@njit(nogil=True, cache=True)
def _select(values, count, k):  # type: ignore[no-untyped-def]
    """Return the k-th smallest of the first ``count`` values, which are reordered (Hoare's selection)."""
    low, high = 0, count - 1
    while low < high:
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@njit(nogil=True, cache=True)
def collect(index, leaves, n_leaves, query, bound, near, squared):  # type: ignore[no-untyped-def]
    """Points of some leaves within a squared distance, into ``near`` and ``squared``; returns how many."""
    points, _, starts, low, high, _, _ = index
    count = 0
    for k in range(n_leaves):
        leaf = leaves[k]
        if squared_gap(query, query, low[leaf], high[leaf]) > bound:
            continue
        for i in range(starts[leaf], starts[leaf + 1]):
            total = 0.0
            for d in range(points.shape[1]):
                difference = query[d] - points[i, d]
                total += difference * difference
            if total <= bound:
                near[count] = i
                squared[count] = total
                count += 1
    return count


@njit(nogil=True, cache=True)
def _keep_nearest(samples, count, n, own, near, squared, work):  # type: ignore[no-untyped-def]
    """Move the n nearest of ``count`` points to the front of ``near`` and ``squared``; returns the largest distance².

    Of points at that distance the query itself comes first, then the lowest sample index.
    """
    for k in range(count):
        work[k] = squared[k]
    largest = _select(work, count, n - 1)
    n_closer = n_tied = 0
    for k in range(count):
        n_closer += squared[k] < largest
        n_tied += squared[k] == largest
    last = len(samples)
    if n_closer + n_tied > n:
        last = _last_tied(samples, count, n - n_closer, own, near, squared, largest)
    kept = 0
    for k in range(count):
        closer = squared[k] < largest or (squared[k] == largest and (near[k] == own or samples[near[k]] <= last))
        if closer and kept < n:
            near[kept] = near[k]
            squared[kept] = squared[k]
            kept += 1
    return largest


@njit(nogil=True, cache=True)
def _last_tied(samples, count, n_needed, own, near, squared, largest):  # type: ignore[no-untyped-def]
    """Largest sample index that still belongs to the neighbourhood among those at its rim."""
    tied = np.empty(count, dtype=np.int64)
    n_tied = 0
    for k in range(count):
        if squared[k] == largest:
            if near[k] == own:
                n_needed -= 1
            else:
                tied[n_tied] = samples[near[k]]
                n_tied += 1
    return _select(tied, n_tied, n_needed - 1) if n_needed > 0 else -1


@njit(nogil=True, cache=True)
def make_buffers(n_points):  # type: ignore[no-untyped-def]
    """Room for the neighbours of one query: points, squared distances, and these once more to be reordered."""
    return np.empty(n_points, np.int64), np.empty(n_points), np.empty(n_points)


@njit(nogil=True, cache=True)
def leaves_near(index, low, high, bound, leaves):  # type: ignore[no-untyped-def]
    """Leaves within a squared distance of a box, into ``leaves``; returns how many."""
    _, _, starts, leaf_low, leaf_high, group_low, group_high = index
    n_near = 0
    for group in range(len(group_low)):
        if squared_gap(low, high, group_low[group], group_high[group]) > bound:
            continue
        for leaf in range(group * _GROUP, min((group + 1) * _GROUP, len(starts) - 1)):
            if squared_gap(low, high, leaf_low[leaf], leaf_high[leaf]) <= bound:
                leaves[n_near] = leaf
                n_near += 1
    return n_near


@njit(nogil=True, cache=True)
def nearest(index, leaves, n_leaves, query, own, bound, n, buffers):  # type: ignore[no-untyped-def]
    """Move the n points nearest to a query to the front of the buffers; returns the distance of the last.

    They have to be in the given leaves and within ``bound``, a squared distance; ``own`` is the query's point, if it is one.
    """
    near, squared, work = buffers
    count = collect(index, leaves, n_leaves, query, bound * SLACK, near, squared)
    return np.sqrt(_keep_nearest(index[1], count, n, own, near, squared, work))


@njit(nogil=True, cache=True)
def bound_from(radius, a, b):  # type: ignore[no-untyped-def]
    """Squared distance within which the neighbourhood of b lies when that of a has this radius."""
    return (radius + np.sqrt(squared_gap(a, a, b, b))) ** 2


@njit(nogil=True, cache=True)
def leaf_neighborhoods(index, first, last, n, counts, mean_distance):  # type: ignore[no-untyped-def]
    """Neighbourhoods of the samples of some leaves: adds to ``counts``, fills ``mean_distance``, both by sample."""
    points, samples, starts, low, high, _, _ = index
    buffers = make_buffers(len(points))
    near, squared, _ = buffers
    leaves = np.empty(len(starts) - 1, np.int64)
    previous, radius = starts[first], np.inf
    for leaf in range(first, last):
        reach = (radius + np.sqrt(squared_reach(low[leaf], high[leaf], points[previous]))) ** 2
        n_near = leaves_near(index, low[leaf], high[leaf], reach * SLACK, leaves)
        for i in range(starts[leaf], starts[leaf + 1]):
            bound = bound_from(radius, points[previous], points[i])
            radius = nearest(index, leaves, n_near, points[i], i, bound, n, buffers)
            total = 0.0
            for k in range(n):
                counts[samples[near[k]]] += 1
                total += np.sqrt(squared[k])
            mean_distance[samples[i]] = total / n
            previous = i


@njit(nogil=True, cache=True)
def point_neighborhoods(index, queries, n, members):  # type: ignore[no-untyped-def]
    """Samples nearest to each query, (k, n), in no order, into ``members``."""
    samples, buffers = index[1], make_buffers(len(index[0]))
    leaves = np.arange(len(index[2]) - 1)
    radius = np.inf
    for q in range(len(queries)):
        bound = bound_from(radius, queries[max(q - 1, 0)], queries[q])
        radius = nearest(index, leaves, len(leaves), queries[q], NO_POINT, bound, n, buffers)
        for k in range(n):
            members[q, k] = samples[buffers[0][k]]
