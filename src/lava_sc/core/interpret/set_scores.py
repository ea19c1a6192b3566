"""Correlation within given sets of features in each locality, beside random sets that are measured as well."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lava_sc.core.nulls.exchanged_genes import permutation_test
from lava_sc.core.nulls.matched_residuals import FEWEST_DEFINED, Excess
from lava_sc.parallel.threads import ordered_map, progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scipy import sparse

    from lava_sc._types import BoolArray, FloatArray, IntArray
    from lava_sc.core.nulls.exchanged_genes import DetectionStats


@dataclass(frozen=True)
class Part:
    """Correlations of some localities, every defined pair among them.

    Attributes
    ----------
    localities
        (k,) their numbers.
    C
        (k, J) CSR, signed, indices sorted.
    defined
        (k, D) bool.
    """

    localities: IntArray
    C: sparse.csr_matrix
    defined: BoolArray


@dataclass(frozen=True)
class SetScores:
    """Scores of K sets, (K,) each in a locality, (ℓ, K) in all; NaN where fewer than three features of a set are defined.

    Attributes
    ----------
    n_defined
        Features of the set that are defined.
    means, expected
        Mean |ρ| over the defined pairs of the set, and over the pairs that are measured as well.
    positive
        Share of positive ρ, each counted by its size.
    z, pvalues
        See :func:`lava_sc.core.nulls.exchanged_genes.permutation_test`.
    """

    n_defined: IntArray
    means: FloatArray
    expected: FloatArray
    positive: FloatArray
    z: FloatArray
    pvalues: FloatArray

    @property
    def n_pairs(self) -> IntArray:
        """Pairs that count: 0 where there is no score."""
        return np.where(self.n_defined >= FEWEST_DEFINED, self.n_defined * (self.n_defined - 1) // 2, 0)

    def pooled(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Means, expected and positive over the pairs of all localities, (K,) each."""
        n = self.n_pairs
        absolute, expected, positive = (
            np.where(n > 0, values * n, 0).sum(axis=0)
            for values in (self.means, self.expected, np.nan_to_num(self.positive) * self.means)
        )
        total, nothing = n.sum(axis=0), np.full(n.shape[1], np.nan)
        return (
            np.divide(absolute, total, out=nothing.copy(), where=total > 0),
            np.divide(expected, total, out=nothing.copy(), where=total > 0),
            np.divide(positive, absolute, out=nothing.copy(), where=absolute > 0),
        )


def score_sets(
    parts: Iterable[Part],
    levels: DetectionStats,
    names: IntArray,
    draws: Sequence[IntArray],
    *,
    n_jobs: int | None,
) -> tuple[SetScores, FloatArray]:
    """Score sets in every locality.

    Parameters
    ----------
    parts
        Every locality in one of them.
    levels
        How well features are measured in each locality.
    names
        (D,) ranks of the features' names.
    draws
        For each set (n + 1, k) features: its own, then those of n random sets.
    n_jobs
        Number of threads; changes no number.

    Returns
    -------
    Scores (ℓ, K), and the excess of every set and its random sets added up over the localities, (K, n + 1); NaN for sets without
    any.
    """
    found: dict[int, SetScores] = {}
    totals = np.full((len(draws), len(draws[0])), np.nan)
    with progress(desc="gene sets", total=len(levels.detected)) as bar:
        for part in parts:
            work = partial(_score, part, levels=levels, names=names, draws=draws)
            scored = ordered_map(work, range(len(part.localities)), n_jobs=n_jobs)
            for locality, (scores, excess) in zip(part.localities.tolist(), scored, strict=True):
                found[locality] = scores
                totals = np.where(np.isnan(totals), excess, totals + np.nan_to_num(excess))
                bar.update()
    rows = [found[i] for i in range(len(found))]
    return SetScores(
        **{field.name: np.array([getattr(row, field.name) for row in rows]) for field in fields(SetScores)}
    ), totals


def _score(
    part: Part, k: int, *, levels: DetectionStats, names: IntArray, draws: Sequence[IntArray]
) -> tuple[SetScores, FloatArray]:
    """Scores in a locality, and the excess of every set and random set, (K, n + 1)."""
    row, defined = slice(part.C.indptr[k], part.C.indptr[k + 1]), part.defined[k]
    local = Excess.of(part.C.indices[row], part.C.data[row], defined, levels.order(int(part.localities[k]), names))
    excess = np.array([local.of_sets(sets) for sets in draws])
    members = [np.sort(sets[0][defined[sets[0]]]) for sets in draws]
    n_defined = np.array([len(features) for features in members])
    sums = np.array([local.sums(features) for features in members])
    n = np.where(n_defined >= FEWEST_DEFINED, n_defined * (n_defined - 1) / 2, np.nan)
    absolute, signed, expected = (column / n for column in sums.T)
    positive = np.divide(absolute + signed, 2 * absolute, out=np.full(len(n), np.nan), where=absolute > 0)
    return SetScores(n_defined, absolute, expected, positive, *permutation_test(excess.T)), excess
