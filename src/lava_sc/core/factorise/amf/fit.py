"""Minibatch Adam with clamping, and its stopping rule (paper, A.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_sc.core.factorise.amf.loss import batch_loss
from lava_sc.core.factorise.amf.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.engines.protocol import Engine, EngineFactory
    from lava_sc.core.factorise.problem import Problem


@dataclass(frozen=True)
class FitOptions:
    """Arguments of a fit; the paper's are ``learning_rate=1e-3``, ``patience=100`` and ``n_refits=0`` with the others as they are here.

    The pilots are those of :func:`lava_sc.core.factorise.amf.successive_halving.nmf_start`.
    """

    nu: float = 9.0
    gamma: float = 1e-4
    batch_size: int = 64
    learning_rate: float = 1e-2
    tol: float = 0.01
    patience: int = 20
    max_epochs: int = 10_000
    n_refits: int = 1
    n_pilots: int = 8


@dataclass(frozen=True)
class Fit:
    """Result of one run.

    Attributes
    ----------
    P, M
        (ℓ, M) and (M, J′) float32 at the end of the epoch with the lowest loss.
    losses
        (n_epochs,) float64, each the sum over the epoch's batches, every batch before its step.
    converged
        Whether the stopping rule ended the run, rather than ``max_epochs``.
    stopped
        Whether the caller ended it.
    """

    P: FloatArray
    M: FloatArray
    losses: FloatArray
    converged: bool
    stopped: bool = False


class Stop(Exception):  # noqa: N818 - no error
    """Raised by a caller's ``on_epoch`` to end a fit with what it has."""


class StoppingRule:
    """Stop when the loss has not improved on its reference by more than ``tol`` (relative) in ``patience`` epochs."""

    def __init__(self, tol: float, patience: int) -> None:
        self._tol = tol
        self._patience = patience
        self._reference: float | None = None
        self._waited = 0

    @property
    def met(self) -> bool:
        """Tell whether it has been told to stop."""
        return self._waited >= self._patience

    def __call__(self, loss: float) -> bool:
        """Tell whether to stop after an epoch with this loss."""
        if self._reference is None or loss < self._reference * (1 - self._tol):
            self._reference, self._waited = loss, 0
        else:
            self._waited += 1
        return self.met

    def state(self) -> dict[str, float | None]:
        """State of the rule."""
        return {"reference": self._reference, "waited": self._waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember what another one did."""
        self._reference, self._waited = state["reference"], state["waited"]


def fit(
    engines: EngineFactory,
    problem: Problem,
    P: FloatArray,
    M: FloatArray,
    options: FitOptions,
    rng: np.random.Generator,
    on_epoch: Callable[[float], None] | None = None,
    record: Record | None = None,
) -> Fit:
    """Minimise the loss from a start.

    Parameters
    ----------
    engines
        Makes the engine that computes it.
    problem
        What to factorise.
    P, M
        Start, (ℓ, M) and (M, J′) in [0, 1]; not changed.
    options
        See :class:`Options`.
    rng
        Shuffles the localities into batches, anew each epoch.
    on_epoch
        Called with every epoch's loss. If it raises :class:`Stop`, the fit ends there as if by ``max_epochs``, and says so.
    record
        Keeps the state of the fit, and may hold one to go on from. The numbers are those of a fit that was not interrupted.
    """
    record = Record() if record is None else record
    descent, stopped = Descent(engines(P, M), problem, options, rng), False
    record.begin(descent)
    while not (descent.ended or stopped):
        loss = descent.epoch()
        try:
            if on_epoch is not None:
                on_epoch(loss)
        except Stop:
            stopped = True
        record.after_epoch(descent, last=stopped)
    return replace(descent.result(), stopped=stopped)


class Descent:
    """A fit between two epochs, whose state can be saved and taken up again."""

    def __init__(self, engine: Engine, problem: Problem, options: FitOptions, rng: np.random.Generator) -> None:
        self._engine, self._problem, self._options, self._rng = engine, problem, options, rng
        self._stop = StoppingRule(options.tol, options.patience)
        self._losses: list[float] = []

    @property
    def ended(self) -> bool:
        """Tell whether there is no epoch to follow."""
        return self._stop.met or len(self._losses) >= self._options.max_epochs

    def epoch(self) -> float:
        """Go through all localities once, and return the loss."""
        loss = _epoch(self._engine, self._problem, self._rng.permutation(self._problem.n_localities), self._options)
        if not self._losses or loss < min(self._losses):
            self._engine.keep()
        self._losses.append(loss)
        self._stop(loss)
        return loss

    def result(self) -> Fit:
        """The best epoch so far."""
        return Fit(*self._engine.kept(), np.array(self._losses), converged=self._stop.met)

    def state(self) -> tuple[dict[str, Any], Mapping[str, NDArray[Any]]]:
        """Plain values and arrays that decide on how it goes on."""
        facts = {"rng": self._rng.bit_generator.state, "stop": self._stop.state(), "losses": self._losses}
        return facts, self._engine.state()

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state, which is that of a fit of the same sizes and options."""
        self._rng.bit_generator.state = facts["rng"]
        self._stop.restore(facts["stop"])
        self._losses = list(facts["losses"])
        self._engine.restore(arrays)


def _epoch(engine: Engine, problem: Problem, order: IntArray, options: FitOptions) -> float:
    loss, mae_slope = 0.0, options.gamma / problem.n_pairs
    for start in range(0, len(order), options.batch_size):
        rows = order[start : start + options.batch_size]
        weights = problem.locality_weights[rows]
        sums = engine.row_sums(rows, options.nu)
        batch = batch_loss(sums, weights, n_pairs=problem.n_pairs, gamma=options.gamma)
        engine.descend(rows, batch.slopes, nu=options.nu, mae_slope=mae_slope, learning_rate=options.learning_rate)
        loss += batch.loss
    return loss
