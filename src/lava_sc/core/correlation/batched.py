"""Correlations within each batch of a locality's samples, pooled: what differs between batches is no correlation.

Scores are centred within each batch b of n_b samples less q_b covariates. A pair's correlation is Fisher's
z = Σ_b w_b·artanh ρ_b / Σ_b w_b with w_b = n_b - q_b - 3, the inverse of the variance of artanh ρ_b, over the batches in
which both features vary; ρ = tanh z.

Its evidence is the linear R = Σ_b w_b·ρ_b / Σ_b w_b: when samples are permuted within batches, its cumulants are known in
closed form, and those of artanh ρ_b are not. In one batch R = ρ; in several, ρ - R is about R times the weighted variance
of the ρ_b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from lava_sc.core.correlation.fdr import LocalityPairs, possible_pairs, student_critical
from lava_sc.core.correlation.pairs import n_pairs, pair_features
from lava_sc.core.correlation.partial import covariate_basis
from lava_sc.core.correlation.permutation_null import PermutationNull
from lava_sc.core.correlation.ranks import columns_of_rows, largest_tie, rank_columns
from lava_sc.core.correlation.scores import centred_scores, products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import BoolArray, DataMatrix, FloatArray, IntArray
    from lava_sc.core.correlation.measures import Measure
    from lava_sc.core.correlation.partial import Covariate
    from lava_sc.core.correlation.scores import Scores

_NO_WEIGHT: Final = 3  # samples, less covariates, that have no say


@dataclass(frozen=True)
class Batch:
    """Samples of a locality that are of one batch.

    Attributes
    ----------
    positions
        (n,) ascending, among the samples of the locality.
    basis
        (q, n) orthonormal basis of the covariates over these samples.
    """

    positions: IntArray
    basis: FloatArray


def batches_of(codes: IntArray, samples: IntArray, covariates: Sequence[Covariate], measure: Measure) -> list[Batch]:
    """Batches of a locality with more than three samples left after covariates, in the order of the codes.

    Parameters
    ----------
    codes
        (E,) batch of every sample.
    samples
        (n,) samples of the locality.
    covariates, measure
        As in :func:`~lava_sc.core.correlation.partial.covariate_basis`.
    """
    local = codes[samples]
    of_one = [np.flatnonzero(local == code) for code in np.unique(local)]
    batches = [Batch(at, covariate_basis(covariates, samples[at], measure)) for at in of_one]
    return [batch for batch in batches if len(batch.positions) - len(batch.basis) > _NO_WEIGHT]


def batch_scores(
    X: DataMatrix, rows: IntArray, batches: Sequence[Batch], max_tie_fraction: float, measure: Measure
) -> list[Scores]:
    """Scores within each batch, of the defined features that vary in it.

    Parameters
    ----------
    X
        CSR matrix or dense array, finite.
    rows
        (n,) rows of the locality's samples.
    batches
        Those of the locality.
    max_tie_fraction
        A feature is defined when its largest ties within the batches are no more than this fraction of their samples
        together, and it varies in one of them.
    measure
        Makes the scores.
    """
    if not batches:
        return []
    sizes = [len(batch.positions) for batch in batches]
    features, columns = columns_of_rows(X, rows[np.concatenate([b.positions for b in batches])], max_tie_fraction)
    columns_of_batch = np.split(columns, np.cumsum(sizes)[:-1], axis=1)
    ranks_of_batch = [rank_columns(np.ascontiguousarray(part)) for part in columns_of_batch]
    ties = np.sum([ranks.largest_ties for ranks in ranks_of_batch], axis=0)
    defined = ties <= largest_tie(sum(sizes), max_tie_fraction)
    scores = []
    for batch, part, ranks in zip(batches, columns_of_batch, ranks_of_batch, strict=True):
        at = defined & (ranks.largest_ties < len(batch.positions))
        scores.append(centred_scores(features, part, ranks, at, batch.basis, measure))
    return scores


def pooled_pairs(parts: Sequence[Scores], fdr: float | None, floor: float = np.inf) -> LocalityPairs:
    """Correlations pooled over batches.

    Parameters
    ----------
    parts
        Scores within each batch.
    fdr
        Leave out pairs that Benjamini–Hochberg cannot reject at this level, and find the null of the others; ``None``
        leaves all of them in. A pair that does not vary together in any batch has no correlation, and is no test.
    floor
        Pairs with |ρ| of at least this stay in.
    """
    features = _features_of(parts)
    linear, fisher, weights, several = _pool(parts, features)
    n_tests = int(np.count_nonzero(weights))
    least = 0.0 if fdr is None else student_critical(fdr, _most_samples(parts))
    pooled = np.where(several, np.tanh(fisher), linear)
    at = np.flatnonzero((weights > 0) & ((np.abs(linear) >= least) | (np.abs(pooled) >= floor)))
    rho = pooled[at]
    first, second = pair_features(at, len(features))
    pairs = LocalityPairs(features, features[first], features[second], rho, linear[at], None, n_tests, floor)
    if fdr is None:
        return pairs.take(rho != 0)
    possible = possible_pairs(np.abs(pairs.statistic), _most_samples(parts), level=fdr, n_tests=n_tests)
    pairs = pairs.take(np.union1d(possible, np.flatnonzero(np.abs(rho) >= floor)))
    return replace(pairs, null=pooled_null(pairs, parts))


def _features_of(parts: Sequence[Scores]) -> IntArray:
    """Features that vary in some batch, ascending."""
    return np.unique(np.concatenate([np.empty(0, dtype=np.intp), *(part.features for part in parts)]))


def pooled_null(pairs: LocalityPairs, parts: Sequence[Scores]) -> PermutationNull:
    """Null of the mean correlation of every pair when samples are permuted within batches.

    Where both features take two values in every batch, the mean is taken to lie on the finest of the lattices. Weights grow
    and steps shrink with the number of samples, so they nearly coincide; where they do not, p-values are on the large side.
    """
    positions = [(_find(part.features, pairs.first), _find(part.features, pairs.second)) for part in parts]
    total = np.zeros(len(pairs.rho))
    for part, (a, b) in zip(parts, positions, strict=True):
        total[(a >= 0) & (b >= 0)] += _weight(part)
    null = PermutationNull(np.zeros((4, len(total))), np.full(len(total), np.inf), np.zeros(len(total)))
    for part, (a, b) in zip(parts, positions, strict=True):
        at = np.flatnonzero((a >= 0) & (b >= 0))
        of_part = PermutationNull.of_pairs(part.moments.take(a[at]), part.moments.take(b[at]), part.n_effective)
        of_part = of_part.weighted(_weight(part) / total[at])
        null.cumulants[:, at] += of_part.cumulants
        null.step[at] = np.minimum(null.step[at], of_part.step)
        null.log_permutations[at] += of_part.log_permutations
    return null


def _most_samples(parts: Sequence[Scores]) -> int:
    """Bound the effective number of samples, 1 + 1/var R, of any pair: var R is least with weights n_b - 1."""
    return 1 + sum(part.n_effective - 1 for part in parts)


def _weight(part: Scores) -> float:
    return float(part.n_effective - _NO_WEIGHT)


def _find(features: IntArray, wanted: IntArray) -> IntArray:
    """Positions in ascending ``features``, -1 where there is none."""
    at = np.searchsorted(features, wanted)
    found = np.append(features, -1)[at] == wanted
    return np.where(found, at, -1)


def _pool(parts: Sequence[Scores], features: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Mean ρ_b, mean Fisher z, weight, and whether several batches have a say, of every pair in row-major order.

    Fisher's z of a perfect ρ_b is infinite, and that of 0.99 in a handful of samples says as little. |ρ_b| counts as
    at most 1 - 1/n_b, which is what a perfect rank correlation falls to on average, to first order, when one more sample
    of no relation joins: 1 - 1/(n_b + 1) - 2/(n_b + 1)². A pair that a single batch decides keeps its ρ_b.
    """
    k = n_pairs(len(features))
    sums = np.zeros(k), np.zeros(k), np.zeros(k), np.zeros(k, dtype=np.bool_)
    for part in parts:
        rows = _find(part.features, features)
        _add_batch(products(part), rows, _weight(part), 1 - 1 / part.n_effective, *sums)
    return sums


@njit(nogil=True, cache=True)
def _add_batch(products, rows, weight, bound, linear, fisher, weights, several):  # type: ignore[no-untyped-def]
    """Update running means over batches; one batch alone leaves its correlation to the last bit."""
    k = -1
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            k += 1
            a, b = rows[i], rows[j]
            if a < 0 or b < 0:
                continue
            rho = products[a, b] / np.sqrt(products[a, a] * products[b, b])
            several[k] = weights[k] > 0
            weights[k] += weight
            share = weight / weights[k]
            linear[k] += (min(max(rho, -1.0), 1.0) - linear[k]) * share
            fisher[k] += (math.atanh(min(max(rho, -bound), bound)) - fisher[k]) * share
