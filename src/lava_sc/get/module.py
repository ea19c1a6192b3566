"""One module as a matrix."""

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
def module(adata: AnnData, m: int, *, key: str = "lava") -> pd.DataFrame:
    """Correlation pattern of a module, genes × genes.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    m
        Number of the module, from 0 (the column of the presences).
    key

    Returns
    -------
    Symmetric table over the genes that take part in the module, strongest first, values in [0, 1], diagonal 0.

    Raises
    ------
    ValueError
        If modules are missing or there is no such module.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> pattern = lava.get.module(adata, 0)
    >>> bool((pattern.index == pattern.columns).all())
    True
    """
    checks.annotated(adata)
    modules = load(adata, key, "modules")
    checks.in_range("m", m, 0, modules.shape[0] - 1, integer=True)
    genes = np.asarray(load(adata, key, "genes"), dtype=object)
    row = modules[[m]]
    a, b = pair_features(row.indices, len(genes))
    taking_part = np.unique(np.concatenate([a, b]))
    square = np.zeros((len(taking_part),) * 2, dtype=np.float32)
    at = tuple(np.searchsorted(taking_part, features) for features in (a, b))
    square[at] = row.data
    square += square.T
    order = np.argsort(-square.sum(axis=0, dtype=np.float64), kind="stable")
    names = pd.Index(genes[taking_part[order]])
    return pd.DataFrame(square[np.ix_(order, order)], index=names, columns=names)
