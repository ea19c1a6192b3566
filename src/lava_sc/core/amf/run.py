"""One run of AMF: a start, the fit with presences refitted on the way, the canonical form."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.amf.fit import fit
from lava_sc.core.amf.loss import quality
from lava_sc.core.amf.refit import refit_presences
from lava_sc.core.amf.starts import STARTS
from lava_sc.core.summary import PRESENT_ABOVE, co_presence

if TYPE_CHECKING:
    from collections.abc import Callable

    from lava_sc._types import FloatArray
    from lava_sc.core.amf.engine import EngineFactory
    from lava_sc.core.amf.fit import Options
    from lava_sc.core.amf.loss import Quality
    from lava_sc.core.amf.target import Target

_EPOCHS_BETWEEN_REFITS: Final = 30
_FINER: Final = 0.3  # of the learning rate, once presences are refitted: a smaller step ends at a lower loss


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes
    ----------
    seed
        Of the run's generator.
    P, M
        (ℓ, M) and (M, J′) float32 in canonical form, dead modules removed; ``None`` where they were let go of.
    n_modules
        M, dead modules not counted.
    quality
        Of these P and M.
    co_presence
        Mean entropy of the presences of a locality, in bits.
    n_epochs
        Epochs until the run stopped.
    converged
        Whether the stopping rule ended it.
    seconds
        Wall time.
    """

    seed: int
    P: FloatArray | None
    M: FloatArray | None
    n_modules: int
    quality: Quality
    co_presence: float
    n_epochs: int
    converged: bool
    seconds: float


def canonical(P: FloatArray, M: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same reconstruction with every module scaled to a largest value of 1, in the order of their total presence.

    Presences take up the scale, hence stay in [0, 1]: a presence is the module's strongest reconstructed correlation in
    that locality. Dead modules are left out, but for the strongest one when all are.
    """
    peaks = np.maximum(M.max(axis=1), np.finfo(np.float32).tiny)
    strongest = P.max(axis=0) * peaks
    alive = strongest > PRESENT_ABOVE
    alive[np.argmax(strongest)] = True
    P, M = P[:, alive] * peaks[alive], M[alive] / peaks[alive, None]
    order = np.argsort(-P.sum(axis=0, dtype=np.float64), kind="stable")
    return np.ascontiguousarray(P[:, order]), np.ascontiguousarray(M[order])


def one_run(
    engines: EngineFactory,
    target: Target,
    n_modules: int,
    options: Options,
    *,
    init: str,
    seed: int,
    on_epoch: Callable[[float], None] | None = None,
) -> Run:
    """From a start to the end of the fit, presences refitted on the way as often as the options say."""
    began, rng = time.perf_counter(), np.random.default_rng(seed)
    P, M = STARTS[init](target, n_modules, options, rng)
    warming = replace(options, max_epochs=_EPOCHS_BETWEEN_REFITS, patience=_EPOCHS_BETWEEN_REFITS + 1)
    n_refits = min(options.n_refits, (options.max_epochs - 1) // _EPOCHS_BETWEEN_REFITS)
    for _ in range(n_refits):
        warmed = fit(engines, target, P, M, warming, rng, on_epoch)
        P, M = refit_presences(target, warmed.P, warmed.M, nu=options.nu, gamma=options.gamma, rng=rng), warmed.M
    n_epochs = n_refits * _EPOCHS_BETWEEN_REFITS
    finishing = replace(
        options,
        learning_rate=options.learning_rate * (_FINER if n_refits else 1),
        max_epochs=options.max_epochs - n_epochs,
    )
    found = fit(engines, target, P, M, finishing, rng, on_epoch)
    P, M = canonical(found.P, found.M)
    return Run(
        seed,
        P,
        M,
        len(M),
        quality(target, P, M, nu=options.nu, gamma=options.gamma),
        co_presence(P),
        n_epochs + len(found.losses),
        found.converged,
        time.perf_counter() - began,
    )
