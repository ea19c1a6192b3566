"""Presences of the modules in the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lava_sc._docs import document_parameters
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from anndata import AnnData


@document_parameters
def presences(adata: AnnData, *, key: str = "lava") -> pd.DataFrame:
    """Mean presence of each module over the localities that contain a cell.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    key

    Returns
    -------
    Cells × modules, index ``adata.obs_names``, columns numbered from 0; NaN for cells that are in no locality.

    Raises
    ------
    ValueError
        If modules are missing.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.get.presences(adata).shape
    (500, 4)
    """
    checks.annotated(adata)
    values = np.array(load(adata, key, "cell_presences"), dtype=np.float64)
    return pd.DataFrame(values, index=adata.obs_names, columns=range(values.shape[1]))
