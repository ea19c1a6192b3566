"""What steps read from an AnnData object: embeddings, matrices, genes, localities. Checked on the way."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

from lava_sc import _validate
from lava_sc._logging import logger
from lava_sc._slots import Slots, load, load_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, DataMatrix, FloatArray, IntArray

_DEFAULT_REPS: Final = ("X_umap", "X_tsne", "X_pca")
_SYMBOLS: Final = "feature_name"  # where the CELLxGENE schema has them
_FEWEST_GENES: Final = 2
_FARTHEST: Final = 1e100  # squares of more overflow


def representation_key(adata: AnnData, use_rep: str | None) -> str:
    """The ``obsm`` key that ``use_rep`` means: ``umap`` and ``X_umap`` are the same; ``None`` takes the first of the usual ones.

    Raises
    ------
    ValueError
        If there is no such representation; the message lists those there are.
    """
    there = [name for name, value in adata.obsm.items() if np.ndim(value) == 2]
    if use_rep is None:
        chosen = next((name for name in _DEFAULT_REPS if name in there), None)
        if chosen is not None:
            logger.info("use_rep not given: explaining adata.obsm[%r]", chosen)
            return chosen
        wanted = f"one of {', '.join(_DEFAULT_REPS)}"
    else:
        chosen = next((name for name in (use_rep, f"X_{use_rep}") if name in there), None)
        if chosen is not None:
            return chosen
        wanted = repr(use_rep)
    listing = ", ".join(map(repr, there)) or "nothing"
    msg = f"Found {listing} in adata.obsm, expected {wanted}; compute that embedding first or pass use_rep."
    raise ValueError(msg)


def representation(adata: AnnData, obsm_key: str) -> FloatArray:
    """An embedding as (E, D_L) float64.

    Raises
    ------
    ValueError
        If it holds values that are not finite.
    """
    values = _dense(adata.obsm[obsm_key])
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


@singledispatch
def _dense(values: Any) -> NDArray[Any]:
    return np.asarray(values)


@_dense.register(sparse.sparray)
@_dense.register(sparse.spmatrix)
def _(values: Any) -> NDArray[Any]:
    return np.asarray(values.toarray())


def matrix(adata: AnnData, layer: str | None) -> DataMatrix:
    """``X`` or a layer: a numpy array, or a CSR or CSC matrix without duplicate entries; not the user's to be changed.

    Raises
    ------
    ValueError
        If the layer does not exist, there is no matrix, it is of another kind or not finite, or the object is backed.
    """
    if layer is not None:
        _validate.column_names("layer", layer, [name for name in adata.layers if name is not None])  # None is X
    if adata.isbacked:
        msg = "Found a backed AnnData object, expected one in memory; call adata = adata.to_memory() first."
        raise ValueError(msg)
    where = matrix_name(layer)
    X = adata.X if layer is None else adata.layers[layer]
    if X is None:
        msg = "Found no matrix in adata.X, expected expression values; fill adata.X or pass layer=."
        raise ValueError(msg)
    X = _plain(X, where)
    _validate.finite(X, where)
    return X


def matrix_name(layer: str | None) -> str:
    """How a user reaches the matrix, for messages."""
    return "adata.X" if layer is None else f"adata.layers[{layer!r}]"


@singledispatch
def _plain(X: Any, where: str) -> DataMatrix:
    msg = f"Found {type(X).__name__} in {where}, expected a numpy array or a scipy CSR or CSC matrix; convert it first."
    raise ValueError(msg)


def _number_type(dtype: np.dtype[Any], where: str) -> np.dtype[Any]:
    """Choose a type that holds the same numbers and that compiled code knows: native, and no half or long floats."""
    if dtype.kind not in "biuf":
        msg = f"Found values of dtype {dtype} in {where}, expected real numbers; convert them first."
        raise ValueError(msg)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= np.dtype(np.float32).itemsize else np.float64)
    return dtype.newbyteorder("=")


@_plain.register(np.ndarray)
def _(X: NDArray[Any], where: str) -> DataMatrix:
    return np.asarray(X).astype(_number_type(X.dtype, where), copy=False)


@_plain.register(sparse.sparray)
@_plain.register(sparse.spmatrix)
def _(X: Any, where: str) -> DataMatrix:
    X = X if X.format in {"csr", "csc"} else X.tocsr()
    X = X.astype(_number_type(X.dtype, where), copy=False)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def gene_mask(adata: AnnData, mask_var: str | Sequence[bool] | BoolArray | None, default: str) -> BoolArray:
    """The selected genes as (n_vars,) bool: a ``var`` column, an array, or the default column when ``None``.

    Raises
    ------
    ValueError
        If the column is unknown or not boolean, the array has the wrong length, or fewer than two genes are selected.
    """
    if mask_var is None:
        if default not in adata.var:
            logger.info("var[%r] not found: taking all %d genes", default, adata.n_vars)
        mask = adata.var[default].to_numpy() if default in adata.var else np.ones(adata.n_vars, dtype=bool)
        name = f"var[{default!r}]"
    elif isinstance(mask_var, str):
        _validate.column_names("column of adata.var", mask_var, list(adata.var.columns))
        mask, name = adata.var[mask_var].to_numpy(), f"var[{mask_var!r}]"
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


def symbols(adata: AnnData, gene_symbols: str | None) -> NDArray[np.object_]:
    """Symbols of all genes: a ``var`` column, or ``var_names``, or ``feature_name`` where these are Ensembl ids.

    Raises
    ------
    ValueError
        If the column does not exist.
    """
    if gene_symbols is not None:
        _validate.column_names("column of adata.var", gene_symbols, list(adata.var.columns))
    elif _SYMBOLS in adata.var and _validate.looks_like_ensembl(adata.var_names):
        logger.info("var_names are Ensembl ids: taking gene symbols from var[%r]", _SYMBOLS)
        gene_symbols = _SYMBOLS
    names = adata.var_names if gene_symbols is None else adata.var[gene_symbols]
    return np.asarray(names.astype(str), dtype=object)


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
