"""Genes that a picture is limited to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lava_sc.stored.fields import Slots, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from lava_sc._types import IntArray


def numbers_of_genes(adata: AnnData, genes: Sequence[str], key: str) -> IntArray:
    """Numbers of some genes among the D that were correlated, in the order asked for, each once.

    Raises
    ------
    ValueError
        If one was not correlated or there are fewer than two.
    """
    known = pd.Index(np.asarray(load(adata, key, "genes"), dtype=object))
    asked = pd.Index([genes] if isinstance(genes, str) else list(genes), dtype=object).unique()
    at = np.asarray(known.get_indexer(asked), dtype=np.int64)
    where = f"adata.{Slots(key).where('genes')}"
    if (at < 0).any():
        msg = f"Found gene {asked[at < 0][0]!r}, expected names out of the {len(known):,} genes in {where}; choose among these."
        raise ValueError(msg)
    if len(at) < 2:
        msg = f"Found {len(at)} genes, expected at least 2 out of {where}, since pairs are drawn; name more."
        raise ValueError(msg)
    return at
