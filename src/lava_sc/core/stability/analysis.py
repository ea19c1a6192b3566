"""An analysis that can be made again: correlations and modules of other localities, in data and in null data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from lava_sc.core.factorise.amf.restarts import share_threads
from lava_sc.core.factorise.amf.run import one_run
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import make_problem, over_all_pairs
from lava_sc.core.stability.resampling import average_module
from lava_sc.parallel.tasks import map_tasks
from lava_sc.parallel.threads import limit_blas_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import IntArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.core.factorise.protocol import RunPlan
    from lava_sc.core.nulls.null_data import NullData


@dataclass(frozen=True)
class FittedModules:
    """Modules of a run.

    Attributes
    ----------
    modules
        (M, J) CSR float32, over all pairs; a row of zeros where there was no correlation.
    average
        (1, J) CSR float64, presence-weighted average.
    loss
        Of the run.
    """

    modules: sparse.csr_matrix
    average: sparse.csr_matrix
    loss: float


@dataclass(frozen=True)
class Analysis:
    """The stored analysis, to be repeated.

    Attributes
    ----------
    null
        Data, stored localities and null data.
    C, stored, modules
        Stored correlations, also laid out for the fits, and modules.
    overlap
        Of the stored localities.
    n_modules, min_localities, plan
        How modules were found.
    null_seeds
        A seed for each null data set.
    """

    null: NullData
    C: sparse.csr_matrix
    stored: Problem
    modules: sparse.csr_matrix
    overlap: float
    n_modules: int
    min_localities: int
    plan: RunPlan
    null_seeds: Sequence[int]

    def correlations(self, members: IntArray) -> sparse.csr_matrix:
        """C of other localities."""
        return self.null.real(members)

    def null_correlations(self, members: IntArray, C: sparse.csr_matrix, k: int) -> sparse.csr_matrix:
        """C of these localities in a null data set; ``C`` is that of the data."""
        return self.null.moved(members, C).correlations(self.null_seeds[k])

    def problem(self, C: sparse.csr_matrix) -> Problem:
        """Lay correlations out for the fit."""
        return make_problem(C, min_localities=self.min_localities)

    def fit(self, jobs: Sequence[tuple[Problem, int]]) -> list[FittedModules]:
        """A run for each problem and seed, side by side."""
        plan = self.plan
        _, threads = share_threads(plan.n_jobs, len(jobs), max(problem.n_blocks for problem, _ in jobs))
        start = self.n_modules, plan.options, plan.init, threads if plan.client is None else 1
        tasks, names = [(problem, (*start, seed)) for problem, seed in jobs], [f"run {k}" for k in range(len(jobs))]
        with limit_blas_threads():
            return list(map_tasks(_fit, tasks, names, n_jobs=plan.n_jobs, client=plan.client))


def _fit(problem: Problem, start: tuple[int, FitOptions, str, int, int]) -> FittedModules:
    n_modules, options, init, threads, seed = start
    if problem.n_columns == 0:
        nothing = sparse.csr_matrix((1, problem.n_pairs))
        return FittedModules(nothing, nothing, np.inf)
    n_modules = min(n_modules, problem.n_localities)
    run = one_run(cpu_engines(problem, threads), problem, n_modules, options, init=init, seed=seed)
    assert run.P is not None
    assert run.M is not None
    average = average_module(run.P, run.M)[None]
    return FittedModules(over_all_pairs(run.M, problem), over_all_pairs(average, problem), run.quality.loss)
