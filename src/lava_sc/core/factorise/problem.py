"""The matrix to factorise, laid out for the engines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, FloatArray, IntArray
    from lava_sc.parallel.copies import Origin

    #: Makes an array of a length and a type.
    Empty: TypeAlias = Callable[[int, type], NDArray[Any]]

#: Columns a worker handles at once: a block of M and a row of C stay in its cache. Fixed, since sums are grouped by it.
BLOCK: Final = 1024
_MOST_EMPTY: Final = 7
_HASHED_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True)
class Problem:
    """C without its empty columns, whose optimum is 0 whatever the loss.

    The correlations keep their signs, so that they need not be copied: engines take the absolute values.

    Attributes
    ----------
    data
        (nnz,) float32, signed correlations by locality.
    indices
        (nnz,) columns, of the J′ that are left, in rising order within a locality.
    indptr
        (ℓ + 1,) where each locality starts.
    columns
        (J′,) columns of the original matrix.
    n_pairs
        J, number of columns of the original matrix, over which the mean absolute error is taken.
    block_starts
        (ℓ, n_blocks + 1) int64, where each block of columns starts in ``data``.
    locality_weights
        (ℓ,) float64, ‖C_i‖ / Σ_{j≠i} ‖C_j‖ of Equation 6.
    origin
        Makes the same problem again from files, where they can be reached; ``None`` if it is of none.
    streamed
        Whether the entries are in files that do not fit into memory, so that rows are better copied before work begins on them.
    """

    data: FloatArray
    indices: IntArray
    indptr: IntArray
    columns: IntArray
    n_pairs: int
    block_starts: IntArray
    locality_weights: FloatArray
    origin: Origin | None = None
    streamed: bool = False

    @property
    def n_localities(self) -> int:
        """ℓ."""
        return len(self.indptr) - 1

    @property
    def n_columns(self) -> int:
        """J′."""
        return len(self.columns)

    @property
    def n_blocks(self) -> int:
        """Number of blocks of columns."""
        return self.block_starts.shape[1] - 1

    def absolute(self) -> sparse.csr_matrix:
        """|C| over the columns that are left, (ℓ, J′) float32."""
        shape = self.n_localities, self.n_columns
        return sparse.csr_matrix((np.abs(self.data), self.indices, self.indptr), shape=shape)


def make_problem(C: sparse.csr_matrix, *, min_localities: int = 1, empty: Empty = np.empty) -> Problem:
    """Prepare signed or absolute correlations (ℓ, J) for the fit.

    Parameters
    ----------
    C
        Signed or absolute correlations. What is float32 in sorted rows is not copied, so it is not to be changed.
    min_localities
        Pairs that correlate in fewer localities are left out, as if they correlated nowhere.
    empty
        Makes the arrays that are as large as C, from their length and type: in memory, or elsewhere where C is, too.
    """
    if not C.has_sorted_indices:
        C = C.sorted_indices()
    data, indices, n_columns = C.data.astype(np.float32, copy=False), C.indices, C.shape[1]
    names = None
    if n_columns > _MOST_EMPTY * len(indices):  # marking every column would take more memory than sorting the entries
        names, indices = np.unique(indices, return_inverse=True)
        n_columns = len(names)
    kept = _counts(indices, n_columns) >= min_localities
    indptr: IntArray = np.asarray(C.indptr, dtype=np.int64)
    if not kept.all() or indices.dtype != np.int32:  # else there is nothing to copy
        data, indices, indptr = _taken(data, indices, indptr, kept, every=min_localities <= 1, empty=empty)
    columns = np.flatnonzero(kept) if names is None else names[kept].astype(np.int64)
    return _laid_out(data, indices, indptr, columns, C.shape[1], _locality_weights(row_norms(data, indptr)))


def digest(problem: Problem) -> str:
    """A short text that differs, for all that matters, between any two problems."""
    found = hashlib.blake2b(repr((problem.n_localities, problem.n_pairs)).encode(), digest_size=16)
    for array in (problem.data, problem.indices, problem.indptr, problem.columns):
        dtype = np.float32 if array.dtype.kind == "f" else np.int64
        for start in range(0, len(array), _HASHED_AT_ONCE):
            found.update(array[start : start + _HASHED_AT_ONCE].astype(dtype).tobytes())
    return found.hexdigest()


def restrict(problem: Problem, pairs: IntArray) -> Problem:
    """The problem on some of its columns (rising), its locality weights and number of pairs those of the whole."""
    kept = np.zeros(problem.n_columns, dtype=bool)
    kept[pairs] = True
    parts = _taken(problem.data, problem.indices, problem.indptr, kept, every=False, empty=np.empty)
    return _laid_out(*parts, problem.columns[pairs], problem.n_pairs, problem.locality_weights)


def widen(problem: Problem, columns: IntArray) -> Problem:
    """The problem over more columns (rising, its own among them), in which nothing is correlated."""
    place = np.searchsorted(columns, problem.columns).astype(problem.indices.dtype)
    indices = place[problem.indices]
    return _laid_out(problem.data, indices, problem.indptr, columns, problem.n_pairs, problem.locality_weights)


def over_all_pairs(M: FloatArray, problem: Problem) -> sparse.csr_matrix:
    """Modules (M, J′) over all pairs, (M, J) CSR: the problem's empty columns filled in."""
    compact = sparse.csr_matrix(M)
    shape = len(M), problem.n_pairs
    return sparse.csr_matrix((compact.data, problem.columns[compact.indices], compact.indptr), shape=shape)


