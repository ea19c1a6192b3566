"""How alike the correlations of localities are (paper, B.7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from lava_sc.core.correlation.pairs import pair_index

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray


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
    norms = np.sqrt(np.asarray(size.multiply(size).sum(axis=1, dtype=np.float64)).ravel())
    own = size[locality].toarray().ravel().astype(np.float64)
    products, lengths = size @ own, norms * norms[locality]
    return np.divide(products, lengths, out=np.full(len(norms), np.nan), where=lengths > 0)
