"""The permutation null of a correlation, by enumeration and by Monte-Carlo."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_COLUMNS = 3000


def unit(values: Floats) -> Floats:
    """Centred and scaled to norm 1, so that a correlation is a dot product."""
    centred = np.asarray(values, dtype=np.float64) - np.mean(values)
    return centred / np.linalg.norm(centred)


def enumerated_correlations(x: Floats, y: Floats) -> Floats:
    """Correlations of x with all n! orders of y."""
    return np.array([unit(x) @ unit(y)[list(order)] for order in permutations(range(len(y)))])


def exceedances(x: Floats, y: Floats, sizes: Floats, n_draws: float, rng: np.random.Generator) -> tuple[Floats, int]:
    """How often |correlation| of permuted x with permuted y reaches each of `sizes`, and the number of draws.

    Every permuted x meets every permuted y. Given one side the other is still uniform over all orders, so two draws are
    independent even if they share a side, and the variance of the counts is binomial.
    """
    left, right = (np.tile(unit(v).astype(np.float32), (_COLUMNS, 1)) for v in (x, y))
    counts = np.zeros(len(sizes))
    n_products = max(1, round(n_draws / _COLUMNS**2))
    for _ in range(n_products):
        rng.permuted(left, axis=1, out=left)
        rng.permuted(right, axis=1, out=right)
        drawn = np.abs(left @ right.T)
        drawn = drawn[drawn >= np.float32(sizes.min())]
        counts += [np.count_nonzero(drawn >= np.float32(size)) for size in sizes]
    return counts, n_products * _COLUMNS**2
