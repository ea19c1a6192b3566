"""Localities: neighbourhoods, in-degrees, weights, membership, loss and placement (paper 2.1, A.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Placement(NamedTuple):
    """What :func:`place` found: probes (l, D_L), the exponents and the loss (2) there."""

    probes: Floats
    alpha: float
    beta: float
    loss: float
    evaluations: int


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Squared Euclidean distances, shape (len(a), len(b)), one dimension after the other, without cancellation."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    out = np.zeros((len(a), len(b)))
    for k in range(a.shape[1]):
        out += (a[:, k, None] - b[None, :, k]) ** 2
    return out


def neighbourhoods(Z: Floats, n: int) -> NDArray[np.intp]:
    """Neighbourhood of each sample (2.1), indices (E, n): itself, then by distance, then by lower index."""
    square = squared_distances(Z, Z)
    np.fill_diagonal(square, -1.0)  # the sample itself comes before its duplicates
    return np.argsort(square, axis=1, kind="stable")[:, :n]


def in_degree(neighbours: NDArray[np.intp]) -> Floats:
    """deg_i = in_neighbor_i / E (Eq. 1, 2): share of the neighbourhoods that contain i; the sum is n."""
    counts = np.bincount(neighbours.ravel(), minlength=len(neighbours))
    return np.asarray(counts / len(neighbours))


def mean_distance(Z: Floats, neighbours: NDArray[np.intp]) -> Floats:
    """dbar_i (Eq. 1, Alg. S1): mean distance from i to the n members of its neighbourhood, itself included."""
    square = squared_distances(Z, Z)
    return np.array([np.sqrt(square[i, members]).mean() for i, members in enumerate(neighbours)])


def log_weights(degree: Floats, distance: Floats, alpha: float, beta: float) -> Floats:
    """Logarithm of w_i (Eq. 1), the largest shifted to 0; dbar_i = 0 counts as the smallest positive dbar."""
    positive = distance[distance > 0]
    floor = positive.min() if positive.size else 1.0
    out = alpha * np.log(degree) - beta * np.log(np.maximum(distance, floor))
    return np.asarray(out - out.max())


def weights(degree: Floats, distance: Floats, alpha: float, beta: float) -> Floats:
    """w_i (Eq. 1) up to a common factor, which k-means does not see; the largest is 1."""
    return np.asarray(np.exp(log_weights(degree, distance, alpha, beta)))


def n_localities(n_samples: int, n: int, overlap: float) -> int:
    """Number of localities (Eq. S1), at least 1."""
    return max(1, round(n_samples * overlap / n))


def membership(Z: Floats, probes: Floats, n: int) -> NDArray[np.bool_]:
    """Boolean (E, l): the n samples nearest to each probe (2.1), ties to the lower index."""
    out = np.zeros((len(Z), len(probes)), dtype=bool)
    for column, square in enumerate(squared_distances(probes, Z)):
        out[np.argsort(square, kind="stable")[:n], column] = True
    return out


def locality_in_degree(members: NDArray[np.bool_]) -> Floats:
    """loc_i = in_locality_i / l (Eq. 2): share of the localities that contain i; the sum is n."""
    return np.asarray(members.sum(axis=1) / members.shape[1])


def loss(degree: Floats, members: NDArray[np.bool_]) -> float:
    """L (Eq. 2) of the localities in the columns of `members`; divide by n for the figure between 0 and 2."""
    return float(np.abs(degree - locality_in_degree(members)).sum())


def probes_at(Z: Floats, n: int, n_probes: int, alpha: float, beta: float, seed: int) -> Floats:
    """Centres (l, D_L) of the k-means weighted by Eq. 1, one k-means++ start from `seed`."""
    from sklearn.cluster import KMeans

    neighbours = neighbourhoods(Z, n)
    w = weights(in_degree(neighbours), mean_distance(Z, neighbours), alpha, beta)
    means = KMeans(n_probes, n_init=1, random_state=seed).fit(np.asarray(Z, dtype=np.float64), sample_weight=w)
    return np.asarray(means.cluster_centers_, dtype=np.float64)


def loss_at(Z: Floats, n: int, n_probes: int, alpha: float, beta: float, seed: int) -> float:
    """L(alpha, beta) (Eq. 2), a function since every evaluation has the same seed."""
    probes = probes_at(Z, n, n_probes, alpha, beta, seed)
    return loss(in_degree(neighbourhoods(Z, n)), membership(Z, probes, n))


def place(Z: Floats, n: int, overlap: float, max_evals: int, seed: int = 0) -> Placement:
    """Probes at the minimum of Eq. 2 that DIRECT finds in [-2 D_L, 2 D_L]^2 (Alg. S1)."""
    from scipy.optimize import direct

    n_probes = n_localities(len(Z), n, overlap)
    bound = 2.0 * Z.shape[1]
    found = direct(lambda x: loss_at(Z, n, n_probes, x[0], x[1], seed), [(-bound, bound)] * 2, maxfun=max_evals)
    alpha, beta = (float(x) for x in found.x)
    return Placement(probes_at(Z, n, n_probes, alpha, beta, seed), alpha, beta, float(found.fun), int(found.nfev))
