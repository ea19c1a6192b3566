"""AMF with several numbers of modules, on data and on null data."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc.core.factorise.amf.explained import explained
from lava_sc.core.factorise.amf.held_out import folds, held_out_cosines
from lava_sc.core.factorise.amf.restarts import single_run
from lava_sc.core.factorise.factorisations import complete_runs
from lava_sc.core.factorise.problem import make_problem
from lava_sc.core.n_modules.medoids import most_alike, silhouette_of_runs
from lava_sc.parallel.tasks import map_tasks, n_ahead
from lava_sc.parallel.threads import limit_blas_threads, progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.amf.held_out import Fold
    from lava_sc.core.factorise.amf.restarts import Runs
    from lava_sc.core.factorise.amf.run import Run
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.core.factorise.protocol import RunPlan
    from lava_sc.core.nulls.null_data import NullData

N_FOLDS: Final = 5
#: Pilots of each run whose modules are not kept, on parts of the data and on null data: a start takes most of a small run's time.
_N_PILOTS: Final = 2
#: Null data sets that are fitted with every number of modules, and how often each; the others with one number only.
N_NULLS_OF_CURVE: Final = 3
N_RUNS_OF_NULL: Final = 3


@dataclass(frozen=True)
class Tried:
    """Runs with one number of modules, and their figures.

    Attributes
    ----------
    n_modules
        The number.
    found
        All runs; P and M of the best one.
    silhouette
        Of all runs' modules.
    most_alike
        Cosine of the two most alike modules of a run, the median over the runs; NaN for a single module.
    explained
        Of each module of the best run, its share of Σ C².
    held_out
        Mean reconstruction cosine of localities that were held out; NaN where there were too few.
    """

    n_modules: int
    found: Runs
    silhouette: float
    most_alike: float
    explained: FloatArray
    held_out: float


@dataclass(frozen=True)
class NullFit:
    """Fit of a null data set with one number of modules; NaN but for ``best`` where it has no correlation.

    Attributes
    ----------
    loss, cosine, overestimation, silhouette
        Of the best run, the last of all runs' modules.
    best
        What its strongest module explains, as a share of the data's Σ C².
    total
        Σ C² of the null data, as a share of the data's.
    """

    loss: float
    cosine: float
    overestimation: float
    silhouette: float
    best: float
    total: float


_NOTHING: Final = NullFit(*(float("nan"),) * 4, best=0.0, total=0.0)


def quick(options: FitOptions) -> FitOptions:
    """Take fewer pilots, for runs whose modules are not kept."""
    return replace(options, n_pilots=_N_PILOTS)


def squares(problem: Problem) -> float:
    """Σ C²."""
    return float(np.square(problem.data, dtype=np.float64).sum())


def try_number(
    problem: Problem,
    n_modules: int,
    plan: RunPlan,
    *,
    n_runs: int,
    seed: Any,
) -> Tried:
    """Runs with one number of modules, and how well modules reproduce localities that they were not made from.

    Parameters
    ----------
    problem, n_modules, plan, n_runs
        See :func:`lava_sc.core.factorise.factorisations.complete_runs`.
    seed
        The runs are those of a generator with this seed.
    """
    rng = np.random.default_rng(seed)
    found = complete_runs(problem, n_modules, rng, plan, n_runs, keep_all=True)
    modules = [run.M for run in found.runs if run.M is not None]
    silhouette, alike = silhouette_of_runs(modules), most_alike(modules)
    del modules
    runs = [run if k == found.best else replace(run, P=None, M=None) for k, run in enumerate(found.runs)]
    shares = explained(problem, *found.factors) / squares(problem)
    parts = folds(problem.n_localities, N_FOLDS, rng)
    seeds = [int(s) for s in rng.integers(2**63, size=len(parts))]
    options, names = quick(plan.options), [f"part {k} held out" for k in range(len(parts))]
    tasks = [(problem, (part, n_modules, options, plan.init, s)) for part, s in zip(parts, seeds, strict=True)]
    with limit_blas_threads():
        cosines = list(map_tasks(_held_out, tasks, names, n_jobs=plan.n_jobs, client=plan.client))
    mean = float(np.mean(np.concatenate(cosines))) if cosines else float("nan")
    return Tried(n_modules, replace(found, runs=runs), silhouette, alike, shares, mean)


def _held_out(problem: Problem, of: tuple[Fold, int, FitOptions, str, int]) -> FloatArray:
    part, n_modules, options, init, seed = of
    return held_out_cosines(problem, part, n_modules, options, init=init, seed=seed)


def fit_nulls(
    null: NullData,
    seeds: Sequence[int],
    numbers: Sequence[int],
    plan: RunPlan,
    *,
    n_runs: int,
    total: float,
) -> list[list[NullFit]]:
    """Fit null data with the same numbers of modules, a list for each data set.

    Parameters
    ----------
    null, seeds
        The null data, and which of them.
    numbers, plan
        Numbers of modules, and how to fit; a client works at several null data sets at a time.
    n_runs
        Runs with each.
    total
        Σ C² of the data.
    """
    found: list[list[NullFit]] = []
    under_way: deque[Iterator[NullFit]] = deque()
    at_once = 1 + n_ahead(plan.client, len(numbers))
    for k, seed in enumerate(progress(list(seeds), desc="shuffled genes")):
        problem = make_problem(null.correlations(seed))
        tasks = [(problem, (number, plan.options, plan.init, n_runs, seed, total)) for number in numbers]
        names = [f"{number} modules in null data set {k}" for number in numbers]
        under_way.append(map_tasks(_fit_null, tasks, names, n_jobs=plan.n_jobs, client=plan.client))
        del problem, tasks  # what went to workers need not stay here
        while len(under_way) >= (at_once if k + 1 < len(seeds) else 1):
            with limit_blas_threads():
                found.append(list(under_way.popleft()))
    return found


def _fit_null(problem: Problem, how: tuple[int, FitOptions, str, int, int, float]) -> NullFit:
    n_modules, options, init, n_runs, seed, total = how
    if problem.n_columns == 0:
        return _NOTHING
    seeds = np.random.default_rng(seed).integers(2**63, size=n_runs)
    runs = [single_run(problem, (n_modules, options, init, int(s))) for s in seeds]
    best = min(runs, key=lambda run: run.quality.loss)
    return NullFit(
        best.quality.loss,
        best.quality.cosine,
        best.quality.overestimation,
        silhouette_of_runs([run.M for run in runs if run.M is not None]) if n_runs > 1 else float("nan"),
        _strongest(problem, best) / total,
        squares(problem) / total,
    )


def _strongest(problem: Problem, run: Run) -> float:
    assert run.P is not None
    assert run.M is not None
    return float(explained(problem, run.P, run.M).max())
