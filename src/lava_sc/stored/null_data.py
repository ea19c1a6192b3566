"""Null data sets for stored correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lava_sc._logging import logger
from lava_sc.core.nulls.null_data import NullData
from lava_sc.core.nulls.shuffled_genes import least_kept
from lava_sc.stored import inputs
from lava_sc.stored.correlation_inputs import CorrelationInputs
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from anndata import AnnData
    from distributed import Client

    from lava_sc._types import FloatArray


def null_data(
    adata: AnnData, key: str, depth_key: str | None, n_jobs: int | None, client: Client | None = None
) -> NullData:
    """Null data for the stored correlations, made with the same options.

    Raises
    ------
    ValueError
        If correlations are missing, cells or genes were removed or genes reordered since, or depth is not in ``obs``.
    """
    floors = least_kept(load(adata, key, "C"))
    of = CorrelationInputs.of(adata, key)
    return NullData(of.source, of.members, floors, of.options, _depth(adata, depth_key), n_jobs, client)


def _depth(adata: AnnData, depth_key: str | None) -> FloatArray | None:
    if depth_key is None:
        depth_key = inputs.depth_column(adata)
        if depth_key is None:
            logger.info("depth_key not given: shuffled genes do not keep their correlation with sequencing depth")
            return None
        logger.info("depth_key not given: shuffled genes keep their correlation with adata.obs[%r]", depth_key)
    values = inputs.covariate(adata, depth_key)
    if values.categorical:
        msg = f"Found categories in adata.obs[{depth_key!r}], expected numbers; pass a column with the counts of each cell."
        raise ValueError(msg)
    return np.asarray(values.values, dtype=np.float64)
