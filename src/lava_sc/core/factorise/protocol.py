"""A method of factorisation: finds modules and says how well they reproduce the correlations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lava_sc.core.interpret.summary import module_entropies

if TYPE_CHECKING:
    from distributed import Client

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.amf.loss import Quality
    from lava_sc.core.factorise.problem import Problem


@dataclass(frozen=True)
class Factors:
    """One run of one method.

    Attributes
    ----------
    modules
        (M, J′) float32, each scaled to a largest value of 1.
    quality
        Its figures, of the method's own reconstruction.
    co_presence
        Mean entropy of the presences of a locality, in bits.
    seconds
        Wall time.
    converged
        Whether its stopping rule ended it.
    """

    modules: FloatArray
    quality: Quality
    co_presence: float
    seconds: float
    converged: bool

    @property
    def module_entropy(self) -> float:
        """Mean entropy of its modules, in bits; NaN when none has any correlation."""
        bits = module_entropies(self.modules)
        return float(bits[~np.isnan(bits)].mean()) if not np.isnan(bits).all() else float("nan")


@dataclass(frozen=True)
class RunPlan:
    """Options, start and workers of all fits of one call.

    Attributes
    ----------
    options
        Of AMF; other methods take ν and γ from it, with which the AMF loss of their result is computed.
    init
        Start of AMF, one of :data:`lava_sc.core.factorise.amf.starts.STARTS`.
    n_jobs
        Number of threads; changes no number.
    client
        Works at the fits instead of threads.
    """

    options: FitOptions
    init: str
    n_jobs: int | None = None
    client: Client | None = None


class Factorisation(Protocol):
    """A method of factorisation."""

    def fit(
        self, problem: Problem, n_modules: int, rng: np.random.Generator, plan: RunPlan, n_runs: int
    ) -> list[Factors]:
        """Runs from independent starts, whose seeds the generator draws."""

    def most_passes(self, options: FitOptions) -> int:
        """Passes over the correlations after which a run ends, converged or not."""
