"""Correlations of a locality beyond those of pairs that are measured as well in it.

Within a locality, features are put into groups by how well they are measured there. A pair's |ρ| is held against the mean over
all pairs of the same two groups, so that neither being expressed where others are not, nor depth, which ties the well
expressed ones together, counts as being correlated. Sums over some pairs are scaled by the standard deviation that pairs
of those groups would give, if they were independent, so that sums over few and over many pairs compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from lava_sc._types import BoolArray, FloatArray, IntArray

#: Features of a set that have to be defined.
FEWEST_DEFINED: Final = 3
_FEWEST_ALIKE: Final = 25  # features that are taken to be measured equally well in a locality,
_MOST_GROUPS: Final = 10  # unless that makes more groups than this
_NO_VARIANCE: Final = 1e-12


@dataclass(frozen=True)
class Excess:
    """One locality.

    Attributes
    ----------
    columns, rho
        (k,) pairs, ascending, and their correlations; all others are 0.
    place
        (D,) place of each feature among the d defined ones by how well they are measured, −1 where it is undefined.
    groups
        (d,) group of each defined feature.
    residuals
        (d, d) float32, |ρ| of a pair less the mean over pairs of the same groups; 0 on the diagonal.
    means, variances
        (K, K) of |ρ|, by group.
    """

    columns: IntArray
    rho: FloatArray
    place: IntArray
    groups: IntArray
    residuals: FloatArray
    means: FloatArray
    variances: FloatArray

    @classmethod
    def of(cls, columns: IntArray, rho: FloatArray, defined: BoolArray, order: IntArray) -> Excess:
        """Residuals of a row of C.

        Parameters
        ----------
        columns, rho
            See above.
        defined
            (D,) bool.
        order
            (D,) features by how well they are measured.
        """
        n_defined, place = int(defined.sum()), np.full(len(defined), -1)
        place[order[defined[order]]] = np.arange(n_defined)
        n_groups = int(np.clip(n_defined // _FEWEST_ALIKE, 1, _MOST_GROUPS))
        groups = np.arange(n_defined) * n_groups // max(n_defined, 1)
        residuals = np.zeros((n_defined, n_defined), dtype=np.float32)
        means, variances = np.zeros((2, n_groups, n_groups))
        _fill(columns, rho, place, groups, residuals, means, variances)
        return cls(columns, rho, place, groups, residuals, means, variances)

    def of_weighted_pairs(
        self, a: IntArray, b: IntArray, weights: FloatArray, starts: IntArray, labels: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Scaled weighted sums of the residuals, and weighted sums of |ρ|, each (n, M).

        Parameters
        ----------
        a, b, weights
            (k,) features and weights of the pairs of M patterns, one pattern after the other.
        starts
            (M + 1,) where each pattern starts.
        labels
            (n, D) numbers that the features of the patterns have in the locality.
        """
        local = self.place, self.groups, self.residuals, self.means, self.variances
        return _weighted_sums(*local, a, b, weights, starts, labels)

    def of_sets(self, sets: IntArray) -> FloatArray:
        """Scaled sums of the residuals over all pairs within each set of features (n, k), (n,).

        NaN for sets of which fewer than three features are defined.
        """
        return _set_sums(self.place, self.groups, self.residuals, self.variances, sets)

    def sums(self, features: IntArray) -> tuple[float, float, float]:
        """Σ |ρ| and Σ ρ over the pairs of some defined features, ascending, and Σ |ρ| as pairs measured as well would give."""
        return _pair_sums(self.columns, self.rho, self.place, self.groups, self.residuals, self.means, features)


