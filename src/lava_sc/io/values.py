"""Checks on the values of a matrix: finite, log-normalised rather than counts or scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._logging import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc._types import DataMatrix

SAMPLED_ROWS: Final = 1000  # enough to tell counts and scaled values from log-normalised ones


def finite(X: DataMatrix, where: str) -> None:
    """Refuse NaN and infinite values."""
    values = _stored(X)
    if values.dtype.kind in "biu":
        return
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        msg = f"Found {bad} NaN or infinite values in {where}, expected finite numbers; drop or impute them first."
        raise ValueError(msg)


def warn_about_values(X: DataMatrix, where: str) -> None:
    """Warn when the matrix looks like raw counts or like scaled data; judged on the first 1,000 cells."""
    if looks_scaled(X):
        msg = (
            f"{where} holds negative values and looks scaled: ranks are unaffected, but cells without a gene's "
            f"transcripts need not be tied any more and the tie filter may miss them; log-normalised values are better."
        )
        warn(msg)
    elif looks_like_counts(X):
        msg = (
            f"{where} holds whole numbers only and looks like raw counts: correlations of counts follow sequencing "
            f"depth; normalise and log-transform first (or pass covariates= with the depth)."
        )
        warn(msg)


def looks_scaled(X: DataMatrix) -> bool:
    """Tell whether the first 1,000 cells hold negative values."""
    values = _first_values(X)
    return values.dtype.kind != "b" and bool(values.min(initial=0) < 0)


def looks_like_counts(X: DataMatrix) -> bool:
    """Tell whether the first 1,000 cells hold whole numbers only, and some above 1."""
    values = _first_values(X)
    if values.dtype.kind == "b":
        return False
    return bool(values.max(initial=0) > 1) and (values.dtype.kind in "iu" or not np.mod(values, 1).any())


def _first_values(X: DataMatrix) -> NDArray[Any]:
    return _stored(X[:SAMPLED_ROWS])


def _stored(X: DataMatrix) -> NDArray[Any]:
    """Values of an array, (k,): all of a dense one, the entries of a sparse one."""
    return X.reshape(-1) if isinstance(X, np.ndarray) else np.asarray(X.data)
