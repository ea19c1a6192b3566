"""Numbering of feature pairs: column of C ↔ (a, b), a < b, in the row-major order of ``numpy.triu_indices(D, 1)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lava_sc._types import IntArray


def n_pairs(n_features: int) -> int:
    """D(D − 1)/2."""
    return n_features * (n_features - 1) // 2


def pair_index(a: IntArray, b: IntArray, n_features: int) -> IntArray:
    """Column of the pair (a, b), a < b."""
    a = np.asarray(a, dtype=np.int64)
    return _row_start(a, n_features) + np.asarray(b, dtype=np.int64) - a - 1


def pair_features(index: IntArray, n_features: int) -> tuple[IntArray, IntArray]:
    """Features (a, b) of the columns; the inverse of :func:`pair_index`."""
    index = np.asarray(index, dtype=np.int64)
    starts = _row_start(np.arange(n_features, dtype=np.int64), n_features)
    a = np.searchsorted(starts[: max(n_features - 1, 1)], index, side="right") - 1
    return a, index - starts[a] + a + 1


def _row_start(a: IntArray, n_features: int) -> IntArray:
    return a * (2 * n_features - a - 1) // 2
