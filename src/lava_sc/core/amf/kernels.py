"""The loss of a batch of localities and its gradient, fused, in two passes over blocks of columns.

The (rows × modules × pairs) tensor of Equation 5 is never formed: a worker holds one row of one block at a time. Blocks
are fixed and their sums are added in a fixed order, so the numbers do not depend on the number of workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

from lava_sc.core.amf.target import BLOCK

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.amf.target import Target

#: Row sums of :func:`row_sums`: Σ w²C², Σ w²CĈ, Σ w²Ĉ², Σ |C − Ĉ|, Σ max(Ĉ − C, 0).
CC, CH, HH, ABSOLUTE, OVER = range(5)
_FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(nogil=True, cache=True)
def _load_row(data, indices, start, stop, first, c):  # type: ignore[no-untyped-def]
    """Spread one row's entries of a block into a dense buffer."""
    c[:] = 0
    for k in range(start, stop):
        c[indices[k] - first] = data[k]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _reconstruct(presence, modules, hat, winner):  # type: ignore[no-untyped-def]
    """Equation 3 for one row and block; ties go to the lowest module index."""
    width = len(hat)
    for j in range(width):
        hat[j] = presence[0] * modules[0, j]
        winner[j] = 0
    for m in range(1, len(presence)):
        p = presence[m]
        if p == 0:
            continue
        for j in range(width):
            product = p * modules[m, j]
            better = product > hat[j]
            hat[j] = product if better else hat[j]
            winner[j] = m if better else winner[j]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add_row(c, hat, nu2, sums):  # type: ignore[no-untyped-def]
    cc = ch = hh = absolute = over = 0.0
    for j in range(len(hat)):
        error = hat[j] - c[j]
        w2 = nu2 if error > 0 else np.float32(1)
        cc += w2 * c[j] * c[j]
        ch += w2 * c[j] * hat[j]
        hh += w2 * hat[j] * hat[j]
        absolute += abs(error)
        over += max(error, np.float32(0))
    sums[0] = cc
    sums[1] = ch
    sums[2] = hh
    sums[3] = absolute
    sums[4] = over


@njit(nogil=True, cache=True, parallel=True)
def _block_row_sums(data, indices, block_starts, rows, P, M, nu):  # type: ignore[no-untyped-def]
    n_blocks = block_starts.shape[1] - 1
    sums = np.zeros((n_blocks, len(rows), 5))
    nu2 = np.float32(nu * nu)
    for b in prange(n_blocks):
        first = b * BLOCK
        modules = M[:, first : first + BLOCK]
        width = modules.shape[1]
        c = np.empty(width, dtype=np.float32)
        hat = np.empty(width, dtype=np.float32)
        winner = np.empty(width, dtype=np.int32)
        for r in range(len(rows)):
            _load_row(data, indices, block_starts[rows[r], b], block_starts[rows[r], b + 1], first, c)
            _reconstruct(P[rows[r]], modules, hat, winner)
            _add_row(c, hat, nu2, sums[b, r])
    return sums


@njit(nogil=True, cache=True, fastmath=_FAST)
def _slope(c, hat, nu2, a, b, gamma, g):  # type: ignore[no-untyped-def]
    """∂loss/∂Ĉ of one row and block; the mask w is a constant."""
    for j in range(len(hat)):
        error = hat[j] - c[j]
        w2 = nu2 if error > 0 else np.float32(1)
        sign = np.float32(error > 0) - np.float32(error < 0)
        g[j] = w2 * (b * hat[j] - a * c[j]) + gamma * sign


@njit(nogil=True, cache=True, fastmath=_FAST)
def _scatter(g, winner, presence, modules, g_modules, g_presence):  # type: ignore[no-untyped-def]
    """The gradient flows only through the winning module of each entry."""
    for j in range(len(g)):
        m = winner[j]
        g_modules[m, j] += g[j] * presence[m]
        g_presence[m] += g[j] * modules[m, j]


@njit(nogil=True, cache=True, parallel=True)
def block_gradients(data, indices, block_starts, rows, P, M, nu, slopes, gamma, g_M):  # type: ignore[no-untyped-def]
    """Gradient with respect to M, into ``g_M``, and to the batch's presences, a part for each block.

    Parameters
    ----------
    data, indices, block_starts
        The target.
    rows
        (B,) localities of the batch.
    P, M
        (ℓ, M) and (M, J′) float32.
    nu
        Weight of overestimation.
    slopes
        (B, 2) float32, see :func:`cosine_slopes`.
    gamma
        Weight of the mean absolute error, divided by the number of pairs.
    g_M
        (M, J′) float32, overwritten.

    Returns
    -------
    (n_blocks, B, M) float64.
    """
    n_blocks = block_starts.shape[1] - 1
    g_P = np.zeros((n_blocks, len(rows), P.shape[1]))
    nu2 = np.float32(nu * nu)
    for b in prange(n_blocks):
        first = b * BLOCK
        modules = M[:, first : first + BLOCK]
        g_modules = g_M[:, first : first + BLOCK]
        g_modules[:] = 0
        width = modules.shape[1]
        c = np.empty(width, dtype=np.float32)
        hat = np.empty(width, dtype=np.float32)
        g = np.empty(width, dtype=np.float32)
        winner = np.empty(width, dtype=np.int32)
        for r in range(len(rows)):
            presence = P[rows[r]]
            _load_row(data, indices, block_starts[rows[r], b], block_starts[rows[r], b + 1], first, c)
            _reconstruct(presence, modules, hat, winner)
            _slope(c, hat, nu2, slopes[r, 0], slopes[r, 1], np.float32(gamma), g)
            _scatter(g, winner, presence, modules, g_modules, g_P[b, r])
    return g_P


def row_sums(target: Target, rows: IntArray, P: FloatArray, M: FloatArray, nu: float) -> FloatArray:
    """Sums over all pairs of each row, (B, 5) float64; see ``CC`` … ``OVER``."""
    C = target.C
    parts = _block_row_sums(C.data, C.indices, target.block_starts, rows, P, M, nu)
    return np.asarray(parts.sum(axis=0))


@njit(nogil=True, cache=True, parallel=True)
def adam_step(values, gradient, first, second, step_size, second_correction):  # type: ignore[no-untyped-def]
    """One step of Adam in place (β₁ = 0.9, β₂ = 0.999, ε = 1e-8), then clamping to [0, 1]."""
    n_rows, n_columns = values.shape
    n_blocks = (n_columns + BLOCK - 1) // BLOCK
    for b in prange(n_blocks):
        for m in range(n_rows):
            for j in range(b * BLOCK, min(n_columns, (b + 1) * BLOCK)):
                g = gradient[m, j]
                first[m, j] = np.float32(0.9) * first[m, j] + np.float32(0.1) * g
                second[m, j] = np.float32(0.999) * second[m, j] + np.float32(0.001) * g * g
                denominator = np.sqrt(second[m, j]) / second_correction + np.float32(1e-8)
                value = values[m, j] - step_size * first[m, j] / denominator
                values[m, j] = min(max(value, np.float32(0)), np.float32(1))
