"""Correlations within batches, pooled by Fisher's z: a plain loop, and their permutation null by Monte-Carlo."""

from __future__ import annotations

import math
from itertools import combinations, permutations, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats
from tests.reference.correlation import residuals
from tests.reference.evidence import unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Batches = NDArray[np.integer]

_COLUMNS = 3000


class Pooled(NamedTuple):
    """Fisher's mean, and the mean of the correlations."""

    rho: float
    linear: float


def usable(batch: Batches, n_covariates: int = 0) -> list[NDArray[np.intp]]:
    """Samples of every batch that has more than 3 of them, less covariates."""
    return [cells for code in np.unique(batch) if len(cells := np.flatnonzero(batch == code)) - n_covariates > 3]


def is_defined(values: Floats, batch: Batches, max_tie_fraction: float = 0.75, n_covariates: int = 0) -> bool:
    """Whether the largest ties within the usable batches make up no more than this fraction of their samples."""
    cells = usable(batch, n_covariates)
    ties = [np.unique(values[at], return_counts=True)[1].max() for at in cells]
    n = sum(len(at) for at in cells)
    return bool(n and sum(ties) <= max_tie_fraction * n and sum(ties) < n)


def correlation(
    x: Floats, y: Floats, batch: Batches, *, ranked: bool = True, covariate: Floats | None = None
) -> Pooled | None:
    """Pooled correlation of two features, None where no batch has both of them varying; one numeric covariate at most."""
    found = []
    n_covariates = 0 if covariate is None else 1
    for cells in usable(batch, n_covariates):
        u, v = (stats.rankdata(w[cells]) if ranked else w[cells] for w in (x, y))
        if np.ptp(u) == 0 or np.ptp(v) == 0:
            continue
        if covariate is not None:
            c = stats.rankdata(covariate[cells]) if ranked else covariate[cells]
            left = [residuals(w, c[:, None], np.empty((len(c), 0))) for w in (u, v)]
            if any(np.linalg.norm(r) < 1e-9 * np.linalg.norm(w) for r, w in zip(left, (u, v), strict=True)):
                continue
            u, v = left
        rho = stats.pearsonr(u, v).statistic
        found.append((len(cells) - n_covariates, float(np.clip(rho, -1, 1))))
    if not found:
        return None
    weight = np.array([n - 3.0 for n, _ in found])
    linear = sum(w * rho for w, (_, rho) in zip(weight, found, strict=True)) / weight.sum()
    if len(found) == 1:
        return Pooled(found[0][1], linear)
    bounded = [max(min(rho, 1 - 1 / n), -(1 - 1 / n)) for n, rho in found]
    z = sum(w * math.atanh(rho) for w, rho in zip(weight, bounded, strict=True)) / weight.sum()
    return Pooled(math.tanh(z), linear)


def correlations(
    X: Floats, batch: Batches, max_tie_fraction: float = 0.75, *, ranked: bool = True
) -> dict[tuple[int, int], Pooled]:
    """Of all pairs of defined features of X (n, D) that vary together somewhere."""
    defined = [a for a in range(X.shape[1]) if is_defined(X[:, a], batch, max_tie_fraction)]
    pairs = {(a, b): correlation(X[:, a], X[:, b], batch, ranked=ranked) for a, b in combinations(defined, 2)}
    return {pair: found for pair, found in pairs.items() if found is not None}


def enumerated_means(x: Floats, y: Floats, batch: Batches) -> Floats:
    """R of x with y in every order of its samples within batches."""
    cells = usable(batch)
    weights = np.array([len(at) - 3.0 for at in cells])
    of_batch = [[unit(x[at]) @ unit(y[at])[list(order)] for order in permutations(range(len(at)))] for at in cells]
    return np.array([weights @ rho for rho in product(*of_batch)]) / weights.sum()


def exceedances(
    x: Floats, y: Floats, batch: Batches, sizes: Floats, n_draws: float, rng: np.random.Generator
) -> tuple[Floats, int]:
    """How often |R| of the ranks of x and y, permuted within batches, reaches each of `sizes`, and the number of draws.

    As in `tests.reference.evidence.exceedances`; every batch is a stretch of columns whose products add up to w_b·ρ_b.
    """
    cells = usable(batch)
    shares = np.array([len(at) - 3.0 for at in cells])
    shares /= shares.sum()
    sides = [
        [
            np.tile((np.sqrt(w) * unit(stats.rankdata(v[at]))).astype(np.float32), (_COLUMNS, 1))
            for at, w in zip(cells, shares, strict=True)
        ]
        for v in (x, y)
    ]
    counts = np.zeros(len(sizes))
    n_products = max(1, round(n_draws / _COLUMNS**2))
    for _ in range(n_products):
        left, right = (np.hstack([rng.permuted(part, axis=1) for part in side]) for side in sides)
        drawn = np.abs(left @ right.T)
        drawn = drawn[drawn >= np.float32(sizes.min())]
        counts += [np.count_nonzero(drawn >= np.float32(size)) for size in sizes]
    return counts, n_products * _COLUMNS**2


def two_valued_tail(sizes: Sequence[int], n_x: Sequence[int], n_y: Sequence[int]) -> tuple[Floats, Floats]:
    """Every |R| of two features that are 1 in n_x and n_y samples of every batch and else 0, and P(|R*| >= |R|)."""
    shares = np.array(sizes) - 3.0
    R, probability = np.zeros(1), np.ones(1)
    for n, a, b, share in zip(sizes, n_x, n_y, shares / shares.sum(), strict=True):
        both = np.arange(max(0, a + b - n), min(a, b) + 1)
        rho = (both * n - a * b) / math.sqrt(a * (n - a) * b * (n - b))
        R, index = np.unique(np.round(np.add.outer(R, share * rho).ravel(), 12), return_inverse=True)
        probability = np.bincount(index, np.outer(probability, stats.hypergeom(n, a, b).pmf(both)).ravel())
    size, index = np.unique(np.round(np.abs(R), 10), return_inverse=True)
    return size, np.cumsum(np.bincount(index, probability)[::-1])[::-1]
