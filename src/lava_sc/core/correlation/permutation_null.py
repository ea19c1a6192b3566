"""P-values of the correlations within a locality: tails of their permutation null.

Under the null the samples of one feature are a random permutation against those of the other. Then ρ = Σ_i a_i·b_π(i), with
a and b centred and scaled to norm 1, has mean 0 and variance 1/(n - 1) whatever the values (Pitman 1937), but with
heavy ties it is skewed: with n = 50 and 75 % zeros in both features, Student's t is too small by a factor of six at 1e-5 and
of 35 at 1e-7. The third to fifth moments follow in closed form from the power sums Σa³, Σa⁴, Σa⁵ of each feature alone,
and give the tails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from lava_sc.core.correlation.pearson_tails import beta_tail, fitted_tail, student_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.correlation.pearson_tails import BetaTail

FEWEST_SAMPLES: Final = 3  # with two, ρ is always ±1
_SMALLEST_FIT: Final = 8  # samples; below, five moments say little about so few permutations
_TWO_VALUED: Final = 1e-10
_ORDERS: Final = np.array([[2], [3], [4], [5]])


@dataclass(frozen=True)
class TailMoments:
    """Power sums of features that are centred and scaled to norm 1.

    Attributes
    ----------
    s3, s4, s5
        (d,) Σa³, Σa⁴ and Σa⁵ of every feature.
    """

    s3: FloatArray
    s4: FloatArray
    s5: FloatArray

    def take(self, index: IntArray) -> TailMoments:
        """Take the moments of some features, in the order of ``index``."""
        return TailMoments(self.s3[index], self.s4[index], self.s5[index])

    def twice(self) -> TailMoments:
        """Append the moments of all features once more."""
        return TailMoments(*(np.concatenate([sums, sums]) for sums in (self.s3, self.s4, self.s5)))


def tail_moments(scores: FloatArray) -> TailMoments:
    """Power sums from centred scores (d, n) of any scale, a row per feature: ranks, values or residuals of either."""
    norms = np.sqrt((scores**2).sum(axis=1, keepdims=True))
    unit = scores / np.where(norms > 0, norms, 1.0)
    square = unit * unit
    cube = square * unit
    return TailMoments(cube.sum(axis=1), (square * square).sum(axis=1), (square * cube).sum(axis=1))


@dataclass(frozen=True)
class PermutationNull:
    """Null distributions of k statistics that permutations of the samples give.

    A statistic is a correlation, or a mean of the correlations in several batches within which samples are permuted; with
    weights that sum to 1, the cumulants of the mean are those of the correlations times powers of the weights.

    Attributes
    ----------
    cumulants
        (4, k) second to fifth cumulant; the first is 0.
    step
        (k,) distance between neighbouring values where they lie on a lattice, else 0.
    log_permutations
        (k,) logarithm of the number of permutations.
    """

    cumulants: FloatArray
    step: FloatArray
    log_permutations: FloatArray

    @classmethod
    def of_pairs(cls, a: TailMoments, b: TailMoments, n: int) -> PermutationNull:
        """Nulls of the correlations of k pairs of features over n samples."""
        log_permutations = np.full(a.s3.shape, special.gammaln(n + 1.0))
        return cls(_cumulants(a, b, n), _lattice_step(a, b, n), log_permutations)

    def weighted(self, weights: FloatArray) -> PermutationNull:
        """Nulls of the statistics times weights (k,)."""
        return PermutationNull(self.cumulants * weights**_ORDERS, self.step * weights, self.log_permutations)

    def take(self, index: IntArray) -> PermutationNull:
        """Take some of the nulls, in the order of ``index``."""
        return PermutationNull(self.cumulants[:, index], self.step[index], self.log_permutations[index])

    @classmethod
    def joined(cls, nulls: Sequence[PermutationNull]) -> PermutationNull:
        """Several, one after the other."""
        return cls(
            np.concatenate([null.cumulants for null in nulls], axis=1),
            np.concatenate([null.step for null in nulls]),
            np.concatenate([null.log_permutations for null in nulls]),
        )

    def pvalues(self, statistic: FloatArray, tail: BetaTail = beta_tail) -> FloatArray:
        """P-values (k,) of the statistics as in :func:`correlation_pvalues`, or bounds as in :func:`fitted_tail`."""
        variance = self.cumulants[0]
        n_effective = 1 + 1 / variance
        size = np.maximum(np.minimum(np.abs(statistic), 1.0) - self.step / 2, 0.0)
        pvalues = student_tail(size, n_effective, tail)
        fit = np.flatnonzero(n_effective >= _SMALLEST_FIT)
        third, fourth, fifth = self.cumulants[1:, fit] / variance[fit] ** (_ORDERS[1:] / 2)
        fitted = fitted_tail(size[fit] / np.sqrt(variance[fit]), third, fourth + 3, fifth + 10 * third, tail)
        pvalues[fit] = np.maximum(pvalues[fit], fitted)
        return np.clip(pvalues, np.exp(-self.log_permutations), 1.0)


def correlation_pvalues(rho: FloatArray, a: TailMoments, b: TailMoments, *, n_effective: int) -> FloatArray:
    """P(|ρ*| ≥ |ρ|) for the correlation ρ* of permuted samples.

    Parameters
    ----------
    rho
        (k,) correlations.
    a, b
        Power sums (k,) of the first and of the second feature of every pair.
    n_effective
        Number of samples, less the number of covariates taken out of the scores: residuals are treated as if they were
        permutable in the dimensions that are left. A variance that changes with the covariate is not corrected.

    Returns
    -------
    (k,) float64 in (0, 1], except that they underflow to 0 below 1e-308.

    Notes
    -----
    Two-sided by the sum of both tails, not by twice the smaller one: AMF weighs |ρ|, and between sparse features a
    negative ρ comes up against a bound (-1/3 at 75 % zeros in both) where no smooth tail is right.

    The tails are those of a beta distribution on its own support with the exact variance, skewness and kurtosis (Pearson's
    type I), plus the multiple of the Jacobi polynomial of degree 5 that makes the fifth moment exact, where that makes the
    upper tail longer. Kurtosis beyond a gamma distribution (Pearson's types IV and VI; heavy-tailed values, not ranks) takes
    the longer tail of that gamma distribution and of the scaled Student distribution with this kurtosis. No p-value is
    smaller than that of Student's t test, the null of normal data, nor than 1/n!, the share of a single permutation.

    Between two features that take two values each, ρ lies on a lattice, and half a step is taken off |ρ|. With more values
    ρ is fine-grained, and small integers among at least 50 samples need no such correction.
    """
    if n_effective < FEWEST_SAMPLES:
        return np.ones(rho.shape)
    return PermutationNull.of_pairs(a, b, n_effective).pvalues(rho)


def _lattice_step(a: TailMoments, b: TailMoments, n: int) -> FloatArray:
    """Distance between neighbouring values of ρ where both features are two-valued, that is Σa⁴ = (Σa³)² + 1/n; else 0."""
    steps = [np.where(f.s4 - f.s3**2 - 1 / n < _TWO_VALUED, np.sqrt(f.s3**2 + 4 / n), 0.0) for f in (a, b)]
    return steps[0] * steps[1]


def _cumulants(a: TailMoments, b: TailMoments, n: int) -> FloatArray:
    """Second to fifth cumulant (4, k) of Σ_i a_i·b_π(i) over all permutations π.

    The expectation of a product over distinct samples is a sum over distinct indices of a, times that of b, over the
    falling factorial of n; Σa = 0 and Σa² = 1 leave polynomials in the power sums. Sums over more distinct indices than
    there are samples are empty.
    """
    falling = np.cumprod(n - np.arange(5.0))
    one, two, three, four, five = np.divide(1.0, falling, out=np.zeros(5), where=falling > 0)
    variance = 1 / (n - 1.0)
    third = a.s3 * b.s3 * (one + 3 * two + 4 * three)
    paired, single = (1 - a.s4) * (1 - b.s4), (1 - 2 * a.s4) * (1 - 2 * b.s4)
    fourth = a.s4 * b.s4 * (one + 4 * two) + 3 * two * paired + (6 * three + 9 * four) * single
    fifth = (
        a.s5 * b.s5 * (one + 5 * two)
        + (10 * two + 60 * three) * (a.s3 - a.s5) * (b.s3 - b.s5)
        + 10 * three * (a.s3 - 2 * a.s5) * (b.s3 - 2 * b.s5)
        + (10 * four + 16 * five) * (5 * a.s3 - 6 * a.s5) * (5 * b.s3 - 6 * b.s5)
    )
    return np.stack([np.full_like(third, variance), third, fourth - 3 * variance**2, fifth - 10 * third * variance])
