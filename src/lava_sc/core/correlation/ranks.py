"""Ranks of the features within one locality, from sparse or dense rows, and which features can be ranked at all.

Ranks are kept *doubled and centred*, 2·rank − (n + 1): with average ranks for ties these are whole numbers that sum to
zero, so sums of their products, at most n(n² − 1)/3 in size, are exact in floating point (single precision up to n = 369,
double up to n = 300,000) and do not depend on the order of cells or genes.

What is not zero is sorted as 64-bit keys, an image of the value in single precision that keeps the order above the
sample's index, byte by byte. Values that are equal in single precision only are sorted again by themselves. Zeros are one
tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, DataMatrix, FloatArray, IntArray

_TIE_SLACK: Final = 1e-9  # keeps e.g. 0.1 · 30 from rounding above 3
_INDEX_BITS: Final = np.uint64(32)
_INDEX: Final = np.uint64(2**32 - 1)
_SIGN: Final = np.uint32(1 << 31)
_ZERO: Final = np.uint64(1 << 63)  # least key of a value above zero
_EXACT_IN_FLOAT32: Final = 2**24
_BYTE: Final = np.uint64(255)
_NUMBERS_IN_A_LINE: Final = 16  # of four bytes


@dataclass(frozen=True)
class Ranks:
    """Doubled centred ranks of some features over n samples.

    Attributes
    ----------
    values
        (d, n) whole numbers, ties with their average, in a precision that holds sums of their products.
    largest_ties
        (d,) samples that share the most frequent value.
    power_sums
        (d, 4) float64, sums over the samples of the ranks to the powers 2, 3, 4 and 5.
    """

    values: FloatArray
    largest_ties: IntArray
    power_sums: FloatArray

    def take(self, features: BoolArray) -> Ranks:
        """Take some of the features."""
        if features.all():
            return self
        return Ranks(self.values[features], self.largest_ties[features], self.power_sums[features])


def rank_columns(columns: NDArray[Any]) -> Ranks:
    """Rank every feature over the samples.

    Parameters
    ----------
    columns
        (d, n) finite values of any real type, a row for each feature.
    """
    n = columns.shape[1]
    exact = np.float32 if n * (n * n - 1) // 3 <= _EXACT_IN_FLOAT32 else np.float64
    values = np.empty(columns.shape, dtype=exact)
    return Ranks(values, *_rank_columns(columns, values))


def defined_features(X: DataMatrix, rows: IntArray, max_tie_fraction: float) -> IntArray:
    """Indices of the features no value of which is shared by more than ``max_tie_fraction`` of the rows.

    Parameters
    ----------
    X
        (E, D) CSR matrix or dense array, finite.
    rows
        (n,) indices of the locality's samples.
    max_tie_fraction
        A feature is defined when no value is shared by more than this fraction of the rows.
    """
    features, columns = columns_of_rows(X, rows, max_tie_fraction)
    return features[rank_columns(columns).largest_ties <= largest_tie(len(rows), max_tie_fraction)]


def columns_of_rows(X: DataMatrix, rows: IntArray, max_tie_fraction: float) -> tuple[IntArray, NDArray[Any]]:
    """Values (d, n) of the features that are non-zero often enough to be defined; the first, cheap half of the tie rule."""
    features, columns = _gather(X, rows, len(rows) - largest_tie(len(rows), max_tie_fraction))
    few = columns.dtype if columns.dtype.itemsize >= 8 else np.result_type(columns.dtype, np.float32)
    return features, columns.astype(few, copy=False)  # exact, and fewer types to compile the kernels for


def largest_tie(n: int, max_tie_fraction: float) -> int:
    """Largest tie that leaves a feature defined; one that is the same in all samples never is."""
    return min(int(np.floor(max_tie_fraction * n + _TIE_SLACK)), n - 1)


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
    return _gather_csr(X.data, X.indices, X.indptr, rows.astype(np.int64, copy=False), X.shape[1], fewest)


@njit(nogil=True, cache=True)
def _gather_csr(data, indices, indptr, rows, n_features, fewest):  # type: ignore[no-untyped-def]
    _touch(data, indices, indptr, rows)
    counts = np.zeros(n_features, dtype=np.int64)
    for row in rows:
        for k in range(indptr[row], indptr[row + 1]):
            counts[indices[k]] += 1
    n_enough = 0
    for f in range(n_features):
        n_enough += counts[f] >= fewest
    features, position = np.empty(n_enough, dtype=np.int64), counts
    k = 0
    for f in range(n_features):
        enough = counts[f] >= fewest
        position[f] = k if enough else n_enough  # the others share one more column: cheaper than to ask each time
        if enough:
            features[k] = f
            k += 1
    columns = np.zeros((len(features) + 1, len(rows)), dtype=data.dtype)
    for i in range(len(rows)):
        for k in range(indptr[rows[i]], indptr[rows[i] + 1]):
            columns[position[indices[k]], i] = data[k]
    return features, columns[:-1]


@njit(nogil=True, cache=True)
def _touch(data, indices, indptr, rows):  # type: ignore[no-untyped-def]
    """Read a number of every cache line: nothing waits for the answers, so scattered rows come in side by side."""
    total = 0.0
    for row in rows:
        for k in range(indptr[row], indptr[row + 1], _NUMBERS_IN_A_LINE):
            total += indices[k] + data[k]
    return total


@njit(nogil=True, cache=True)
def _rank_columns(columns, ranks):  # type: ignore[no-untyped-def]
    n_features, n = columns.shape
    ties = np.empty(n_features, dtype=np.int64)
    sums = np.empty((n_features, 4))
    keys, spare = np.empty(n + 1, dtype=np.uint64), np.empty(n, dtype=np.uint64)
    for f in range(n_features):
        k = _write_keys(columns[f], keys)
        ordered = _sort(keys[:k], spare[:k])
        ties[f] = _rank_one(ordered, columns[f], ranks[f], sums[f])
    return ties, sums


@njit(nogil=True, cache=True)
def _write_keys(values, keys):  # type: ignore[no-untyped-def]
    """Keys of the values that are not zero, and one more place that is written to; returns how many there are."""
    image = np.empty(1, dtype=np.float32)
    bits = image.view(np.uint32)
    k = 0
    for i in range(len(values)):
        image[0] = values[i]
        word = ~bits[0] if bits[0] & _SIGN else bits[0] | _SIGN
        keys[k] = (np.uint64(word) << _INDEX_BITS) | np.uint64(i)
        k += values[i] != 0  # the key of a zero is written over
    return k


@njit(nogil=True, cache=True)
def _sort(keys, spare):  # type: ignore[no-untyped-def]
    """Radix sort by the images, byte by byte; bytes that all have in common are skipped. Returns one of both arrays."""
    counts = np.zeros((4, 256), dtype=np.int64)
    for key in keys:
        for byte in range(4):
            counts[byte, _byte(key, byte)] += 1
    for byte in range(4):
        if len(keys) == 0 or counts[byte, _byte(keys[0], byte)] == len(keys):
            continue
        place = 0
        for value in range(256):
            count = counts[byte, value]
            counts[byte, value] = place
            place += count
        for key in keys:
            value = _byte(key, byte)
            spare[counts[byte, value]] = key
            counts[byte, value] += 1
        keys, spare = spare, keys
    return keys


@njit(nogil=True, cache=True)
def _byte(key, byte):  # type: ignore[no-untyped-def]
    return (key >> (_INDEX_BITS + np.uint64(8 * byte))) & _BYTE


@njit(nogil=True, cache=True)
def _rank_one(keys, values, ranks, sums):  # type: ignore[no-untyped-def]
    """Rank a column by the sorted keys of its values that are not zero; returns the size of the largest tie.

    The power sums go tie by tie, which is in no order of the samples.
    """
    n = len(values)
    n_zeros = n - len(keys)
    n_negative = 0
    while n_negative < len(keys) and keys[n_negative] < _ZERO:
        n_negative += 1
    rank = np.float64(2 * n_negative + n_zeros - n)
    ranks[:] = rank
    s2 = n_zeros * rank**2
    s3, s4, s5 = s2 * rank, s2 * rank**2, s2 * rank**3
    max_tie = n_zeros
    start = settled = np.int64(0)  # a literal 0 would have what it is passed to compiled once more
    while start < len(keys):
        stop = _end_of_tie(keys, values, start)
        if stop > settled and stop < len(keys) and _same_image(keys, start, stop):
            settled = _settle(keys, values, start)
            continue
        rank = np.float64(start + stop - n if start < n_negative else start + stop + 2 * n_zeros - n)
        for k in range(start, stop):
            ranks[keys[k] & _INDEX] = rank
        max_tie = max(max_tie, stop - start)
        power = (stop - start) * rank * rank
        s2 += power
        s3 += power * rank
        s4 += power * rank * rank
        s5 += power * rank * rank * rank
        start = stop
    sums[0], sums[1], sums[2], sums[3] = s2, s3, s4, s5
    return max_tie


@njit(nogil=True, cache=True)
def _same_image(keys, i, j):  # type: ignore[no-untyped-def]
    return keys[i] >> _INDEX_BITS == keys[j] >> _INDEX_BITS


@njit(nogil=True, cache=True)
def _end_of_tie(keys, values, start):  # type: ignore[no-untyped-def]
    value = values[keys[start] & _INDEX]
    stop = start + 1
    while stop < len(keys) and _same_image(keys, start, stop) and values[keys[stop] & _INDEX] == value:
        stop += 1
    return stop


@njit(nogil=True, cache=True)
def _settle(keys, values, start):  # type: ignore[no-untyped-def]
    """Sort by their values (Shell 1959) the keys that share an image with the one at ``start``; returns where they end."""
    stop = start + 1
    while stop < len(keys) and _same_image(keys, start, stop):
        stop += 1
    gap = (stop - start) // 2
    while gap > 0:
        for i in range(start + gap, stop):
            key, place = keys[i], i
            value = values[key & _INDEX]
            while place >= start + gap and values[keys[place - gap] & _INDEX] > value:
                keys[place] = keys[place - gap]
                place -= gap
            keys[place] = key
        gap = gap // 2
    return stop
