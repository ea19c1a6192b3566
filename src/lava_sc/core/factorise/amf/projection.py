"""Presences of modules that were made elsewhere: nothing is known of them, and no descent follows that would settle them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit
from scipy import sparse

from lava_sc.core.factorise.amf.refit import Sample, refit_on, sample_pairs
from lava_sc.core.factorise.engines.cpu_kernels import raise_to
from lava_sc.core.factorise.problem import make_problem, widen
from lava_sc.parallel.threads import quiet_thread_map, split

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.problem import Problem

MOST_PAIRS: Final = 20_000  # that presences are fitted on
_SWEEPS: Final = 5
_FIRST_STEP, _LAST_STEP = 0.2, 1e-3  # relative changes of a presence
_MOST_ROUNDS: Final = 200


def with_pairs_of(C: sparse.csr_matrix, modules: sparse.csr_matrix) -> tuple[Problem, FloatArray]:
    """What given modules are held against, and the modules (M, J′) float32, over all pairs that either has.

    A pair of a module that correlates nowhere counts: the module overestimates it wherever it is present.

    Parameters
    ----------
    C
        (ℓ, J) signed or absolute correlations.
    modules
        (M, J).
    """
    problem = make_problem(C)
    problem = widen(problem, np.union1d(problem.columns, modules.indices))
    M = sparse.csr_matrix(modules[:, problem.columns], dtype=np.float32).toarray()
    return problem, np.ascontiguousarray(M)


def project_presences(
    problem: Problem,
    M: FloatArray,
    *,
    nu: float,
    gamma: float,
    rng: np.random.Generator,
    most_pairs: int = MOST_PAIRS,
    n_jobs: int | None = 1,
) -> FloatArray:
    """Presences at which each locality's own loss (paper, Equation 6) is lowest, the modules fixed; (ℓ, M) float32.

    Coordinate descent over a grid, then smaller and smaller steps of single presences and of all at once; from the best
    presence of each module by itself, and from none, whichever ends lower. The cosine term sees the common
    scale of presences only through what is overestimated; the mean absolute error, which does see it, is so small a part of the
    loss that it takes double precision.

    Parameters
    ----------
    problem, M
        See :func:`with_pairs_of`.
    nu, gamma
        Weights of overestimation and of the mean absolute error.
    rng
        Draws the pairs.
    most_pairs
        How many pairs are drawn; all are taken where there are no more.
    n_jobs
        Number of threads; changes no number.
    """
    sample = Sample(problem, *sample_pairs(problem, most_pairs, rng, M))
    how: dict[str, Any] = {"nu": nu, "gamma": gamma, "n_jobs": n_jobs}
    none = np.zeros((problem.n_localities, len(M)), dtype=np.float32)
    alone = np.hstack([refit_on(sample, none[:, [m]], M[[m]], sweeps=1, **how) for m in range(len(M))])
    (P, losses), (P_other, others) = (_from_start(sample, start, M, **how) for start in (alone, none))
    return np.where((others < losses)[:, None], P_other, P).astype(np.float32)


def _from_start(
    sample: Sample, start: FloatArray, M: FloatArray, *, nu: float, gamma: float, n_jobs: int | None
) -> tuple[FloatArray, FloatArray]:
    """Presences (ℓ, M) and the loss of each locality (ℓ,), float64."""
    P = refit_on(sample, start, M, nu=nu, gamma=gamma, sweeps=_SWEEPS, n_jobs=n_jobs).astype(np.float64)
    layout, modules, losses = sample.layout, sample.modules(M), np.empty(len(P))
    limits = nu * nu, gamma / sample.problem.n_pairs

    def settle(rows: IntArray) -> None:
        _settle_rows(*layout, modules, *limits, rows[0], rows[-1] + 1, P, losses)

    quiet_thread_map(settle, split(len(P)), n_jobs=n_jobs)
    return P, losses


@njit(nogil=True, cache=True)
def _settle_rows(data, indices, indptr, weights, scales, modules, nu2, mae, first, last, P, losses):  # type: ignore[no-untyped-def]
    c = np.empty(modules.shape[1], dtype=np.float64)
    for i in range(first, last):
        c[:] = 0
        for k in range(indptr[i], indptr[i + 1]):
            c[indices[k]] = abs(data[k]) * scales[indices[k]]
        losses[i] = _settle(c, modules, scales, weights[i], nu2, mae, P[i])


@njit(nogil=True, cache=True)
def _settle(c, modules, scales, weight, nu2, mae, presence):  # type: ignore[no-untyped-def]
    """Lower the loss of one locality by smaller and smaller relative steps of its presences, in place; returns it."""
    hat, tried = np.empty(len(c)), np.empty(len(presence))
    lowest, step = _loss(presence, c, modules, scales, weight, nu2, mae, hat), _FIRST_STEP
    for _ in range(_MOST_ROUNDS):
        moved = False
        for m in range(-1, len(presence)):  # -1: all at once
            if m >= 0 and presence[m] == 0:
                continue
            for factor in (1 / (1 + step), 1 + step, 0.0):
                for k in range(len(presence)):
                    tried[k] = min(presence[k] * factor, 1.0) if m in (k, -1) else presence[k]
                loss = _loss(tried, c, modules, scales, weight, nu2, mae, hat)
                if loss < lowest:
                    lowest, moved = loss, True
                    for k in range(len(presence)):
                        presence[k] = tried[k]
        if not moved:
            step /= 2
            if step < _LAST_STEP:
                break
    return lowest


@njit(nogil=True, cache=True)
def _loss(presence, c, modules, scales, weight, nu2, mae, hat):  # type: ignore[no-untyped-def]
    """Loss of one locality; ``hat`` (J′,) is room."""
    hat[:] = 0
    for m in range(len(modules)):
        if presence[m] > 0:
            raise_to(presence[m], modules[m], hat)
    cc, ch, hh, absolute = _sums(c, hat, scales, nu2)
    norms = np.sqrt(cc * hh)
    return weight * (1 - (ch / norms if norms > 0 else 0.0)) + mae * absolute


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def _sums(c, hat, scales, nu2):  # type: ignore[no-untyped-def]
    """Σ w²C², Σ w²CĈ, Σ w²Ĉ² and Σ |C − Ĉ| in double precision."""
    cc = ch = hh = absolute = 0.0
    for j in range(len(c)):
        w2 = nu2 if hat[j] > c[j] else 1.0
        cc += w2 * c[j] * c[j]
        ch += w2 * c[j] * hat[j]
        hh += w2 * hat[j] * hat[j]
        absolute += scales[j] * abs(hat[j] - c[j])
    return cc, ch, hh, absolute
