"""The matrix to factorise, laid out for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray

#: Columns a worker handles at once: a block of M and a row of C stay in its cache. Fixed, since sums are grouped by it.
BLOCK: Final = 512


@dataclass(frozen=True)
class Target:
    """|C| without its empty columns, whose optimum is 0 whatever the loss.

    Attributes
    ----------
    C
        (ℓ, J′) CSR float32, absolute correlations, sorted indices.
    columns
        (J′,) columns of the original matrix.
    n_pairs
        J, number of columns of the original matrix, over which the mean absolute error is taken.
    block_starts
        (ℓ, n_blocks + 1) int64, where each block of columns starts in ``C.data``.
    locality_weights
        (ℓ,) float64, ‖C_i‖ / Σ_{j≠i} ‖C_j‖ of Equation 6.
    """

    C: sparse.csr_matrix
    columns: IntArray
    n_pairs: int
    block_starts: IntArray
    locality_weights: FloatArray

    @property
    def n_localities(self) -> int:
        """ℓ."""
        return int(self.C.shape[0])


def make_target(C: sparse.csr_matrix) -> Target:
    """Prepare signed or absolute correlations (ℓ, J) for the fit."""
    columns, compact = np.unique(C.indices, return_inverse=True)
    absolute = C.copy()
    absolute.data = np.abs(C.data).astype(np.float32)
    absolute = type(C)((absolute.data, compact.astype(np.int64), C.indptr), shape=(C.shape[0], len(columns)))
    absolute.sort_indices()
    norms = np.sqrt(np.asarray(absolute.multiply(absolute).sum(axis=1), dtype=np.float64)).ravel()
    return Target(absolute, columns, C.shape[1], _block_starts(absolute), _locality_weights(norms))


def _block_starts(C: sparse.csr_matrix) -> IntArray:
    edges = np.arange(0, C.shape[1] + BLOCK, BLOCK)
    starts = np.empty((C.shape[0], len(edges)), dtype=np.int64)
    for i in range(C.shape[0]):
        row = slice(C.indptr[i], C.indptr[i + 1])
        starts[i] = C.indptr[i] + np.searchsorted(C.indices[row], edges)
    return starts


def _locality_weights(norms: FloatArray) -> FloatArray:
    """Weights of the cosine terms; 1 where no other locality has any correlation to be weighed against."""
    others = norms.sum() - norms
    return np.divide(norms, others, out=(norms > 0).astype(np.float64), where=others > 0)
