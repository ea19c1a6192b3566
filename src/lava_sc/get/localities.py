"""Localities as observations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from lava_sc._docs import document_parameters
from lava_sc.core.correlation.pairs import pair_features
from lava_sc.stored import checks
from lava_sc.stored.fields import has, load

if TYPE_CHECKING:
    from scipy import sparse


@document_parameters
def localities(adata: AnnData, *, key: str = "lava") -> AnnData:
    """Localities × gene pairs as an object of its own, for any tool that takes an AnnData.

    Pairs that are correlated in no locality are left out: with 1,000 genes there would be half a million.

    Parameters
    ----------
    adata
        Annotated data with correlations from :func:`lava_sc.tl.locality_corr`.
    key

    Returns
    -------
    AnnData object with the following fields:

    `X`
        (ℓ, pairs) CSR float32, signed correlations.
    `obs`
        The table of evidence.
    `var["gene_a"]`, `var["gene_b"]`
        The genes of the pair.
    `obsm["probes"]`
        (ℓ, D_L) coordinates.
    `obsm["presences"]`
        (ℓ, M), if modules are there.

    Raises
    ------
    ValueError
        If correlations are missing.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.get.localities(adata).n_obs
    15
    """
    checks.annotated(adata)
    C: sparse.csr_matrix = load(adata, key, "C")
    genes = np.asarray(load(adata, key, "genes"), dtype=object)
    columns = np.unique(C.indices)
    a, b = (genes[features] for features in pair_features(columns, len(genes)))
    names = pd.Index([f"{first}|{second}" for first, second in zip(a, b, strict=True)])
    obsm = {"probes": np.array(load(adata, key, "probes"))}
    if has(adata, key, "presences"):
        obsm["presences"] = np.array(load(adata, key, "presences"))
    return AnnData(
        X=C[:, columns],
        obs=load(adata, key, "evidence").copy(),
        var=pd.DataFrame({"gene_a": a, "gene_b": b}, index=names),
        obsm=obsm,
    )
