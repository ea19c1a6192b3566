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


def co_presence(presences: FloatArray) -> float:
    """Mean entropy in bits of the presences of a locality, scaled to sum 1, over the localities with a module present.

    0 when every locality has one module, log₂ M when all modules are present equally everywhere (paper, B.5).

    Parameters
    ----------
    presences
        (ℓ, M).
    """
    some = np.asarray(presences, dtype=np.float64)[np.max(presences, axis=1) > PRESENT_ABOVE]
    if len(some) == 0:
        return 0.0
    shares = some / some.sum(axis=1, keepdims=True)
    return float(-(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1).mean())


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