def over_columns(problem: Problem, C: sparse.csr_matrix) -> Problem:
    """Other correlations (ℓ, J) of the same localities over the columns that the problem has; weights are the problem's."""
    part = C[:, problem.columns]
    part.sort_indices()
    return _laid_out(part.data, part.indices, part.indptr, problem.columns, problem.n_pairs, problem.locality_weights)


def take_localities(problem: Problem, rows: IntArray) -> Problem:
    """Some localities over the same columns; weighed as if there were no others."""
    C = sparse.csr_matrix(
        (problem.data, problem.indices, problem.indptr), shape=(problem.n_localities, problem.n_columns), copy=False
    )[rows]
    weights = _locality_weights(row_norms(C.data, C.indptr))
    return _laid_out(C.data, C.indices, C.indptr, problem.columns, problem.n_pairs, weights)


def _taken(
    data: FloatArray, indices: IntArray, indptr: IntArray, kept: BoolArray, *, every: bool, empty: Empty
) -> tuple[FloatArray, IntArray, IntArray]:
    """Entries of the columns that are kept, numbered among these; ``every`` if no entry is in another one."""
    position = np.cumsum(kept, dtype=np.int32)
    position -= 1
    if every:
        moved = empty(len(indices), np.int32)
        _move(indices, position, moved)
        return data, moved, indptr
    position[~kept] = -1
    starts = _starts_of_kept(indices, indptr, position)
    taken, moved = empty(int(starts[-1]), np.float32), empty(int(starts[-1]), np.int32)
    _take(data, indices, position, taken, moved)
    return taken, moved, starts


def _laid_out(
    data: FloatArray, indices: IntArray, indptr: IntArray, columns: IntArray, n_pairs: int, weights: FloatArray
) -> Problem:
    indptr = np.asarray(indptr, dtype=np.int64)
    edges = np.arange(0, len(columns) + BLOCK, BLOCK)
    return Problem(data, indices, indptr, columns, n_pairs, _block_starts(indices, indptr, edges), weights)


@njit(nogil=True, cache=True)
def _counts(indices, n_columns):  # type: ignore[no-untyped-def]
    """Entries of each column."""
    counts = np.zeros(n_columns, dtype=np.int32)
    for j in indices:
        counts[j] += 1
    return counts


@njit(nogil=True, cache=True)
def _move(indices, position, moved):  # type: ignore[no-untyped-def]
    for k in range(len(indices)):
        moved[k] = position[indices[k]]


@njit(nogil=True, cache=True)
def _starts_of_kept(indices, indptr, position):  # type: ignore[no-untyped-def]
    """Start of each row when only entries with a position are left."""
    starts = np.zeros(len(indptr), dtype=np.int64)
    for i in range(len(indptr) - 1):
        starts[i + 1] = starts[i]
        for k in range(indptr[i], indptr[i + 1]):
            starts[i + 1] += position[indices[k]] >= 0
    return starts


@njit(nogil=True, cache=True)
def _take(data, indices, position, taken, moved):  # type: ignore[no-untyped-def]
    n = 0
    for k in range(len(indices)):
        if position[indices[k]] >= 0:
            taken[n], moved[n] = data[k], position[indices[k]]
            n += 1


@njit(nogil=True, cache=True)
def _block_starts(indices, indptr, edges):  # type: ignore[no-untyped-def]
    starts = np.empty((len(indptr) - 1, len(edges)), dtype=np.int64)
    for i in range(len(indptr) - 1):
        place = indptr[i]
        for e in range(len(edges)):
            place = _first_at_least(edges[e], indices, place, indptr[i + 1])
            starts[i, e] = place
    return starts


@njit(nogil=True, cache=True)
def _first_at_least(value, indices, start, stop):  # type: ignore[no-untyped-def]
    """Position of the first of some rising indices that is not below a value, by bisection."""
    while start < stop:
        middle = (start + stop) // 2
        if indices[middle] < value:
            start = middle + 1
        else:
            stop = middle
    return start


@njit(nogil=True, cache=True)
def row_norms(data, indptr):  # type: ignore[no-untyped-def]
    """‖C_i‖, (ℓ,) float64, of a sparse matrix in rows."""
    norms = np.zeros(len(indptr) - 1)
    for i in range(len(norms)):
        for k in range(indptr[i], indptr[i + 1]):
            norms[i] += np.float64(data[k]) * np.float64(data[k])
        norms[i] = np.sqrt(norms[i])
    return norms


def _locality_weights(norms: FloatArray) -> FloatArray:
    """Weights of the cosine terms; 1 where no other locality has any correlation to be weighed against."""
    others = norms.sum() - norms
    return np.divide(norms, others, out=(norms > 0).astype(np.float64), where=others > 0)
