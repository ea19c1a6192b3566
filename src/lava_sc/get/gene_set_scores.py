"""Scores of gene sets in the cells."""

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
def gene_set_scores(adata: AnnData, *, key: str = "lava") -> pd.DataFrame:
    """Mean z of each gene set over the localities that contain a cell.

    Parameters
    ----------
    adata
        Annotated data with scores from :func:`lava_sc.tl.score_gene_sets`.
    key

    Returns
    -------
    Cells × sets, index ``adata.obs_names``, columns named after the sets; NaN for cells that are in no locality with a score.

    Raises
    ------
    ValueError
        If scores are missing.

    Examples
    --------
    As a column of ``adata.obs`` they colour cells, with ``scanpy.pl.umap(adata, color="MHC II")``:

    >>> import lava_sc as lava
    >>> adata = lava.datasets.pbmc68k()
    >>> lava.tl.localities(adata)
    >>> lava.tl.locality_corr(adata, covariates="n_counts")
    >>> lava.tl.score_gene_sets(adata, {"MHC II": ["HLA-DRA", "HLA-DRB1", "HLA-DPA1", "HLA-DPB1", "CD74"]})
    >>> scores = lava.get.gene_set_scores(adata)
    >>> scores.shape
    (700, 1)
    >>> adata.obs["MHC II"] = scores["MHC II"]
    """
    checks.annotated(adata)
    values = np.array(load(adata, key, "cell_gene_set_scores"), dtype=np.float64)
    names = load(adata, key, "gene_set_summary")["gene_set"].astype(str)
    return pd.DataFrame(values, index=adata.obs_names, columns=pd.Index(names, name="gene_set"))