@njit(nogil=True, cache=True)
def _fill(columns, rho, place, groups, residuals, means, variances):  # type: ignore[no-untyped-def]
    n_features, n_groups = len(place), len(means)
    a, start = 0, 0
    for k in range(len(columns)):
        while columns[k] >= start + n_features - a - 1:
            start += n_features - a - 1
            a += 1
        i, j = place[a], place[columns[k] - start + a + 1]
        size = abs(rho[k])
        residuals[i, j] = residuals[j, i] = size
        means[groups[i], groups[j]] += size
        variances[groups[i], groups[j]] += np.float64(size) * size
    sizes = np.bincount(groups, minlength=n_groups)
    for s in range(n_groups):
        for t in range(s, n_groups):
            n = max(sizes[s] * (sizes[s] - 1) / 2 if s == t else sizes[s] * sizes[t], 1)
            mean = (means[s, t] + (means[t, s] if s != t else 0.0)) / n
            square = (variances[s, t] + (variances[t, s] if s != t else 0.0)) / n
            means[s, t] = means[t, s] = mean
            variances[s, t] = variances[t, s] = max(square - mean * mean, 0.0)
    for i in range(len(groups)):
        for j in range(len(groups)):
            if i != j:
                residuals[i, j] -= means[groups[i], groups[j]]


@njit(nogil=True, cache=True)
def _weighted_sums(  # type: ignore[no-untyped-def]
    place, groups, residuals, means, variances, first, second, weights, starts, labels
):
    n_patterns = len(starts) - 1
    scaled, absolute = np.zeros((len(labels), n_patterns)), np.zeros((len(labels), n_patterns))
    for n in range(len(labels)):
        for m in range(n_patterns):
            excess = variance = expected = 0.0
            for k in range(starts[m], starts[m + 1]):
                i, j = place[labels[n, first[k]]], place[labels[n, second[k]]]
                if i >= 0 and j >= 0:
                    weight, s, t = weights[k], groups[i], groups[j]
                    excess += weight * residuals[i, j]
                    expected += weight * means[s, t]
                    variance += weight * weight * variances[s, t]
            scaled[n, m] = excess / np.sqrt(variance) if variance > _NO_VARIANCE else 0.0
            absolute[n, m] = expected + excess
    return scaled, absolute


@njit(nogil=True, cache=True)
def _set_sums(place, groups, residuals, variances, sets):  # type: ignore[no-untyped-def]
    """Pair by pair over all sets: random sets have alike features at the same place, whose residuals lie side by side."""
    n_sets, size = sets.shape
    members, sizes = np.empty((size, n_sets), dtype=np.int64), np.zeros((n_sets, len(variances)))
    for n in range(n_sets):
        for k in range(size):
            members[k, n] = place[sets[n, k]]
            if members[k, n] >= 0:
                sizes[n, groups[members[k, n]]] += 1
    excess = np.zeros(n_sets)
    for i in range(1, size):
        for j in range(i):
            _add_residuals(residuals, members[i], members[j], excess)
    for n in range(n_sets):
        if sizes[n].sum() < FEWEST_DEFINED:
            excess[n] = np.nan
            continue
        variance = 0.0
        for s in range(len(variances)):
            variance += sizes[n, s] * (sizes[n, s] - 1) / 2 * variances[s, s]
            for t in range(s):
                variance += sizes[n, s] * sizes[n, t] * variances[s, t]
        excess[n] = excess[n] / np.sqrt(variance) if variance > _NO_VARIANCE else 0.0
    return excess


@njit(nogil=True, cache=True)
def _add_residuals(residuals, first, second, excess):  # type: ignore[no-untyped-def]
    for n in range(len(excess)):
        if first[n] >= 0 and second[n] >= 0:
            excess[n] += residuals[first[n], second[n]]


@njit(nogil=True, cache=True)
def _pair_sums(columns, rho, place, groups, residuals, means, features):  # type: ignore[no-untyped-def]
    excess = signed = expected = 0.0
    n_features = len(place)
    for k in range(len(features)):
        a = features[k]
        start = a * (2 * n_features - a - 1) // 2 - a - 1
        for b in features[k + 1 :]:
            i, j = place[a], place[b]
            excess += residuals[i, j]
            expected += means[groups[i], groups[j]]
            at = np.searchsorted(columns, start + b)
            if at < len(columns) and columns[at] == start + b:
                signed += rho[at]
    return excess + expected, signed, expected
