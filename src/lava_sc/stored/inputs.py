"""Inputs of steps in an AnnData object: matrices, genes, localities; checked as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc.core.correlation.partial import Covariate
from lava_sc.io.arrays import in_memory
from lava_sc.io.gene_sets import without_ids
from lava_sc.io.sources import open_source, reading
from lava_sc.stored import checks
from lava_sc.stored.fields import Slots, has, load, load_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, FloatArray, IntArray
    from lava_sc.io.blocks import Source

_DEPTHS: Final = ("total_counts", "n_counts", "nCount_RNA")  # scanpy, older scanpy, Seurat
_SYMBOLS: Final = "feature_name"  # where the CELLxGENE schema has them
_FEWEST_GENES: Final = 2


def source(
    adata: AnnData, mask: BoolArray, *, layer: str | None = None, use_raw: bool = False, memory: int | None = None
) -> Source:
    """The selected genes of ``X``, a layer or ``raw``, wherever these are kept.

    Parameters
    ----------
    adata
        Annotated data.
    mask
        (n_vars,) the selected genes.
    layer
        Layer to read instead of ``X``.
    use_raw
        Read ``adata.raw``, by the names of the genes.
    memory
        Bytes that rows of a matrix in a file, or of a Dask array, may take at once; ``None`` takes a quarter of what
        there is.

    Raises
    ------
    ValueError
        If the layer, ``raw`` or one of the genes in it does not exist, there is no matrix, it is of an unknown kind or
        not finite.
    OSError
        If its file cannot be read.
    """
    columns: IntArray = np.flatnonzero(mask)
    if use_raw and layer is not None:
        msg = f"Found layer={layer!r} and use_raw=True, expected one of them; leave one out."
        raise ValueError(msg)
    if use_raw:
        columns = _columns_of_raw(adata, adata.var_names[columns])
    elif layer is not None:
        checks.column_names("layer", layer, [name for name in adata.layers if name is not None])  # None is X
    where = matrix_name(layer, use_raw=use_raw)
    file = str(adata.filename or "")
    with reading(where, file):
        X = adata.raw.X if use_raw else adata.X if layer is None else adata.layers[layer]
    if X is None:
        msg = "Found no matrix in adata.X, expected expression values; fill adata.X or pass layer=."
        raise ValueError(msg)
    return open_source(X, columns, where, memory, file)


def _columns_of_raw(adata: AnnData, genes: pd.Index) -> IntArray:
    if adata.raw is None:
        msg = "Found no adata.raw, expected expression values there; set adata.raw or leave use_raw out."
        raise ValueError(msg)
    names = adata.raw.var_names
    doubtful = genes.intersection(names[names.duplicated()])
    missing = genes.difference(names, sort=False)
    for wrong, what in ((missing, "missing from"), (doubtful, "more than once in")):
        if len(wrong):
            msg = (
                f"Found {len(wrong)} of {len(genes)} genes {what} adata.raw.var_names (e.g. {str(wrong[0])!r}), expected "
                f"each once; select other genes or leave use_raw out."
            )
            raise ValueError(msg)
    return pd.Series(np.arange(len(names)), index=names)[genes].to_numpy()


def matrix_name(layer: str | None, *, use_raw: bool = False) -> str:
    """Matrix as a user reaches it, for messages."""
    if use_raw:
        return "adata.raw.X"
    return "adata.X" if layer is None else f"adata.layers[{layer!r}]"


def obs_column(adata: AnnData, name: str) -> pd.Series:
    """A column of ``obs`` in memory, also where the object was opened lazily.

    Raises
    ------
    ValueError
        If it does not exist.
    """
    return _column(adata.obs, "adata.obs", name)


def depth_column(adata: AnnData) -> str | None:
    """The column of ``obs`` with the sequencing depth of the cells, by its usual names."""
    return next((name for name in _DEPTHS if name in adata.obs.columns), None)


def var_column(adata: AnnData, name: str) -> pd.Series:
    """A column of ``var`` in memory, also where the object was opened lazily.

    Raises
    ------
    ValueError
        If it does not exist.
    """
    return _column(adata.var, "adata.var", name)


def _column(frame: Any, where: str, name: str) -> pd.Series:
    checks.column_names(f"column of {where}", name, list(frame.columns))
    return in_memory(frame[[name]])[name]


def gene_mask(adata: AnnData, mask_var: str | Sequence[bool] | BoolArray | None, default: str) -> BoolArray:
    """The selected genes as (n_vars,) bool: a ``var`` column, an array, or the default column when ``None``.

    Raises
    ------
    ValueError
        If the column is unknown or not boolean, the array has the wrong length, or fewer than two genes are selected.
    """
    if mask_var is None:
        there = default in adata.var.columns
        if not there:
            logger.info("var[%r] not found: taking all %d genes", default, adata.n_vars)
        mask = var_column(adata, default).to_numpy() if there else np.ones(adata.n_vars, dtype=bool)
        name = f"var[{default!r}]"
    elif isinstance(mask_var, str):
        mask, name = var_column(adata, mask_var).to_numpy(), f"var[{mask_var!r}]"
    else:
        mask, name = np.asarray(mask_var), "mask_var"
    if mask.dtype != bool or mask.shape != (adata.n_vars,):
        msg = (
            f"Found {name} of dtype {mask.dtype} and shape {mask.shape}, expected one bool for each of the "
            f"{adata.n_vars} genes; pass a boolean var column or array."
        )
        raise ValueError(msg)
    if mask.sum() < _FEWEST_GENES:
        msg = f"Found {int(mask.sum())} selected genes in {name}, expected at least {_FEWEST_GENES}; select more genes."
        raise ValueError(msg)
    return mask


def mask_param(adata: AnnData, mask_var: str | Sequence[bool] | BoolArray | None) -> str | list[str] | None:
    """Selected genes as a stored parameter: the name of their column, or their names."""
    if mask_var is None or isinstance(mask_var, str):
        return mask_var
    return list(adata.var_names[np.asarray(mask_var)])


def symbols(adata: AnnData, gene_symbols: str | None) -> NDArray[np.object_]:
    """Symbols of all genes: a ``var`` column, or ``var_names``, or ``feature_name`` where these are Ensembl ids.

    Raises
    ------
    ValueError
        If the column does not exist.
    """
    if gene_symbols is None and _SYMBOLS in adata.var.columns and checks.looks_like_ensembl(adata.var_names):
        logger.info("var_names are Ensembl ids: taking gene symbols from var[%r]", _SYMBOLS)
        gene_symbols = _SYMBOLS
    names = adata.var_names if gene_symbols is None else var_column(adata, gene_symbols)
    return np.asarray(names.astype(str), dtype=object)


def labels(adata: AnnData, gene_symbols: str | None) -> dict[str, str]:
    """Names of genes for readers: symbols, without an appended id where that tells them apart still.

    Raises
    ------
    ValueError
        If the column does not exist.
    """
    names = symbols(adata, gene_symbols)
    short = without_ids(names.tolist())
    if short is not None:
        clear = ~pd.Index(short).duplicated(keep=False)
        names = np.where(clear, np.array(short, dtype=object), names)
    return dict(zip(adata.var_names, names, strict=True))


def amf_presences(adata: AnnData, key: str) -> FloatArray:
    """Presences as AMF found them, (ℓ, M): what is computed from these stays true when presences are fine-tuned.

    Raises
    ------
    ValueError
        If there are none.
    """
    return np.asarray(load(adata, key, "presences_amf" if has(adata, key, "presences_amf") else "presences"))


def covariate(adata: AnnData, name: str) -> Covariate:
    """A column of ``obs`` to adjust for: numbers, or categories.

    Raises
    ------
    ValueError
        If it does not exist or has missing values.
    """
    column = obs_column(adata, name)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(dtype=np.float64)
        _refuse_missing(name, ~np.isfinite(values), "in a covariate")
        return Covariate(values, categorical=False)
    return Covariate(_categories(column, "in a covariate"), categorical=True)


def batch_codes(adata: AnnData, batch_key: str) -> IntArray:
    """Codes of the batches of all cells, (E,).

    Raises
    ------
    ValueError
        If the column does not exist or has missing values.
    """
    return _categories(obs_column(adata, batch_key), "in batch_key")


def _categories(column: pd.Series, use: str) -> IntArray:
    codes: IntArray = pd.Categorical(column).codes
    _refuse_missing(str(column.name), codes < 0, use)
    return codes


def _refuse_missing(name: str, missing: BoolArray, use: str) -> None:
    if missing.any():
        msg = f"Found {missing.sum()} missing values in adata.obs[{name!r}], expected none {use}; fill or drop these cells."
        raise ValueError(msg)


def locality_members(adata: AnnData, key: str) -> IntArray:
    """Cells of each stored locality, (ℓ, n) ascending.

    Raises
    ------
    ValueError
        If there are no localities, or cells were removed from the object since they were placed.
    """
    membership = load(adata, key, "localities").tocsc()
    n = int(load_params(adata, key, "localities")["n_neighbors"])
    incomplete = int((np.diff(membership.indptr) != n).sum())
    if incomplete:
        msg = (
            f"Found cells missing from {incomplete} of {membership.shape[1]} localities in "
            f"adata.{Slots(key).where('localities')}, expected all {n} cells of each; take the subset after this step, "
            f"or call lava_sc.tl.localities again."
        )
        raise ValueError(msg)
    membership.sort_indices()
    return np.asarray(membership.indices.reshape(membership.shape[1], n))


def sections(adata: AnnData, library_key: str | None, n: int) -> pd.Categorical | None:
    """Section of each cell.

    Raises
    ------
    ValueError
        If the column does not exist, misses values, or a section has fewer cells than a locality.
    """
    if library_key is None:
        return None
    libraries = pd.Categorical(obs_column(adata, library_key)).remove_unused_categories()
    missing = int((libraries.codes < 0).sum())
    if missing:
        msg = f"Found {missing} cells without a section in adata.obs[{library_key!r}], expected one for each; drop these cells."
        raise ValueError(msg)
    sizes = np.bincount(libraries.codes)
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < n:
        msg = (
            f"Found {sizes[smallest]} cells in section {libraries.categories[smallest]!r} of adata.obs[{library_key!r}], "
            f"expected at least n_neighbors={n} in each; drop it or lower n_neighbors."
        )
        raise ValueError(msg)
    return libraries
