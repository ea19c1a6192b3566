"""Several runs of AMF from different starts, the best of them in canonical form."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from lava_sc.core._parallel import progress, resolve_n_jobs
from lava_sc.core.amf.fit import fit
from lava_sc.core.amf.loss import quality
from lava_sc.core.amf.starts import STARTS
from lava_sc.core.summary import PRESENT_ABOVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lava_sc._types import FloatArray
    from lava_sc.core.amf.fit import Options
    from lava_sc.core.amf.loss import Quality
    from lava_sc.core.amf.target import Target


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes
    ----------
    P, M
        (ℓ, M) and (M, J′) float32 in canonical form, dead modules removed.
    quality
        Of these P and M.
    n_epochs
        Epochs until the run stopped.
    converged
        Whether the stopping rule ended it.
    seconds
        Wall time.
    """

    P: FloatArray
    M: FloatArray
    quality: Quality
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


@contextmanager
def numba_threads(n_jobs: int | None, n_blocks: int) -> Iterator[None]:
    """Let numba use as many threads as there is work for, and put its setting back."""
    before = numba.get_num_threads()
    available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # set at import time
    numba.set_num_threads(max(1, min(resolve_n_jobs(n_jobs), available, n_blocks)))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def run_many(
    target: Target,
    n_modules: int,
    options: Options,
    *,
    init: str,
    n_runs: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> list[Run]:
    """Runs from independent starts, in the order of their seeds."""
    threads = numba_threads(n_jobs, target.block_starts.shape[1] - 1)
    with threads, progress(desc=f"AMF, {n_modules} modules", total=n_runs) as bar:
        runs = []
        for child in rng.spawn(n_runs):
            began = time.perf_counter()
            P, M = STARTS[init](target, n_modules, child)
            found = fit(
                target, P, M, options, child, on_epoch=lambda loss: bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            )
            P, M = canonical(found.P, found.M)
            measured = quality(target, P, M, nu=options.nu, gamma=options.gamma)
            runs.append(Run(P, M, measured, len(found.losses), found.converged, time.perf_counter() - began))
            bar.update()
    return runs
