"""Variability of genes: scanpy's measures, over values wherever they are kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from lava_sc._logging import warn
from lava_sc.io import values as value_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, DataMatrix, FloatArray
    from lava_sc.io.blocks import Source

Flavor = Literal["seurat", "cell_ranger", "seurat_v3", "seurat_v3_paper"]

_COUNT_FLAVORS: Final = ("seurat_v3", "seurat_v3_paper")
_TARGET_SUM: Final = 1e4
_LARGEST_LOG: Final = 80  # exponentials of more overflow in single precision, which scanpy answers with a bare error


@dataclass(frozen=True)
class Survey:
    """Result of one pass over all values.

    Attributes
    ----------
    lowest, highest
        (D,) extremes of each feature.
    totals
        (E,) float64, sums of each sample.
    """

    lowest: NDArray[Any]
    highest: NDArray[Any]
    totals: FloatArray

    def take(self, features: BoolArray) -> Survey:
        """Select features; totals are still those of all."""
        return Survey(self.lowest[features], self.highest[features], self.totals)


def survey(source: Source) -> Survey:
    """Look at all values once."""
    lowest, highest, totals = [], [], []
    for start, stop in source.pieces():
        X = source.rows(start, stop)
        lowest.append(_dense_row(X.min(axis=0)))
        highest.append(_dense_row(X.max(axis=0)))
        totals.append(np.asarray(X.sum(axis=1, dtype=np.float64)).ravel())
    return Survey(np.min(lowest, axis=0), np.max(highest, axis=0), np.concatenate(totals))


def _dense_row(row: Any) -> NDArray[Any]:
    return row if isinstance(row, np.ndarray) else row.toarray().ravel()


def highly_variable(
    source: Source,
    seen: Survey,
    n_top_genes: int,
    *,
    names: pd.Index,
    flavor: Flavor,
    batches: pd.Series | None,
    log1p: Mapping[str, Any],
    where: str,
) -> BoolArray:
    """Let scanpy choose among more than ``n_top_genes`` genes; warns where what is measured takes a guess.

    Parameters
    ----------
    source
        Values of the (D,) genes to choose among.
    seen
        Their survey; the totals are those of all genes.
    n_top_genes
        Number of genes to choose.
    names
        Of the genes; scanpy settles ties by them.
    flavor, batches
        See :func:`scanpy.pp.highly_variable_genes`; ``batches`` has the batch of each cell.
    log1p
        What scanpy noted on the logarithm.
    where
        How a user reaches the values, for messages.

    Raises
    ------
    ValueError
        If the values are too large for logarithms.
    MemoryError
        If they do not fit into memory, and cannot be measured piece by piece.
    """
    has_logarithms, factors = _kind_of_values(source.head(value_checks.SAMPLED_ROWS), seen, flavor, where)

    def measured(start: int, stop: int) -> DataMatrix:
        X = source.rows(start, stop)
        X = X if factors is None else _log_normalised(X, factors[start:stop])
        X = X if isinstance(X, np.ndarray) else sparse.csr_matrix(X)  # scanpy 1.11 refuses sparse arrays
        return X.astype(np.float32) if X.dtype.kind in "biu" else X

    notes = {"log1p": log1p if has_logarithms else {}}
    choose = partial(_choose, names=names, notes=notes, n_top_genes=n_top_genes, flavor=flavor, batches=batches)
    pieces = source.pieces()
    if len(pieces) == 1:
        return choose(measured(*pieces[0]))
    dask = _dask(flavor, where)
    with dask.config.set(scheduler=dask.get):  # one piece in memory at a time
        return choose(_in_pieces(dask, measured, pieces))


def _kind_of_values(head: DataMatrix, seen: Survey, flavor: Flavor, where: str) -> tuple[bool, FloatArray | None]:
    """Tell whether these are logarithms, and the factors of the cells before taking some if they should be.

    Raises
    ------
    ValueError
        If the values are too large for logarithms.
    """
    wants_counts = flavor in _COUNT_FLAVORS
    expected = f"flavor={flavor!r} measures variability of {'raw counts' if wants_counts else 'log-normalised values'}"
    is_counts = value_checks.looks_like_counts(head)
    largest, factors, msg = seen.highest.max(), None, ""
    if value_checks.looks_scaled(head):
        msg = f"{where} holds negative values and looks scaled, but {expected}; pass layer= with unscaled values."
    elif wants_counts and not is_counts:
        msg = f"{where} does not look like raw counts, but {expected}; pass layer= with counts or another flavor."
    elif is_counts and not wants_counts:
        msg = f"{where} looks like raw counts, but {expected}; genes are ranked by log1p counts per 10,000 of it."
        largest, factors = np.log1p(_TARGET_SUM), _TARGET_SUM / np.maximum(seen.totals, 1)
    if msg:
        warn(msg)
    if flavor == "seurat" and largest > _LARGEST_LOG:
        msg = f"Found values up to {largest:g} in {where}, but {expected}; normalise and log-transform first."
        raise ValueError(msg)
    return not msg and not wants_counts, factors


def _log_normalised(X: DataMatrix, factors: FloatArray) -> DataMatrix:
    return np.log1p(X * factors[:, None] if isinstance(X, np.ndarray) else sparse.diags(factors) @ X)


def _dask(flavor: Flavor, where: str) -> Any:
    """Dask, for values that do not fit into memory.

    Raises
    ------
    MemoryError
        If it is not there, or of no help.
    """
    found = f"Found more candidate genes in {where} than fit into memory at once"
    fewer = "pass localities_key= for fewer candidates"
    if flavor in _COUNT_FLAVORS:
        msg = f"{found}, expected fewer of them with flavor={flavor!r}; {fewer}, or another flavor."
        raise MemoryError(msg)
    try:
        import dask.array
    except ImportError as error:
        msg = f"{found}, expected fewer of them, or Dask to be installed; pip install 'lava-sc[dask]', or {fewer}."
        raise MemoryError(msg) from error
    return dask


def _in_pieces(dask: Any, read: Callable[[int, int], DataMatrix], pieces: Sequence[tuple[int, int]]) -> Any:
    """A Dask array of pieces that are read when they are needed."""
    delayed, example = dask.delayed(read), read(0, 1)
    shapes = [(stop - start, example.shape[1]) for start, stop in pieces]
    parts = [
        dask.array.from_delayed(delayed(*piece), shape, meta=example[:0])
        for piece, shape in zip(pieces, shapes, strict=True)
    ]
    return dask.array.concatenate(parts)


def _choose(
    values: Any,
    *,
    names: pd.Index,
    notes: Mapping[str, Any],
    n_top_genes: int,
    flavor: Flavor,
    batches: pd.Series | None,
) -> BoolArray:
    """Scanpy's choice, from values in memory or a Dask array."""
    import scanpy as sc
    from anndata import AnnData

    data = AnnData(X=values, uns=notes)
    data.var_names = names
    if batches is not None:
        data.obs["batch"] = pd.Categorical(batches.astype(str))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between scanpy and pandas
        table = sc.pp.highly_variable_genes(
            data,
            n_top_genes=n_top_genes,
            flavor=flavor,
            batch_key=None if batches is None else "batch",
            check_values=False,  # has been looked at
            inplace=False,
        )
    return table.loc[data.var_names, "highly_variable"].to_numpy(dtype=bool)
