"""Taking covariates out of the features' scores: partial correlation within one locality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.correlation.measures import Measure

_RANK_TOLERANCE: Final = 1e-8  # singular values below this share of the largest are collinear covariates


@dataclass(frozen=True)
class Covariate:
    """A quantity of every sample that correlations are to be adjusted for.

    Attributes
    ----------
    values
        (E,) numbers, or codes when ``categorical``.
    categorical
        Whether the values are levels, each of which gets an indicator.
    """

    values: NDArray[Any]
    categorical: bool


def covariate_basis(covariates: Sequence[Covariate], rows: IntArray, measure: Measure) -> FloatArray:
    """Orthonormal basis (q, n) of the centred covariates over some rows; q is the number of degrees of freedom they take.

    Numeric covariates enter on the scale of the measure: as average ranks for Spearman's ρ, as they are for Pearson's r.
    """
    columns: list[FloatArray] = []
    for covariate in covariates:
        local = covariate.values[rows]
        if covariate.categorical:
            columns += [(local == level).astype(np.float64) for level in np.unique(local)]
        else:
            columns.append(measure.covariate(local))
    scaled = [_unit(column - column.mean()) for column in columns if np.ptp(column) > 0]
    if not scaled:
        return np.empty((0, len(rows)))
    _, singular, basis = np.linalg.svd(np.vstack(scaled), full_matrices=False)
    return basis[singular > _RANK_TOLERANCE * max(singular[0], 1.0)]


def residuals(scores: FloatArray, basis: FloatArray) -> FloatArray:
    """Centred scores (d, n) less their projection on an orthonormal basis (q, n)."""
    adjusted = scores
    for direction in basis:  # row by row: each feature's numbers do not depend on the other features
        adjusted = adjusted - (adjusted * direction).sum(axis=1, keepdims=True) * direction
    return adjusted


def _unit(values: FloatArray) -> FloatArray:
    return np.asarray(values / np.linalg.norm(values))
