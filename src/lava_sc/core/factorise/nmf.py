"""AMF beside non-negative matrix factorisation, by the same figures (paper, B.8)."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.factorise.amf.loss import quality_of_sums
from lava_sc.core.factorise.amf.restarts import run_many
from lava_sc.core.factorise.amf.run import canonical
from lava_sc.core.factorise.engines.protocol import ABSOLUTE, CC, CH, HH, N_SUMS, OVER
from lava_sc.core.interpret.summary import co_presence, module_entropies
from lava_sc.parallel.threads import thread_map

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.amf.loss import Quality
    from lava_sc.core.factorise.problem import Problem

#: Updates of NMF at most; it ends sooner once ten of them gain less than 1e-4 of the first error, scikit-learn's tolerance.
MAX_UPDATES: Final = 2_000
_ENTRIES_AT_ONCE: Final = 2**21  # of the reconstruction by NMF


@dataclass(frozen=True)
class Factorised:
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


def by_amf(
    problem: Problem,
    n_modules: int,
    options: FitOptions,
    *,
    init: str,
    n_runs: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> list[Factorised]:
    """Runs of AMF, see :func:`lava_sc.core.factorise.amf.restarts.run_many`.

    Raises
    ------
    KeyboardInterrupt
        If they were interrupted: half a comparison is none.
    """
    found = run_many(problem, n_modules, options, init=init, n_runs=n_runs, rng=rng, n_jobs=n_jobs, keep_all=True)
    if found.interrupted:
        raise KeyboardInterrupt
    return [
        Factorised(run.M, run.quality, run.co_presence, run.seconds, run.converged)
        for run in found.runs
        if run.M is not None
    ]


def by_nmf(
    problem: Problem, n_modules: int, options: FitOptions, *, n_runs: int, rng: np.random.Generator, n_jobs: int | None
) -> list[Factorised]:
    """Runs of scikit-learn's NMF with the Kullback-Leibler divergence from random starts, as in the paper's B.8.

    ν and γ of the options only weigh the AMF loss that is computed of the result. Components are scaled as modules are,
    to a largest value of 1, and left out when they nowhere reconstruct more than 0.01.
    """
    from sklearn.exceptions import ConvergenceWarning

    seeds = [int(seed) for seed in rng.integers(2**31, size=n_runs)]
    C = problem.absolute()
    # Warnings are a setting of the whole process, so they are silenced around all threads and not in each
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return thread_map(
            lambda seed: _one_nmf(problem, C, n_modules, options, seed), seeds, n_jobs=n_jobs, desc="runs of NMF"
        )


def _one_nmf(problem: Problem, C: sparse.csr_matrix, n_modules: int, options: FitOptions, seed: int) -> Factorised:
    from sklearn.decomposition import NMF

    began = time.perf_counter()
    model = NMF(
        n_modules,
        init="random",
        solver="mu",
        beta_loss="kullback-leibler",
        max_iter=MAX_UPDATES,
        random_state=seed,
    )
    with np.errstate(invalid="ignore"):  # a divergence of 0 can come out below it
        W = model.fit_transform(C)
    W, H = canonical(W, model.components_)
    quality = quality_of_sum(problem, W, H, nu=options.nu, gamma=options.gamma)
    seconds = time.perf_counter() - began
    return Factorised(H, quality, co_presence(W), seconds, model.n_iter_ < MAX_UPDATES)


def quality_of_sum(problem: Problem, W: FloatArray, H: FloatArray, *, nu: float, gamma: float) -> Quality:
    """What :func:`lava_sc.core.factorise.amf.loss.quality` says of a reconstruction by the largest product, of one by their sum, W·H.

    Parameters
    ----------
    problem
        What was factorised.
    W, H
        (ℓ, M) and (M, J′), not negative.
    nu, gamma
        ν and γ of the loss.
    """
    weighted, plain = (np.empty((problem.n_localities, N_SUMS)) for _ in range(2))
    C, step = problem.absolute(), max(1, _ENTRIES_AT_ONCE // max(problem.n_columns, 1))
    for k in range(0, problem.n_localities, step):
        rows = slice(k, k + step)
        c, hat = C[rows].toarray(), W[rows] @ H
        weighted[rows], plain[rows] = (_row_sums(c, hat, weight) for weight in (nu, 1.0))
    return quality_of_sums(problem, weighted, plain, gamma=gamma)


def _row_sums(c: FloatArray, hat: FloatArray, nu: float) -> FloatArray:
    """See :meth:`lava_sc.core.factorise.engines.protocol.Engine.row_sums`, of dense rows."""
    errors = hat - c
    w2 = np.where(errors > 0, nu * nu, 1.0)
    sums = np.empty((len(c), N_SUMS))
    for column, (a, b) in {CC: (c, c), CH: (c, hat), HH: (hat, hat)}.items():
        sums[:, column] = np.einsum("ij,ij,ij->i", w2, a, b, dtype=np.float64)
    sums[:, ABSOLUTE] = np.abs(errors).sum(axis=1, dtype=np.float64)
    sums[:, OVER] = np.maximum(errors, 0).sum(axis=1, dtype=np.float64)
    return sums
