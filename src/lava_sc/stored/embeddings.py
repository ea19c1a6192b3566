"""Embeddings in ``obsm``: which one is meant, and its coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger, warn
from lava_sc.io.arrays import in_memory
from lava_sc.io.dense import dense
from lava_sc.io.sources import reading
from lava_sc.stored import inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from lava_sc._types import FloatArray

_DEFAULT_REPS: Final = ("X_umap", "X_tsne", "X_pca")
_TISSUE: Final = "spatial"
_IN_TISSUE: Final = "in_tissue"  # of Space Ranger: whether tissue covers a spot
_FARTHEST: Final = 1e100  # squares of more overflow


def representation_key(adata: AnnData, use_rep: str | None) -> str:
    """The ``obsm`` key that ``use_rep`` means: ``umap`` and ``X_umap`` are the same, in any capitals.

    ``None`` takes the ``default_embedding`` of CELLxGENE, or else the first of the usual ones.

    Raises
    ------
    ValueError
        If there is no such representation; the message lists those there are.
    """
    there = [name for name, value in adata.obsm.items() if len(value.shape) == 2]
    if use_rep is None:
        chosen = next(filter(None, (named_in(there, name) for name in _usual_reps(adata))), None)
        if chosen is not None:
            logger.info("use_rep not given: explaining adata.obsm[%r]", chosen)
            return chosen
        wanted = f"one of {', '.join(_DEFAULT_REPS)}"
    else:
        chosen = named_in(there, use_rep)
        if chosen is not None:
            return chosen
        wanted = repr(use_rep)
    listing = ", ".join(map(repr, there)) or "nothing"
    msg = f"Found {listing} in adata.obsm, expected {wanted}; compute that embedding first or pass use_rep."
    raise ValueError(msg)


def named_in(there: Sequence[str], name: str) -> str | None:
    """Find the name that is meant: with ``X_`` before it or without, in any capitals where one alone fits."""
    for exact in (name, f"X_{name}"):
        if exact in there:
            return exact
    alike = [one for one in there if one.lower() in {name.lower(), f"x_{name}".lower()}]
    return alike[0] if len(alike) == 1 else None


def _usual_reps(adata: AnnData) -> list[str]:
    """Embeddings to explain where none is named: that which a file from CELLxGENE shows first, then the usual ones."""
    shown = adata.uns.get("default_embedding")
    return [*([shown] if isinstance(shown, str) else []), *_DEFAULT_REPS]


def warn_of_background(adata: AnnData, obsm_key: str) -> None:
    """Warn where the places are spots and some of them lie beside the tissue."""
    if obsm_key != _TISSUE or _IN_TISSUE not in adata.obs.columns:
        return
    covered = pd.to_numeric(inputs.obs_column(adata, _IN_TISSUE).astype(object), errors="coerce")
    beside = int((covered == 0).sum())
    if beside:
        msg = (
            f"adata.obs[{_IN_TISSUE!r}] says that {beside} of {adata.n_obs} spots are not covered by tissue; localities "
            f"will hold them, too; take adata[adata.obs[{_IN_TISSUE!r}] == 1].copy() first to leave them out."
        )
        warn(msg)


def representation(adata: AnnData, obsm_key: str) -> FloatArray:
    """An embedding as (E, D_L) float64.

    Raises
    ------
    ValueError
        If it holds values that are not finite.
    OSError
        If it is in a file that cannot be read.
    """
    with reading(f"adata.obsm[{obsm_key!r}]", str(adata.filename or "")):
        values = dense(in_memory(adata.obsm[obsm_key]))
    if values.dtype.kind not in "biuf" or values.shape[1] == 0:
        msg = (
            f"Found {values.shape[1]} columns of dtype {values.dtype} in adata.obsm[{obsm_key!r}], expected at least one "
            f"column of real numbers; pass another use_rep."
        )
        raise ValueError(msg)
    Z = np.ascontiguousarray(values, dtype=np.float64)
    bad = int((~(np.abs(Z) < _FARTHEST)).any(axis=1).sum())
    if bad:
        msg = (
            f"Found NaN or infinite coordinates for {bad} of {len(Z)} cells in adata.obsm[{obsm_key!r}], "
            f"expected finite numbers below {_FARTHEST:g}; recompute the embedding or drop these cells."
        )
        raise ValueError(msg)
    return Z
