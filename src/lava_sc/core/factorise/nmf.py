"""Non-negative matrix factorisation, measured by the same figures as AMF (paper, B.8)."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.factorise.amf.loss import quality_of_sums
from lava_sc.core.factorise.amf.run import canonical
from lava_sc.core.factorise.engines.protocol import ABSOLUTE, CC, CH, HH, N_SUMS, OVER
from lava_sc.core.factorise.protocol import Factors
from lava_sc.core.interpret.summary import co_presence
from lava_sc.parallel.threads import thread_map

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.amf.loss import Quality
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.core.factorise.protocol import RunPlan

#: Updates of NMF at most; it ends sooner once ten of them gain less than 1e-4 of the first error, scikit-learn's tolerance.
MAX_UPDATES: Final = 2_000
_ENTRIES_AT_ONCE: Final = 2**21  # of the reconstruction by NMF


class NonNegative:
    """scikit-learn's NMF with the Kullback-Leibler divergence from random starts, as in the paper's B.8.

    Components are scaled as modules are, to a largest value of 1, and left out when they nowhere reconstruct more than 0.01.
    """

    def fit(
        self, problem: Problem, n_modules: int, rng: np.random.Generator, plan: RunPlan, n_runs: int
    ) -> list[Factors]:
        """Runs of NMF, side by side."""
        from sklearn.exceptions import ConvergenceWarning

        seeds = [int(seed) for seed in rng.integers(2**31, size=n_runs)]
        C = problem.absolute()
        # Warnings are a setting of the whole process, so they are silenced around all threads and not in each
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return thread_map(
                lambda seed: _one_run(problem, C, n_modules, plan.options, seed),
                seeds,
                n_jobs=plan.n_jobs,
                desc="runs of NMF",
            )

    def most_passes(self, options: FitOptions) -> int:  # noqa: ARG002
        """Updates."""
        return MAX_UPDATES


def _one_run(problem: Problem, C: sparse.csr_matrix, n_modules: int, options: FitOptions, seed: int) -> Factors:
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
    return Factors(H, quality, co_presence(W), seconds, model.n_iter_ < MAX_UPDATES)


def quality_of_sum(problem: Problem, W: FloatArray, H: FloatArray, *, nu: float, gamma: float) -> Quality:
    """Figures of :func:`lava_sc.core.factorise.amf.loss.quality` for a reconstruction by the sum W·H of the products.

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
