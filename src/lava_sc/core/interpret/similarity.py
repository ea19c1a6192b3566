"""Cosines between the rows of sparse matrices: correlations of localities, and modules (paper, B.7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from lava_sc.core.correlation.pairs import pair_index

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray


def row_norms(X: sparse.csr_matrix) -> FloatArray:
    """Euclidean norms of the rows, (k,) float64."""
    return np.asarray(np.sqrt(np.asarray(X.multiply(X).sum(axis=1), dtype=np.float64).ravel()))


def cosines(A: sparse.csr_matrix, B: sparse.csr_matrix) -> FloatArray:
    """Cosines between the rows of two matrices (a, J) and (b, J), (a, b) float64; 0 for rows of zeros."""
    a, b = _unit_rows(A), _unit_rows(B)
    return np.clip((a @ b.T).toarray(), -1, 1)


def pairs_within(genes: IntArray, n_features: int) -> IntArray:
    """Columns of C that are pairs of two of some genes, ascending.

    Parameters
    ----------
    genes
        Numbers of the genes, from 0 to D − 1; the same one may come twice.
    n_features
        D.
    """
    genes = np.unique(genes)
    first, second = np.triu_indices(len(genes), 1)
    return pair_index(genes[first], genes[second], n_features)


def cosines_with(C: sparse.csr_matrix, locality: int, pairs: IntArray | None = None) -> FloatArray:
    """Cosine between the absolute correlations of one locality and those of each, (ℓ,) float64.

    NaN where a locality has no correlation among these pairs, since it has no direction then; everywhere if the one has
    none.

    Parameters
    ----------
    C
        (ℓ, J) signed or absolute correlations.
    locality
        The one.
    pairs
        Columns to compare; all when ``None``.
    """
    part = C if pairs is None else C[:, pairs]
    size = sparse.csr_matrix((np.abs(part.data), part.indices, part.indptr), shape=part.shape)
    norms = row_norms(size)
    own = size[locality].toarray().ravel().astype(np.float64)
    products, lengths = size @ own, norms * norms[locality]
    return np.divide(products, lengths, out=np.full(len(norms), np.nan), where=lengths > 0)


def _unit_rows(X: sparse.csr_matrix) -> sparse.csr_matrix:
    X = sparse.csr_matrix(X, dtype=np.float64)
    norms = row_norms(X)
    return sparse.csr_matrix(sparse.diags(1 / np.where(norms > 0, norms, 1)) @ X)
