"""Measures of correlation, by name: a new one is a class, and an instance of it in :data:`MEASURES`.

A correlation is the cosine of two features' centred scores within a locality. A measure says what these scores are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.stats import rankdata

from lava_sc.core.correlation.permutation_null import TailMoments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc._types import FloatArray
    from lava_sc.core.correlation.ranks import Ranks


class Measure:
    """A measure whose scores may be any numbers."""

    def scores(self, values: NDArray[Any], ranks: Ranks) -> FloatArray:
        """Centred scores (d, n) of features that vary.

        Parameters
        ----------
        values, ranks
            Their values (d, n) in the samples of a locality, and the ranks of these.
        """
        raise NotImplementedError

    def moments(self, ranks: Ranks) -> TailMoments | None:  # noqa: ARG002
        """Power sums of the scores, where these are whole numbers whose products add up exactly.

        ``None`` where they are not: scores are then rounded to fixed point, and the power sums are taken of that.
        """
        return None

    def covariate(self, values: FloatArray) -> FloatArray:
        """A numeric covariate (n,) on the scale on which it is taken out of the scores."""
        return np.asarray(values, dtype=np.float64)


class Spearman(Measure):
    """Spearman's ρ: the scores are average ranks."""

    def scores(self, values: NDArray[Any], ranks: Ranks) -> FloatArray:  # noqa: ARG002
        """Doubled centred ranks."""
        return ranks.values

    def moments(self, ranks: Ranks) -> TailMoments:
        """Power sums of the ranks, scaled to norm 1."""
        squares, *others = ranks.power_sums.T
        return TailMoments(*(sums / squares ** (power / 2) for power, sums in enumerate(others, start=3)))

    def covariate(self, values: FloatArray) -> FloatArray:
        """Average ranks of the covariate."""
        return np.asarray(rankdata(values))


class Pearson(Measure):
    """Pearson's r: the scores are centred values."""

    def scores(self, values: NDArray[Any], ranks: Ranks) -> FloatArray:  # noqa: ARG002
        """Centred values, each feature's scaled by a power of two."""
        scores = values.astype(np.float64)
        exponents = np.frexp(np.abs(scores).max(axis=1, keepdims=True, initial=0.0))[1]
        scores = np.ldexp(scores, -exponents)  # exact, and no square overflows or vanishes
        scores -= scores.min(axis=1, keepdims=True)  # so that a mean far from zero costs no digits
        return np.asarray(scores - scores.mean(axis=1, keepdims=True))


SPEARMAN: Final = Spearman()
PEARSON: Final = Pearson()
#: Measures by the name that ``tl.locality_corr(method=)`` takes; a new one is added to it.
MEASURES: Final[dict[str, Measure]] = {"spearman": SPEARMAN, "pearson": PEARSON}
