"""A start from pilots: several factorisations of a sample of the pairs, fitted for a while; the best goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from lava_sc.core.amf.cpu import cpu_engines
from lava_sc.core.amf.fit import fit
from lava_sc.core.amf.loss import quality
from lava_sc.core.amf.refit import refit_presences, row_norms, sample_pairs
from lava_sc.core.amf.target import restrict

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.amf.fit import Options
    from lava_sc.core.amf.target import Target

_N_PILOTS: Final = 8
_MOST_PAIRS: Final = 6000
_EPOCHS: Final = 15
_LEARNING_RATE: Final = 1e-2
_ITERATIONS: Final = 40  # of the factorisation
_POWER: Final = 0.75
_FAST = {"reassoc", "contract", "arcp", "nsz"}


def nmf_start(
    target: Target, n_modules: int, options: Options, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The best of several short fits that begin at non-negative matrix factorisations.

    On a sample of the pairs, every pilot is fitted for a few epochs and its presences are refitted; the better half goes on
    likewise until one is left. Its modules are then extended to the pairs outside of the sample.

    Returns
    -------
    P (ℓ, M) and M (M, J′) float32 in [0, 1].
    """
    pairs, _ = sample_pairs(target, _MOST_PAIRS, rng)
    part = target if len(pairs) == target.n_columns else restrict(target, pairs)
    pilots = [factorised(part, n_modules, rng) for _ in range(_N_PILOTS)]
    while len(pilots) > 1:
        pilots = [_fitted(part, P, M, options, rng) for P, M in pilots]
        losses = [quality(part, P, M, nu=options.nu, gamma=options.gamma).loss for P, M in pilots]
        pilots = [pilots[k] for k in np.argsort(losses, kind="stable")[: len(pilots) // 2]]
    P, M = pilots[0]
    return P, (M if part is target else _extended(target, P, M, pairs))


def factorised(target: Target, n_modules: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Non-negative matrix factorisation of |C| from a random start, scaled to presences and modules.

    Localities are divided by the power 3/4 of their norm: with 1/2 squared errors would add up as the terms of Equation 6
    do, which a few strongly correlated localities decide; with 1 all localities would count the same.
    """
    C = target.absolute()
    scales = row_norms(C.data, C.indptr) ** _POWER
    C.data *= np.repeat(np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0), np.diff(C.indptr))
    level = np.sqrt(C.sum(dtype=np.float64) / max(n_modules * C.shape[0] * C.shape[1], 1))
    W, H = ((level * np.abs(rng.standard_normal((n, n_modules)))).astype(np.float32) for n in C.shape)
    factorise(C, W, H, _ITERATIONS)
    presences = W * scales[:, None]
    largest = presences.max(axis=0)
    P = np.divide(presences, largest, out=np.zeros_like(presences), where=largest > 0)
    M = np.minimum(H.T * largest[:, None], 1)
    return P.astype(np.float32), np.ascontiguousarray(M, dtype=np.float32)


def factorise(X: sparse.csr_matrix, W: FloatArray, H: FloatArray, iterations: int) -> None:
    """Lower ‖X − W Hᵀ‖ over W (ℓ, M) ≥ 0 and H (J′, M) ≥ 0 in place, float32, by coordinate descent.

    As scikit-learn's NMF does. That calls BLAS, whose sums depend on its threads, and changes settings of the process, which
    runs that are started side by side share.
    """
    sides = (W, H, X), (H, W, X.T.tocsr())
    for _ in range(iterations):
        for factor, other, Y in sides:
            _improve(factor, _products(Y.data, Y.indices, Y.indptr, other), _gram(other))


def _fitted(
    part: Target, P: FloatArray, M: FloatArray, options: Options, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """After some epochs, and with the presences that suit these modules."""
    short = replace(options, learning_rate=_LEARNING_RATE, max_epochs=_EPOCHS, patience=_EPOCHS + 1)
    found = fit(cpu_engines(part), part, P, M, short, rng)
    return refit_presences(part, found.P, found.M, nu=options.nu, gamma=options.gamma, rng=rng), found.M


def _extended(target: Target, P: FloatArray, M: FloatArray, pairs: IntArray) -> FloatArray:
    """Modules over all pairs: where they are not known, least squares over the localities that each dominates."""
    strongest = np.where(P.max(axis=1, keepdims=True) > P, 0, P)
    energy = (strongest.astype(np.float64) ** 2).sum(axis=0)
    shares = np.divide(strongest, energy, out=np.zeros_like(P), where=energy > 0)
    extended = np.zeros((len(M), target.n_columns), dtype=np.float32)
    _add_localities(target.data, target.indices, target.indptr, shares, extended)
    np.minimum(extended, 1, out=extended)
    extended[:, pairs] = M
    return extended


@njit(nogil=True, cache=True)
def _add_localities(data, indices, indptr, shares, modules):  # type: ignore[no-untyped-def]
    """sharesᵀ |C|, added to ``modules``; most shares are 0."""
    for i in range(len(shares)):
        for m in range(len(modules)):
            if shares[i, m] > 0:
                for k in range(indptr[i], indptr[i + 1]):
                    modules[m, indices[k]] += shares[i, m] * abs(data[k])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _improve(factor, products, gram):  # type: ignore[no-untyped-def]
    """Each entry to where its slope is 0, or to 0, the others of its row as they are by then."""
    for r in range(len(factor)):
        for m in range(len(gram)):
            if gram[m, m] > 0:
                slope = -products[r, m]
                for q in range(len(gram)):
                    slope += gram[m, q] * factor[r, q]
                factor[r, m] = max(factor[r, m] - slope / gram[m, m], np.float32(0))


@njit(nogil=True, cache=True, fastmath=_FAST)
def _products(data, indices, indptr, factor):  # type: ignore[no-untyped-def]
    """Y @ factor, of the sparse rows Y."""
    products = np.zeros((len(indptr) - 1, factor.shape[1]), dtype=np.float32)
    for i in range(len(products)):
        for k in range(indptr[i], indptr[i + 1]):
            value, j = data[k], indices[k]
            for m in range(factor.shape[1]):
                products[i, m] += value * factor[j, m]
    return products


@njit(nogil=True, cache=True, fastmath=_FAST)
def _gram(factor):  # type: ignore[no-untyped-def]
    """factorᵀ @ factor."""
    n = factor.shape[1]
    gram = np.zeros((n, n))
    for row in range(len(factor)):
        for m in range(n):
            for q in range(n):
                gram[m, q] += factor[row, m] * factor[row, q]
    return gram.astype(np.float32)
