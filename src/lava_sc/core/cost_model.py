"""Memory of the steps, from the sizes of what they work on.

The models count the arrays that are alive together where a step holds most; each is named where it is counted. Tests
compare them with real arrays, ``benchmarks/estimate.py`` with the memory of processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import gammaln

from lava_sc.core.correlation.locality import LOCALITIES_AT_ONCE
from lava_sc.core.correlation.pairs import n_pairs
from lava_sc.core.factorise.problem import BLOCK

if TYPE_CHECKING:
    from lava_sc._types import IntArray

_BATCH: Final = 64  # localities in a batch of AMF, the default


def localities_bytes(n_samples: int, dimension: int, n_localities: int, n: int, workers: int) -> int:
    """Peak of placing ℓ localities of n samples over (E, D_L) coordinates and storing which samples they hold."""
    index = n_samples * (16 * dimension + 24)  # points twice, their samples, in-degrees and mean distances
    search = 28 * workers * n_samples  # buffers of a query, counts
    membership = 30 * n_localities * n  # members, their coordinates in a sparse matrix, and that matrix
    return index + max(search, membership)


def membership_bytes(n_samples: int, n_localities: int, n: int) -> int:
    """Bytes of it that are stored."""
    return 5 * n_localities * n + 24 * n_samples


def correlations_bytes(n_nonzero: float, n_localities: int, n_features: int) -> int:
    """C as a CSR matrix and the mask of defined features."""
    index = _index_bytes(max(n_nonzero, n_pairs(n_features)))
    return round(n_nonzero * (4 + index)) + n_localities * (index + n_features)


def correlating_bytes(
    n_nonzero: float,
    n_localities: int,
    n_features: int,
    *,
    n: int,
    n_defined: int,
    tested: bool,
    workers: int,
    stored: bool = False,
) -> int:
    """Peak of correlating, the features' values not counted: C, whose parts are let go of as it is put together, and work.

    Parameters
    ----------
    n_nonzero
        Correlations that are kept.
    n_localities, n_features, n
        ℓ, D and the size of a locality.
    n_defined
        Most features that are defined in a locality.
    tested
        Whether only some are kept.
    workers
        Number of threads.
    stored
        Whether C is written to a file as it comes.
    """
    scores = 72 * n_defined * n  # values as gathered and by feature, sort keys, ranks
    products = 32 * n_defined**2  # of all pairs, and these as a list
    pairs = LOCALITIES_AT_ONCE * n_nonzero / n_localities * (200 if tested else 24)  # with the null of each
    members = 16 * n_localities * n
    C = correlations_bytes(0 if stored else n_nonzero, n_localities, n_features)
    return C + members + round(workers * (scores + products + pairs))


def problem_bytes(n_nonzero: float, n_localities: int, n_columns: float) -> int:
    """Peak of laying C out for AMF: columns marked, and the compact column of each entry, which is what stays."""
    return round(4 * n_nonzero + n_columns) + _layout_bytes(n_localities, n_columns)


def fit_bytes(n_nonzero: float, n_localities: int, n_columns: float, *, n_modules: int, side_by_side: int) -> int:
    """Peak of the runs of AMF.

    Parameters
    ----------
    n_nonzero
        Of C.
    n_localities
        ℓ.
    n_columns
        Columns of C that are not empty, J′.
    n_modules
        As of ``tl.amf``.
    side_by_side
        Number of runs at a time.
    """
    n_blocks = n_columns / BLOCK + 1
    problem = 4 * n_nonzero + _layout_bytes(n_localities, n_columns)
    matrices = (
        (1 + 6 * side_by_side) * 4 * n_modules * n_columns
    )  # best; start, modules, two moments, best epoch, canonical
    sums = 8 * n_blocks * _BATCH * (n_modules + 5) * side_by_side  # by block: gradient and row sums
    return round(problem + matrices + sums)


def _layout_bytes(n_localities: int, n_columns: float) -> int:
    return round(n_localities * 8 * (n_columns / BLOCK + 1) + 8 * n_columns)


def _index_bytes(largest: float) -> int:
    return 4 if largest <= np.iinfo(np.int32).max else 8


@dataclass(frozen=True)
class Growth:
    """Growth of the non-zeros of C with localities, from some that are drawn like all ℓ of them.

    Attributes
    ----------
    n_kept
        (m,) non-zeros of each.
    columns
        Number of columns that are non-zero in exactly 1, 2, … m of them; shape (m,).
    n_most
        Number of columns that can be non-zero at all.
    """

    n_kept: IntArray
    columns: IntArray
    n_most: int

    def n_nonzero(self, n_localities: int) -> tuple[float, float]:
        """Expected number for all localities, and its standard error, as of a sample drawn without replacement."""
        m = len(self.n_kept)
        spread = float(self.n_kept.std(ddof=1)) if m > 1 else float(self.n_kept.mean())
        error = spread * np.sqrt(max(1 / m - 1 / n_localities, 0.0))
        return n_localities * float(self.n_kept.mean()), n_localities * float(error)

    def n_columns(self, n_localities: int) -> float:
        """Number of columns that are non-zero in any of the localities.

        Between two bounds, in their geometric mean: the sample-based extrapolation from Chao's estimate of what the
        sample has not seen (Colwell et al. 2012, J. Plant Ecol. 5: 3), which is too low where many columns are rare, and
        growth by the power of ℓ at which the sample grew last, too high since this power falls.
        """
        seen, m = float(self.columns.sum()), len(self.columns)
        if seen == 0 or n_localities <= m:
            return seen
        most = min(float(self.n_most), self.n_nonzero(n_localities)[0])
        high = seen * (n_localities / m) ** self._power()
        return max(seen, float(np.sqrt(min(self._chao(n_localities), most) * min(high, most))))

    def _chao(self, n_localities: int) -> float:
        m, seen = len(self.columns), float(self.columns.sum())
        once, twice = float(self.columns[0]), float(self.columns[1]) if m > 1 else 0.0
        unseen = (m - 1) / m * (once**2 / (2 * twice) if twice else once * (once - 1) / 2)
        if unseen == 0:
            return seen
        return seen + unseen * -np.expm1((n_localities - m) * np.log1p(-once / (m * unseen + once)))

    def _power(self) -> float:
        """Log ratio, to base 2, of the columns seen in the sample and expected in half of it (rarefaction)."""
        m, seen = len(self.columns), float(self.columns.sum())
        if m == 1:
            return 1.0
        half, times = m // 2, np.arange(1, m + 1)
        others = m - times - half  # localities of the rest that a column in so many of them leaves out
        missed = np.where(
            others >= 0,
            np.exp(
                gammaln(m - times + 1) - gammaln(np.maximum(others, 0) + 1) - gammaln(m + 1) + gammaln(m - half + 1)
            ),
            0.0,
        )
        return float(np.log(seen / (seen - (self.columns * missed).sum())) / np.log(m / half))


def growth(n_kept: IntArray, indices: IntArray, n_most: int, *, most_counted: int = 2_000_000) -> Growth:
    """Summarise the non-zeros of some localities.

    Parameters
    ----------
    n_kept
        (m,) non-zeros of each.
    indices
        Their columns, one after the other.
    n_most
        Number of columns that can be non-zero at all.
    most_counted
        Of more non-zeros, only those in every k-th column are counted.
    """
    every = -(-max(len(indices), 1) // most_counted)
    _, times = np.unique(indices[indices % every == 0] if every > 1 else indices, return_counts=True)
    return Growth(n_kept, every * np.bincount(times, minlength=len(n_kept) + 1)[1:], n_most)
