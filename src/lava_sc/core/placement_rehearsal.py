"""Small measured pieces of the placement of localities, and what they come to for the whole."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.localities.in_degree import nearest_samples
from lava_sc.core.localities.kd_index import build_index, leaf_neighborhoods
from lava_sc.core.localities.local_search import refine_probes
from lava_sc.core.localities.placement import PlacementOptions, place_probes, spread_seeds
from lava_sc.core.localities.sections import allocate, place_in_sections
from lava_sc.core.localities.weighted_kmeans import weighted_kmeans
from lava_sc.parallel.threads import quiet_thread_map, resolve_n_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.localities.kd_index import SpatialIndex

_SWEEPS: Final = PlacementOptions().max_evals
_PLACED: Final = 2e7  # coordinates of all neighbours
_COMPILED_ON: Final = 200  # samples
_FEW_SEEDS: Final = 16
_LONG_ENOUGH: Final = 0.25  # seconds
_RUNS_OF_PROBES, _PROBES_IN_A_RUN = 2, 24
_LOOKED_AT: Final = 4e7  # coordinates, by all probes of a run if each looks at all samples
_MEASURED_SWEEPS: Final = 4
_CLUSTERED: Final = 16_384  # samples


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@dataclass(frozen=True)
class PlacementSample:
    """Some localities and what placing all of them takes.

    Attributes
    ----------
    members
        (k, n) sample indices, ascending within each locality; the localities in random order.
    seconds
        Time for all.
    """

    members: IntArray
    seconds: float


def sample_placement(
    Z: FloatArray,
    sections: IntArray | None,
    n: int,
    n_probes: int,
    n_sampled: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> PlacementSample:
    """Place probes where that takes a second or so; else draw localities as they will be, and measure parts of the work.

    Parameters
    ----------
    Z
        (E, D_L) embedding.
    sections
        (E,) codes of sections that localities may not mix, ``None`` for one.
    n
        Locality size.
    n_probes
        Number of localities ℓ, at most E.
    n_sampled
        How many are drawn, at most ℓ; more if there are more sections.
    rng
        Places or draws them; places them as the step itself would, given the same seed.
    n_jobs
        Number of threads.
    """
    options = PlacementOptions(n_jobs=n_jobs)
    few = min(len(Z), _COMPILED_ON)
    place_probes(
        Z[:few], min(n, few), 1, PlacementOptions(max_evals=1, n_jobs=n_jobs), np.random.default_rng(0)
    )  # compiles
    if Z.shape[0] * Z.shape[1] * n <= _PLACED:
        began = time.perf_counter()
        if sections is None:
            placed = place_probes(Z, n, n_probes, options, rng)
        else:
            placed = place_in_sections(Z, sections, n, n_probes, options, rng).whole
        seconds = time.perf_counter() - began
        return PlacementSample(rng.permutation(placed.members)[:n_sampled], seconds)
    sections = np.zeros(len(Z), dtype=np.int64) if sections is None else sections
    largest = Z[sections == np.bincount(sections).argmax()]  # the others take as long for each sample
    share = len(largest) / len(Z)
    members = _draw_localities(Z, sections, n, n_sampled, rng, n_jobs)  # first: how much is measured is up to the clock
    seconds = _placement_seconds(largest, n, max(round(n_probes * share), 1), rng, n_jobs) / share
    return PlacementSample(members, seconds)


def _draw_localities(
    Z: FloatArray, sections: IntArray, n: int, n_sampled: int, rng: np.random.Generator, n_jobs: int | None
) -> IntArray:
    """Localities around samples, spread like the samples are, as those of probes will be."""
    samples = [np.flatnonzero(sections == code) for code in range(sections.max() + 1)]
    members = []
    for own, count in zip(samples, allocate(n_sampled, np.array([len(own) for own in samples])), strict=True):
        places = spread_seeds(Z[own], int(count), rng)
        members.append(own[nearest_samples(build_index(Z[own]), places, n, n_jobs=n_jobs)])
    return rng.permutation(np.vstack(members))


def _placement_seconds(Z: FloatArray, n: int, n_probes: int, rng: np.random.Generator, n_jobs: int | None) -> float:
    """Time of placing probes by local moves, each part measured on some of its samples or probes."""
    index = build_index(Z)
    few = min(n_probes, _FEW_SEEDS)
    return (
        _seconds(lambda: build_index(Z))
        + _seconds(lambda: spread_seeds(Z, few, rng)) * np.log2(n_probes + 1) / np.log2(few + 1)
        + _degree_seconds(index, n, rng, n_jobs)
        + _clustering_seconds(index, n_probes, n_jobs)
        + _moving_seconds(index, n, n_probes, rng)
    )


def _degree_seconds(index: SpatialIndex, n: int, rng: np.random.Generator, n_jobs: int | None) -> float:
    """In-degrees, from runs of neighbouring leaves, the longer the less the first query of each counts.

    It has to look at all samples; in many dimensions all others do so, too, and one leaf is enough.
    """
    n_samples, n_runs = len(index.points), max(4, 2 * resolve_n_jobs(n_jobs))
    mean_distance = np.empty(n_samples)

    def count(leaves: slice) -> None:
        counts = np.zeros(n_samples, dtype=np.int32)
        leaf_neighborhoods(index.arrays, leaves.start, leaves.stop, n, counts, mean_distance)

    length = 1
    while True:
        starts = rng.integers(index.n_leaves - length + 1, size=n_runs).tolist()
        runs = [slice(start, start + length) for start in starts]
        seconds = _seconds(lambda runs=runs: quiet_thread_map(count, runs, n_jobs=n_jobs))  # type: ignore[misc]
        if seconds > _LONG_ENOUGH or length * n_runs >= index.n_leaves:
            return seconds * index.n_leaves / (n_runs * length)
        length = min(4 * length, index.n_leaves)


def _clustering_seconds(index: SpatialIndex, n_probes: int, n_jobs: int | None) -> float:
    """Weighted k-means, from samples that lie together and their share of the probes."""
    part = build_index(index.points[:_CLUSTERED])
    share = len(part.points) / len(index.points)
    centres = part.points[:: max(int(len(part.points) / max(n_probes * share, 1)), 1)]
    weights = np.ones(len(part.points))
    return _seconds(lambda: weighted_kmeans(part, weights, centres, n_jobs=n_jobs)) / share


def _moving_seconds(index: SpatialIndex, n: int, n_probes: int, rng: np.random.Generator) -> float:
    """Sweeps over the probes, from runs of probes that follow one another.

    Steps shrink evenly to nothing, so of four sweeps those after the first have the mean length of all thirty.
    """
    seeds = index.points[:: max(len(index.points) // n_probes, 1)]
    length = min(_PROBES_IN_A_RUN, max(int(_LOOKED_AT / index.points.size), 2), len(seeds))
    starts = rng.integers(len(seeds) - length + 1, size=_RUNS_OF_PROBES)
    probes = np.concatenate([seeds[start : start + length] for start in starts])
    in_degree = np.full(len(index.points), n / len(index.points))

    def sweep(n_sweeps: int) -> None:
        refine_probes(index, in_degree, probes, n, n_sweeps, rng, lambda: None)

    first, all_of_them = (_seconds(lambda k=k: sweep(k)) for k in (1, _MEASURED_SWEEPS))  # type: ignore[misc]
    each = max(all_of_them - first, 0.0) / (_MEASURED_SWEEPS - 1)
    return each * _SWEEPS * n_probes / len(probes)
