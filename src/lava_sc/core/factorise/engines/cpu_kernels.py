"""Row sums, gradients and Adam steps over blocks of columns, for :mod:`lava_sc.core.factorise.engines.cpu`.

The (rows × modules × pairs) tensor of Equation 5 is never formed: a worker holds one row of one block at a time, and the
gradient of M for one block, which goes into Adam while it lies in the cache. Blocks are fixed and their sums are added in
a fixed order, so the numbers do not depend on the number of workers. Loops over columns run over contiguous slices of one
row each: that is what the compiler turns into vector instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lava_sc.core.factorise.engines.protocol import BETA1, BETA2, EPSILON
from lava_sc.core.factorise.problem import BLOCK

_SUMMED = 128
_FAST = {"reassoc", "contract", "arcp", "nsz"}
_KEEP1, _ADD1 = np.float32(BETA1), np.float32(1 - BETA1)
_KEEP2, _ADD2 = np.float32(BETA2), np.float32(1 - BETA2)
_EPSILON = np.float32(EPSILON)


@njit(nogil=True, cache=True)
def sum_blocks(data, indices, block_starts, rows, P, M, nu, first, last, sums):  # type: ignore[no-untyped-def]
    """Row sums of blocks ``first`` to ``last`` into ``sums`` (n_blocks, B, 5) float64."""
    nu2 = np.float32(nu * nu)
    c, hat = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    used, peaks = np.empty(len(M), dtype=np.int64), np.empty(len(M), dtype=np.float32)
    for b in range(first, last):
        start, stop = b * BLOCK, min((b + 1) * BLOCK, M.shape[1])
        width = stop - start
        _peaks(M, start, stop, peaks)
        for r in range(len(rows)):
            i = rows[r]
            _load_row(data, indices, block_starts[i, b], block_starts[i, b + 1], start, c[:width])
            n_used = _used_modules(P[i], peaks, 0, used)
            _reconstruct(P[i], M, start, stop, used[:n_used], hat[:width])
            _add_row(c[:width], hat[:width], nu2, sums[b, r])


@njit(nogil=True, cache=True)
def descend_blocks(  # type: ignore[no-untyped-def]
    data, indices, block_starts, rows, slopes, P, M, first_M, second_M, nu, mae_slope, steps, first, last, g_P
):
    """Gradient with respect to blocks ``first`` to ``last`` of M, and one step of Adam on these.

    Parameters
    ----------
    data, indices, block_starts
        The problem.
    rows, slopes, nu, mae_slope
        See :meth:`lava_sc.core.factorise.engines.protocol.Engine.descend`; float32.
    P, M
        (ℓ, M) and (M, J′) float32; M is changed.
    first_M, second_M
        Moments of M, changed.
    steps
        (2,) float32: step size and the correction of the second moment, see :func:`adam`.
    g_P
        (n_blocks, B, M) float64, each block's part of the gradient with respect to the batch's presences is put here.
    """
    nu2 = np.float32(nu * nu)
    c, hat = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    g, g_M = np.empty(BLOCK, dtype=np.float32), np.empty((len(M), BLOCK), dtype=np.float32)
    used, peaks = np.empty(len(M), dtype=np.int64), np.empty(len(M), dtype=np.float32)
    for b in range(first, last):
        start, stop = b * BLOCK, min((b + 1) * BLOCK, M.shape[1])
        width = stop - start
        _peaks(M, start, stop, peaks)
        g_M[:] = 0
        g_P[b] = 0
        for r in range(len(rows)):
            i = rows[r]
            _load_row(data, indices, block_starts[i, b], block_starts[i, b + 1], start, c[:width])
            n_used = _used_modules(P[i], peaks, 1, used)
            _reconstruct(P[i], M, start, stop, used[:n_used], hat[:width])
            _slope(c[:width], hat[:width], nu2, slopes[r, 0], slopes[r, 1], mae_slope, g[:width])
            for k in range(n_used):
                m = used[k]
                g_P[b, r, m] = _share(g[:width], hat[:width], P[i, m], M[m, start:stop], g_M[m, :width])
        for m in range(len(M)):
            adam(M[m, start:stop], g_M[m, :width], first_M[m, start:stop], second_M[m, start:stop], steps)


@njit(nogil=True, cache=True, fastmath=_FAST)
def adam(values, gradient, first, second, steps):  # type: ignore[no-untyped-def]
    """One step of Adam in place, then clamping to [0, 1].

    Parameters
    ----------
    values, gradient, first, second
        (J,) float32: parameters, gradient, moments.
    steps
        (2,) float32: learning rate over 1 − β₁ᵗ, and √(1 − β₂ᵗ).
    """
    for j in range(len(values)):
        g = gradient[j]
        first[j] = _KEEP1 * first[j] + _ADD1 * g
        second[j] = _KEEP2 * second[j] + _ADD2 * g * g
        value = values[j] - steps[0] * first[j] / (np.sqrt(second[j]) / steps[1] + _EPSILON)
        values[j] = min(max(value, np.float32(0)), np.float32(1))


@njit(nogil=True, cache=True)
def _peaks(M, start, stop, peaks):  # type: ignore[no-untyped-def]
    """Largest value of each module in a block: a module that is zero there need not be looked at."""
    for m in range(len(M)):
        peaks[m] = _largest(M[m, start:stop])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _largest(values):  # type: ignore[no-untyped-def]
    largest = np.float32(0)
    for value in values:
        largest = value if value > largest else largest
    return largest


@njit(nogil=True, cache=True)
def _used_modules(presence, peaks, at_least, used):  # type: ignore[no-untyped-def]
    """Modules that reconstruct anything, in order; the first ``at_least`` in any case. Returns their number."""
    n = 0
    for m in range(len(presence)):
        if m < at_least or (presence[m] > 0 and peaks[m] > 0):
            used[n] = m
            n += 1
    return n


@njit(nogil=True, cache=True)
def _load_row(data, indices, start, stop, first, c):  # type: ignore[no-untyped-def]
    """Spread one row's absolute correlations within a block into a dense buffer."""
    c[:] = 0
    for k in range(start, stop):
        c[indices[k] - first] = abs(data[k])


