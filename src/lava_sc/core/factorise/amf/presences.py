"""Presences that minimise each locality's own loss (paper, Equation 6), the modules fixed: coordinate descent over a grid.

During a fit the grid alone is enough (:func:`refit_presences`): a presence of 0 gets no gradient, so that a descent by itself
never brings one back. Presences of modules that were made elsewhere (:func:`project_presences`) have no fit that follows, and
are settled by smaller and smaller steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit
from scipy import sparse

from lava_sc.core.factorise.engines.cpu_kernels import raise_to
from lava_sc.core.factorise.problem import BLOCK, make_problem, restrict, row_norms, widen
from lava_sc.parallel.threads import quiet_thread_map, split

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.problem import Problem

#: Presences that are tried: finer where they are small, since a product with a module changes by their ratio.
GRID: Final = np.array([0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1], dtype=np.float32)
#: Pairs and sweeps where no fit follows that would settle what a sample leaves open.
MOST_PAIRS: Final = 20_000
SWEEPS: Final = 5
_LEAST_GAIN: Final = 1e-6  # of a locality's weight, more than its sums are off by in float32
_FIRST_STEP, _LAST_STEP = 0.2, 1e-3  # relative changes of a presence
_MOST_ROUNDS: Final = 200
_FAST = {"reassoc", "contract", "arcp", "nsz"}


def refit_presences(
    problem: Problem,
    P: FloatArray,
    M: FloatArray,
    *,
    nu: float,
    gamma: float,
    rng: np.random.Generator,
    most_pairs: int = 2000,
    sweeps: int = 2,
    n_jobs: int | None = 1,
) -> FloatArray:
    """Lower each locality's own loss (paper, Equation 6) over its presences, the modules fixed.

    Coordinate descent, on a sample of the pairs: module by module, the best value of :data:`GRID` takes the place of a
    presence if the locality's loss falls. The sums over the sample estimate those over all pairs without bias.

    Parameters
    ----------
    problem
        What is factorised.
    P, M
        (ℓ, M) and (M, J′) float32 in [0, 1]; not changed.
    nu, gamma
        Weights of overestimation and of the mean absolute error.
    rng
        Draws the pairs.
    most_pairs
        How many pairs are drawn; all are taken where there are no more.
    sweeps
        How often each locality's modules are gone through, unless nothing changes any more.
    n_jobs
        Number of threads; changes no number.

    Returns
    -------
    (ℓ, M) float32.
    """
    sample = Sample(problem, *sample_pairs(problem, most_pairs, rng))
    return Descent(sample, nu, gamma, n_jobs).over_grid(P, M, sweeps=sweeps)


def with_pairs_of(C: sparse.csr_matrix, modules: sparse.csr_matrix) -> tuple[Problem, FloatArray]:
    """Problem that given modules are held against, and the modules (M, J′) float32, over all pairs that either has.

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
    descent = Descent(sample, nu, gamma, n_jobs)
    none = np.zeros((problem.n_localities, len(M)), dtype=np.float32)
    alone = np.hstack([descent.over_grid(none[:, [m]], M[[m]], sweeps=1) for m in range(len(M))])
    (P, losses), (P_other, others) = (
        descent.settled(descent.over_grid(start, M, sweeps=SWEEPS), M) for start in (alone, none)
    )
    return np.where((others < losses)[:, None], P_other, P).astype(np.float32)


@dataclass(frozen=True)
class Sample:
    """Some pairs of a problem, from which sums over all of a locality's are estimated.

    Attributes
    ----------
    problem
        All pairs.
    pairs
        Columns of the problem, ascending.
    scales
        1 / √π of each.
    """

    problem: Problem
    pairs: IntArray
    scales: FloatArray

    @cached_property
    def layout(self) -> tuple[FloatArray, IntArray, IntArray, FloatArray, FloatArray]:
        """Correlations of these pairs by locality, the localities' weights, and the scales."""
        part = self.problem if len(self.pairs) == self.problem.n_columns else restrict(self.problem, self.pairs)
        return part.data, part.indices, part.indptr, self.problem.locality_weights, self.scales

    def modules(self, M: FloatArray) -> FloatArray:
        """Modules over these pairs, scaled by 1 / √π.

        C and Ĉ compare as before, and a product of two of them counts as often as it should.
        """
        return M.take(self.pairs, axis=1) * self.scales  # rows stay contiguous, which indexing does not leave them


