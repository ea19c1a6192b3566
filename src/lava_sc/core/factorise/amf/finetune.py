"""Presences for given modules such that a chosen share τ of every locality's error is overestimation (paper, A.3.1).

With M fixed the localities are independent. For one of them, with correlations c ≥ 0 and Ĉ_j = max_m p_m·M_mj, let

    over = Σ_j max(Ĉ_j − c_j, 0),  under = Σ_j max(c_j − Ĉ_j, 0),  overestimation ratio = over / (over + under),

over all pairs, also those in which no module takes part. The pinball loss at level q (Equation S3) is
q·under + (1 − q)·over. Its minimiser at q = τ does not have the ratio τ: what is τ there, for one module, is the share of its
weight M_mj on overestimated pairs, not that of the errors; and for several modules, Ĉ being a maximum, the loss is not
convex, and its minimiser may pass over τ however q changes. What is solved is therefore stated in the errors themselves:

    minimise under(p)  subject to  over(p) / (over(p) + under(p)) ≤ τ,  0 ≤ p ≤ 1,  and then over(p).

Of all presences with at most τ of their error above, these miss least. Scaling presences up raises ``over`` and lowers
``under``, so the ratio is τ exactly, unless modules have nothing left to recover at that price. Among presences with ratio τ
these minimise the pinball loss at every level, since there each is a multiple of the total error; for one module they
are its minimiser among all presences, at a level of the locality's own.

For τ ≤ 1/2 the constraint reads Σ_j max((1 − τ)e_j, τe_j) ≤ τ·Σ_outside c_j, with e = Ĉ − c over the modules' pairs. The left
side is convex and rises with p, so Newton's method finds exactly where a ray reaches the ratio τ. What is left
is to find the ray. A pattern search changes one presence at a time and scales the others so that the ratio stays τ. There are
local optima, so it has several starts, more of them where pairs are few; the tests compare it with mixed-integer programming
on small problems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from lava_sc.core.factorise.engines.cpu_kernels import raise_to
from lava_sc.parallel.threads import thread_map

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray

_FAST = {"reassoc", "contract", "arcp", "nsz"}
_COARSE: Final = 1e-2  # relative step at which the search from a start ends
_FINE: Final = 1e-6  # and from the best of these
_BETTER: Final = 1 - 1e-9
_NEWTON_STEPS: Final = 60
_MOST_SWEEPS: Final = 500  # 211 were the most on digits, MNIST and five single-cell data sets
_MOST_STARTS: Final = 28
_EFFORT: Final = 1 << 21  # numbers of M times random starts: small problems have more local optima, and cost little
_EXACT: Final = 1e-4  # below this share of the correlations an error is not much more than the rounding of presences


@dataclass(frozen=True)
class FineTuned:
    """Presences and what they get wrong.

    Attributes
    ----------
    presences
        (ℓ, M) float32.
    errors_before, errors
        (ℓ, 2) float64, Σ max(Ĉ − C, 0) and Σ max(C − Ĉ, 0) of each locality, with the given presences and with these.
    totals
        (ℓ,) Σ C.
    """

    presences: FloatArray
    errors_before: FloatArray
    errors: FloatArray
    totals: FloatArray

    def ratios(self, errors: FloatArray) -> FloatArray:
        """Overestimation ratio of each locality, (ℓ,); 0 where as good as nothing is wrong."""
        total = errors.sum(axis=1)
        return np.divide(errors[:, 0], total, out=np.zeros_like(total), where=total > _EXACT * self.totals)


def finetune(
    C: sparse.csr_matrix, M: sparse.csr_matrix, P: FloatArray, *, tau: float, n_jobs: int | None = None
) -> FineTuned:
    """Presences that miss least among those with at most τ of the error above; see the module.

    Parameters
    ----------
    C
        (ℓ, J) signed or absolute correlations.
    M
        (M, J) modules, in [0, 1].
    P
        (ℓ, M) presences, one of the starts of the search.
    tau
        Overestimation ratio τ, above 0 and at most 1/2.
    n_jobs
        Number of threads, all cores when ``None``; changes no number.
    """
    columns = np.unique(M.indices)
    dense = M[:, columns].toarray().astype(np.float64)

    def one(i: int) -> tuple[FloatArray, FloatArray]:
        entries = slice(C.indptr[i], C.indptr[i + 1])
        c, outside = _spread(C.data[entries], C.indices[entries], columns)
        before = P[i].astype(np.float64)
        found = _locality(dense, c, outside, before, tau).astype(np.float32)
        errors = ((p[:, None] * dense).max(axis=0, initial=0) - c for p in (before, found.astype(np.float64)))
        sums = [(np.maximum(e, 0).sum(), np.maximum(-e, 0).sum() + outside) for e in errors]
        return found, np.array([*sums, (c.sum() + outside, 0)])

    parts = thread_map(one, range(C.shape[0]), n_jobs=n_jobs, desc="presences")
    sums = np.array([part[1] for part in parts])
    return FineTuned(np.stack([part[0] for part in parts]), sums[:, 0], sums[:, 1], sums[:, 2, 0])


def _spread(values: FloatArray, indices: IntArray, columns: IntArray) -> tuple[FloatArray, float]:
    """Absolute correlations of a locality in the modules' pairs, (n,) float64, and the sum of all others."""
    values = np.abs(values.astype(np.float64))
    c = np.zeros(len(columns))
    at = np.searchsorted(columns, indices)
    inside = np.append(columns, -1)[at] == indices
    c[at[inside]] = values[inside]
    return c, float(values[~inside].sum())


