"""Features that are measured about as well as each other.

What many samples express correlates more, whatever it does: with depth, with quality, and since ranks without ties hold more. So
what is claimed of some features has to be held against others of their kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from lava_sc.io.dense import dense

if TYPE_CHECKING:
    from lava_sc._types import BoolArray, FloatArray, IntArray
    from lava_sc.io.blocks import Source

_ALIKE: Final = 30  # features that are taken to be measured equally well,
_SHARE: Final = 30  # or one in so many of all
_ROUNDING: Final = 1e-9  # figures that differ by less are equal
_DECIMALS: Final = 6  # of means, whose last digits depend on the order of the samples


@dataclass(frozen=True)
class DetectionStats:
    """Statistics of how well features are measured in each locality.

    Attributes
    ----------
    detected
        (ℓ, D) share of the samples in which the feature is not 0.
    means
        (ℓ, D) of its values.
    """

    detected: FloatArray
    means: FloatArray

    def take(self, features: IntArray) -> DetectionStats:
        """Take some of the features, in this order."""
        return DetectionStats(self.detected[:, features], self.means[:, features])

    def order(self, locality: int, names: IntArray) -> IntArray:
        """Features by how well they are measured in a locality, (D,): detection, then mean, then the rank of their name."""
        return np.lexsort((names, self.means[locality], self.detected[locality]))


def detection_stats(source: Source, members: IntArray) -> DetectionStats:
    """Detection and means of all features in localities of (ℓ, n) sample indices."""
    n_localities, n = members.shape
    ones = np.ones(members.size, dtype=np.float64)
    starts = np.arange(0, members.size + 1, n)
    belongs = sparse.csr_matrix((ones, members.ravel(), starts), shape=(n_localities, source.shape[0])).tocsc()
    detected, sums = np.zeros((2, n_localities, source.shape[1]))
    for start, stop in source.pieces():
        X, part = source.rows(start, stop), belongs[:, start:stop]
        detected += dense(part @ (X != 0).astype(np.float64))
        sums += dense(part @ X)
    return DetectionStats(detected / n, np.round(sums / n, _DECIMALS))


def ranked_by_level(defined: BoolArray, levels: DetectionStats, names: IntArray) -> IntArray:
    """Features by how well they are measured over all localities, (D,).

    Parameters
    ----------
    defined
        (ℓ, D) whether a feature can be correlated in a locality; in how many it can counts first,
    levels
        then in how many samples it was detected,
    names
        (D,) then the rank of its name, so that nothing depends on where features are stored.
    """
    return np.lexsort((names, levels.detected.sum(axis=0), defined.sum(axis=0)))


def exchanges(ranked: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """New numbers of all features, exchanged at random among those measured as well, (n + 1, D); the first are their own.

    The ranking is cut into stretches of 30 features, or a thirtieth of all if that is more, at another place each time, so that no
    feature is always at the end of one.
    """
    n_features = len(ranked)
    width = max(_ALIKE, n_features // _SHARE)
    labels = np.tile(np.arange(n_features), (n + 1, 1))
    for new in labels[1:]:
        for alike in np.split(ranked, np.arange(rng.integers(width), n_features, width)):
            new[alike] = rng.permutation(alike)
    return labels


def permutation_test(figures: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Hold figures of some features against those of random ones, (n + 1, ...), the first being their own.

    Returns
    -------
    Standard deviations from the mean of the random ones, NaN where these are all the same; and the share of random ones that
    are as high, the own among them. Both are NaN where the own is; random ones that are NaN do not count.
    """
    own, others = figures[0], figures[1:]
    there = ~np.isnan(others)
    n = there.sum(axis=0)
    mean = np.where(there, others, 0).sum(axis=0) / np.maximum(n, 1)
    deviation = np.sqrt(np.where(there, (others - mean) ** 2, 0).sum(axis=0) / np.maximum(n, 1))
    z = np.divide(own - mean, deviation, out=np.full(own.shape, np.nan), where=deviation > _ROUNDING)
    as_high = (others >= own - _ROUNDING).sum(axis=0)  # never where one is NaN
    return z, np.where(np.isnan(own), np.nan, (1 + as_high) / (1 + n))
