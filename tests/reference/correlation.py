"""Locality representation: correlations of feature pairs within each locality (paper 2.2, A.2, Eq. S2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Measure = Callable[[NDArray[np.intp], int, int], float]


def is_defined(values: NDArray[np.number], max_tie_fraction: float = 0.75) -> bool:
    """Whether no value is shared by more than this fraction of the samples (A.2); a constant never is defined."""
    largest = np.unique(values, return_counts=True)[1].max()
    return bool(largest <= max_tie_fraction * len(values) and largest < len(values))


def defined_mask(X: NDArray[np.number], members: Bools, max_tie_fraction: float = 0.75) -> Bools:
    """Boolean (l, D) from data X (E, D) and membership (E, l): features that are defined in each locality (A.2)."""
    out = np.zeros((members.shape[1], X.shape[1]), dtype=bool)
    for i in range(members.shape[1]):
        for a in range(X.shape[1]):
            out[i, a] = is_defined(X[members[:, i], a], max_tie_fraction)
    return out


def _matrix(X: NDArray[np.number], members: Bools, max_tie_fraction: float, measure: Measure) -> Floats:
    """Full (l, D(D-1)/2): `measure(cells, a, b)` for pairs of defined features, 0 elsewhere."""
    defined = defined_mask(X, members, max_tie_fraction)
    pairs = [(int(a), int(b)) for a, b in np.transpose(np.triu_indices(X.shape[1], 1))]
    out = np.zeros((members.shape[1], len(pairs)))
    for i in range(members.shape[1]):
        cells = np.flatnonzero(members[:, i])
        for j, (a, b) in enumerate(pairs):
            if defined[i, a] and defined[i, b]:
                out[i, j] = measure(cells, a, b)
    return out


def spearman(x: NDArray[np.number], y: NDArray[np.number]) -> float:
    """Spearman's rho (Eq. S2) of two vectors, ties with average ranks."""
    return float(stats.spearmanr(x, y).statistic)


def pearson(x: NDArray[np.number], y: NDArray[np.number]) -> float:
    """Pearson's r of two vectors, in float64."""
    return float(stats.pearsonr(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)).statistic)


def spearman_matrix(X: NDArray[np.number], members: Bools, max_tie_fraction: float = 0.75) -> Floats:
    """Matrix C (2.2) with its signs: Spearman's rho (Eq. S2), pairs in the order of `numpy.triu_indices`."""
    return _matrix(X, members, max_tie_fraction, lambda cells, a, b: spearman(X[cells, a], X[cells, b]))


def pearson_matrix(X: NDArray[np.number], members: Bools, max_tie_fraction: float = 0.75) -> Floats:
    """C (2.2) with Pearson's r in the place of Eq. S2; the same features are defined."""
    return _matrix(X, members, max_tie_fraction, lambda cells, a, b: pearson(X[cells, a], X[cells, b]))


def residuals(values: Floats, numeric: Floats, dummies: Floats) -> Floats:
    """Residuals of least squares of `values` (n,) on [1, numeric, dummies]; covariates are (n, q) and (n, r)."""
    values = np.asarray(values, dtype=np.float64)
    columns = np.column_stack([numeric, dummies]).astype(np.float64)
    # centred and scaled, so that lstsq's cutoff for small singular values sees no units
    columns = columns - columns.mean(axis=0)
    norms = np.linalg.norm(columns, axis=0)
    design = np.column_stack([np.ones(len(values)), columns[:, norms > 0] / norms[norms > 0]])
    return np.asarray(values - design @ np.linalg.lstsq(design, values, rcond=1e-10)[0])


def _partial(x: Floats, y: Floats, numeric: Floats, dummies: Floats) -> float:
    """Pearson of the residuals of x and y; 0 when the covariates leave nothing of either."""
    left = [residuals(v, numeric, dummies) for v in (x, y)]
    if any(np.linalg.norm(r) <= 1e-9 * np.linalg.norm(v - v.mean()) for r, v in zip(left, (x, y), strict=True)):
        return 0.0
    return pearson(*left)


def partial_spearman(x: Floats, y: Floats, numeric: Floats, dummies: Floats) -> float:
    """Eq. S2 given covariates: Pearson of the residuals of the ranks on [1, ranks of `numeric`, `dummies`]."""
    ranked = np.column_stack([stats.rankdata(c) for c in numeric.T]) if numeric.shape[1] else numeric
    return _partial(stats.rankdata(x), stats.rankdata(y), ranked, dummies)


def partial_pearson(x: Floats, y: Floats, numeric: Floats, dummies: Floats) -> float:
    """Pearson's r of the residuals of the values on [1, `numeric`, `dummies`]."""
    return _partial(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), numeric, dummies)


def partial_spearman_matrix(
    X: NDArray[np.number], members: Bools, numeric: Floats, dummies: Floats, max_tie_fraction: float = 0.75
) -> Floats:
    """C (2.2) of partial rank correlations; covariates (E, q), (E, r) are ranked and fitted in each locality."""
    return _matrix(
        X,
        members,
        max_tie_fraction,
        lambda cells, a, b: partial_spearman(X[cells, a], X[cells, b], numeric[cells], dummies[cells]),
    )


def partial_pearson_matrix(
    X: NDArray[np.number], members: Bools, numeric: Floats, dummies: Floats, max_tie_fraction: float = 0.75
) -> Floats:
    """C (2.2) of partial Pearson correlations; covariates (E, q), (E, r) are fitted in each locality."""
    return _matrix(
        X,
        members,
        max_tie_fraction,
        lambda cells, a, b: partial_pearson(X[cells, a], X[cells, b], numeric[cells], dummies[cells]),
    )