def _locality(M: FloatArray, c: FloatArray, outside: float, p: FloatArray, tau: float) -> FloatArray:
    """Presences of one locality, (M,); modules that share no pair with it are absent."""
    overlap = M @ c
    fit = np.flatnonzero(overlap > 0)
    found = np.zeros(len(M))
    if len(fit):
        cosine = overlap[fit] / np.sqrt((M[fit] ** 2).sum(axis=1) * (c * c).sum())
        M, c = _merged(M[fit], c)
        found[fit] = _best(M, c, outside, tau, _starts(p[fit], cosine, M.size), np.zeros((4, len(c))))
    return found


def _merged(M: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Merge the pairs that are 0 and in one module only into one pair of that module; the problem stays the same."""
    n_modules = (M > 0).sum(axis=0)
    alone = (n_modules == 1) & (c == 0)
    kept = np.flatnonzero((n_modules > 0) & ~alone)
    merged = np.concatenate([M[:, kept], np.diag(M @ alone)], axis=1)
    return merged, np.concatenate([c[kept], np.zeros(len(M))])


def _starts(p: FloatArray, cosine: FloatArray, size: int) -> FloatArray:
    """Directions to start from, (starts, M): all modules alike, those given, by similarity, and random ones."""
    if len(p) == 1:
        return np.ones((1, 1))  # there is one ray only
    rng = np.random.default_rng(0)
    shape = min(max(_EFFORT // size, 1), _MOST_STARTS), len(p)
    return np.concatenate([np.ones((1, len(p))), [p], [cosine], rng.random(shape) * (rng.random(shape) < 0.5)])


@njit(nogil=True, cache=True)
def _best(M, c, outside, tau, starts, work):  # type: ignore[no-untyped-def]
    """The best local optimum that the starts lead to, refined; ``work`` (4, n) is overwritten."""
    best, least = starts[0].copy(), np.inf
    for s in range(len(starts)):
        p = starts[s].copy()
        under = _search(M, c, outside, tau, p, 1.0, _COARSE, work)
        if under < least * _BETTER:
            best, least = p, under
    least = _search(M, c, outside, tau, best, 4 * _COARSE, _FINE, work)
    return _spared(M, c, outside, tau, best, least, work)


@njit(nogil=True, cache=True)
def _search(M, c, outside, tau, p, first, last, work):  # type: ignore[no-untyped-def]
    """Pattern search in place: raise or lower one presence at a time, the others following. Returns ``under``."""
    under = _scale(M, c, outside, tau, p, work)
    steps = np.full(len(p), first)
    for _ in range(_MOST_SWEEPS):
        if steps.max() <= last:
            break
        for m in range(len(p)):
            if steps[m] <= last:
                continue
            limit = _others(M, p, m, work)
            t, value, least = 1.0, p[m], under * _BETTER
            size = p[m] if p[m] > 0 else 1.0
            for step in (steps[m], -steps[m]):
                v = min(max(p[m] + step * size, 0.0), 1.0)
                found, missed = _to_ratio(work, M[m], c, outside, tau, v, limit, least)
                if missed < least:
                    t, value, least = found, v, missed
            if value == p[m]:
                steps[m] /= 2
                continue
            _follow(p, t)
            p[m], under = value, least
            if t >= limit:  # a presence reached 1: the others may still rise
                under = _scale(M, c, outside, tau, p, work)
            for k in range(len(p)):
                steps[k] = max(steps[k], steps[m] / 4)
            steps[m] = min(2 * steps[m], 1.0)
    return under


@njit(nogil=True, cache=True)
def _scale(M, c, outside, tau, p, work):  # type: ignore[no-untyped-def]
    """Scale presences in place to ratio τ, those that reach 1 staying there. Returns ``under``."""
    under = 0.0
    for _ in range(len(p) + 1):
        limit = _others(M, p, -1, work)
        t, under = _to_ratio(work, work[3], c, outside, tau, 0.0, limit, np.inf)
        _follow(p, t)
        if t < limit or limit <= 1:
            break
    return under


@njit(nogil=True, cache=True)
def _follow(p, t):  # type: ignore[no-untyped-def]
    for m in range(len(p)):
        if p[m] < 1 or t < 1:
            p[m] = p[m] * t if p[m] * t < 1 - 1e-12 else 1.0


@njit(nogil=True, cache=True)
def _others(M, p, m, work):  # type: ignore[no-untyped-def]
    """Reconstruct by all modules but ``m``, into ``work``: all of them, those below 1, those at 1.

    Returns by how much those below 1 can be scaled, 1 when there are none.
    """
    work[:3] = 0
    top = 0.0
    for k in range(len(p)):
        if k == m or p[k] == 0:
            continue
        if p[k] < 1:
            top = max(top, p[k])
        raise_to(p[k], M[k], work[1 if p[k] < 1 else 2])
    for j in range(work.shape[1]):
        work[0, j] = max(work[1, j], work[2, j])
    return 1 / top if top > 0 else 1.0


@njit(nogil=True, cache=True)
def _to_ratio(work, module, c, outside, tau, v, limit, least):  # type: ignore[no-untyped-def]
    """By which factor, at most ``limit``, the other presences are scaled for ratio τ when ``module`` has presence ``v``.

    Returns it and ``under``, infinite where ``v`` alone overestimates too much, or ``under`` is not below ``least``.
    """
    moving, still, t = work[0], work[3], 1.0
    excess, slope, under = _excess(moving, still, module, c, outside, tau, t, v)
    exact = 1e-12 * under
    if abs(excess) <= exact or (excess < 0 and limit <= 1):
        return t, under
    if excess < 0:
        moving, still = work[1], work[2]  # presences of 1 stay
        _, slope, _ = _excess(moving, still, module, c, outside, tau, t, v)
        t = limit if slope * (limit - 1) <= -excess else 1 - excess / slope
        excess, slope, under = _excess(moving, still, module, c, outside, tau, t, v)
    for _ in range(_NEWTON_STEPS):  # from the right, where no step goes too far
        if excess <= exact:
            break
        if slope <= 0 or under >= least or t * slope < excess:
            return t, np.inf
        t -= excess / slope
        excess, slope, under = _excess(moving, still, module, c, outside, tau, t, v)
    return t, under


@njit(nogil=True, cache=True)
def _excess(moving, still, module, c, outside, tau, t, v):  # type: ignore[no-untyped-def]
    """(1 − τ)·over − τ·under, which is convex in t, its slope, and ``under``."""
    over, under, d_over, d_under = _errors(moving, still, module, c, t, v)
    under += outside
    return (1 - tau) * over - tau * under, (1 - tau) * d_over + tau * d_under, under


@njit(nogil=True, cache=True, fastmath=_FAST)
def _errors(moving, still, module, c, t, v):  # type: ignore[no-untyped-def]
    """Over- and underestimation of max(t·moving, still, v·module), and their slopes in t: up and down."""
    over = under = d_over = d_under = 0.0
    for j in range(len(c)):
        scaled, rest = t * moving[j], max(still[j], v * module[j])
        error = max(scaled, rest) - c[j]
        positive = max(error, 0.0)
        over += positive
        under += positive - error
        won = moving[j] if scaled > rest else 0.0
        won_over = won if error > 0 else 0.0
        d_over += won_over
        d_under += won - won_over
    return over, under, d_over, d_under


@njit(nogil=True, cache=True)
def _spared(M, c, outside, tau, p, least, work):  # type: ignore[no-untyped-def]
    """Lower presences as far as nothing that is there is lost, and use what this allows if it recovers anything."""
    for m in range(len(p) - 1, -1, -1):
        _others(M, p, m, work)
        p[m] = _needed(work[0], M[m], p[m], c)
    spared = p.copy()
    under = _scale(M, c, outside, tau, p, work)
    return p if under < least * _BETTER else spared


@njit(nogil=True, cache=True)
def _needed(others, module, presence, c):  # type: ignore[no-untyped-def]
    """The lowest presence with which a module still recovers what it now does beyond the others."""
    needed = 0.0
    for j in range(len(c)):
        wanted = min(c[j], presence * module[j])
        if wanted > others[j]:
            needed = max(needed, min(wanted / module[j], presence))
    return needed
