"""What presences and modules say of single cells and genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.correlation.pairs import pair_features

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import FloatArray

#: A module is present in a locality when its presence exceeds this (paper, B.9); where it never does, it is dead.
PRESENT_ABOVE: Final = 0.01


def presences_of_cells(membership: sparse.csr_matrix, presences: FloatArray) -> FloatArray:
    """Mean presence over the localities that contain each cell, (E, M); NaN where none does.

    Parameters
    ----------
    membership
        (E, ℓ) bool.
    presences
        (ℓ, M).
    """
    counts = np.asarray(membership.sum(axis=1), dtype=np.float64).ravel()
    sums = membership.astype(np.float64) @ np.asarray(presences, dtype=np.float64)
    return np.divide(sums, counts[:, None], out=np.full_like(sums, np.nan), where=counts[:, None] > 0)


def gene_weights(modules: sparse.csr_matrix, n_features: int) -> FloatArray:
    """Sum of the correlations in which each feature takes part, (D, M) (paper, B.9.2).

    Parameters
    ----------
    modules
        (M, D(D−1)/2).
    n_features
        D.
    """
    weights = np.zeros((n_features, modules.shape[0]))
    for m in range(modules.shape[0]):
        row = slice(modules.indptr[m], modules.indptr[m + 1])
        values = modules.data[row].astype(np.float64)
        for features in pair_features(modules.indices[row], n_features):
            weights[:, m] += np.bincount(features, weights=values, minlength=n_features)
    return weights
