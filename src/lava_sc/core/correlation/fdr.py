"""Benjamini–Hochberg: adjusted p-values, and the pairs of each locality that it rejects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special
from scipy.stats import false_discovery_control

from lava_sc.core.correlation.pearson_tails import bounded_beta_tail
from lava_sc.core.correlation.permutation_null import FEWEST_SAMPLES, PermutationNull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import BoolArray, FloatArray, IntArray

_INVERSE_SLACK: Final = 1e-9


@dataclass(frozen=True)
class LocalityPairs:
    """Pairs of features of one locality and their correlations.

    Attributes
    ----------
    features
        (d,) defined features, ascending.
    first, second
        (k,) features of the pairs, first < second, in the row-major order of the pairs.
    rho
        (k,) correlations.
    statistic
        (k,) what is tested: ρ, or the mean of several batches' correlations.
    null
        Of the statistics; ``None`` where nothing is tested.
    n_tests
        Number of pairs that count as tests; those with ρ = 0 or no chance to be kept may have been left out.
    floor
        Pairs with |ρ| of at least this are kept, whatever the test says.
    """

    features: IntArray
    first: IntArray
    second: IntArray
    rho: FloatArray
    statistic: FloatArray
    null: PermutationNull | None
    n_tests: int
    floor: float = np.inf

    def take(self, index: IntArray | BoolArray) -> LocalityPairs:
        """Some of the pairs, without their null."""
        parts = (self.first[index], self.second[index], self.rho[index], self.statistic[index])
        return LocalityPairs(self.features, *parts, null=None, n_tests=self.n_tests, floor=self.floor)


def significant(localities: Sequence[LocalityPairs], level: float) -> list[LocalityPairs]:
    """Keep the pairs of each locality that Benjamini–Hochberg rejects at this level, below 1, or that reach its floor.

    Most are rejected by an upper bound of their p-value already. Wherever the step-up procedure ends, it is not below the
    largest p-value rejected by bounds, so it counts those the same; the others get their p-value itself. Several
    localities at a time cost less than each by itself.
    """
    null = PermutationNull.joined([one.null for one in localities if one.null is not None])
    statistic = np.concatenate([one.statistic for one in localities])
    pvalues = null.pvalues(statistic, bounded_beta_tail)
    left = np.flatnonzero(~np.concatenate(_rejected(pvalues, localities, level)))
    pvalues[left] = null.take(left).pvalues(statistic[left])
    rejected = _rejected(pvalues, localities, level)
    return [one.take(kept | (np.abs(one.rho) >= one.floor)) for one, kept in zip(localities, rejected, strict=True)]


def _rejected(pvalues: FloatArray, localities: Sequence[LocalityPairs], level: float) -> list[BoolArray]:
    of_each = np.split(pvalues, np.cumsum([len(one.rho) for one in localities])[:-1])
    return [benjamini_hochberg(p, level, n_tests=one.n_tests) for p, one in zip(of_each, localities, strict=True)]


def adjusted_pvalues(pvalues: FloatArray) -> FloatArray:
    """Adjust p-values of any shape, all as one family; NaN stays NaN and is no test."""
    adjusted = np.full(pvalues.shape, np.nan)
    tested = ~np.isnan(pvalues)
    adjusted[tested] = false_discovery_control(pvalues[tested])
    return adjusted


def benjamini_hochberg(pvalues: FloatArray, level: float, *, n_tests: int | None = None) -> BoolArray:
    """Tests that the step-up procedure of Benjamini and Hochberg (1995) rejects, (k,) bool.

    Parameters
    ----------
    pvalues
        (k,) p-values.
    level
        False discovery rate.
    n_tests
        Number of tests when those with p > ``level``, which are never rejected, have been left out; by default k.
    """
    n_tests = pvalues.size if n_tests is None else n_tests
    n_rejected = pvalues.size
    while True:  # the largest r of which r p-values are at most level·r/n, from above; without sorting
        rejected = pvalues <= level * (n_rejected / max(n_tests, 1))
        fewer = int(np.count_nonzero(rejected))
        if fewer == n_rejected:
            return rejected
        n_rejected = fewer


def possible_pairs(size: FloatArray, n: float, *, level: float, n_tests: int) -> IntArray:
    """Pairs that Benjamini–Hochberg may keep, by their |ρ| (k,) among at most n samples.

    No p-value is below Student's. If at most r pairs can be kept, none with p > level·r/``n_tests`` can, which bounds |ρ|
    from below, and fewer pairs are left; repeated until nothing changes.
    """
    candidates = np.flatnonzero(size >= student_critical(level, n))
    while candidates.size:
        fewer = candidates[size[candidates] >= student_critical(level * candidates.size / n_tests, n)]
        if fewer.size == candidates.size:
            break
        candidates = fewer
    return candidates


def student_critical(level: float, n: float) -> float:
    """|ρ| among at most n samples below which Student's p, hence any p-value, is above ``level``, which is below 1."""
    if n < FEWEST_SAMPLES:
        return np.inf
    return float(np.sqrt(1 - special.betaincinv(n / 2 - 1, 0.5, level))) - _INVERSE_SLACK
