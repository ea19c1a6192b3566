"""The blood cells that scanpy carries with it."""

from __future__ import annotations

import warnings

import numpy as np
from anndata import AnnData
from scipy import sparse


def pbmc68k() -> AnnData:
    """700 peripheral blood mononuclear cells of the 10x Genomics PBMC 68k data, log-normalised.

    The file lies inside scanpy, so nothing is downloaded. scanpy's object has scaled values in ``X``; here ``X`` holds
    the log-normalised values of its ``raw``, and what was computed from the scaled ones (loadings, neighbour graph,
    marker ranking, gene dispersions) is left out.

    Returns
    -------
    700 cells × 765 genes: ``X`` CSR float32, ``obs`` as in the source (``bulk_labels``, ``louvain``, ``n_counts``, ...;
    one transcript is 10,000 / ``n_counts`` before the log), ``obsm["X_pca"]``, ``obsm["X_umap"]``, and the colours of
    the categories in ``uns``.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.pbmc68k()
    >>> adata.shape
    (700, 765)

    Notes
    -----
    Zheng et al., Nature Communications 8, 14049 (2017).
    """
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is in an old format; nothing a caller could act upon
        source = sc.datasets.pbmc68k_reduced()
        return AnnData(
            X=sparse.csr_matrix(source.raw.X, dtype=np.float32),
            obs=source.obs.copy(),
            var=source.var[["n_counts"]].copy(),
            obsm={name: np.asarray(source.obsm[name]) for name in ("X_pca", "X_umap")},
            uns={name: source.uns[name] for name in ("bulk_labels_colors", "louvain_colors")},
        )
