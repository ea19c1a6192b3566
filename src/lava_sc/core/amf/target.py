"""The matrix to factorise, laid out for the engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit
from scipy import sparse

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray

#: Columns a worker handles at once: a block of M and a row of C stay in its cache. Fixed, since sums are grouped by it.
BLOCK: Final = 1024
_MOST_EMPTY: Final = 7


@dataclass(frozen=True)
class Target:
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
    """

    data: FloatArray
    indices: IntArray
    indptr: IntArray
    columns: IntArray
    n_pairs: int
    block_starts: IntArray
    locality_weights: FloatArray

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


def make_target(C: sparse.csr_matrix, *, min_localities: int = 1) -> Target:
    """Prepare signed or absolute correlations (ℓ, J) for the fit.

    Parameters
    ----------
    C
        Signed or absolute correlations. What is float32 in sorted rows is not copied, so it is not to be changed.
    min_localities
        Pairs that correlate in fewer localities are left out, as if they correlated nowhere.
    """
    if not C.has_sorted_indices:
        C = C.sorted_indices()
    columns, compact = _kept_columns(C.indices, C.shape[1], min_localities)
    data, indptr = C.data.astype(np.float32, copy=False), np.asarray(C.indptr, dtype=np.int64)
    kept = compact >= 0
    if not kept.all():
        data, indptr, compact = data[kept], np.concatenate([[0], np.cumsum(kept)])[indptr], compact[kept]
    return _laid_out(data, compact, indptr, columns, C.shape[1], _locality_weights(row_norms(data, indptr)))


def restrict(target: Target, pairs: IntArray) -> Target:
    """The target on some of its columns (rising), its locality weights and number of pairs those of the whole."""
    C = sparse.csr_matrix(
        (target.data, target.indices, target.indptr), shape=(target.n_localities, target.n_columns), copy=False
    )[:, pairs]
    C.sort_indices()
    columns = target.columns[pairs]
    return _laid_out(C.data, C.indices, C.indptr, columns, target.n_pairs, target.locality_weights)


def widen(target: Target, columns: IntArray) -> Target:
    """The target over more columns (rising, its own among them), in which nothing is correlated."""
    place = np.searchsorted(columns, target.columns).astype(target.indices.dtype)
    indices = place[target.indices]
    return _laid_out(target.data, indices, target.indptr, columns, target.n_pairs, target.locality_weights)


def over_all_pairs(M: FloatArray, target: Target) -> sparse.csr_matrix:
    """Modules (M, J′) over all pairs, (M, J) CSR: the target's empty columns filled in."""
    compact = sparse.csr_matrix(M)
    shape = len(M), target.n_pairs
    return sparse.csr_matrix((compact.data, target.columns[compact.indices], compact.indptr), shape=shape)


def over_columns(target: Target, C: sparse.csr_matrix) -> Target:
    """Other correlations (ℓ, J) of the same localities over the columns that the target has; weights are the target's."""
    part = C[:, target.columns]
    part.sort_indices()
    return _laid_out(part.data, part.indices, part.indptr, target.columns, target.n_pairs, target.locality_weights)


def take_localities(target: Target, rows: IntArray) -> Target:
    """Some localities over the same columns; weighed as if there were no others."""
    C = sparse.csr_matrix(
        (target.data, target.indices, target.indptr), shape=(target.n_localities, target.n_columns), copy=False
    )[rows]
    weights = _locality_weights(row_norms(C.data, C.indptr))
    return _laid_out(C.data, C.indices, C.indptr, target.columns, target.n_pairs, weights)


def _kept_columns(indices: IntArray, n_columns: int, min_localities: int) -> tuple[IntArray, IntArray]:
    """Columns with enough entries, and the position of each entry's column among them, −1 where it is left out."""
    if n_columns > _MOST_EMPTY * len(indices):  # marking every column would take more memory than sorting the entries
        found, indices = np.unique(indices, return_inverse=True)
        columns, position = _kept_columns(indices, len(found), min_localities)
        return found[columns].astype(np.int64), position
    if min_localities > 1:
        kept = np.bincount(indices, minlength=n_columns) >= min_localities
    else:
        kept = np.zeros(n_columns, dtype=bool)
        kept[indices] = True
    if kept.all() and indices.dtype == np.int32:  # nothing to copy
        return np.arange(n_columns), indices
    position = np.cumsum(kept, dtype=np.int32)
    position -= 1
    if min_localities > 1:
        position[~kept] = -1
    return np.flatnonzero(kept), position[indices]


def _laid_out(
    data: FloatArray, indices: IntArray, indptr: IntArray, columns: IntArray, n_pairs: int, weights: FloatArray
) -> Target:
    indptr = np.asarray(indptr, dtype=np.int64)
    edges = np.arange(0, len(columns) + BLOCK, BLOCK)
    return Target(data, indices, indptr, columns, n_pairs, _block_starts(indices, indptr, edges), weights)


@njit(nogil=True, cache=True)
def _block_starts(indices, indptr, edges):  # type: ignore[no-untyped-def]
    starts = np.empty((len(indptr) - 1, len(edges)), dtype=np.int64)
    for i in range(len(indptr) - 1):
        starts[i] = indptr[i] + np.searchsorted(indices[indptr[i] : indptr[i + 1]], edges)
    return starts


@njit(nogil=True, cache=True)
def row_norms(data, indptr):  # type: ignore[no-untyped-def]
    """‖C_i‖, (ℓ,) float64, of a sparse matrix in rows."""
    norms = np.zeros(len(indptr) - 1)
    for i in range(len(norms)):
        for k in range(indptr[i], indptr[i + 1]):
            norms[i] += np.float64(data[k]) * np.float64(data[k])
    return np.sqrt(norms)


def _locality_weights(norms: FloatArray) -> FloatArray:
    """Weights of the cosine terms; 1 where no other locality has any correlation to be weighed against."""
    others = norms.sum() - norms
    return np.divide(norms, others, out=(norms > 0).astype(np.float64), where=others > 0)
