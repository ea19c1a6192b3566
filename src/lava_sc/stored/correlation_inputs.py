"""Data and options that stored correlations were made from, to make others from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_sc.core.correlation.locality import CorrelationOptions
from lava_sc.core.correlation.measures import MEASURES
from lava_sc.stored import inputs
from lava_sc.stored.fields import load, load_params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from lava_sc._types import BoolArray, IntArray
    from lava_sc.io.blocks import Source


@dataclass(frozen=True)
class CorrelationInputs:
    """Arguments of :func:`lava_sc.core.correlation.locality.locality_correlations`.

    Attributes
    ----------
    source
        Values of the correlated genes.
    members
        (ℓ, n) cells of the localities.
    options
        What is correlated how.
    """

    source: Source
    members: IntArray
    options: CorrelationOptions

    @classmethod
    def of(cls, adata: AnnData, key: str) -> CorrelationInputs:
        """Read those with which the stored correlations were made.

        Raises
        ------
        ValueError
            If correlations are missing, or cells or genes were removed or genes reordered since.
        """
        params = load_params(adata, key, "locality_corr")
        members = inputs.locality_members(adata, key)
        options = options_of(adata, params)
        source = inputs.source(adata, _genes(adata, key), layer=params.get("layer"), use_raw=bool(params["use_raw"]))
        return cls(source, members, options)


def options_of(adata: AnnData, params: Mapping[str, Any]) -> CorrelationOptions:
    """Options by the parameters of ``locality_corr``, as they were given or stored.

    Raises
    ------
    ValueError
        If a column is missing in ``adata.obs`` or of the wrong kind.
    """
    batch_key, covariates = params.get("batch_key"), params.get("covariates")
    return CorrelationOptions(
        measure=MEASURES[params["method"]],
        max_tie_fraction=float(params["max_tie_fraction"]),
        fdr=params.get("fdr"),
        covariates=[inputs.covariate(adata, str(name)) for name in ([] if covariates is None else covariates)],
        batches=None if batch_key is None else inputs.batch_codes(adata, batch_key),
    )


def _genes(adata: AnnData, key: str) -> BoolArray:
    genes = load(adata, key, "genes")
    chosen = np.asarray(adata.var_names.isin(genes))
    if not np.array_equal(adata.var_names[chosen], genes):
        msg = (
            f"Found {int(chosen.sum())} of the {len(genes)} correlated genes in adata.var_names in their order, expected all "
            f"of them; call lava_sc.tl.locality_corr again, or take the subset after this step."
        )
        raise ValueError(msg)
    return chosen
