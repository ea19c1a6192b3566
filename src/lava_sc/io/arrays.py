"""Arrays in memory as compiled code takes them: numpy, CSR or CSC, of native numbers, without duplicate entries."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from scipy import sparse

from lava_sc.parallel.dask_collections import computed_here, is_dask, scheduler_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc._types import DataMatrix


def refuse_kind(X: Any, where: str) -> NoReturn:
    """Refuse what is no matrix of a known kind.

    Raises
    ------
    ValueError
        Always.
    """
    msg = (
        f"Found {type(X).__name__} in {where}, expected a numpy array, a scipy CSR or CSC matrix, a Dask array of these, or "
        f"one in an h5ad or zarr file; convert it first."
    )
    raise ValueError(msg)


def number_type(dtype: np.dtype[Any], where: str) -> np.dtype[Any]:
    """Choose a type that holds the same numbers and that compiled code knows: native, and no half or long floats.

    Raises
    ------
    ValueError
        If these are no real numbers.
    """
    if dtype.kind not in "biuf":
        msg = f"Found values of dtype {dtype} in {where}, expected real numbers; convert them first."
        raise ValueError(msg)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= np.dtype(np.float32).itemsize else np.float64)
    return dtype.newbyteorder("=")


def in_memory(X: Any) -> Any:
    """Read a lazily opened object into memory: Dask arrays computed, tables and matrices in files loaded."""
    if is_dask(X):
        return X.compute(scheduler=scheduler_of(X))
    if callable(read := getattr(X, "to_memory", None)):  # a table may have a column of that name
        with computed_here():
            return read()
    return X


@singledispatch
def plain(X: Any, where: str) -> DataMatrix:
    """A matrix in memory as a numpy array, CSR or CSC; it may be the user's own, so it must not be changed.

    Raises
    ------
    ValueError
        If it is of another kind or holds no real numbers.
    """
    refuse_kind(X, where)


@plain.register(np.ndarray)
def _(X: NDArray[Any], where: str) -> DataMatrix:
    return np.asarray(X).astype(number_type(X.dtype, where), copy=False)


@plain.register(sparse.sparray)
@plain.register(sparse.spmatrix)
def _(X: Any, where: str) -> DataMatrix:
    X = X if X.format in {"csr", "csc"} else X.tocsr()
    X = X.astype(number_type(X.dtype, where), copy=False)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X
