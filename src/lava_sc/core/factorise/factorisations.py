"""Methods of factorisation by name, in the order in which they are compared; a new one is added to the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lava_sc.core.factorise.amf.restarts import run_many
from lava_sc.core.factorise.nmf import NonNegative
from lava_sc.core.factorise.protocol import Factors

if TYPE_CHECKING:
    import numpy as np

    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.amf.restarts import Runs
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.core.factorise.protocol import Factorisation, RunPlan


def complete_runs(
    problem: Problem,
    n_modules: int,
    rng: np.random.Generator,
    plan: RunPlan,
    n_runs: int,
    *,
    keep_all: bool = False,
) -> Runs:
    """Runs of AMF, see :func:`lava_sc.core.factorise.amf.restarts.run_many`.

    Raises
    ------
    KeyboardInterrupt
        If they were interrupted: some are of no use to what compares all.
    """
    found = run_many(
        problem,
        n_modules,
        plan.options,
        init=plan.init,
        n_runs=n_runs,
        rng=rng,
        n_jobs=plan.n_jobs,
        client=plan.client,
        keep_all=keep_all,
    )
    if found.interrupted:
        raise KeyboardInterrupt
    return found


class AdaptiveMaximum:
    """AMF from independent starts."""

    def fit(
        self, problem: Problem, n_modules: int, rng: np.random.Generator, plan: RunPlan, n_runs: int
    ) -> list[Factors]:
        """Runs of AMF, side by side."""
        runs = complete_runs(problem, n_modules, rng, plan, n_runs, keep_all=True).runs
        return [
            Factors(run.M, run.quality, run.co_presence, run.seconds, run.converged)
            for run in runs
            if run.M is not None
        ]

    def most_passes(self, options: FitOptions) -> int:
        """Epochs."""
        return options.max_epochs


FACTORISATIONS: Final[dict[str, Factorisation]] = {"AMF": AdaptiveMaximum(), "NMF": NonNegative()}
