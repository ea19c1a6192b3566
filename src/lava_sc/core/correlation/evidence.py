"""Which correlations of a locality stand out of chance: tails of the permutation null, Benjamini–Hochberg per locality.

Under the null the samples of one feature are a random permutation against those of the other. Then ρ = Σ_i a_i·b_π(i), with
a and b centred and scaled to norm 1, has mean 0 and variance 1/(n - 1) whatever the values (Pitman 1937), but with
heavy ties it is skewed: with n = 50 and 75 % zeros in both features, Student's t is too small by a factor of six at 1e-5 and
of 35 at 1e-7. The third to fifth moments follow in closed form from the power sums Σa³, Σa⁴, Σa⁵ of each feature alone,
and give the tails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from lava_sc._types import BoolArray, FloatArray, IntArray

_SMALLEST_FIT = 8  # samples; below, five moments say little about so few permutations
_NEARLY_GAMMA = 1e6  # p + q from which a beta distribution is as good as its limit
_INVERSE_SLACK = 1e-9
_TWO_VALUED = 1e-10


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
        """Those of some features, in the order of ``index``."""
        return TailMoments(self.s3[index], self.s4[index], self.s5[index])


def tail_moments(scores: FloatArray) -> TailMoments:
    """Power sums from centred scores (d, n) of any scale, a row per feature: ranks, values or residuals of either."""
    norms = np.sqrt((scores**2).sum(axis=1, keepdims=True))
    unit = scores / np.where(norms > 0, norms, 1.0)
    square = unit * unit
    cube = square * unit
    return TailMoments(cube.sum(axis=1), (square * square).sum(axis=1), (square * cube).sum(axis=1))


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
    if n_effective < 3:
        return np.ones(rho.shape)
    size = np.maximum(np.minimum(np.abs(rho), 1.0) - _lattice_step(a, b, n_effective) / 2, 0.0)
    pvalues = _student_tail(size, n_effective)
    if n_effective >= _SMALLEST_FIT:
        moments = _null_moments(a, b, n_effective)
        pvalues = np.maximum(pvalues, _fitted_tail(size * np.sqrt(n_effective - 1.0), *moments))
    return np.clip(pvalues, np.exp(-special.gammaln(n_effective + 1.0)), 1.0)


def benjamini_hochberg(pvalues: FloatArray, level: float, *, n_tests: int | None = None) -> BoolArray:
    """Which tests the step-up procedure of Benjamini and Hochberg (1995) rejects.

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
    ordered = np.sort(pvalues)
    passing = np.flatnonzero(ordered <= level * (np.arange(1, ordered.size + 1) / max(n_tests, 1)))
    return pvalues <= ordered[passing[-1]] if passing.size else np.zeros(pvalues.shape, dtype=bool)


def significant_pairs(
    rho: FloatArray, first: IntArray, second: IntArray, moments: TailMoments, *, n_effective: int, level: float
) -> BoolArray:
    """Which pairs of one locality Benjamini–Hochberg keeps.

    Parameters
    ----------
    rho
        (k,) correlations of all defined pairs, each of which counts as a test.
    first, second
        (k,) features of the pairs, as positions in ``moments``.
    moments
        Power sums of the features.
    n_effective
        As in :func:`correlation_pvalues`.
    level
        False discovery rate within the locality.

    Returns
    -------
    (k,) mask, the one of :func:`benjamini_hochberg` on all p-values; only those that may pass are computed.
    """
    kept = np.zeros(rho.shape, dtype=bool)
    candidates = _candidates(np.abs(rho), n_effective, level)
    if candidates.size:
        a, b = moments.take(first[candidates]), moments.take(second[candidates])
        pvalues = correlation_pvalues(rho[candidates], a, b, n_effective=n_effective)
        kept[candidates] = benjamini_hochberg(pvalues, level, n_tests=rho.size)
    return kept


def _candidates(size: FloatArray, n: int, level: float) -> IntArray:
    """Pairs that may be kept.

    No p-value is below Student's. If at most r pairs can be kept, none with p > level·r/k can, which bounds |ρ| from
    below, and fewer pairs are left; repeated until nothing changes.
    """
    if n < 3:
        return np.arange(size.size)
    candidates = np.flatnonzero(size >= _student_critical(level, n))
    while candidates.size:
        fewer = candidates[size[candidates] >= _student_critical(level * candidates.size / size.size, n)]
        if fewer.size == candidates.size:
            break
        candidates = fewer
    return candidates


def _lattice_step(a: TailMoments, b: TailMoments, n: int) -> FloatArray:
    """Distance between neighbouring values of ρ where both features are two-valued, that is Σa⁴ = (Σa³)² + 1/n; else 0."""
    steps = [np.where(f.s4 - f.s3**2 - 1 / n < _TWO_VALUED, np.sqrt(f.s3**2 + 4 / n), 0.0) for f in (a, b)]
    return steps[0] * steps[1]


def _student_tail(size: FloatArray, n: int) -> FloatArray:
    """Two-sided p of Student's t test with n - 2 degrees of freedom: 1 - ρ² ~ Beta((n - 2)/2, 1/2)."""
    return special.betainc(n / 2 - 1, 0.5, (1 - size) * (1 + size))


