"""Probe placement: weighted k-means whose weights DIRECT tunes to the in-degrees (paper, Section 2.1 and A.1)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from scipy.optimize import direct

from lava_sc._types import FloatArray
from lava_sc.core.localities.in_degree import nearest_samples, neighborhoods, searched_neighborhoods
from lava_sc.core.localities.kd_index import build_index
from lava_sc.core.localities.local_search import refine_probes
from lava_sc.core.localities.weighted_kmeans import weighted_kmeans
from lava_sc.parallel.threads import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lava_sc._types import IntArray
    from lava_sc.core.localities.in_degree import Neighborhoods, Transformer
    from lava_sc.core.localities.kd_index import SpatialIndex

#: (α, β) at which quantisation theory puts the density of k-means centres at that of the samples, in any dimension.
ANALYTIC_WEIGHTS: Final = (0.0, 2.0)


@dataclass(frozen=True)
class Placement:
    """Probes and how they were found.

    Attributes
    ----------
    probes
        (ℓ, D_L) float64.
    members
        (ℓ, n) sample indices, ascending within each locality.
    in_degree
        (E,) of the samples.
    alpha, beta
        Exponents of Equation 1 at the optimum.
    loss
        L(α, β) of Equation 2, between 0 and 2n.
    n_evals
        Number of k-means runs, or of sweeps.
    """

    probes: FloatArray
    members: IntArray
    in_degree: FloatArray
    alpha: float
    beta: float
    loss: float
    n_evals: int


@dataclass(frozen=True)
class PlacementOptions:
    """Options of a placement.

    Attributes
    ----------
    optimizer
        A name in ``OPTIMIZERS``.
    max_evals
        Sweeps, or runs of k-means.
    transformer
        Neighbour search for the in-degrees of the samples instead of the exact one; localities are always exact.
    n_jobs
        Number of threads.
    """

    optimizer: str = "moves"
    max_evals: int = 30
    transformer: Transformer | None = None
    n_jobs: int | None = None


@dataclass(frozen=True)
class _Task:
    """Samples, sizes and options that every optimizer works on."""

    index: SpatialIndex
    stats: Neighborhoods
    n: int
    start: FloatArray
    options: PlacementOptions
    rng: np.random.Generator


_Found: TypeAlias = tuple[float, float, FloatArray, int]  # α, β, probes, evaluations


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
    """Weights w = deg^α · dbar^−β (Equation 1), scaled to a largest weight of 1.

    Logarithms keep large exponents finite; a mean distance of 0 (duplicated coordinates) counts as the smallest that is
    not, and an in-degree of 0 as the smallest that is not.
    """
    log_weights = alpha * _safe_log(stats.in_degree) - beta * _safe_log(stats.mean_distance)
    return np.exp(log_weights - log_weights.max())


def _safe_log(values: FloatArray) -> FloatArray:
    positive = values[values > 0]
    return np.log(np.maximum(values, positive.min() if positive.size else 1.0))


def spread_seeds(Z: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    """``k`` samples spread like the samples themselves: one drawn from each of k equal parts of a random k-d partition.

    Their density follows that of the samples, which is what the in-degrees ask of the probes, so k-means starts close
    to where it has to go; and it costs E·log k instead of the E·k of k-means++.
    """
    rotated = Z @ _random_rotation(Z.shape[1], rng)
    parts = [(np.arange(len(Z)), k)]
    seeds: list[int] = []
    taken: set[tuple[float, ...]] = set()
    while parts:
        samples, n_seeds = parts.pop()
        if n_seeds == 1:
            shuffled = rng.permutation(samples)  # a centre at the place of another would never get a sample
            seed = next((i for i in shuffled if tuple(Z[i]) not in taken), shuffled[0])
            taken.add(tuple(Z[seed]))
            seeds.append(int(seed))
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
    Z: FloatArray, n: int, n_probes: int, options: PlacementOptions, rng: np.random.Generator
) -> Placement:
    """Probes whose localities reproduce the samples' in-degrees (Algorithm S1).

    Parameters
    ----------
    Z
        (E, D_L) embedding.
    n
        Locality size.
    n_probes
        Number of localities ℓ, at most E.
    options
        How to place them.
    rng
        Draws the start, and the steps of the moves.
    """
    index, n_jobs = build_index(Z), options.n_jobs
    if options.transformer is None:
        stats = neighborhoods(index, n, n_jobs=n_jobs)
    else:
        stats = searched_neighborhoods(Z, n, options.transformer)
    seeds = spread_seeds(Z, n_probes, rng)
    start = weighted_kmeans(index, sample_weights(stats, *ANALYTIC_WEIGHTS), seeds, n_jobs=n_jobs)
    with progress(desc="placing probes", total=options.max_evals) as bar:
        task = _Task(index, stats, n, start, options, rng)
        alpha, beta, probes, n_evals = OPTIMIZERS[options.optimizer](task, bar.update)
    members = nearest_samples(index, probes, n, n_jobs=n_jobs)
    loss = placement_loss(stats.in_degree, members)
    return Placement(probes, members, stats.in_degree, alpha, beta, loss, n_evals)


def _by_direct(task: _Task, on_eval: Callable[[], object]) -> _Found:
    """DIRECT over (α, β) in [−2·D_L, 2·D_L]², as the paper; the analytic weights are tried first.

    Every evaluation starts Lloyd's algorithm from the same centres, so L is a function of (α, β).
    """
    options = task.options
    tried: list[tuple[float, float, float, FloatArray]] = []

    def evaluate(exponents: FloatArray | tuple[float, float]) -> float:
        if len(tried) == options.max_evals:
            raise _BudgetSpentError
        alpha, beta = map(float, exponents)
        weights = sample_weights(task.stats, alpha, beta)
        probes = weighted_kmeans(task.index, weights, task.start, n_jobs=options.n_jobs)
        loss = placement_loss(task.stats.in_degree, nearest_samples(task.index, probes, task.n, n_jobs=options.n_jobs))
        tried.append((loss, alpha, beta, probes))
        on_eval()
        return loss

    limit = 2.0 * task.index.points.shape[1]
    with suppress(_BudgetSpentError):
        evaluate(ANALYTIC_WEIGHTS)
        direct(evaluate, [(-limit, limit)] * 2, maxfun=options.max_evals, maxiter=options.max_evals)
    _, alpha, beta, probes = min(tried, key=lambda evaluation: evaluation[0])
    return alpha, beta, probes, len(tried)


def _by_moves(task: _Task, on_eval: Callable[[], object]) -> _Found:
    """Local moves of the probes on L itself, from the analytic weights; ``max_evals`` sweeps."""
    probes = refine_probes(
        task.index, task.stats.in_degree, task.start, task.n, task.options.max_evals, task.rng, on_eval
    )
    return *ANALYTIC_WEIGHTS, probes, task.options.max_evals


OPTIMIZERS: Final[Mapping[str, Callable[[_Task, Callable[[], object]], _Found]]] = {
    "moves": _by_moves,
    "direct": _by_direct,
}
