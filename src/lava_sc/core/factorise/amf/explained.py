"""Share of the correlations that each module accounts for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from lava_sc.core.factorise.engines.cpu_kernels import raise_to

if TYPE_CHECKING:
    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.problem import Problem


def explained(problem: Problem, P: FloatArray, M: FloatArray) -> FloatArray:
    """Part of Σ C² that each module accounts for, (M,) float64.

    A locality's reconstruction, at the scale that suits it best, accounts for (C·Ĉ)² / ‖Ĉ‖² = ‖C‖²·cos²(C, Ĉ) of its ‖C‖². A
    module's part in it is that of the pairs in which it is the maximum, in proportion to C·Ĉ. The scale of presences
    does not matter, as it does not for the cosine of Equation 6; overestimated pairs do, through ‖Ĉ‖.
    """
    parts = np.zeros(len(M))
    _add_explained(problem.data, problem.indices, problem.indptr, P, M, parts)
    return parts


@njit(nogil=True, cache=True)
def _add_explained(data, indices, indptr, P, M, parts):  # type: ignore[no-untyped-def]
    hat = np.empty(M.shape[1], dtype=np.float32)
    shares = np.empty(len(M))
    for i in range(len(P)):
        hat[:] = 0
        for m in range(len(M)):
            if P[i, m] > 0:
                raise_to(P[i, m], M[m], hat)
        square = _square(hat)
        if square == 0:
            continue
        shares[:] = 0
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if hat[j] > 0:
                shares[_winner(P[i], M, j, hat[j])] += abs(data[k]) * hat[j]
        for m in range(len(M)):
            parts[m] += shares.sum() * shares[m] / square


@njit(nogil=True, cache=True)
def _winner(presence, M, j, largest):  # type: ignore[no-untyped-def]
    for m in range(len(M)):
        if presence[m] * M[m, j] == largest:
            return m
    return 0


@njit(nogil=True, cache=True)
def _square(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for value in values:
        total += np.float64(value) * np.float64(value)
    return total
