"""Sign of a module's genes, which rise together or against each other; modules themselves are absolute correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from lava_sc.core.correlation.pairs import n_pairs, pair_features
from lava_sc.core.interpret.summary import PRESENT_ABOVE

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray

_BLOCK: Final = 2_000_000  # entries of C at once, about 100 MB of temporaries


def sums_where_present(
    C: sparse.csr_matrix, presences: FloatArray, pairs: IntArray, *, block: int = _BLOCK
) -> tuple[FloatArray, FloatArray]:
    """Sums of ρ and of |ρ| of some pairs, over the localities in which each module is present; each (len(pairs), M).

    Parameters
    ----------
    C
        (ℓ, J) signed correlations.
    presences
        (ℓ, M).
    pairs
        Columns of C, ascending, each once.
    block
        Entries of C that are read at once, at least a locality.
    """
    present = (np.asarray(presences) > PRESENT_ABOVE).astype(np.float64)
    signed = np.zeros((len(pairs), present.shape[1]))
    absolute = np.zeros_like(signed)
    place = np.full(C.shape[1], -1, dtype=np.int32 if len(pairs) < 2**31 else np.int64)
    place[pairs] = np.arange(len(pairs))
    first = 0
    while first < C.shape[0]:
        last = int(np.searchsorted(C.indptr, C.indptr[first] + block, side="right")) - 1
        last = min(max(last, first + 1), C.shape[0])
        part = slice(C.indptr[first], C.indptr[last])
        at, values = place[C.indices[part]], C.data[part].astype(np.float64)
        rows = np.repeat(np.arange(last - first), np.diff(C.indptr[first : last + 1]))
        kept = at >= 0
        shape = (len(pairs), last - first)
        of_pairs = sparse.coo_matrix((values[kept], (at[kept], rows[kept])), shape=shape).tocsr()
        signed += of_pairs @ present[first:last]
        absolute += abs(of_pairs) @ present[first:last]
        first = last
    return signed, absolute


def positive_shares(
    C: sparse.csr_matrix, modules: sparse.csr_matrix, presences: FloatArray, n_features: int
) -> FloatArray:
    """Share of positive ρ among the correlations of each feature in each module, (D, M).

    Over the module's pairs in which the feature takes part and the localities in which the module is present; a correlation
    counts by its absolute value times the module's value for the pair. NaN where there is none.

    Parameters
    ----------
    C
        (ℓ, D(D−1)/2) signed correlations.
    modules
        (M, D(D−1)/2).
    presences
        (ℓ, M).
    n_features
        D.
    """
    if modules.shape[1] != n_pairs(n_features):
        msg = f"{modules.shape[1]} pairs are not those of {n_features} features"
        raise RuntimeError(msg)
    pairs = np.unique(modules.indices[modules.data > 0])
    signed, absolute = sums_where_present(C, presences, pairs)
    shares = np.full((n_features, modules.shape[0]), np.nan)
    for m in range(modules.shape[0]):
        row = slice(modules.indptr[m], modules.indptr[m + 1])
        values, columns = modules.data[row].astype(np.float64), modules.indices[row]
        at = np.searchsorted(pairs, columns[values > 0])
        values = values[values > 0]
        positive, total = np.zeros(n_features), np.zeros(n_features)
        for features in pair_features(pairs[at], n_features):
            all_of_it = values * absolute[at, m]
            some = values * (absolute[at, m] + signed[at, m]) / 2
            total += np.bincount(features, weights=all_of_it, minlength=n_features)
            positive += np.bincount(features, weights=some, minlength=n_features)
        np.divide(positive, total, out=shares[:, m], where=total > 0)
    return shares
