"""Minibatch Adam with clamping, and its stopping rule (paper, A.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.amf.kernels import adam_step
from lava_sc.core.amf.loss import batch_gradient, batch_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from lava_sc._types import FloatArray
    from lava_sc.core.amf.target import Target

_BETA1: Final = 0.9
_BETA2: Final = 0.999


@dataclass(frozen=True)
class Options:
    """Arguments of a fit; the defaults of everything but the learning rate are the paper's."""

    nu: float = 9.0
    gamma: float = 1e-4
    batch_size: int = 64
    learning_rate: float = 1e-2
    tol: float = 0.01
    patience: int = 100
    max_epochs: int = 10_000


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
    """

    P: FloatArray
    M: FloatArray
    losses: FloatArray
    converged: bool


class StoppingRule:
    """Stop when the loss has not improved on its reference by more than ``tol`` (relative) in ``patience`` epochs."""

    def __init__(self, tol: float, patience: int) -> None:
        self._tol = tol
        self._patience = patience
        self._reference: float | None = None
        self._waited = 0

    def __call__(self, loss: float) -> bool:
        """Whether to stop after an epoch with this loss."""
        if self._reference is None or loss < self._reference * (1 - self._tol):
            self._reference, self._waited = loss, 0
        else:
            self._waited += 1
        return self._waited >= self._patience


class _Adam:
    """Moments of one parameter matrix."""

    def __init__(self, values: FloatArray) -> None:
        self._values = values
        self._first = np.zeros_like(values)
        self._second = np.zeros_like(values)
        self._step = 0

    def step(self, gradient: FloatArray, learning_rate: float) -> None:
        self._step += 1
        step_size = np.float32(learning_rate / (1 - _BETA1**self._step))
        correction = np.float32(np.sqrt(1 - _BETA2**self._step))
        adam_step(self._values, gradient, self._first, self._second, step_size, correction)


def fit(
    target: Target,
    P: FloatArray,
    M: FloatArray,
    options: Options,
    rng: np.random.Generator,
    on_epoch: Callable[[float], None] | None = None,
) -> Fit:
    """Minimise the loss from a start.

    Parameters
    ----------
    target
        What to factorise.
    P, M
        Start, (ℓ, M) and (M, J′) in [0, 1]; not changed.
    options
        See :class:`Options`.
    rng
        Shuffles the localities into batches, anew each epoch.
    on_epoch
        Called with every epoch's loss.
    """
    P, M = np.array(P, dtype=np.float32), np.array(M, dtype=np.float32)
    optimisers = _Adam(P), _Adam(M)
    g_M, g_P = np.empty_like(M), np.empty_like(P)
    stop = StoppingRule(options.tol, options.patience)
    best, stopped = (P.copy(), M.copy()), False
    losses: list[float] = []
    while not stopped and len(losses) < options.max_epochs:
        loss = 0.0
        order = rng.permutation(target.n_localities)
        for start in range(0, len(order), options.batch_size):
            rows = order[start : start + options.batch_size]
            batch = batch_loss(target, rows, P, M, nu=options.nu, gamma=options.gamma)
            g_P[:] = 0  # as plain Adam does: presences outside the batch still move by their momentum
            g_P[rows] = batch_gradient(target, rows, P, M, batch, nu=options.nu, gamma=options.gamma, g_M=g_M)
            optimisers[0].step(g_P, options.learning_rate)
            optimisers[1].step(g_M, options.learning_rate)
            loss += batch.loss
        if not losses or loss < min(losses):
            np.copyto(best[0], P)
            np.copyto(best[1], M)
        losses.append(loss)
        stopped = stop(loss)
        if on_epoch is not None:
            on_epoch(loss)
    return Fit(*best, np.array(losses), converged=stopped)
