"""Exact Euclidean neighbourhoods of samples and of probes, and the in-degrees that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from lava_sc.core._parallel import progress, resolve_n_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lava_sc._types import FloatArray, IntArray

#: Above this dimension a k-d tree visits nearly every leaf and blocked distances are faster.
MAX_TREE_DIMENSION: Final = 12
_ROUNDING: Final = 1 + 1e-9  # the tree sums squares in another order
_BLOCK_ENTRIES: Final = 1 << 22  # distances held at once: 32 MB


@dataclass(frozen=True)
class Neighborhoods:
    """What placement needs to know of all samples' n-neighbourhoods.

    Attributes
    ----------
    in_degree
        (E,) float64, fraction of the E neighbourhoods that contain the sample; sums to n.
    mean_distance
        (E,) float64, mean distance of the sample to its n nearest samples, itself included.
    """

    in_degree: FloatArray
    mean_distance: FloatArray


class NearestSamples:
    """The n samples nearest to a point, exactly.

    Samples at the same distance are taken in the order of their index, so that the answer does not depend on how the
    search is done; a sample comes first in its own neighbourhood even when it has duplicates.
    """

    def __init__(self, Z: FloatArray, n: int, *, n_jobs: int | None = None) -> None:
        self._Z = Z
        self._n = n
        self._workers = resolve_n_jobs(n_jobs)
        self._tree = cKDTree(Z) if Z.shape[1] <= MAX_TREE_DIMENSION else None

    def of_points(self, points: FloatArray) -> tuple[IntArray, FloatArray]:
        """Indices and distances, both (len(points), n), of the samples nearest to each point."""
        return self._query(points, own=None)

    def of_samples(self, samples: IntArray) -> tuple[IntArray, FloatArray]:
        """Indices and distances, both (len(samples), n), of the samples nearest to each of the given samples."""
        return self._query(self._Z[samples], own=samples)

    def _query(self, points: FloatArray, own: IntArray | None) -> tuple[IntArray, FloatArray]:
        n, n_samples = self._n, len(self._Z)
        k = min(n + 1, n_samples)  # one more than asked for shows whether the boundary is tied
        distances, indices = self._search(points, k)
        if k == n:
            return indices, distances
        for row in np.flatnonzero(distances[:, n] <= distances[:, n - 1]):
            chosen = self._resolve_ties(points[row], distances[row, n], None if own is None else own[row])
            indices[row, :n], distances[row, :n] = chosen
        return indices[:, :n], distances[:, :n]

    def _search(self, points: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
        if self._tree is not None:
            distances, indices = self._tree.query(points, k=k, workers=self._workers)
            return distances.reshape(len(points), k), indices.reshape(len(points), k)
        all_distances = cdist(points, self._Z)
        nearest = np.argpartition(all_distances, k - 1, axis=1)[:, :k]
        distances = np.take_along_axis(all_distances, nearest, axis=1)
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(nearest, order, axis=1)

    def _resolve_ties(self, point: FloatArray, radius: float, own: int | None) -> tuple[IntArray, FloatArray]:
        distances = cdist(point[None], self._Z)[0]
        candidates = np.flatnonzero(distances <= radius * _ROUNDING)
        not_own = candidates != own if own is not None else np.ones(len(candidates), dtype=bool)
        order = np.lexsort((candidates, distances[candidates], not_own))[: self._n]
        chosen = candidates[order]
        return chosen, distances[chosen]

    def blocks(self) -> Iterator[IntArray]:
        """All samples in blocks that keep the distances held at once within bounds."""
        held = self._n + 1 if self._tree is not None else len(self._Z)
        size = max(1, _BLOCK_ENTRIES // held)
        for start in range(0, len(self._Z), size):
            yield np.arange(start, min(start + size, len(self._Z)))


def neighborhoods(Z: FloatArray, n: int, *, n_jobs: int | None = None) -> Neighborhoods:
    """In-degree centrality and mean neighbour distance of every sample (paper, Section 2.1 and Algorithm S1).

    Parameters
    ----------
    Z
        (E, D_L) embedding, finite.
    n
        Neighbourhood size, 1 to E.
    n_jobs
        Number of threads, all cores when ``None``.
    """
    search = NearestSamples(Z, n, n_jobs=n_jobs)
    counts = np.zeros(len(Z), dtype=np.int64)
    mean_distance = np.empty(len(Z))
    with progress(desc="neighbourhoods", total=len(Z)) as bar:
        for block in search.blocks():
            indices, distances = search.of_samples(block)
            counts += np.bincount(indices.ravel(), minlength=len(Z))
            mean_distance[block] = distances.mean(axis=1)
            bar.update(len(block))
    return Neighborhoods(in_degree=counts / len(Z), mean_distance=mean_distance)