def _student_critical(level: float, n: int) -> float:
    """Bound |ρ| from below where Student's p is at most ``level``."""
    return float(np.sqrt(1 - special.betaincinv(n / 2 - 1, 0.5, min(level, 1.0)))) - _INVERSE_SLACK


def _null_moments(a: TailMoments, b: TailMoments, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Skewness, kurtosis and fifth standardised moment of Σ_i a_i·b_π(i) over all permutations π.

    The expectation of a product over distinct samples is a sum over distinct indices of a, times that of b, over the
    falling factorial of n; Σa = 0 and Σa² = 1 leave polynomials in the power sums.
    """
    falling = np.cumprod(n - np.arange(5.0))
    third = a.s3 * b.s3 * (1 / falling[0] + 3 / falling[1] + 4 / falling[2])
    fourth = (
        a.s4 * b.s4 * (1 / falling[0] + 4 / falling[1])
        + 3 * (1 - a.s4) * (1 - b.s4) / falling[1]
        + 6 * (1 - 2 * a.s4) * (1 - 2 * b.s4) / falling[2]
        + 9 * (1 - 2 * a.s4) * (1 - 2 * b.s4) / falling[3]
    )
    mixed = (a.s3 - a.s5) * (b.s3 - b.s5)
    fifth = (
        a.s5 * b.s5 * (1 / falling[0] + 5 / falling[1])
        + 10 * mixed / falling[1]
        + 10 * (a.s3 - 2 * a.s5) * (b.s3 - 2 * b.s5) / falling[2]
        + 60 * mixed / falling[2]
        + 10 * (5 * a.s3 - 6 * a.s5) * (5 * b.s3 - 6 * b.s5) / falling[3]
        + 16 * (5 * a.s3 - 6 * a.s5) * (5 * b.s3 - 6 * b.s5) / falling[4]
    )
    scale = np.sqrt(n - 1.0)
    return third * scale**3, fourth * scale**4, fifth * scale**5


def _fitted_tail(z: FloatArray, skewness: FloatArray, kurtosis: FloatArray, fifth: FloatArray) -> FloatArray:
    """P(|Z| ≥ z) of a standardised variable with these moments."""
    fifth = np.where(skewness < 0, -fifth, fifth)
    skewness = np.abs(skewness)
    gap = 6 + 3 * skewness**2 - 2 * kurtosis  # 0 for gamma distributions, positive for beta distributions
    room = np.maximum(kurtosis - skewness**2 - 1, 1e-3)  # 0 for two-valued variables
    total = np.where(gap * _NEARLY_GAMMA > 6 * room, 6 * room / np.maximum(gap, 1e-12), _NEARLY_GAMMA)
    width = np.sqrt((total + 2) ** 2 * skewness**2 + 16 * (total + 1)) / 2
    lean = (total + 2) * skewness / (2 * width)
    p = total * 2 * (total + 1) / (width**2 * (1 + lean))
    q = total - p
    above, below = np.clip(q / total - z / width, 0.0, 1.0), np.clip(p / total - z / width, 0.0, 1.0)
    missing = fifth - skewness * (2 * (total + 2) * kurtosis + 4 * (total + 1)) / (total + 4)
    longer = _fifth_moment_weight(np.where(gap > 0, np.maximum(missing, 0.0), 0.0), p, q, width)
    upper = special.betainc(q, p, above) + longer * _fifth_moment_tail(1 - above, p, q)
    lower = special.betainc(p, q, below) - longer * _fifth_moment_tail(below, p, q)
    return np.maximum(np.maximum(upper, 0.0) + np.maximum(lower, 0.0), _heavy_tail(z, gap, kurtosis))


def _fifth_moment_weight(missing: FloatArray, p: FloatArray, q: FloatArray, width: FloatArray) -> FloatArray:
    """Factor of the Jacobi polynomial of degree 5 that adds ``missing`` to the fifth moment of Beta(p, q)·width."""
    total = p + q
    leading = special.poch(total + 4, 5) / (120 * 2.0**5)
    square_norm = special.poch(p, 5) * special.poch(q, 5) / (120 * special.poch(total, 4) * (total + 9))
    return missing * (2 / width) ** 5 * leading / square_norm


def _fifth_moment_tail(y: FloatArray, p: FloatArray, q: FloatArray) -> FloatArray:
    """Integral from y to 1 of that polynomial times the density of Beta(p, q), by Rodrigues' formula."""
    density = np.exp(special.xlogy(p, y) + special.xlog1py(q, -y) - special.betaln(p, q))
    return density * special.eval_jacobi(4, q, p, 2 * y - 1) / 5


def _heavy_tail(z: FloatArray, gap: FloatArray, kurtosis: FloatArray) -> FloatArray:
    """P(|Z| ≥ z) of the scaled Student distribution with this kurtosis where no beta distribution has it, else 0."""
    heavy = (gap <= 0) & (kurtosis > 3)
    freedom = 4 + 6 / np.where(heavy, kurtosis - 3, 1.0)
    return np.where(heavy, 2 * special.stdtr(freedom, -z * np.sqrt(freedom / (freedom - 2))), 0.0)
