"""Genes of each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lava_sc import _validate
from lava_sc._slots import load, store
from lava_sc.core.summary import gene_weights

if TYPE_CHECKING:
    from anndata import AnnData


def module_genes(adata: AnnData, *, threshold: float = 0.05, key: str = "lava", copy: bool = False) -> AnnData | None:
    """List each module's genes, strongest first.

    A gene's weight in a module is the sum of the module's correlations in which it takes part (paper, B.9.2).

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    threshold
        Genes with at least this fraction of the module's largest weight belong to it.
    key
        Key of the modules.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the copy. Sets the following field:

    `adata.uns[key]["module_genes"]`
        Long table: ``module`` (numbered from 0, the column of the presences), ``gene``, ``weight`` and ``rank`` (from 1).

    Raises
    ------
    ValueError
        If modules are missing or ``threshold`` is not between 0 and 1.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.module_genes(adata, threshold=0.2)
    >>> adata.uns["lava"]["module_genes"].columns.tolist()
    ['module', 'gene', 'weight', 'rank']
    """
    _validate.annotated(adata)
    _validate.writable(adata, copy=copy)
    _validate.in_range("threshold", threshold, 0, 1)
    genes = np.asarray(load(adata, key, "genes"))
    weights = gene_weights(load(adata, key, "modules"), len(genes))
    adata = adata.copy() if copy else adata
    tables = []
    for m, column in enumerate(weights.T):
        order = np.argsort(-column, kind="stable")
        order = order[(column[order] >= threshold * column.max()) & (column[order] > 0)]
        rank = np.arange(1, len(order) + 1)
        tables.append(pd.DataFrame({"module": m, "gene": genes[order], "weight": column[order], "rank": rank}))
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    store(adata, key, "module_genes", {"module_genes": table}, {"threshold": float(threshold)})
    return adata if copy else None
