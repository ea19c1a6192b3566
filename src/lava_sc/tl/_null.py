"""Null data sets for stored correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc import _read
from lava_sc._logging import logger
from lava_sc._slots import load, load_params
from lava_sc.core.correlation.shuffle import least_kept
from lava_sc.core.null import NullData

if TYPE_CHECKING:
    from anndata import AnnData

    from lava_sc._types import BoolArray, FloatArray

_DEPTHS: Final = ("total_counts", "n_counts", "nCount_RNA")  # scanpy, older scanpy, Seurat


def null_data(adata: AnnData, key: str, depth_key: str | None, n_jobs: int | None) -> NullData:
    """What null data for the stored correlations are made from, by the arguments with which these were made.

    Raises
    ------
    ValueError
        If correlations are missing, cells or genes were removed or genes reordered since, or depth is not in ``obs``.
    """
    C, params = load(adata, key, "C"), load_params(adata, key, "locality_corr")
    members = _read.locality_members(adata, key)
    layer, use_raw = params.get("layer"), bool(params["use_raw"])
    batch_key = params.get("batch_key")
    options: dict[str, Any] = {
        "ranked": params["method"] == "spearman",
        "max_tie_fraction": float(params["max_tie_fraction"]),
        "fdr": params.get("fdr"),
        "covariates": [_read.covariate(adata, str(name)) for name in params.get("covariates", [])],
        "batches": None if batch_key is None else _read.batch_codes(adata, batch_key),
        "n_jobs": n_jobs,
    }
    source = _read.source(adata, _correlated_genes(adata, key), layer=layer, use_raw=use_raw)
    return NullData(source, members, least_kept(C), options, _depth(adata, depth_key))


def _correlated_genes(adata: AnnData, key: str) -> BoolArray:
    genes = load(adata, key, "genes")
    chosen = np.asarray(adata.var_names.isin(genes))
    if not np.array_equal(adata.var_names[chosen], genes):
        msg = (
            f"Found {int(chosen.sum())} of the {len(genes)} correlated genes in adata.var_names in their order, expected all "
            f"of them; call lava_sc.tl.locality_corr again, or take the subset after this step."
        )
        raise ValueError(msg)
    return chosen


def _depth(adata: AnnData, depth_key: str | None) -> FloatArray | None:
    if depth_key is None:
        depth_key = next((name for name in _DEPTHS if name in adata.obs.columns), None)
        if depth_key is None:
            logger.info("depth_key not given: shuffled genes do not keep their correlation with sequencing depth")
            return None
        logger.info("depth_key not given: shuffled genes keep their correlation with adata.obs[%r]", depth_key)
    values = _read.covariate(adata, depth_key)
    if values.categorical:
        msg = f"Found categories in adata.obs[{depth_key!r}], expected numbers; pass a column with the counts of each cell."
        raise ValueError(msg)
    return np.asarray(values.values, dtype=np.float64)
