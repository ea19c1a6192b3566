"""Sequencing depth of the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lava_sc.io.sources import open_source, reading
from lava_sc.stored import inputs
from lava_sc.stored.steps import column_step

if TYPE_CHECKING:
    from anndata import AnnData

    from lava_sc._types import FloatArray
    from lava_sc.io.blocks import Source


@column_step("obs")
def total_counts(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool | None = None,
    key_added: str = "total_counts",
    copy: bool = False,
) -> FloatArray:
    """Sum the counts of each cell, the depth that ``covariates`` of :func:`lava_sc.tl.locality_corr` takes out.

    For files that hold counts but no sum of them, as many from CELLxGENE do (counts in ``raw``, log-normalised values in
    ``X``). What is not in memory is read once, piece by piece.

    Parameters
    ----------
    adata
        Annotated data with counts.
    layer
        Layer with the counts.
    use_raw
        Take ``adata.raw``, all genes in it. ``None`` does so where there is one and no ``layer`` is given, and takes ``X``
        otherwise.
    key_added
        Column of ``adata.obs`` to write.
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following field:

    `adata.obs[key_added]`
        Sum of the counts of each cell, float64.

    Raises
    ------
    ValueError
        If the layer or ``raw`` does not exist, or there are values that are no counts: negative, or no whole numbers.
    OSError
        If the file of a backed or lazily opened object cannot be read.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.pp.total_counts(adata, layer="counts", key_added="depth")
    >>> bool((adata.obs["depth"] > 0).all())
    True
    """
    if use_raw is None:
        use_raw = layer is None and adata.raw is not None
    where = inputs.matrix_name(layer, use_raw=use_raw)
    return _row_sums(_source(adata, layer, where, use_raw=use_raw), where)


def _source(adata: AnnData, layer: str | None, where: str, *, use_raw: bool) -> Source:
    """All genes; ``raw`` may have more than ``adata.var_names``."""
    if not use_raw:
        return inputs.source(adata, np.ones(adata.n_vars, dtype=bool), layer=layer)
    if layer is not None or adata.raw is None:
        found = f"use_raw=True with layer={layer!r}" if layer is not None else "no adata.raw"
        msg = f"Found {found}, expected one place with counts; leave use_raw out."
        raise ValueError(msg)
    with reading(where, str(adata.filename or "")):
        X: Any = adata.raw.X
    return open_source(X, np.arange(X.shape[1]), where, None)


def _row_sums(source: Source, where: str) -> FloatArray:
    """Sum of each row, (E,).

    Raises
    ------
    ValueError
        If there is a value that is no count.
    """
    totals = np.empty(source.shape[0])
    for start, stop in source.pieces():
        X = source.rows(start, stop)
        values = np.asarray(X if isinstance(X, np.ndarray) else X.data)
        if values.min(initial=0) < 0 or (values.dtype.kind == "f" and np.mod(values, 1).any()):
            msg = f"Found values in {where} that are no counts, expected whole numbers from 0; pass the layer= with counts, or use_raw=."
            raise ValueError(msg)
        totals[start:stop] = np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
    return totals
