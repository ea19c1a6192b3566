"""Correlations over localities between the presences of a module and what is known of the cells.

Localities share cells and cells share donors, so the plain p-value of a correlation, which takes localities for independent
draws, is far too small (B.9 of the paper, Table S2). Donors are what was sampled. The fraction of a category in a locality is linear in
the labels of the donors, so that of all permutations is one product of matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import rankdata, t

if TYPE_CHECKING:
    from lava_sc._types import FloatArray

#: Fewer localities have no correlation worth the name: two points always lie on a line.
FEWEST_LOCALITIES: Final = 3
#: Two ways to add up the same correlation differ by less.
ROUNDING: Final = 1e-9
_DIGITS: Final = 12  # of a fraction; the rest is rounding, which would break ties


def standardised(values: FloatArray) -> FloatArray:
    """Columns with mean 0 and sum of squares 1, so that products are Pearson correlations; 0 where constant."""
    centred = values - values.mean(axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    constant = norms <= ROUNDING * np.abs(values).max(axis=0, initial=0.0) * np.sqrt(len(values))
    return np.divide(centred, norms, out=np.zeros_like(centred), where=~constant)


def standardised_both_ways(x: FloatArray, F: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Standardised values for Pearson's correlation and standardised ranks for Spearman's, of (n,) and (n, K)."""
    return [(standardised(a), standardised(b)) for a, b in ((x, F), (rankdata(x), rankdata(F, axis=0)))]


def correlations(x: FloatArray, F: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pearson and Spearman correlation of one variable with each of others, (2, K), and their plain p-values.

    Both are NaN where a variable is constant or there are fewer than three localities. The p-values are those of
    Student's t with n − 2 degrees of freedom, for n independent draws, which localities are not.

    Parameters
    ----------
    x
        (n,).
    F
        (n, K).
    """
    n = len(x)
    if n < FEWEST_LOCALITIES:
        nothing = np.full((2, F.shape[1]), np.nan)
        return nothing, nothing.copy()
    r = np.array(
        [np.where(a.any() & b.any(axis=0), np.clip(a @ b, -1, 1), np.nan) for a, b in standardised_both_ways(x, F)]
    )
    with np.errstate(divide="ignore"):
        return r, 2 * t.sf(np.abs(r) * np.sqrt((n - 2) / (1 - r**2)), n - 2)


def fractions(counts: FloatArray, values: FloatArray) -> FloatArray:
    """Mean over the cells of each locality, (ℓ, K); NaN without cells. Equal means are equal to the last bit.

    Parameters
    ----------
    counts
        (ℓ, D) cells of each donor.
    values
        (D, K) label of each donor: 1 with the category and 0 without, or a number.
    """
    totals = counts.sum(axis=1, keepdims=True)
    sums = counts @ values
    scale = np.abs(values).max(initial=0.0) or 1.0
    means = np.divide(sums, totals, out=np.full(sums.shape, np.nan), where=totals > 0)
    return scale * np.round(means / scale, _DIGITS)
