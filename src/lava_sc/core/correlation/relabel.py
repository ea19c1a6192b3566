"""Pairs of features under other numbers: of another object, in another order, or exchanged at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from lava_sc.core.correlation.pairs import n_pairs, pair_features, pair_index

if TYPE_CHECKING:
    from lava_sc._types import IntArray


def relabelled(X: sparse.csr_matrix, labels: IntArray, n_features: int) -> sparse.csr_matrix:
    """Give features other numbers in a matrix whose columns are their pairs.

    Parameters
    ----------
    X
        (k, D(D−1)/2) CSR.
    labels
        (D,) new number of each feature, all different; −1 leaves out its pairs.
    n_features
        How many features there are under the new numbers, D′.

    Returns
    -------
    (k, D′(D′−1)/2) CSR of the same type, indices sorted.
    """
    a, b = (labels[features] for features in pair_features(X.indices, len(labels)))
    there = (a >= 0) & (b >= 0)
    columns = pair_index(np.minimum(a, b)[there], np.maximum(a, b)[there], n_features)
    indptr = np.concatenate([[0], np.cumsum(there)])[X.indptr]
    found = sparse.csr_matrix((X.data[there], columns, indptr), shape=(X.shape[0], n_pairs(n_features)))
    found.sort_indices()
    return found
