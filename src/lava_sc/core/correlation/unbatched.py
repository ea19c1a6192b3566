"""Correlations over all samples of a locality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from lava_sc.core.correlation.fdr import LocalityPairs, possible_pairs, student_critical
from lava_sc.core.correlation.pairs import n_pairs
from lava_sc.core.correlation.permutation_null import PermutationNull
from lava_sc.core.correlation.ranks import columns_of_rows, largest_tie, rank_columns
from lava_sc.core.correlation.scores import centred_scores, products

if TYPE_CHECKING:
    from collections.abc import Callable

    from lava_sc._types import DataMatrix, FloatArray, IntArray
    from lava_sc.core.correlation.measures import Measure
    from lava_sc.core.correlation.scores import Scores

    #: Positions a < b of pairs in row-major order, and their correlations, all (k,).
    StrongPairs = tuple[IntArray, IntArray, FloatArray]
    #: Finds the pairs of scores whose correlations are at least so strong in size, and not 0.
    PairFinder = Callable[[Scores, float], StrongPairs]


def locality_scores(
    X: DataMatrix, rows: IntArray, basis: FloatArray, max_tie_fraction: float, measure: Measure
) -> Scores:
    """Scores of the defined features.

    Parameters
    ----------
    X
        CSR matrix or dense array, finite.
    rows
        (n,) rows of the locality's samples.
    basis
        (q, n) orthonormal basis of the covariates over these samples.
    max_tie_fraction
        A feature is defined when no value is shared by more than this fraction of the samples.
    measure
        Makes the scores.
    """
    features, columns = columns_of_rows(X, rows, max_tie_fraction)
    ranks = rank_columns(columns)
    defined = ranks.largest_ties <= largest_tie(len(rows), max_tie_fraction)
    return centred_scores(features, columns, ranks, defined, basis, measure)


def pairs_of_at_least(scores: Scores, least: float) -> StrongPairs:
    """See :data:`PairFinder`."""
    found: StrongPairs = _pairs_of_at_least(products(scores), least)
    return found


def plain_pairs(
    scores: Scores, fdr: float | None, floor: float = np.inf, find: PairFinder = pairs_of_at_least
) -> LocalityPairs:
    """Correlations of all pairs.

    Parameters
    ----------
    scores
        Of the defined features.
    fdr
        Leave out pairs that Benjamini–Hochberg cannot reject at this level, and find the null of the others; ``None``
        leaves all of them in.
    floor
        Pairs with |ρ| of at least this stay in.
    find
        Takes the products.
    """
    n, n_tests = scores.n_effective, n_pairs(len(scores.features))
    least = 0.0 if fdr is None else min(student_critical(fdr, n), floor)
    a, b, rho = find(scores, least)
    null = None
    if fdr is not None:
        size = np.abs(rho)
        possible = np.union1d(possible_pairs(size, n, level=fdr, n_tests=n_tests), np.flatnonzero(size >= floor))
        a, b, rho = a[possible], b[possible], rho[possible]
        null = PermutationNull.of_pairs(scores.moments.take(a), scores.moments.take(b), n)
    return LocalityPairs(scores.features, scores.features[a], scores.features[b], rho, rho, null, n_tests, floor)


@njit(nogil=True, cache=True)
def _pairs_of_at_least(sums, least):  # type: ignore[no-untyped-def]
    """Pairs a < b in row-major order and their correlations of at least ``least`` in size and not 0, from products (d, d)."""
    d = len(sums)
    n_most = d * (d - 1) // 2
    first, second, rho = np.empty(n_most, np.int64), np.empty(n_most, np.int64), np.empty(n_most)
    k = 0
    for a in range(d):
        for b in range(a + 1, d):
            value = min(max(sums[a, b] / np.sqrt(sums[a, a] * sums[b, b]), -1.0), 1.0)
            if value != 0 and abs(value) >= least:
                first[k], second[k], rho[k] = a, b, value
                k += 1
    return first[:k].copy(), second[:k].copy(), rho[:k].copy()
