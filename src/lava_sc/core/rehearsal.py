"""Small measured pieces of the long steps, and what they come to for the whole."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc.core import resources
from lava_sc.core._parallel import quiet_thread_map, resolve_n_jobs
from lava_sc.core.amf.fit import Options as FitOptions
from lava_sc.core.amf.fit import fit
from lava_sc.core.amf.runs import numba_threads
from lava_sc.core.amf.starts import STARTS
from lava_sc.core.amf.target import make_target
from lava_sc.core.correlation.locality import LOCALITIES_AT_ONCE, locality_correlations
from lava_sc.core.correlation.pairs import n_pairs
from lava_sc.core.kmeans import weighted_kmeans
from lava_sc.core.moves import refine_probes
from lava_sc.core.neighbors import nearest_samples
from lava_sc.core.placement import Options, place_probes, spread_seeds
from lava_sc.core.sections import allocate, place_in_sections
from lava_sc.core.spatial_index import build_index, leaf_neighborhoods

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.blocks import Source
    from lava_sc.core.resources import Growth
    from lava_sc.core.spatial_index import SpatialIndex

_SWEEPS: Final = Options().max_evals
_PLACED: Final = 2e7  # coordinates of all neighbours
_COMPILED_ON: Final = 200  # samples
_FEW_SEEDS: Final = 16
_RUN_OF_LEAVES, _RUN_PER_LEAF = 8, 1 / 256  # at least, and of all
_RUNS_OF_PROBES, _PROBES_IN_A_RUN = 2, 24
_MEASURED_SWEEPS: Final = 4
_CLUSTERED: Final = 16_384  # samples
_MOST_PRODUCTS: Final = 3e10  # multiplications in the products of the sampled localities
_MOST_KEPT: Final = 2e7  # correlations of the sampled localities
_BATCH: Final = FitOptions().batch_size
_MOST_COLUMNS: Final = 16_384  # of those that epochs are timed on
_EPOCHS, _FIRST_EPOCHS = 40, 20
_CHECKED: Final = 16  # localities


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
    options = Options(n_jobs=n_jobs)
    few = min(len(Z), _COMPILED_ON)
    place_probes(Z[:few], min(n, few), 1, Options(max_evals=1, n_jobs=n_jobs), np.random.default_rng(0))  # compiles
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
    seconds = _placement_seconds(largest, n, max(round(n_probes * share), 1), rng, n_jobs) / share
    return PlacementSample(_draw_localities(Z, sections, n, n_sampled, rng, n_jobs), seconds)


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
    """In-degrees, from runs of neighbouring leaves; long ones, since the first query of each has to look at all samples."""
    length = min(max(_RUN_OF_LEAVES, int(_RUN_PER_LEAF * index.n_leaves)), index.n_leaves)
    n_runs = max(4, 2 * resolve_n_jobs(n_jobs))
    starts = rng.integers(index.n_leaves - length + 1, size=n_runs).tolist()
    n_samples = len(index.points)
    mean_distance = np.empty(n_samples)

    def count(start: int) -> None:
        counts = np.zeros(n_samples, dtype=np.int32)
        leaf_neighborhoods(index.arrays, start, start + length, n, counts, mean_distance)

    return _seconds(lambda: quiet_thread_map(count, starts, n_jobs=n_jobs)) * index.n_leaves / (n_runs * length)


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
    length = min(_PROBES_IN_A_RUN, len(seeds))
    starts = rng.integers(len(seeds) - length + 1, size=_RUNS_OF_PROBES)
    probes = np.concatenate([seeds[start : start + length] for start in starts])
    in_degree = np.full(len(index.points), n / len(index.points))

    def sweep(n_sweeps: int) -> None:
        refine_probes(index, in_degree, probes, n, n_sweeps, rng, lambda: None)

    first, all_of_them = (_seconds(lambda k=k: sweep(k)) for k in (1, _MEASURED_SWEEPS))  # type: ignore[misc]
    each = max(all_of_them - first, 0.0) / (_MEASURED_SWEEPS - 1)
    return each * _SWEEPS * n_probes / len(probes)


@dataclass(frozen=True)
class CorrelationSample:
    """Correlations of some localities.

    Attributes
    ----------
    C
        (k, J).
    growth
        What they say of the non-zeros of all.
    n_defined
        Most features that are defined in one of them.
    seconds
        Time for all, with the threads asked for.
    """

    C: sparse.csr_matrix
    growth: Growth
    n_defined: int
    seconds: float


def sample_correlations(
    source: Source, members: IntArray, n_localities: int, *, n_jobs: int | None, **options: Any
) -> CorrelationSample:
    """Correlate some of ℓ localities.

    Parameters
    ----------
    source, n_jobs
        See :func:`lava_sc.core.correlation.locality.locality_correlations`.
    members
        (k, n), in random order. The first two tell how many more can be had for little.
    n_localities
        ℓ.
    options
        Its other arguments.
    """
    first = locality_correlations(source, members[:2], n_jobs=n_jobs, **options)
    d, kept = max(int(first.defined.sum(axis=1).max()), 1), max(int(first.n_kept_pairs.max()), 1)
    affordable = int(min(_MOST_PRODUCTS / (members.shape[1] * d**2), _MOST_KEPT / kept))
    members = members[: max(affordable, 2)]
    began = time.perf_counter()
    found = locality_correlations(source, members, n_jobs=n_jobs, **options)
    seconds = time.perf_counter() - began
    varying = int(found.defined.any(axis=0).sum())
    return CorrelationSample(
        found.C,
        resources.growth(found.n_kept_pairs, found.C.indices, n_pairs(varying)),
        int(found.defined.sum(axis=1).max()),
        seconds * _in_turn(n_localities, n_jobs) / _in_turn(len(members), n_jobs),
    )


def _in_turn(n_localities: int, n_jobs: int | None) -> int:
    """Number of localities that the busiest worker correlates."""
    tasks = -(-n_localities // LOCALITIES_AT_ONCE)
    return min(n_localities, LOCALITIES_AT_ONCE * -(-tasks // resolve_n_jobs(n_jobs)))


def check_correlations_fit(
    source: Source, members: IntArray, *, remedy: str, n_jobs: int | None, fdr: float | None, **options: Any
) -> None:
    """Refuse correlations that are expected to take more memory than there is, judged on some of the localities.

    Costs nothing where all pairs of all localities would fit.

    Parameters
    ----------
    source, members, n_jobs, fdr
        See :func:`lava_sc.core.correlation.locality.locality_correlations`.
    remedy
        What to change.
    options
        Its other arguments.

    Raises
    ------
    ValueError
        If they are expected not to fit, by more than the standard error that the spread of the sample gives.
    """
    (n_localities, n), n_features = members.shape, source.shape[1]

    def needed(n_nonzero: float, n_defined: int) -> int:
        workers, tested = resolve_n_jobs(n_jobs), fdr is not None
        return resources.correlating_bytes(
            n_nonzero, n_localities, n_features, n=n, n_defined=n_defined, tested=tested, workers=workers
        )

    if needed(n_localities * n_pairs(n_features), n_features) <= resources.memory_available():
        return
    some = np.linspace(0, n_localities - 1, min(_CHECKED, n_localities)).astype(np.int64)
    sample = sample_correlations(source, members[some], n_localities, n_jobs=n_jobs, fdr=fdr, **options)
    expected, error = sample.growth.n_nonzero(n_localities)
    what = f"the correlations between {n_features:,} genes in {n_localities:,} localities"
    resources.refuse_what_does_not_fit(what, needed(max(expected - error, 0.0), sample.n_defined), remedy)


def epoch_seconds(
    C: sparse.csr_matrix,
    n_localities: int,
    n_columns: float,
    n_modules: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> float:
    """Time of an epoch of AMF on ℓ localities and J′ columns, from one batch of some of both.

    How fast an epoch is depends on the numbers, since absent modules are passed over. So it has to be real localities,
    and the first epochs, in which modules find theirs, do not count.

    Parameters
    ----------
    C
        (k, J) correlations of some localities, repeated if they do not fill a batch.
    n_localities, n_columns
        ℓ and J′.
    n_modules, rng, n_jobs
        See :func:`lava_sc.core.amf.runs.run_many`.
    """
    if C.nnz == 0:
        return 0.0
    columns = np.unique(C.indices)
    columns = columns[:: -(-len(columns) // _MOST_COLUMNS)]
    n_rows = min(n_localities, _BATCH)
    target = make_target(C[np.arange(n_rows) % C.shape[0]][:, columns])

    start = STARTS["kmeans"](target, n_modules, rng)
    ends: list[float] = []
    with numba_threads(n_jobs, target.block_starts.shape[1] - 1):
        fit(target, *start, FitOptions(max_epochs=1), rng)  # compiles
        fit(target, *start, FitOptions(max_epochs=_EPOCHS), rng, on_epoch=lambda _: ends.append(time.perf_counter()))
    each = float(np.median(np.diff(ends[_FIRST_EPOCHS:])))
    return each * n_columns / len(target.columns) * n_localities / n_rows
