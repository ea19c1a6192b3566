"""The cells of a file as the command line takes them: some of them, normalised, with their depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.pp.total_counts import total_counts
from lava_sc.stored.inputs import depth_column, obs_column

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

_SHOWN: Final = 8  # values, in messages


def read(path: Path, conditions: Sequence[tuple[str, Sequence[str]]], *, backed: bool) -> AnnData:
    """An h5ad file, or those of its cells that meet all conditions, which are then in memory.

    Parameters
    ----------
    path
        The file.
    conditions
        Columns of ``obs``, and for each the values of the cells to take, as text.
    backed
        Leave the matrix in the file.

    Raises
    ------
    ValueError
        If there is no such file, it cannot be read, a column or a value does not occur, or no cell meets all conditions.
    """
    adata = _read_h5ad(path, backed=backed)
    if not conditions:
        return adata
    taken = np.ones(adata.n_obs, dtype=bool)
    for column, values in conditions:
        there = obs_column(adata, column).astype(str)
        unknown = set(values) - set(there)
        if unknown:
            some = ", ".join(map(repr, sorted(there.unique())[:_SHOWN]))
            msg = f"Found no cell with {column}={sorted(unknown)[0]}, expected a value that occurs ({some}); change --only."
            raise ValueError(msg)
        taken &= there.isin(values).to_numpy()
    if not taken.any():
        msg = "Found no cell that meets all conditions of --only, expected some; leave one out."
        raise ValueError(msg)
    return adata[taken].to_memory() if adata.isbacked else adata[taken].copy()


def normalize(adata: AnnData) -> None:
    """Counts in X to log1p of counts per 10,000; their sums are kept in ``obs``.

    Raises
    ------
    ValueError
        If the matrix is in a file, or holds no counts.
    """
    import scanpy as sc

    if adata.isbacked:
        msg = "Found --normalize with --backed, expected a matrix in memory; leave --backed out, or normalise the file before."
        raise ValueError(msg)
    total_counts(adata, use_raw=False)  # refuses what is normalised already
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)


def with_depth(adata: AnnData) -> str:
    """The obs column with the sum of each cell's counts, which is added if there is none."""
    column = depth_column(adata)
    if column is None:
        column = "total_counts"
        total_counts(adata, key_added=column)
    return column


def _read_h5ad(path: Path, *, backed: bool) -> AnnData:
    import anndata as ad

    if not path.is_file():
        msg = f"Found no file {str(path)!r}, expected an h5ad file; check the path."
        raise ValueError(msg)
    try:
        return ad.read_h5ad(path, backed="r" if backed else None)
    except Exception as error:  # whatever a broken file makes h5py or anndata raise
        msg = f"Found a file that is no readable h5ad in {str(path)!r} ({type(error).__name__}), expected one that anndata.read_h5ad reads; check how it was made."
        raise ValueError(msg) from error
