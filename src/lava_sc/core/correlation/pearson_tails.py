"""Tail probabilities of a correlation under its null: Student's, and those of a distribution with given moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from lava_sc._types import FloatArray

_NEARLY_GAMMA: Final = 1e6  # p + q from which a beta distribution is as good as its limit
_ROUNDING: Final = 1 + 1e-6  # bound and number lose digits when a or b is large,
_NEARLY_NOTHING: Final = 1e-250  # and all of them where numbers underflow
_LARGEST_RATIO: Final = 1 - 1e-6  # beyond, its difference from 1 has too few digits left


class BetaTail(Protocol):
    """P(Y ≤ x) of Y ~ Beta(a, b), or a bound of it, which may use x^a·(1 - x)^b / B(a, b)."""

    def __call__(self, a: FloatArray, b: FloatArray, x: FloatArray, density: FloatArray) -> FloatArray:
        """All arrays (k,) or of one number."""


def beta_tail(a: FloatArray, b: FloatArray, x: FloatArray, density: FloatArray) -> FloatArray:  # noqa: ARG001
    """Regularised incomplete beta function."""
    return np.asarray(special.betainc(a, b, x))


def bounded_beta_tail(a: FloatArray, b: FloatArray, x: FloatArray, density: FloatArray) -> FloatArray:
    """Upper bound of :func:`beta_tail` in a small part of its time, close in the far tail.

    The function is x^a·(1 - x)^b / (a·B(a, b)) times the series 1 + (a + b)/(a + 1)·x + ..., in which no ratio of
    successive terms is above max(1, (a + b)/(a + 1))·x: a geometric series bounds it.
    """
    ratio = x * np.maximum((a + b) / (a + 1), 1.0)
    bound = np.divide(density / a, 1 - ratio, out=np.ones_like(density), where=ratio < _LARGEST_RATIO)
    return np.minimum(bound * _ROUNDING + _NEARLY_NOTHING, 1.0)


def beta_density(a: FloatArray, b: FloatArray, x: FloatArray, log_beta: FloatArray) -> FloatArray:
    """x^a·(1 - x)^b / B(a, b), which is the density of Beta(a, b) times x·(1 - x)."""
    return np.asarray(np.exp(special.xlogy(a, x) + special.xlog1py(b, -x) - log_beta))


def student_tail(size: FloatArray, n: FloatArray, tail: BetaTail = beta_tail) -> FloatArray:
    """Two-sided p of Student's t test with n - 2 degrees of freedom: 1 - ρ² ~ Beta((n - 2)/2, 1/2)."""
    n = n[:1] if n.size and np.ptp(n) == 0 else n
    a, b, x = n / 2 - 1, np.array([0.5]), (1 - size) * (1 + size)
    return tail(a, b, x, beta_density(a, b, x, special.betaln(a, b)))


def fitted_tail(
    z: FloatArray, skewness: FloatArray, kurtosis: FloatArray, fifth: FloatArray, tail: BetaTail = beta_tail
) -> FloatArray:
    """P(|Z| ≥ z) of standardised variables with these moments; all arrays (k,).

    With :func:`bounded_beta_tail`, an upper bound of it.
    """
    fifth = np.where(skewness < 0, -fifth, fifth)
    skewness = np.abs(skewness)
    gap = 6 + 3 * skewness**2 - 2 * kurtosis  # 0 for gamma distributions, positive for beta distributions
    p, q, width = _fitted_beta(skewness, kurtosis, gap)
    total, log_beta = p + q, special.betaln(p, q)
    above, below = np.clip(q / total - z / width, 0.0, 1.0), np.clip(p / total - z / width, 0.0, 1.0)
    upper_density, lower_density = beta_density(q, p, above, log_beta), beta_density(p, q, below, log_beta)
    upper, lower = tail(q, p, above, upper_density), tail(p, q, below, lower_density)

    missing = fifth - skewness * (2 * (total + 2) * kurtosis + 4 * (total + 1)) / (total + 4)
    longer = np.flatnonzero((gap > 0) & (missing > 0))
    p, q = p[longer], q[longer]
    weight = _fifth_moment_weight(missing[longer], p, q, width[longer])
    upper[longer] += weight * _fifth_moment_tail(1 - above[longer], p, q, upper_density[longer])
    lower[longer] -= weight * _fifth_moment_tail(below[longer], p, q, lower_density[longer])
    tails = np.maximum(upper, 0.0) + np.maximum(lower, 0.0)

    heavy = np.flatnonzero((gap <= 0) & (kurtosis > 3))
    tails[heavy] = np.maximum(tails[heavy], _scaled_student_tail(z[heavy], kurtosis[heavy]))
    return tails


def _fitted_beta(
    skewness: FloatArray, kurtosis: FloatArray, gap: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Parameters p and q of a beta distribution with these moments, and the width of its support in standard deviations."""
    room = np.maximum(kurtosis - skewness**2 - 1, 1e-3)  # 0 for two-valued variables
    total = np.where(gap * _NEARLY_GAMMA > 6 * room, 6 * room / np.maximum(gap, 1e-12), _NEARLY_GAMMA)
    width = np.sqrt((total + 2) ** 2 * skewness**2 + 16 * (total + 1)) / 2
    lean = (total + 2) * skewness / (2 * width)
    p = total * 2 * (total + 1) / (width**2 * (1 + lean))
    return p, total - p, width


def _fifth_moment_weight(missing: FloatArray, p: FloatArray, q: FloatArray, width: FloatArray) -> FloatArray:
    """Factor of the Jacobi polynomial of degree 5 that adds ``missing`` to the fifth moment of Beta(p, q)·width."""
    total = p + q
    leading = special.poch(total + 4, 5) / (120 * 2.0**5)
    square_norm = special.poch(p, 5) * special.poch(q, 5) / (120 * special.poch(total, 4) * (total + 9))
    return missing * (2 / width) ** 5 * leading / square_norm


def _fifth_moment_tail(y: FloatArray, p: FloatArray, q: FloatArray, density: FloatArray) -> FloatArray:
    """Integral from y to 1 of that polynomial times the density of Beta(p, q), by Rodrigues' formula.

    ``density`` is y^p·(1 - y)^q / B(p, q).
    """
    return np.asarray(density * special.eval_jacobi(4, q, p, 2 * y - 1) / 5)


def _scaled_student_tail(z: FloatArray, kurtosis: FloatArray) -> FloatArray:
    """P(|Z| ≥ z) of the scaled Student distribution with this kurtosis, which is above 3."""
    freedom = 4 + 6 / (kurtosis - 3)
    return 2 * special.stdtr(freedom, -z * np.sqrt(freedom / (freedom - 2)))
