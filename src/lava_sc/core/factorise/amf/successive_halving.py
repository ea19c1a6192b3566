"""A start from pilots: several factorisations of a sample of the pairs, fitted for a while; the best goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit
from scipy import sparse

from lava_sc.core.factorise.amf.fit import fit
from lava_sc.core.factorise.amf.loss import quality
from lava_sc.core.factorise.amf.presences import refit_presences, sample_pairs
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import restrict
from lava_sc.core.interpret.similarity import row_norms

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.problem import Problem

MOST_PAIRS: Final = 6_000
_EPOCHS: Final = 15
_LEARNING_RATE: Final = 1e-2
_ITERATIONS: Final = 40  # of NMF
_POWER: Final = 0.75


def nmf_start(
    problem: Problem, n_modules: int, options: FitOptions, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The best of several short fits (eight by default) that begin at non-negative matrix factorisations.

    On a sample of the pairs, every pilot is fitted for 15 epochs and its presences are refitted; the better half goes on
    likewise until one is left. Its modules are then extended to the pairs outside of the sample.

    Returns
    -------
    P (ℓ, M) and M (M, J′) float32 in [0, 1].
    """
    pairs, _ = sample_pairs(problem, MOST_PAIRS, rng)
    part = problem if len(pairs) == problem.n_columns else restrict(problem, pairs)
    pilots = [factorised(part, n_modules, rng) for _ in range(options.n_pilots)]
    while len(pilots) > 1:
        pilots = [_fitted(part, P, M, options, rng) for P, M in pilots]
        losses = [quality(part, P, M, nu=options.nu, gamma=options.gamma).loss for P, M in pilots]
        pilots = [pilots[k] for k in np.argsort(losses, kind="stable")[: len(pilots) // 2]]
    P, M = pilots[0]
    return P, (M if part is problem else _extended(problem, P, M, pairs))


def factorised(problem: Problem, n_modules: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Non-negative matrix factorisation of |C| from a random start, scaled to presences and modules.

    Localities are divided by the power 3/4 of their norm: with 1/2 squared errors would add up as the terms of Equation 6
    do, which a few strongly correlated localities decide; with 1 all localities would count the same.
    """
    from sklearn.decomposition import NMF

    seed = int(rng.integers(2**31))
    P = np.zeros((problem.n_localities, n_modules), dtype=np.float32)
    C = problem.absolute()
    norms = row_norms(C)
    correlated = np.flatnonzero(norms)
    if len(correlated) == 0:
        return P, np.zeros((n_modules, problem.n_columns), dtype=np.float32)
    scales = norms[correlated] ** _POWER
    scaled = sparse.csr_matrix(sparse.diags(1 / scales) @ C[correlated], dtype=np.float32)
    # Without a tolerance it does not warn that it has not converged, which it need not
    model = NMF(n_modules, init="random", random_state=seed, max_iter=_ITERATIONS, tol=0)
    # The error of an exact factorisation can come out as the root of a rounding error below 0
    with np.errstate(invalid="ignore"):
        W = model.fit_transform(scaled) * scales[:, None]
    largest = W.max(axis=0)
    P[correlated] = np.divide(W, largest, out=np.zeros_like(W), where=largest > 0)
    return P, np.clip(model.components_ * largest[:, None], 0, 1).astype(np.float32)


def _fitted(
    part: Problem, P: FloatArray, M: FloatArray, options: FitOptions, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """After some epochs, and with the presences that suit these modules."""
    short = replace(options, learning_rate=_LEARNING_RATE, max_epochs=_EPOCHS, patience=_EPOCHS + 1)
    found = fit(cpu_engines(part), part, P, M, short, rng)
    return refit_presences(part, found.P, found.M, nu=options.nu, gamma=options.gamma, rng=rng), found.M


def _extended(problem: Problem, P: FloatArray, M: FloatArray, pairs: IntArray) -> FloatArray:
    """Modules over all pairs: where they are not known, least squares over the localities that each dominates."""
    strongest = np.where(P.max(axis=1, keepdims=True) > P, 0, P)
    energy = np.maximum((strongest**2).sum(axis=0), np.finfo(np.float32).tiny)
    sums = np.zeros((P.shape[1], problem.n_columns), dtype=np.float32)
    _add_rows(problem.data, problem.indices, problem.indptr, strongest / energy, sums)
    extended: FloatArray = np.clip(sums, 0, 1)
    extended[:, pairs] = M
    return extended


@njit(nogil=True, cache=True)
def _add_rows(data, indices, indptr, weights, sums):  # type: ignore[no-untyped-def]
    """Σ_i weight_im · |C_ij|, row by row, so that C is read once and never copied."""
    for i in range(len(weights)):
        for m in range(len(sums)):
            if weights[i, m] != 0:
                for k in range(indptr[i], indptr[i + 1]):
                    sums[m, indices[k]] += weights[i, m] * abs(data[k])
