"""Correlations and modules again: in other localities, from other starts, with other samples, each also in null data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from lava_sc.core.interpret.similarity import cosines
from lava_sc.core.stability.resampling import matched_cosines, mean_absolute
from lava_sc.parallel.tasks import n_ahead
from lava_sc.parallel.threads import progress, resolve_n_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lava_sc._types import IntArray
    from lava_sc.core.stability.analysis import Analysis, FittedModules

#: Null data sets.
N_NULLS: Final = 3
#: What is repeated.
PARTS: Final = ("placement", "runs", "end_to_end", "resamples")
_AVERAGE: Final = -1  # in the place of a module
_STORED: Final = -1  # in the place of a repetition


@dataclass(frozen=True)
class Comparison:
    """A cosine.

    Attributes
    ----------
    part
        One of :data:`PARTS`.
    overlap
        Of the localities.
    first, second
        Which repetitions; ``first`` is −1 for the modules that others are matched to.
    module
        −1 for averages over modules or localities.
    cosine
        Of the two.
    null
        Whether it is of null data.
    """

    part: str
    overlap: float
    first: int
    second: int
    module: int
    cosine: float
    null: bool


def repeat_runs(analysis: Analysis, seeds: Sequence[int]) -> tuple[list[Comparison], list[FittedModules]]:
    """Runs from other starts in the stored localities; also the best modules of each null data set.

    Parameters
    ----------
    analysis
        What is repeated.
    seeds
        Of the runs, in the data and in each null data set.
    """
    where = "runs", analysis.overlap
    runs = analysis.fit([(analysis.stored, seed) for seed in seeds])
    found = _pairwise(*where, dict(enumerate(one.average for one in runs)), null=False)
    for i, one in enumerate(runs):
        found += _matched(*where, i, analysis.modules, one, null=False)
    references = []
    for k in progress(range(len(analysis.null_seeds)), desc="runs on shuffled genes"):
        problem = analysis.problem(analysis.null_correlations(analysis.null.members, analysis.C, k))
        runs = analysis.fit([(problem, seed) for seed in seeds])
        best = int(np.argmin([one.loss for one in runs]))
        references.append(runs[best])
        found += _pairwise(*where, dict(enumerate(one.average for one in runs)), null=True)
        for i in set(range(len(runs))) - {best}:
            found += _matched(*where, i, runs[best].modules, runs[i], null=True)
    return found, references


def repeat_placements(
    analysis: Analysis,
    placements: Mapping[float, Sequence[IntArray]],
    references: Sequence[FittedModules],
    seeds: Sequence[Sequence[int]],
) -> list[Comparison]:
    """Other placements with several overlaps, and modules of those with the stored overlap and of the first with any other.

    Parameters
    ----------
    analysis
        What is repeated.
    placements
        Localities (ℓ, n) of each placement, by overlap.
    references
        Best modules of each null data set.
    seeds
        (placements, runs) of the runs.
    """
    found = []
    best: dict[float, tuple[dict[int, FittedModules], list[dict[int, FittedModules]]]] = {}
    total = sum(map(len, placements.values()))
    with progress(desc="placements", total=total) as bar:
        for overlap, members in placements.items():
            data: dict[int, _Repeat] = {}
            nulls: list[dict[int, _Repeat]] = [{} for _ in analysis.null_seeds]
            own = seeds if overlap == analysis.overlap else [seeds[0], *[[]] * (len(members) - 1)]
            for i, one in enumerate(members):
                C = analysis.correlations(one)
                data[i] = _repeat(analysis, C, own[i])
                for k in _nulls_of(i, len(members), len(nulls)):
                    nulls[k][i] = _repeat(analysis, analysis.null_correlations(one, C, k), own[i])
                bar.update()
            found += _compared(overlap, data, analysis.modules, null=False)
            for repeats, reference in zip(nulls, references, strict=True):
                found += _compared(overlap, repeats, reference.modules, null=True)
            best[overlap] = _best(data), [_best(repeats) for repeats in nulls]
    for overlap in set(best) - {analysis.overlap}:
        found += _across(overlap, best[overlap][0], best[analysis.overlap][0], null=False)
        for here, stored in zip(best[overlap][1], best[analysis.overlap][1], strict=True):
            found += _across(overlap, here, stored, null=True)
    return found


def repeat_samples(
    analysis: Analysis, draws: Sequence[IntArray], references: Sequence[FittedModules], seeds: Sequence[int]
) -> list[Comparison]:
    """Localities with members among some of the samples.

    Parameters
    ----------
    analysis
        What is repeated.
    draws
        Localities (ℓ, n) of each draw.
    references
        Best modules of each null data set, each of which takes part in some of the draws.
    seeds
        Of the run of each draw.
    """
    found: list[Comparison] = []
    where = "resamples", analysis.overlap
    with progress(desc="resamples", total=len(draws)) as bar:
        at_once = n_ahead(analysis.plan.client) or resolve_n_jobs(analysis.plan.n_jobs)
        for part in _in_parts(len(draws), at_once):
            jobs = []
            for i in part:
                C = analysis.correlations(draws[i])
                null = analysis.null_correlations(draws[i], C, i % len(references))
                jobs += [(analysis.problem(C), seeds[i]), (analysis.problem(null), seeds[i])]
            fits = analysis.fit(jobs)
            for i, one, null_one in zip(part, fits[::2], fits[1::2], strict=True):
                found += _matched(*where, i, analysis.modules, one, null=False)
                found += _matched(*where, i, references[i % len(references)].modules, null_one, null=True)
            bar.update(len(part))
    return found


@dataclass(frozen=True)
class _Repeat:
    mean: sparse.csr_matrix
    best: FittedModules | None


def _repeat(analysis: Analysis, C: sparse.csr_matrix, seeds: Sequence[int]) -> _Repeat:
    if not seeds:
        return _Repeat(mean_absolute(C), None)
    problem = analysis.problem(C)
    runs = analysis.fit([(problem, seed) for seed in seeds])
    return _Repeat(mean_absolute(C), min(runs, key=lambda one: one.loss))


def _nulls_of(i: int, n_placements: int, n_nulls: int) -> list[int]:
    """Null data sets in which a placement is repeated: each takes two placements."""
    return [k for k in range(n_nulls) if i in {2 * k % n_placements, (2 * k + 1) % n_placements}]


def _in_parts(n: int, size: int) -> Iterator[range]:
    for start in range(0, n, size):
        yield range(start, min(start + size, n))


def _best(repeats: Mapping[int, _Repeat]) -> dict[int, FittedModules]:
    return {i: one.best for i, one in repeats.items() if one.best is not None}


def _across(
    overlap: float, here: Mapping[int, FittedModules], stored: Mapping[int, FittedModules], *, null: bool
) -> list[Comparison]:
    """Average modules with one overlap and with the stored one (paper, Figure S9)."""
    between = ((i, k, cosines(one.average, other.average)) for i, one in stored.items() for k, other in here.items())
    return [Comparison("end_to_end", overlap, i, k, _AVERAGE, float(cosine[0, 0]), null) for i, k, cosine in between]


def _compared(
    overlap: float, repeats: Mapping[int, _Repeat], modules: sparse.csr_matrix, *, null: bool
) -> list[Comparison]:
    found = _pairwise("placement", overlap, {i: one.mean for i, one in repeats.items()}, null=null)
    best = _best(repeats)
    found += _pairwise("end_to_end", overlap, {i: one.average for i, one in best.items()}, null=null)
    for i, one in best.items():
        found += _matched("end_to_end", overlap, i, modules, one, null=null)
    return found


def _pairwise(part: str, overlap: float, rows: Mapping[int, sparse.csr_matrix], *, null: bool) -> list[Comparison]:
    if not rows:
        return []
    stacked = sparse.vstack(list(rows.values()), format="csr")
    between = cosines(stacked, stacked)
    pairs = combinations(enumerate(rows), 2)
    return [Comparison(part, overlap, i, j, _AVERAGE, float(between[a, b]), null) for (a, i), (b, j) in pairs]


def _matched(
    part: str, overlap: float, i: int, modules: sparse.csr_matrix, other: FittedModules, *, null: bool
) -> list[Comparison]:
    values = matched_cosines(modules, other.modules)
    return [Comparison(part, overlap, _STORED, i, m, float(value), null) for m, value in enumerate(values)]
