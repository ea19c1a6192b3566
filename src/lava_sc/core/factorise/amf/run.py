"""One run of AMF: a start, the fit with presences refitted on the way, the canonical form."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.factorise.amf.fit import fit
from lava_sc.core.factorise.amf.loss import Quality, quality
from lava_sc.core.factorise.amf.presences import refit_presences
from lava_sc.core.factorise.amf.record import Record
from lava_sc.core.factorise.amf.starts import STARTS
from lava_sc.core.interpret.summary import PRESENT_ABOVE, co_presence

if TYPE_CHECKING:
    from collections.abc import Callable

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.problem import Problem

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
        Wall time, in all processes that had a part in it.
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
    """Scale every module to a largest value of 1, with the same reconstruction, in the order of their total presence.

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
    problem: Problem,
    n_modules: int,
    options: FitOptions,
    *,
    init: str,
    seed: int,
    on_epoch: Callable[[float], None] | None = None,
    record: Record | None = None,
) -> Run:
    """From a start to the end of the fit, presences refitted on the way as often as the options say.

    With a record it goes on from the state that this holds: the last fit that had begun, at the epoch it was in. A start or a
    search of presences that was broken off is made again. A run that ``on_epoch`` stops ends with the best epoch of the fit it is in.
    """
    record = Record() if record is None else record
    if (kept := kept_run(record)) is not None:
        return kept
    rng, descents = np.random.default_rng(seed), _descents(options)
    P, M = _factors(record) or STARTS[init](problem, n_modules, options, rng)
    for stage in range(record.stage, len(descents)):
        if stage > record.stage:
            P, record.stage = refit_presences(problem, P, M, nu=options.nu, gamma=options.gamma, rng=rng), stage
        found = fit(engines, problem, P, M, descents[stage], rng, on_epoch, record)
        P, M = found.P, found.M
        if found.stopped:
            break
    P, M = canonical(P, M)
    run = Run(
        seed,
        P,
        M,
        len(M),
        quality(problem, P, M, nu=options.nu, gamma=options.gamma),
        co_presence(P),
        record.n_epochs,
        found.converged,
        record.seconds,
    )
    if not found.stopped:  # it goes on from its last epoch, not from what became of it
        keep_run(record, run)
    return run


def _factors(record: Record) -> tuple[FloatArray, FloatArray] | None:
    """P and M where the fit stands that is taken up again, ``None`` at the start of a run."""
    return (record.arrays["P"], record.arrays["M"]) if record.facts else None


def _descents(options: FitOptions) -> list[FitOptions]:
    """A fit of some epochs before each time that presences are refitted, and the one that ends the run."""
    warming = replace(options, max_epochs=_EPOCHS_BETWEEN_REFITS, patience=_EPOCHS_BETWEEN_REFITS + 1)
    n_refits = min(options.n_refits, (options.max_epochs - 1) // _EPOCHS_BETWEEN_REFITS)
    finishing = replace(
        options,
        learning_rate=options.learning_rate * (_FINER if n_refits else 1),
        max_epochs=options.max_epochs - n_refits * _EPOCHS_BETWEEN_REFITS,
    )
    return [warming] * n_refits + [finishing]


def kept_run(record: Record) -> Run | None:
    """The run that a record holds, ``None`` if it has not ended."""
    if "run" not in record.facts:
        return None
    figures = dict(record.facts["run"])
    factors = {"P": record.arrays["P"], "M": record.arrays["M"], "quality": Quality(**figures["quality"])}
    return Run(**(figures | factors))


def keep_run(record: Record, run: Run) -> None:
    """Record a run that has ended."""
    assert run.P is not None
    assert run.M is not None
    record.save({"run": asdict(replace(run, P=None, M=None))}, {"P": run.P, "M": run.M})
