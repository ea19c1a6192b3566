"""Genes of each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lava_sc.core.interpret.direction import positive_shares
from lava_sc.core.interpret.summary import gene_weights
from lava_sc.stored import checks, inputs
from lava_sc.stored.fields import load
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from anndata import AnnData

    from lava_sc._types import FloatArray, IntArray


@step("module_genes")
def module_genes(
    adata: AnnData,
    *,
    threshold: float = 0.05,
    n_genes: int | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """List each module's genes, strongest first.

    A gene's weight in a module is the sum of the module's correlations in which it takes part (paper, B.9.2). Modules are made of
    absolute correlations; whether a gene rises or falls with the others is looked up in the signed ones.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    threshold
        Genes with at least this fraction of the module's largest weight belong to it.
    n_genes
        So many of the strongest genes belong to it instead, whatever their weight, as long as it is not 0.
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following field:

    `adata.uns[key]["module_genes"]`
        Long table: ``module`` (numbered from 0, the column of the presences), ``gene``, ``weight``, ``rank`` (from 1) and
        ``positive``, the share of positive ρ among the correlations of the gene: 1 when it rises with all others, 0 when it falls
        as they rise. Counted are the module's pairs in which the gene takes part, in the localities where AMF found the module
        present (above 0.01), each by its absolute ρ times the module's value for the pair, so that the many faint pairs do not
        drown those that make the module. NaN where nothing is correlated there.

    Raises
    ------
    ValueError
        If modules are missing, ``threshold`` is not between 0 and 1, or ``n_genes`` is not at least 1.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.module_genes(adata, threshold=0.2)
    >>> adata.uns["lava"]["module_genes"].columns.tolist()
    ['module', 'gene', 'weight', 'rank', 'positive']
    """
    checks.in_range("threshold", threshold, 0, 1)
    if n_genes is not None:
        checks.in_range("n_genes", n_genes, 1, np.inf, integer=True)
    genes = np.asarray(load(adata, key, "genes"))
    modules = load(adata, key, "modules")
    weights = gene_weights(modules, len(genes))
    positive = positive_shares(load(adata, key, "C"), modules, inputs.amf_presences(adata, key), len(genes))
    tables = []
    for m, column in enumerate(weights.T):
        order = _belonging(column, threshold, n_genes)
        values = {"weight": column[order], "rank": np.arange(1, len(order) + 1), "positive": positive[order, m]}
        tables.append(pd.DataFrame({"module": m, "gene": genes[order], **values}))
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    return Result({"module_genes": table}, {} if n_genes is None else {"threshold": None})


def _belonging(weights: FloatArray, threshold: float, n_genes: int | None) -> IntArray:
    """Genes of a module, strongest first."""
    order = np.argsort(-weights, kind="stable")
    order = order[weights[order] > 0]
    return order[weights[order] >= threshold * weights.max()] if n_genes is None else order[:n_genes]
