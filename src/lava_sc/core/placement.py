"""Probe placement: weighted k-means whose weights DIRECT tunes to the in-degrees (paper, Section 2.1 and A.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import direct
from scipy.spatial import cKDTree

from lava_sc.core._parallel import progress, resolve_n_jobs
from lava_sc.core.neighbors import MAX_TREE_DIMENSION, NearestSamples

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.neighbors import Neighborhoods

#: (α, β) at which quantisation theory puts the density of k-means centres at that of the samples, in any dimension.
ANALYTIC_WEIGHTS: Final = (0.0, 2.0)
_MAX_LLOYD_STEPS: Final = 50
_LLOYD_TOLERANCE: Final = 1e-4  # of the variance of Z, as scikit-learn's


@dataclass(frozen=True)
class Placement:
    """Probes and how they were found.

    Attributes
    ----------
    probes
        (ℓ, D_L) float64.
    members
        (ℓ, n) sample indices, ascending within each locality.
    alpha, beta
        Exponents of Equation 1 at the optimum.
    loss
        L(α, β) of Equation 2, between 0 and 2n.
    n_evals
        Number of k-means runs.
    """

    probes: FloatArray
    members: IntArray
    alpha: float
    beta: float
    loss: float
    n_evals: int


@dataclass(frozen=True)
class _Evaluation:
    loss: float
    alpha: float
    beta: float
    probes: FloatArray


class _BudgetSpentError(Exception):
    """Ends DIRECT at the number of evaluations asked for; scipy checks its own limit only between iterations."""


def n_localities(n_samples: int, n: int, overlap: float) -> int:
    """ℓ = E·o/n to the nearest integer, at least 1 (Equation S1)."""
    return max(1, round(n_samples * overlap / n))


def placement_loss(in_degree: FloatArray, members: IntArray) -> float:
    """L: Manhattan distance between neighbourhood and locality in-degrees (Equation 2)."""
    return float(np.abs(in_degree - locality_in_degree(members, len(in_degree))).sum())


def locality_in_degree(members: IntArray, n_samples: int) -> FloatArray:
    """Fraction of the ℓ localities that contain each sample, (E,)."""
    return np.bincount(members.ravel(), minlength=n_samples) / len(members)


def sample_weights(stats: Neighborhoods, alpha: float, beta: float) -> FloatArray:
    """W = deg^α · dbar^−β (Equation 1), scaled to a largest weight of 1.

    Logarithms keep large exponents finite; a mean distance of 0 (duplicated coordinates) counts as the smallest that is
    not, and an in-degree of 0 as the smallest that is not.
    """
    log_weights = alpha * _safe_log(stats.in_degree) - beta * _safe_log(stats.mean_distance)
    return np.exp(log_weights - log_weights.max())


def _safe_log(values: FloatArray) -> FloatArray:
    positive = values[values > 0]
    return np.log(np.maximum(values, positive.min() if positive.size else 1.0))


def weighted_kmeans(
    Z: FloatArray, weights: FloatArray, centres: FloatArray, *, n_jobs: int | None = None
) -> FloatArray:
    """Lloyd's algorithm from given centres; a centre that no weight falls to stays where it is.

    Parameters
    ----------
    Z
        (E, D_L) samples.
    weights
        (E,) non-negative.
    centres
        (k, D_L) start.
    n_jobs
        Number of threads of the assignment; the sums are done in the order of the samples, so it changes no number.
    """
    tolerance = _LLOYD_TOLERANCE * Z.var(axis=0).sum()
    for _ in range(_MAX_LLOYD_STEPS):
        labels = _nearest_centre(Z, centres, n_jobs)
        mass = np.bincount(labels, weights=weights, minlength=len(centres))
        sums = [np.bincount(labels, weights=weights * column, minlength=len(centres)) for column in Z.T]
        filled = mass > 0
        moved = centres.copy()
        moved[filled] = np.column_stack(sums)[filled] / mass[filled, None]
        shift = ((moved - centres) ** 2).sum()
        centres = moved
        if shift <= tolerance:
            break
    return centres


def _nearest_centre(Z: FloatArray, centres: FloatArray, n_jobs: int | None) -> IntArray:
    if Z.shape[1] <= MAX_TREE_DIMENSION:
        return np.asarray(cKDTree(centres).query(Z, workers=resolve_n_jobs(n_jobs))[1])
    from sklearn.metrics import pairwise_distances_argmin

    return np.asarray(pairwise_distances_argmin(Z, centres))


def spread_seeds(Z: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    """``k`` samples spread like the samples themselves: one drawn from each of k equal parts of a random k-d partition.

    Their density follows that of the samples, which is what the in-degrees ask of the probes, so k-means starts close
    to where it has to go; and it costs E·log k instead of the E·k of k-means++.
    """
    rotated = Z @ _random_rotation(Z.shape[1], rng)
    parts = [(np.arange(len(Z)), k)]
    seeds: list[int] = []
    while parts:
        samples, n_seeds = parts.pop()
        if n_seeds == 1:
            seeds.append(int(rng.choice(samples)))
            continue
        left = n_seeds // 2
        axis = int(np.argmax(np.ptp(rotated[samples], axis=0)))
        cut = min(max(round(len(samples) * left / n_seeds), left), len(samples) - (n_seeds - left))
        order = np.argsort(rotated[samples, axis], kind="stable")
        parts += [(samples[order[:cut]], left), (samples[order[cut:]], n_seeds - left)]
    return Z[seeds]


def _random_rotation(dimension: int, rng: np.random.Generator) -> FloatArray:
    return np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]


def place_probes(
    Z: FloatArray,
    stats: Neighborhoods,
    n: int,
    n_probes: int,
    *,
    max_evals: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> Placement:
    """Probes whose localities reproduce the samples' in-degrees best (Algorithm S1).

    The analytic weights are evaluated first, then DIRECT searches (α, β) in [−2·D_L, 2·D_L]². Every evaluation starts
    Lloyd's algorithm from the same centres, so L is a function of (α, β); the best evaluation is returned.

    Parameters
    ----------
    Z
        (E, D_L) embedding.
    stats
        Neighbourhoods of all samples for this ``n``.
    n
        Locality size.
    n_probes
        Number of localities ℓ, at most E.
    max_evals
        Number of evaluations, the analytic one included.
    rng
        Draws the common start.
    n_jobs
        Number of threads.
    """
    search = NearestSamples(Z, n, n_jobs=n_jobs)
    start = weighted_kmeans(Z, sample_weights(stats, *ANALYTIC_WEIGHTS), spread_seeds(Z, n_probes, rng), n_jobs=n_jobs)
    tried: list[_Evaluation] = []

    def evaluate(exponents: FloatArray | tuple[float, float]) -> float:
        if len(tried) == max_evals:
            raise _BudgetSpentError
        alpha, beta = map(float, exponents)
        probes = weighted_kmeans(Z, sample_weights(stats, alpha, beta), start, n_jobs=n_jobs)
        loss = placement_loss(stats.in_degree, search.of_points(probes)[0])
        tried.append(_Evaluation(loss, alpha, beta, probes))
        bar.update()
        return loss

    limit = 2.0 * Z.shape[1]
    with progress(desc="placing probes", total=max_evals) as bar:
        try:
            evaluate(ANALYTIC_WEIGHTS)
            direct(evaluate, [(-limit, limit)] * 2, maxfun=max_evals, maxiter=max_evals)
        except _BudgetSpentError:
            pass
    best = min(tried, key=lambda evaluation: evaluation.loss)
    members = np.sort(search.of_points(best.probes)[0], axis=1)
    return Placement(best.probes, members, best.alpha, best.beta, best.loss, len(tried))
