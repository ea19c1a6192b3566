"""Centred scores of the features within one locality: what correlations are products of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc.core.correlation.partial import residuals
from lava_sc.core.correlation.permutation_null import tail_moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, FloatArray, IntArray
    from lava_sc.core.correlation.measures import Measure
    from lava_sc.core.correlation.permutation_null import TailMoments
    from lava_sc.core.correlation.ranks import Ranks

_FIXED_POINT: Final = 2.0**26  # products of such fractions sum exactly in float64
_NO_VARIANCE: Final = 1e-8  # share of a feature's norm below which covariates have explained it away


@dataclass(frozen=True)
class Scores:
    """Centred scores of features over n samples.

    Attributes
    ----------
    features
        (d,) indices of the features, ascending.
    values
        (d, n) whole numbers: doubled centred ranks, or centred values or residuals in fixed point.
    moments
        Of every feature scaled to norm 1.
    n_effective
        n less the number of covariates taken out.
    """

    features: IntArray
    values: FloatArray
    moments: TailMoments
    n_effective: int


def centred_scores(
    features: IntArray, columns: NDArray[Any], ranks: Ranks, chosen: BoolArray, basis: FloatArray, measure: Measure
) -> Scores:
    """Scores of some features.

    Parameters
    ----------
    features
        (d,) indices.
    columns, ranks
        Their values (d, n) and the ranks of these.
    chosen
        (d,) which of them to take; each has to vary.
    basis
        (q, n) orthonormal basis of covariates to take out.
    measure
        Makes the scores.
    """
    features, ranks = features[chosen], ranks.take(chosen)
    scores = measure.scores(columns[chosen], ranks)
    moments = None if len(basis) else measure.moments(ranks)
    if moments is None:
        return _fixed_point(features, np.asarray(scores, dtype=np.float64), basis)
    return Scores(features, scores, moments, scores.shape[1])


def products(scores: Scores) -> FloatArray:
    """(d, d) products of the scores of all pairs; the diagonal holds the squared norms.

    The sums are exact, hence independent of the order of cells, genes and threads: ranks come in a precision that holds
    them, and fixed point has room for it.
    """
    sums: FloatArray = (scores.values @ scores.values.T).astype(np.float64, copy=False)
    return sums


def _fixed_point(features: IntArray, centred: FloatArray, basis: FloatArray) -> Scores:
    """Residuals scaled to a common norm and rounded, of the features that have any left."""
    adjusted = residuals(centred, basis)
    norms = np.sqrt((adjusted**2).sum(axis=1))
    varies = norms > _NO_VARIANCE * np.sqrt((centred**2).sum(axis=1))
    values = np.rint(adjusted[varies] / norms[varies, None] * _FIXED_POINT)
    return Scores(features[varies], values, tail_moments(values), centred.shape[1] - len(basis))
