"""Tests of correlations over localities by exchanging the labels of donors.

The fraction of a category in a locality is linear in the labels of the donors, so that of all permutations is one product of
matrices.
"""

from __future__ import annotations

from itertools import product
from math import factorial, prod
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core.interpret.association import FEWEST_LOCALITIES, ROUNDING, fractions, standardised_both_ways
from lava_sc.parallel.threads import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lava_sc._types import BoolArray, FloatArray, IntArray

#: Of a temporary.
ENTRIES: Final = 4_000_000


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
            r = np.array([a @ b for a, b in standardised_both_ways(x, of_module)])
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
