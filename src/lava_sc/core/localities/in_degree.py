"""Exact Euclidean neighbourhoods of samples and of probes, and the in-degrees that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from lava_sc.core.localities.kd_index import leaf_neighborhoods, point_neighborhoods
from lava_sc.parallel.threads import progress, quiet_thread_map, split, thread_map

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.localities.kd_index import SpatialIndex


_BLOCK: Final = 1 << 22  # neighbours of a transformer held at once


class Transformer(Protocol):
    """A neighbour search in the style of scikit-learn, such as ``KNeighborsTransformer``."""

    def fit(self, X: FloatArray) -> Any:
        """Index the samples."""

    def transform(self, X: FloatArray) -> Any:
        """Sparse distances to the neighbours, (len(X), E)."""


@dataclass(frozen=True)
class Neighborhoods:
    """In-degrees and mean distances of all samples' n-neighbourhoods.

    Attributes
    ----------
    in_degree
        (E,) float64, fraction of the E neighbourhoods that contain the sample; sums to n.
    mean_distance
        (E,) float64, mean distance of the sample to its n nearest samples, itself included.
    """

    in_degree: FloatArray
    mean_distance: FloatArray


def neighborhoods(index: SpatialIndex, n: int, *, n_jobs: int | None = None) -> Neighborhoods:
    """In-degree centrality and mean neighbour distance of every sample (paper, Section 2.1 and Algorithm S1).

    A sample comes first in its own neighbourhood, even when it has duplicates; others at the same distance are taken in
    the order of their index.

    Parameters
    ----------
    index
        The E samples.
    n
        Neighbourhood size, 1 to E.
    n_jobs
        Number of threads, all cores when ``None``; changes no number.
    """
    n_samples = len(index.points)
    counts, mean_distance = np.zeros(n_samples, dtype=np.int64), np.empty(n_samples)
    lock = Lock()

    def count(leaves: IntArray) -> None:
        part = np.zeros(n_samples, dtype=np.int32)
        leaf_neighborhoods(index.arrays, leaves[0], leaves[-1] + 1, n, part, mean_distance)
        with lock:
            np.add(counts, part, out=counts)

    thread_map(count, split(index.n_leaves), n_jobs=n_jobs, desc="neighbourhoods")
    return Neighborhoods(in_degree=counts / n_samples, mean_distance=mean_distance)


def searched_neighborhoods(Z: FloatArray, n: int, transformer: Transformer) -> Neighborhoods:
    """Like :func:`neighborhoods`, from a neighbour search in the style of scikit-learn, which may be approximate.

    Parameters
    ----------
    Z
        (E, D_L) embedding.
    n
        Neighbourhood size; the transformer is asked for as many.
    transformer
        Has ``fit`` and ``transform``, the latter giving a sparse matrix of distances to the neighbours; the sample itself
        may be among them or not. It is copied and not changed.

    Raises
    ------
    ValueError
        If it finds fewer than n neighbours of some sample.
    """
    from sklearn.base import clone

    search = clone(transformer)
    if "n_neighbors" in search.get_params():
        search.set_params(n_neighbors=min(n, len(Z) - 1))  # scikit-learn adds the sample itself
    search.fit(Z)
    counts, mean_distance = np.zeros(len(Z), dtype=np.int64), np.empty(len(Z))
    for block in progress(np.array_split(np.arange(len(Z)), 1 + len(Z) * n // _BLOCK), desc="neighbourhoods"):
        found = search.transform(Z[block]).tocsr()
        for row, sample in enumerate(block):
            near = slice(found.indptr[row], found.indptr[row + 1])
            others = found.indices[near] != sample
            order = np.argsort(found.data[near][others], kind="stable")[: n - 1]
            if len(order) < n - 1:
                msg = (
                    f"Found {len(order) + 1} neighbours of cell {sample} by the transformer, expected at least {n}, the cell "
                    f"itself included; give it a larger n_neighbors or leave transformer out."
                )
                raise ValueError(msg)
            counts[sample] += 1
            counts[found.indices[near][others][order]] += 1
            mean_distance[sample] = found.data[near][others][order].sum() / n
    return Neighborhoods(in_degree=counts / len(Z), mean_distance=mean_distance)


def nearest_samples(index: SpatialIndex, points: FloatArray, n: int, *, n_jobs: int | None = None) -> IntArray:
    """The n samples nearest to each point, (len(points), n), ascending; at the same distance the lower index."""
    members = np.empty((len(points), n), dtype=np.int64)

    def fill(queries: IntArray) -> None:
        point_neighborhoods(
            index.arrays, points[queries[0] : queries[-1] + 1], n, members[queries[0] : queries[-1] + 1]
        )

    quiet_thread_map(fill, split(len(points)), n_jobs=n_jobs)
    members.sort(axis=1)
    return members