@njit(nogil=True, cache=True)
def _reconstruct(presence, M, start, stop, used, hat):  # type: ignore[no-untyped-def]
    """Equation 3 for one row and block."""
    hat[:] = 0
    for m in used:
        raise_to(presence[m], M[m, start:stop], hat)


@njit(nogil=True, cache=True, fastmath=_FAST)
def raise_to(presence, module, hat):  # type: ignore[no-untyped-def]
    """Reconstruction by one more module, in place: the maximum of ``hat`` and ``presence · module``."""
    for j in range(len(hat)):
        product = presence * module[j]
        hat[j] = product if product > hat[j] else hat[j]


@njit(nogil=True, cache=True)
def _add_row(c, hat, nu2, sums):  # type: ignore[no-untyped-def]
    """Sums in double precision of sums over few columns in single precision."""
    sums[:] = 0
    for start in range(0, len(c), _SUMMED):
        parts = _sums(c[start : start + _SUMMED], hat[start : start + _SUMMED], nu2)
        for k in range(len(parts)):
            sums[k] += parts[k]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _sums(c, hat, nu2):  # type: ignore[no-untyped-def]
    cc = ch = hh = absolute = over = np.float32(0)
    for j in range(len(hat)):
        error = hat[j] - c[j]
        w2 = nu2 if error > 0 else np.float32(1)
        cc += w2 * c[j] * c[j]
        ch += w2 * c[j] * hat[j]
        hh += w2 * hat[j] * hat[j]
        absolute += abs(error)
        over += max(error, np.float32(0))
    return cc, ch, hh, absolute, over


@njit(nogil=True, cache=True, fastmath=_FAST)
def _slope(c, hat, nu2, a, b, mae_slope, g):  # type: ignore[no-untyped-def]
    """∂loss/∂Ĉ of one row and block; the mask w is a constant."""
    for j in range(len(hat)):
        error = hat[j] - c[j]
        w2 = nu2 if error > 0 else np.float32(1)
        side = mae_slope if error > 0 else (-mae_slope if error < 0 else np.float32(0))
        g[j] = w2 * (b * hat[j] - a * c[j]) + side


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "reassoc"})
def _share(g, hat, presence, module, g_module):  # type: ignore[no-untyped-def]
    """Take from ``g`` the slopes of the entries that a module wins, and pass them on to it.

    Modules come in rising order and take what they win away, so that ties go to the lowest, and where nothing is
    reconstructed to module 0. Returns the part of the gradient with respect to the presence.
    """
    total = 0.0
    for j in range(len(g)):
        won = presence * module[j] == hat[j]
        own = g[j] if won else np.float32(0)
        g_module[j] += own * presence
        total += own * module[j]
        g[j] = np.float32(0) if won else g[j]
    return total
