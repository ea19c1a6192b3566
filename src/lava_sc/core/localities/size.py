"""At which size neighbourhoods in the embedding are most like those in feature space (paper, A.1.1 and Fig. S1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.signal import find_peaks
from scipy.spatial.distance import cdist
from scipy.stats import hypergeom

from lava_sc.parallel.threads import split, thread_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import FloatArray, IntArray

_N_SIZES: Final = 40
_SMALLEST: Final = 10
_SMALLEST_DEFAULT, _LARGEST_DEFAULT, _PER_ROOT_SAMPLE = 50, 500, 4
_STANDS_OUT: Final = 3.0  # standard errors
_TAIL: Final = 12.0  # standard deviations


@dataclass(frozen=True)
class Suggestion:
    """A locality size, whether it is at a peak or for want of one, and why, in one sentence."""

    size: int
    is_peak: bool
    reason: str


def size_grid(n_samples: int) -> IntArray:
    """Evenly spaced sizes on a log scale, from 10 to half the samples, ascending."""
    largest = n_samples // 2
    return np.unique(np.geomspace(min(_SMALLEST, largest), largest, _N_SIZES).round().astype(np.int64))


def default_size(n_samples: int) -> int:
    """4·√E, between 50 and 500, but never more than half the samples."""
    wanted = max(round(_PER_ROOT_SAMPLE * float(np.sqrt(n_samples))), _SMALLEST_DEFAULT)
    return min(wanted, _LARGEST_DEFAULT, n_samples // 2)


def jaccard_by_size(
    spaces: Sequence[FloatArray], samples: IntArray, sizes: IntArray, *, n_jobs: int | None = None
) -> FloatArray:
    """Jaccard similarity between a sample's neighbourhoods in two spaces, (len(samples), len(sizes)) float64.

    A neighbourhood is the n nearest of all samples, the sample itself first, at the same distance the lower index. A
    sample is in both when the larger of its two ranks is below n, so one count serves all sizes.

    Parameters
    ----------
    spaces
        Two of (E, any) float64, C-contiguous.
    samples
        Indices of the samples to compare.
    sizes
        Neighbourhood sizes n, ascending, 1 to E.
    n_jobs
        Number of threads, all cores when ``None``; changes no number.
    """

    def compare(part: IntArray) -> FloatArray:
        shared = np.empty((len(part), len(sizes)), dtype=np.int64)
        for row, sample in zip(shared, samples[part].tolist(), strict=True):
            first, second = (_smallest_holding(Z, sample, sizes) for Z in spaces)
            row[:] = np.bincount(np.maximum(first, second), minlength=len(sizes) + 1)[:-1].cumsum()
        return shared / (2 * sizes - shared)

    parts = thread_map(compare, split(len(samples)), n_jobs=n_jobs, desc="neighbourhoods in two spaces")
    return np.concatenate(parts)


def _smallest_holding(Z: FloatArray, sample: int, sizes: IntArray) -> IntArray:
    """Smallest of the sizes whose neighbourhood of the sample holds each sample, by position, (E,)."""
    squared = cdist(Z[sample : sample + 1], Z, "sqeuclidean")[0]
    squared[sample] = -1
    rims = np.partition(squared, sizes - 1)[sizes - 1]
    first = np.searchsorted(rims, squared)
    n_held = np.bincount(first, minlength=len(sizes) + 1)[:-1].cumsum()
    for k in np.flatnonzero(n_held > sizes):  # of those at the rim the highest indices wait for the next size
        tied = np.flatnonzero((first == k) & (squared == rims[k]))
        first[tied[sizes[k] - n_held[k] :]] = k + 1
    return first


def jaccard_by_chance(n_samples: int, sizes: IntArray) -> FloatArray:
    """Expected Jaccard similarity between two random sets of n out of E samples that share one of them, (len(sizes),).

    Exact: beyond the shared sample their overlap is hypergeometric. For large E about q / (2 − q), q = n/E.
    """
    expected = np.empty(len(sizes))
    others = n_samples - 1
    for i, drawn in enumerate((sizes - 1).tolist()):
        mean = drawn**2 / others
        reach = _TAIL * np.sqrt(mean * (1 - drawn / others) ** 2) + _TAIL  # what is beyond does not count
        x = np.arange(max(2 * drawn - others, int(mean - reach), 0), min(drawn, int(mean + reach)) + 1)
        weights = hypergeom(others, drawn, drawn).pmf(x)
        expected[i] = (weights * (1 + x) / (2 * drawn + 1 - x)).sum() / weights.sum()
    return expected


def suggest_size(sizes: IntArray, adjusted: FloatArray, n_samples: int) -> Suggestion:
    """The size with the highest peak of the agreement above chance, if there is one.

    A peak has to stand out by three standard errors: above chance, and above the curve on both of its sides.
    The curve's ends are none: towards them agreement may grow for reasons that say nothing of a scale, above all towards
    E, where only the coarsest halves of the data are compared.

    Parameters
    ----------
    sizes
        (K,) ascending.
    adjusted
        (samples, K), 0 expected by chance, 1 for identical neighbourhoods.
    n_samples
        E. Sizes below 50 are too few for a correlation and are not suggested, nor are those above E/2.
    """
    mean = adjusted.mean(axis=0)
    peaks, sides = find_peaks(mean, prominence=0)
    low, high = min(_SMALLEST_DEFAULT, n_samples // 2), n_samples // 2
    found = [
        peak
        for peak, left, right in zip(peaks, sides["left_bases"], sides["right_bases"], strict=True)
        if low <= sizes[peak] <= high
        and all(_is_positive(adjusted[:, peak] - floor) for floor in (0.0, adjusted[:, left], adjusted[:, right]))
    ]
    if found:
        best = max(found, key=lambda peak: float(mean[peak]))
        reason = f"Agreement above chance ({mean[best]:.3f}) has its highest peak between {low} and {high} cells here."
        return Suggestion(int(sizes[best]), is_peak=True, reason=reason)
    best = int(np.argmax(mean))
    if _is_positive(adjusted[:, best]):
        seen = f"has no peak between {low} and {high} cells (it is highest, {mean[best]:.3f}, at {sizes[best]})"
    else:
        seen = "is not to be seen at any size"
    reason = f"Agreement above chance {seen}, so this is the default for {n_samples} cells."
    return Suggestion(default_size(n_samples), is_peak=False, reason=reason)


def _is_positive(differences: FloatArray) -> bool:
    error = differences.std() / np.sqrt(len(differences))
    return bool(differences.mean() > _STANDS_OUT * error)
