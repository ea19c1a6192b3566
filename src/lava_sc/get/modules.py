"""All modules as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lava_sc._docs import document_parameters
from lava_sc.core.correlation.pairs import pair_features
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from anndata import AnnData


@document_parameters
def modules(adata: AnnData, *, key: str = "lava") -> pd.DataFrame:
    """Gene pairs of every module.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    key

    Returns
    -------
    Long table: ``module`` (from 0), ``gene_a``, ``gene_b``, ``value`` in (0, 1]; by module, largest value first.

    Raises
    ------
    ValueError
        If modules are missing.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.get.modules(adata).columns.tolist()
    ['module', 'gene_a', 'gene_b', 'value']
    """
    checks.annotated(adata)
    stored = load(adata, key, "modules").tocoo()
    genes = np.asarray(load(adata, key, "genes"), dtype=object)
    a, b = pair_features(stored.col, len(genes))
    table = pd.DataFrame({"module": stored.row, "gene_a": genes[a], "gene_b": genes[b], "value": stored.data})
    return table.sort_values(["module", "value"], ascending=[True, False], kind="stable", ignore_index=True)
