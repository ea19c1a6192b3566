"""Null data: every feature shuffled within each locality by itself, so that nothing is left for two features to share.

The scores of a feature (its ranks, with ties) are handed out anew to the samples of the locality, among those of one batch
and of similar depth only: each feature keeps its distribution, its ties, its difference between batches and
its dependence on depth, hence the correlation that depth alone gives two features.

Who gets which score follows one random number for each feature and sample, which is the same in all localities: the
lowest score goes to the sample with the lowest number, and so on. Localities that share samples then share their noise, as they
do in the data, where what is a chance correlation in one recurs in those beside it. Shuffling each locality anew would
hide that noise has modules, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from lava_sc.core.correlation.scores import Scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray

_SORTED_AT_ONCE: Final = 2**16  # scores, whose numbers then stay in the cache
_FEWEST_ALIKE: Final = 20  # samples that are taken to have the same depth,
_MOST_STRATA: Final = 20  # unless that makes more groups than this
_MIX: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_ONE: Final = np.uint64(1)
_SHIFTS: Final = (np.uint64(30), np.uint64(27), np.uint64(31))


class FeatureNull(Protocol):
    """Makes scores of null features out of those of a locality's features."""

    def __call__(self, scores: Scores, samples: IntArray) -> Scores:
        """Scores over the samples (n,) of a locality or of one of its batches."""

    def features_of(self, n_features: int) -> int:
        """Number of features that D of them become."""


@dataclass(frozen=True)
class Shuffle:
    """Shuffle of scores.

    Attributes
    ----------
    seed
        Of the random numbers, in [0, 2⁶³).
    depth
        (E,) sequencing depth of every sample, of which only the order counts; ``None`` shuffles among all samples.
    n_features
        D; features are numbered from 0 to D − 1.
    """

    seed: int
    depth: FloatArray | None = None
    n_features: int = 0

    def __call__(self, scores: Scores, samples: IntArray) -> Scores:
        """Scores of the same features, shuffled over the samples (n,) of a locality or of one of its batches."""
        order, starts = self._strata(samples)
        shuffled = np.empty_like(scores.values)
        at_once = _SORTED_AT_ONCE // len(samples) + 1
        for first in range(0, len(shuffled), at_once):
            some = slice(first, first + at_once)
            numbers = _random(np.uint64(self.seed), scores.features[some], samples[order])
            values = scores.values[some].take(order, axis=1)
            for start, stop in pairwise(starts):
                ranked = order[start + numbers[:, start:stop].argsort(axis=1)]
                np.put_along_axis(shuffled[some], ranked, np.sort(values[:, start:stop], axis=1), axis=1)
        return replace(scores, values=shuffled)

    def features_of(self, n_features: int) -> int:
        """Number of features that D of them become."""
        return n_features

    def _strata(self, samples: IntArray) -> tuple[IntArray, IntArray]:
        """Positions of the samples by depth, and where the groups of similar depth start and end."""
        n = len(samples)
        if self.depth is None:
            return np.arange(n), np.array([0, n])
        n_strata = min(max(n // _FEWEST_ALIKE, 1), _MOST_STRATA)
        # ties by sample, so that the order of the samples in the locality does not matter
        order = np.lexsort((samples, self.depth[samples]))
        return order, np.linspace(0, n, n_strata + 1).round().astype(np.int64)


class Decoys(Shuffle):
    """Every feature as it is, and its shuffled copy as one more feature: the copy of feature f among D is D + f."""

    def __call__(self, scores: Scores, samples: IntArray) -> Scores:
        """Scores of the features, followed by those of their copies."""
        copies = super().__call__(scores, samples)
        return Scores(
            np.concatenate([scores.features, copies.features + self.n_features]),
            np.concatenate([scores.values, copies.values]),
            scores.moments.twice(),
            scores.n_effective,
        )

    def features_of(self, n_features: int) -> int:
        """Number of features that D of them become."""
        return 2 * n_features


#: Nulls by name, each made from a seed, the depth of the samples and the number of features; a new one is added to it.
NULLS: Final[dict[str, Callable[[int, FloatArray | None, int], FeatureNull]]] = {
    "shuffled_genes": Shuffle,
    "decoy_genes": Decoys,
}


@dataclass(frozen=True)
class Null:
    """Null correlations: a shuffle, and the size from which they are kept.

    Attributes
    ----------
    shuffle
        Makes the scores.
    floors
        (ℓ,) pairs are kept that pass the test or have |ρ| of at least this: the least |ρ| that was kept in the data, so that
        the null keeps as many chance correlations as the data do, which keep one in twenty, say, where many are real; ∞
        where none was kept.
    """

    shuffle: FeatureNull
    floors: FloatArray


def least_kept(C: sparse.csr_matrix) -> FloatArray:
    """Least |ρ| in each locality (ℓ,), ∞ where there is none."""
    sizes = np.append(np.abs(C.data), np.inf)
    starts = C.indptr[:-1]
    least = np.minimum.reduceat(sizes, starts) if len(starts) else np.empty(0)
    return np.where(np.diff(C.indptr) > 0, least, np.inf)


def _random(seed: np.uint64, features: IntArray, samples: IntArray) -> NDArray[np.uint64]:
    """A random number for each feature and sample: the finaliser of SplitMix64 (Steele et al. 2014), once for either."""
    of_features = _mix(seed + (features.astype(np.uint64) + _ONE) * _MIX[0])
    return _mix(of_features[:, None] + (samples.astype(np.uint64) + _ONE) * _MIX[0])


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> _SHIFTS[0])) * _MIX[1]
    x = (x ^ (x >> _SHIFTS[1])) * _MIX[2]
    return x ^ (x >> _SHIFTS[2])
