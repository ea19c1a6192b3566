"""Presences of single cells and weights of genes."""

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


def scores_of_cells(membership: sparse.csr_matrix, scores: FloatArray) -> FloatArray:
    """Mean score over the localities that contain each cell and have one, (E, K); NaN where there is none.

    Parameters
    ----------
    membership
        (E, ℓ) bool.
    scores
        (ℓ, K), NaN where a locality has none.
    """
    belongs, there = membership.astype(np.float64), ~np.isnan(scores)
    counts = belongs @ there.astype(np.float64)
    sums = belongs @ np.where(there, scores, 0)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def entropy(values: FloatArray) -> FloatArray:
    """Shannon entropy in bits of non-negative values scaled to sum 1, over the last axis; NaN where all are 0.

    0 when a single value is not 0, log₂ of their number when all are equal.

    Parameters
    ----------
    values
        (..., k).
    """
    values = np.asarray(values, dtype=np.float64)
    sums = values.sum(axis=-1, keepdims=True)
    shares = np.divide(values, sums, out=np.zeros_like(values), where=sums > 0)
    bits = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=-1) + 0.0  # + 0: no −0
    return np.where(sums[..., 0] > 0, bits, np.nan)


def co_presences(presences: FloatArray, *, min_presence_sum: float) -> FloatArray:
    """Entropy in bits of the presences of each locality, (ℓ,) (paper, 3.2); NaN where they add up to less than asked for.

    Parameters
    ----------
    presences
        (ℓ, M).
    min_presence_sum
        What they have to add up to. Scaled to sum 1, small presences would count as much as large ones.
    """
    presences = np.asarray(presences, dtype=np.float64)
    return np.where(presences.sum(axis=1) >= min_presence_sum, entropy(presences), np.nan)


def co_presence(presences: FloatArray) -> float:
    """Mean entropy in bits of the presences of a locality, scaled to sum 1, over the localities with a module present.

    0 when every locality has one module, log₂ M when all modules are present equally everywhere (paper, B.5).

    Parameters
    ----------
    presences
        (ℓ, M).
    """
    some = np.asarray(presences, dtype=np.float64)[np.max(presences, axis=1) > PRESENT_ABOVE]
    return float(entropy(some).mean()) if len(some) else 0.0


def module_entropies(modules: sparse.csr_matrix | FloatArray) -> FloatArray:
    """Entropy in bits of the correlations of each module, (M,); the higher, the more spread out (paper, Figure S25).

    NaN for a module without any correlation.

    Parameters
    ----------
    modules
        (M, J), over all pairs or over those that are not 0 throughout: zeros do not count.
    """
    if isinstance(modules, np.ndarray):
        return np.array([float(entropy(row)) for row in modules])  # one after the other: J is large
    rows = (slice(*modules.indptr[m : m + 2]) for m in range(modules.shape[0]))
    return np.array([float(entropy(modules.data[row])) for row in rows])


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
