"""Ranks of the features within one locality, from sparse or dense rows, and which features can be ranked at all.

Ranks are kept *doubled and centred*, 2·rank − (n + 1): with average ranks for ties these are whole numbers that sum to
zero, so sums of their products are exact in floating point and do not depend on the order of cells or genes.
"""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc._types import DataMatrix, FloatArray, IntArray

_WIDEST: Final = {"f": np.float64, "i": np.int64, "u": np.uint64}  # one compiled kernel each, whatever the input
_TIE_SLACK: Final = 1e-9  # keeps e.g. 0.1 · 30 from rounding above 3


def centred_ranks(X: DataMatrix, rows: IntArray, max_tie_fraction: float) -> tuple[IntArray, FloatArray]:
    """Doubled centred ranks of the defined features over some rows.

    Parameters
    ----------
    X
        (E, D) CSR matrix or dense array, finite.
    rows
        (n,) indices of the locality's samples.
    max_tie_fraction
        A feature is defined when no value is shared by more than this fraction of the rows.

    Returns
    -------
    features
        (d,) indices of the defined features, ascending.
    ranks
        (d, n) float64 whole numbers; ties have their average rank.
    """
    features, columns = columns_of_rows(X, rows, max_tie_fraction)
    ranks, max_ties = _rank_columns(columns)
    defined = max_ties <= _largest_tie(len(rows), max_tie_fraction)
    return features[defined], ranks[defined]


def centred_values(X: DataMatrix, rows: IntArray, max_tie_fraction: float) -> tuple[IntArray, FloatArray]:
    """Centred values of the defined features over some rows; like :func:`centred_ranks`, for Pearson's correlation."""
    features, columns = columns_of_rows(X, rows, max_tie_fraction)
    defined = _rank_columns(columns)[1] <= _largest_tie(len(rows), max_tie_fraction)
    values = columns[defined].astype(np.float64)
    return features[defined], values - values.mean(axis=1, keepdims=True)


def defined_features(X: DataMatrix, rows: IntArray, max_tie_fraction: float) -> IntArray:
    """Indices of the features no value of which is shared by more than ``max_tie_fraction`` of the rows."""
    return centred_ranks(X, rows, max_tie_fraction)[0]


def columns_of_rows(X: DataMatrix, rows: IntArray, max_tie_fraction: float) -> tuple[IntArray, NDArray[Any]]:
    """Values (d, n) of the features that are non-zero often enough to be defined; the first, cheap half of the tie rule."""
    features, columns = _gather(X, rows, len(rows) - _largest_tie(len(rows), max_tie_fraction))
    return features, columns.astype(_WIDEST.get(columns.dtype.kind, columns.dtype), copy=False)


@singledispatch
def _gather(X: Any, rows: IntArray, fewest: int) -> tuple[IntArray, NDArray[Any]]:  # noqa: ARG001
    msg = f"expected a dense array or a CSR matrix, got {type(X).__name__}"
    raise TypeError(msg)


@_gather.register(np.ndarray)
def _(X: NDArray[Any], rows: IntArray, fewest: int) -> tuple[IntArray, NDArray[Any]]:
    local = X[rows]
    features = np.flatnonzero(np.count_nonzero(local, axis=0) >= fewest)
    return features, np.ascontiguousarray(local[:, features].T)


@_gather.register(sparse.csr_matrix)
@_gather.register(sparse.csr_array)
def _(X: sparse.csr_matrix, rows: IntArray, fewest: int) -> tuple[IntArray, NDArray[Any]]:
    return _gather_csr(X.data, X.indices, X.indptr, rows, X.shape[1], fewest)


def _largest_tie(n: int, max_tie_fraction: float) -> int:
    """Largest tie that leaves a feature defined; one that is the same in all samples never is."""
    return min(int(np.floor(max_tie_fraction * n + _TIE_SLACK)), n - 1)


@njit(nogil=True, cache=True)
def _gather_csr(data, indices, indptr, rows, n_features, fewest):  # type: ignore[no-untyped-def]
    counts = np.zeros(n_features, dtype=np.int64)
    for row in rows:
        for k in range(indptr[row], indptr[row + 1]):
            if data[k] != 0:
                counts[indices[k]] += 1
    features = np.flatnonzero(counts >= fewest)
    position = np.full(n_features, -1, dtype=np.int64)
    position[features] = np.arange(len(features))
    columns = np.zeros((len(features), len(rows)), dtype=data.dtype)
    for i in range(len(rows)):
        for k in range(indptr[rows[i]], indptr[rows[i] + 1]):
            at = position[indices[k]]
            if at >= 0:
                columns[at, i] = data[k]
    return features, columns


@njit(nogil=True, cache=True)
def _rank_columns(columns):  # type: ignore[no-untyped-def]
    n_columns, n = columns.shape
    ranks = np.empty((n_columns, n), dtype=np.float64)
    max_ties = np.empty(n_columns, dtype=np.int64)
    for c in range(n_columns):
        max_ties[c] = _rank_one(columns[c], ranks[c])
    return ranks, max_ties


@njit(nogil=True, cache=True)
def _rank_one(values, ranks):  # type: ignore[no-untyped-def]
    """Rank one column into ``ranks``; zeros are one tie and need no sorting. Returns the size of the largest tie."""
    n = len(values)
    others = np.flatnonzero(values)
    n_zeros = n - len(others)
    order = others[np.argsort(values[others])]
    n_negative = 0
    for k in order:
        if values[k] < 0:
            n_negative += 1
    ranks[:] = 2 * n_negative + n_zeros - n
    max_tie = n_zeros
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        offset = 0 if start < n_negative else n_zeros
        for k in range(start, stop):
            ranks[order[k]] = start + stop + 2 * offset - n
        max_tie = max(max_tie, stop - start)
        start = stop
    return max_tie
