"""Presences of a module against what is known of the cells: correlations over localities, and tests by permuting donors.

Localities share cells and cells share donors, so the plain p-value of a correlation, which takes localities for independent
draws, is far too small (B.9 of the paper, Table S2). Donors are what was sampled. The fraction of a category in a locality is linear in
the labels of the donors, so that of all permutations is one product of matrices.
"""

from __future__ import annotations

from itertools import product
from math import factorial, prod
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import rankdata, t

from lava_sc.parallel.threads import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lava_sc._types import BoolArray, FloatArray, IntArray

#: Fewer localities have no correlation worth the name: two points always lie on a line.
FEWEST_LOCALITIES: Final = 3
#: Two ways to add up the same correlation differ by less.
ROUNDING: Final = 1e-9
#: Of a temporary.
ENTRIES: Final = 4_000_000
_DIGITS: Final = 12  # of a fraction; the rest is rounding, which would break ties


def standardised(values: FloatArray) -> FloatArray:
    """Columns with mean 0 and sum of squares 1, so that products are Pearson correlations; 0 where constant."""
    centred = values - values.mean(axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    constant = norms <= ROUNDING * np.abs(values).max(axis=0, initial=0.0) * np.sqrt(len(values))
    return np.divide(centred, norms, out=np.zeros_like(centred), where=~constant)


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
    found = []
    for values, others in ((x, F), (rankdata(x), rankdata(F, axis=0))):
        a, b = standardised(values), standardised(others)
        found.append(np.where(a.any() & b.any(axis=0), np.clip(a @ b, -1, 1), np.nan))
    r = np.array(found)
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


def smaller_arm(values: FloatArray, strata: IntArray, *, is_number: bool) -> int:
    """Donors in the smaller arm, of those in strata in which the label varies: others cannot be exchanged.

    A number has no arms; half of the donors stand for each.

    Parameters
    ----------
    values
        (D,).
    strata
        (D,).
    """
    varying = np.zeros(len(values), dtype=bool)
    for group in _groups(strata):
        varying[group] = np.ptp(values[group]) > 0
    if is_number:
        return int(varying.sum()) // 2
    return int(min((values[varying] == 1).sum(), (values[varying] == 0).sum()))


def assignments(
    values: FloatArray, strata: IntArray, n_permutations: int, rng: np.random.Generator
) -> tuple[FloatArray, bool]:
    """Labels exchanged between the donors of each stratum, (B, D).

    All distinct assignments, which holds the true one, when there are at most ``n_permutations``; else so many drawn at random.

    Returns
    -------
    The assignments, and whether these are all.
    """
    groups = _groups(strata)
    if prod(_n_orders(values[group]) for group in groups) > n_permutations:
        drawn = np.tile(values, (n_permutations, 1))
        for group in groups:
            drawn[:, group] = rng.permuted(drawn[:, group], axis=1)
        return drawn, False
    every = list(product(*(list(_orders(tuple(values[group].tolist()))) for group in groups)))
    found = np.empty((len(every), len(values)))
    for i, orders in enumerate(every):
        for group, order in zip(groups, orders, strict=True):
            found[i, group] = order
    return found, True


def donor_pvalues(
    presences: FloatArray, present: BoolArray, counts: FloatArray, labels: FloatArray, *, exact: bool
) -> FloatArray:
    """Two-sided p-values of the Pearson and the Spearman correlation with each module, (2, M).

    Twice the smaller tail. Of all assignments it is a share; of drawn ones, the true assignment counts as one more.

    Parameters
    ----------
    presences
        (ℓ, M).
    present
        (ℓ, M) which localities count for each module.
    counts
        (ℓ, D) cells of each donor in each locality.
    labels
        (1 + B, D) labels of the donors, the true ones first.
    exact
        Whether the others are all assignments there are.
    """
    n, n_modules = len(labels) - 1, presences.shape[1]
    observed = np.zeros((2, n_modules))
    above, below = np.zeros((2, 2, n_modules))
    size = max(1, ENTRIES // len(counts))
    # the true labels alone first: all others are held against them
    parts = [slice(0, 1), *(slice(i, min(i + size, n + 1)) for i in range(1, n + 1, size))]
    for part in progress(parts, desc="permutations of donors"):
        F = fractions(counts, labels[part].T)
        for m in range(n_modules):
            x, of_module = presences[present[:, m], m], F[present[:, m]]
            if len(x) < FEWEST_LOCALITIES:
                continue
            r = np.array(
                [
                    standardised(x) @ standardised(of_module),
                    standardised(rankdata(x)) @ standardised(rankdata(of_module, axis=0)),
                ]
            )
            if part.start == 0:
                observed[:, m] = r[:, 0]
                continue
            above[:, m] += (r >= observed[:, [m]] - ROUNDING).sum(axis=1)
            below[:, m] += (r <= observed[:, [m]] + ROUNDING).sum(axis=1)
    return two_sided(above, below, n, exact=exact)


def two_sided(above: FloatArray, below: FloatArray, n: int, *, exact: bool = False) -> FloatArray:
    """Twice the smaller tail of ``n`` draws, of which so many were at least, or at most, as large as what was observed.

    Without ``exact`` what was observed counts as one more draw, so that no p-value is 0.
    """
    more = 0 if exact else 1
    return np.minimum(1.0, 2 * (np.minimum(above, below) + more) / (n + more))


def _groups(strata: IntArray) -> list[IntArray]:
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]


def _n_orders(values: FloatArray) -> int:
    _, counts = np.unique(values, return_counts=True)
    return factorial(len(values)) // prod(factorial(int(n)) for n in counts)


def _orders(values: Sequence[float]) -> Iterator[tuple[float, ...]]:
    """Every distinct order of some values, each once."""
    if not values:
        yield ()
    for first in sorted(set(values)):
        rest = list(values)
        rest.remove(first)
        for others in _orders(tuple(rest)):
            yield first, *others
