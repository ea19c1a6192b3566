"""Search for the weight of the mean absolute error that brings reconstructions to the scale of the correlations (paper, A.3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.factorise.amf.restarts import run_many

if TYPE_CHECKING:
    from distributed import Client

    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.amf.restarts import Callback
    from lava_sc.core.factorise.amf.run import Run
    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.io.checkpoint import Checkpoint

#: Values of γ that are tried, two to a decade.
GAMMAS: Final = tuple(float(f"{gamma:.2g}") for gamma in np.logspace(-4, 2, 13))
_N_RUNS: Final = 3


@dataclass(frozen=True)
class Sweep:
    """The values of γ that were tried.

    Attributes
    ----------
    gammas
        In rising order, up to the first that meets the problem.
    runs
        The best run with each.
    target
        Overestimation ratio to be met.
    met
        Whether the last of them meets it.
    """

    gammas: list[float]
    runs: list[Run]
    target: float
    met: bool

    @property
    def chosen(self) -> int:
        """Position of the value to take: the first that meets the target or, if none does, that which comes closest."""
        return len(self.gammas) - 1 if self.met else int(np.argmin([run.quality.overestimation for run in self.runs]))


def sweep_gamma(
    problem: Problem,
    n_modules: int,
    options: FitOptions,
    *,
    rng: np.random.Generator,
    init: str,
    n_jobs: int | None = None,
    engines: EngineFactory | None = None,
    callback: Callback | None = None,
    checkpoint: Checkpoint | None = None,
    client: Client | None = None,
) -> Sweep:
    """Raise γ until the overestimation ratio is at most that which ν implies.

    With errors weighted ν to 1, overestimation is to make up τ = 1 / (1 + ν) of the error, as in quantile regression
    (paper, Equation S4). The paper raises γ until the ratio falls to about there (Figure S2).

    Parameters
    ----------
    problem, n_modules, options, init, n_jobs, engines, callback, client
        See :func:`lava_sc.core.factorise.amf.restarts.run_many`; of each γ the best of three runs counts, from the same seeds for all.
    rng
        Draws these seeds.
    checkpoint
        Keeps the states of the runs.

    Raises
    ------
    KeyboardInterrupt
        If the user stopped it.
    """
    seed, tau = int(rng.integers(2**63)), 1 / (1 + options.nu)
    gammas: list[float] = []
    runs: list[Run] = []
    for gamma in GAMMAS:
        tried = replace(options, gamma=gamma)
        found = run_many(
            problem,
            n_modules,
            tried,
            init=init,
            n_runs=_N_RUNS,
            rng=np.random.default_rng(seed),
            n_jobs=n_jobs,
            engines=engines,
            callback=callback,
            checkpoint=None if checkpoint is None else checkpoint.part(f"gamma_{gamma:g}"),
            client=client,
        )
        if found.interrupted:
            raise KeyboardInterrupt
        gammas.append(gamma)
        runs.append(replace(found.runs[found.best], P=None, M=None))
        if runs[-1].quality.overestimation <= tau:
            return Sweep(gammas, runs, tau, met=True)
    return Sweep(gammas, runs, tau, met=False)