@dataclass(frozen=True)
class Descent:
    """Coordinate descent of presences on a sample of the pairs.

    Attributes
    ----------
    sample
        The pairs.
    nu, gamma
        Weights of overestimation and of the mean absolute error.
    n_jobs
        Number of threads; changes no number.
    """

    sample: Sample
    nu: float
    gamma: float
    n_jobs: int | None

    def over_grid(self, P: FloatArray, M: FloatArray, *, sweeps: int) -> FloatArray:
        """Presences (ℓ, M) float32 after some sweeps over :data:`GRID`."""
        layout, modules = self.sample.layout, self.sample.modules(M)
        found = np.array(P, dtype=np.float32, order="C")

        def refit(rows: IntArray) -> None:
            _refit_rows(*layout, modules, GRID, *self._weights, sweeps, rows[0], rows[-1] + 1, found)

        quiet_thread_map(refit, split(len(P)), n_jobs=self.n_jobs)
        return found

    def settled(self, P: FloatArray, M: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Presences (ℓ, M) after smaller and smaller steps, and the loss of each locality (ℓ,), float64."""
        layout, modules = self.sample.layout, self.sample.modules(M)
        found, losses = P.astype(np.float64), np.empty(len(P))

        def settle(rows: IntArray) -> None:
            _settle_rows(*layout, modules, *self._weights, rows[0], rows[-1] + 1, found, losses)

        quiet_thread_map(settle, split(len(P)), n_jobs=self.n_jobs)
        return found, losses

    @property
    def _weights(self) -> tuple[float, float]:
        return self.nu * self.nu, self.gamma / self.sample.problem.n_pairs


def sample_pairs(
    problem: Problem, most_pairs: int, rng: np.random.Generator, modules: FloatArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Some columns of the problem (rising), drawn so that sums over a locality can be told from them, and their scales.

    The probability π of a pair is as the root of Σ_i C_ij² / ‖C_i‖², so that no locality goes unheard; a scale is 1 / √π.
    Systematic sampling of the pairs in a random order: each is drawn with exactly its π, and as many as these add up to.

    Parameters
    ----------
    problem
        Correlations.
    most_pairs
        How many to draw; all are taken where there are no more.
    rng
        Draws them.
    modules
        (M, J′) modules that were not made from the problem, and may hold pairs that correlate nowhere in it: these count like
        further localities.
    """
    if problem.n_columns <= most_pairs:
        return np.arange(problem.n_columns), np.ones(problem.n_columns, dtype=np.float32)
    shares = _shares(problem.data, problem.indices, problem.indptr, problem.n_columns)
    if modules is not None:
        squares = modules.astype(np.float64) ** 2
        shares += (squares / np.maximum(squares.sum(axis=1, keepdims=True), np.finfo(float).tiny)).sum(axis=0)
    probability = _inclusion(np.sqrt(shares), most_pairs)
    order = rng.permutation(problem.n_columns)
    passed = np.minimum(np.cumsum(probability[order]), most_pairs) + rng.random()
    drawn = np.sort(order[np.diff(np.floor(passed), prepend=0) > 0])
    return drawn, (1 / np.sqrt(probability[drawn])).astype(np.float32)


def _inclusion(sizes: FloatArray, n: int) -> FloatArray:
    """Probabilities by size, at most 1, that add up to ``n`` (or to the number of sizes above 0, if that is less)."""
    certain = np.zeros(len(sizes), dtype=bool)
    while True:
        total = sizes[~certain].sum()
        probability = np.where(certain, 1, sizes * ((n - certain.sum()) / total if total > 0 else 0))
        if not (probability > 1).any():
            return probability
        certain |= probability > 1


@njit(nogil=True, cache=True)
def _shares(data, indices, indptr, n_columns):  # type: ignore[no-untyped-def]
    """Σ_i C_ij² / ‖C_i‖², (J′,) float64."""
    shares, norms = np.zeros(n_columns), row_norms(data, indptr)
    for i in range(len(norms)):
        for k in range(indptr[i], indptr[i + 1]):
            if norms[i] > 0:
                shares[indices[k]] += (data[k] / norms[i]) ** 2
    return shares


@njit(nogil=True, cache=True)
def _refit_rows(  # type: ignore[no-untyped-def]
    data, indices, indptr, weights, scales, modules, grid, nu2, mae, sweeps, first, last, P
):
    """Presences of rows ``first`` to ``last``, in place; see :func:`refit_presences`."""
    c, rest = np.empty(modules.shape[1], dtype=np.float32), np.empty(modules.shape[1], dtype=np.float32)
    pairs = np.empty((4, modules.shape[1]), dtype=np.float32)
    for i in range(first, last):
        _spread_row(data, indices, indptr[i], indptr[i + 1], scales, c)
        for _ in range(sweeps):
            moved = False
            for m in range(len(modules)):
                _without(P[i], modules, m, rest)
                presence = _best_presence(P[i, m], c, rest, modules[m], scales, grid, weights[i], nu2, mae, pairs)
                moved |= presence != P[i, m]
                P[i, m] = presence
            if not moved:
                break


@njit(nogil=True, cache=True)
def _spread_row(data, indices, start, stop, scales, c):  # type: ignore[no-untyped-def]
    """Scaled |C_i| over all sampled pairs."""
    c[:] = 0
    for k in range(start, stop):
        c[indices[k]] = abs(data[k]) * scales[indices[k]]


@njit(nogil=True, cache=True)
def _without(presence, modules, left_out, rest):  # type: ignore[no-untyped-def]
    """Reconstruction by all modules but one."""
    rest[:] = 0
    for m in range(len(modules)):
        if m != left_out and presence[m] > 0:
            raise_to(presence[m], modules[m], rest)


@njit(nogil=True, cache=True)
def _best_presence(present, c, rest, module, scales, grid, weight, nu2, mae, pairs):  # type: ignore[no-untyped-def]
    """One of the grid, or the present one; ``pairs`` (4, J′) is room."""
    n_raised = _raised_first(c, rest, module, scales, pairs)
    settled = np.zeros(4)
    _add_pairs(pairs, n_raised, len(c), present, np.float32(nu2), settled)
    lowest, best = _row_loss(pairs, n_raised, present, settled, weight, nu2, mae), present
    for presence in grid:
        loss = _row_loss(pairs, n_raised, presence, settled, weight, nu2, mae)
        if loss < lowest - _LEAST_GAIN * weight:
            lowest, best = loss, presence
    return best


@njit(nogil=True, cache=True)
def _raised_first(c, rest, module, scales, pairs):  # type: ignore[no-untyped-def]
    """Pairs that a presence of 1 raises, most often few, to the front, the others to the back; the number of the former."""
    front, back = 0, len(c)
    for j in range(len(c)):
        raised = module[j] > rest[j]
        back -= not raised
        at = front if raised else back
        pairs[0, at], pairs[1, at], pairs[2, at], pairs[3, at] = c[j], rest[j], module[j], scales[j]
        front += raised
    return front


@njit(nogil=True, cache=True)
def _row_loss(pairs, n_raised, presence, settled, weight, nu2, mae):  # type: ignore[no-untyped-def]
    """Loss of a locality with one presence, those of the other modules given."""
    sums = settled.copy()
    _add_pairs(pairs, 0, n_raised, presence, np.float32(nu2), sums)
    norms = np.sqrt(sums[0] * sums[2])
    return weight * (1 - (sums[1] / norms if norms > 0 else 0.0)) + mae * sums[3]


@njit(nogil=True, cache=True)
def _add_pairs(pairs, start, stop, presence, nu2, sums):  # type: ignore[no-untyped-def]
    for first in range(start, stop, BLOCK):
        _add_block(pairs[0], pairs[1], pairs[2], pairs[3], first, min(first + BLOCK, stop), presence, nu2, sums)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add_block(c, rest, module, scales, start, stop, presence, nu2, sums):  # type: ignore[no-untyped-def]
    """Σ w²C², Σ w²CĈ, Σ w²Ĉ² and Σ |C − Ĉ|: float32 within a block, float64 over them."""
    cc = ch = hh = absolute = np.float32(0)
    for j in range(start, stop):
        product = presence * module[j]
        hat = product if product > rest[j] else rest[j]
        w2 = nu2 if hat > c[j] else np.float32(1)
        cc += w2 * c[j] * c[j]
        ch += w2 * c[j] * hat
        hh += w2 * hat * hat
        absolute += scales[j] * abs(hat - c[j])
    sums[0] += cc
    sums[1] += ch
    sums[2] += hh
    sums[3] += absolute


@njit(nogil=True, cache=True)
def _settle_rows(data, indices, indptr, weights, scales, modules, nu2, mae, first, last, P, losses):  # type: ignore[no-untyped-def]
    c = np.empty(modules.shape[1], dtype=np.float64)
    for i in range(first, last):
        _spread_row(data, indices, indptr[i], indptr[i + 1], scales, c)
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


@njit(nogil=True, cache=True, fastmath=_FAST)
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
