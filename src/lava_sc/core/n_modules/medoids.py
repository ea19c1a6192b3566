"""Similarity of the modules of several runs: M-medoids and silhouettes (paper, Section 2.3; Alexandrov et al. 2013).

M-medoids is PAM (Kaufman & Rousseeuw 1990) written here: the maintained packages with k-medoids are under the GPL, and a few
hundred modules need no more than its plain form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import FloatArray, IntArray


@dataclass(frozen=True)
class Medoids:
    """Clusters around medoids.

    Attributes
    ----------
    medoids
        (k,) ascending positions of the medoids.
    labels
        (n,) cluster of every point, the position of its medoid in ``medoids``.
    cost
        Sum of the distances of all points to their medoids.
    """

    medoids: IntArray
    labels: IntArray
    cost: float


def cosine_distances(modules: FloatArray) -> FloatArray:
    """1 − cosine between rows (n, J), (n, n) float64; rows of zeros have distance 1 to all others."""
    norms = np.linalg.norm(modules, axis=1, keepdims=True)
    unit = modules / np.where(norms > 0, norms, 1)
    distances = np.clip(1 - (unit @ unit.T).astype(np.float64), 0, 2)
    np.fill_diagonal(distances, 0)
    return (distances + distances.T) / 2


def k_medoids(distances: FloatArray, k: int) -> Medoids:
    """Partitioning around medoids: greedy seeds, then the best swap of a medoid and another point until none helps.

    Parameters
    ----------
    distances
        (n, n) symmetric, zero on the diagonal.
    k
        Number of clusters, at most n.
    """
    medoids = _seeds(distances, k)
    cost = distances[:, medoids].min(axis=1).sum()
    while True:
        costs = _costs_of_swaps(distances, medoids)
        out, into = np.unravel_index(np.argmin(costs), costs.shape)
        if costs[out, into] >= cost * (1 - 1e-12):
            break
        cost, medoids[out] = costs[out, into], into
    medoids.sort()
    labels = distances[:, medoids].argmin(axis=1)
    labels[medoids] = np.arange(k)  # also where two points coincide
    return Medoids(medoids, labels, float(cost))


def _seeds(distances: FloatArray, k: int) -> IntArray:
    """Points that lower the sum of distances most, one after another."""
    medoids = [int(distances.sum(axis=0).argmin())]
    nearest = distances[:, medoids[0]].copy()
    while len(medoids) < k:
        left = np.minimum(nearest[:, None], distances).sum(axis=0)
        left[medoids] = np.inf
        medoids.append(int(left.argmin()))
        nearest = np.minimum(nearest, distances[:, medoids[-1]])
    return np.array(medoids)


def _costs_of_swaps(distances: FloatArray, medoids: IntArray) -> FloatArray:
    """Sum of distances (k, n) when each medoid is replaced with each point."""
    costs = np.empty((len(medoids), len(distances)))
    for out in range(len(medoids)):
        others = np.delete(medoids, out)
        nearest = distances[:, others].min(axis=1, initial=np.inf)
        costs[out] = np.minimum(nearest[:, None], distances).sum(axis=0)
    return costs


def silhouette(distances: FloatArray, labels: IntArray) -> float:
    """Mean silhouette width (Rousseeuw 1987) of clusters; NaN where there is one cluster or each point is its own."""
    if not 1 < len(np.unique(labels)) < len(labels):
        return float("nan")
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(distances, labels, metric="precomputed"))


def silhouette_of_runs(runs: Sequence[FloatArray]) -> float:
    """Cosine silhouette of the modules of all runs in M clusters: 1 when every run finds the same modules.

    Parameters
    ----------
    runs
        Modules (M, J) of every run; some may have fewer than others, the largest M counts.
    """
    distances = cosine_distances(np.concatenate(runs))
    return silhouette(distances, k_medoids(distances, max(len(M) for M in runs)).labels)


def most_alike(runs: Sequence[FloatArray]) -> float:
    """Cosine of the two most alike modules of a run, the median over the runs; NaN where runs have a single one.

    Parameters
    ----------
    runs
        Modules (M, J′) of each run.
    """
    largest = [1 - cosine_distances(M)[np.triu_indices(len(M), 1)].min() for M in runs if len(M) > 1]
    return float(np.median(largest)) if largest else float("nan")
