"""Choose the genes between which correlations are worth computing."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from lava_sc import _read, _slots, _validate
from lava_sc._logging import logger, warn
from lava_sc.core._parallel import thread_map
from lava_sc.core.correlation.ranks import defined_features
from lava_sc.core.gene_families import in_families

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from anndata import AnnData

    from lava_sc._types import BoolArray, DataMatrix, IntArray

Flavor = Literal["seurat", "cell_ranger", "seurat_v3", "seurat_v3_paper"]

_MAX_TIE_FRACTION: Final = 0.75  # the paper's, and the default of tl.locality_corr
_FEWEST_GENES: Final = 2
_COUNT_FLAVORS: Final = ("seurat_v3", "seurat_v3_paper")
_TARGET_SUM: Final = 1e4
_LARGEST_LOG: Final = 80  # exponentials of more overflow in single precision, which scanpy answers with a bare error


def select_genes(
    adata: AnnData,
    *,
    n_top_genes: int | None = 1000,
    exclude: str | Sequence[str] = ("mitochondrial", "ribosomal", "mitoribosomal"),
    flavor: Flavor = "seurat",
    localities_key: str | None = None,
    layer: str | None = None,
    batch_key: str | None = None,
    gene_symbols: str | None = None,
    key_added: str = _slots.GENE_MASK,
    copy: bool = False,
) -> AnnData | None:
    """Mark the genes to explain the embedding with: highly variable, and of no family that explains little.

    Candidates are the genes that vary at all, belong to no excluded family and, with ``localities_key``, can be
    correlated in at least one locality. Of these the ``n_top_genes`` most variable ones are taken.

    Parameters
    ----------
    adata
        Cells × genes, log-normalised (counts for the flavors "seurat_v3" and "seurat_v3_paper").
    n_top_genes
        Number of genes to take, at least 2; all candidates if ``None`` or if there are fewer. Genes that tie with the
        last one are taken too.
    exclude
        Families to leave out, by symbol: "mitochondrial", "ribosomal", "mitoribosomal"; human and mouse spelling.
    flavor
        How variability is measured, see :func:`scanpy.pp.highly_variable_genes`.
    localities_key
        ``key_added`` of :func:`lava_sc.tl.localities`: take only genes that are defined in one of those localities, i.e.
        no single value, such as zero, is shared by more than 75 % of its cells. Most variable genes are not, in sparse data.
    layer
        Layer to use instead of ``X``.
    batch_key
        ``obs`` column: rank variability within each batch and merge, so that differences between batches do not count.
    gene_symbols
        ``var`` column with the symbols. Left out, symbols are ``var_names`` or, where these are Ensembl ids, the column
        ``feature_name`` of the CELLxGENE schema.
    key_added
        ``var`` column to write.
    copy
        Return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.var[key_added]`
        Mask of the selected genes, bool. Genes are never removed.

    Raises
    ------
    ValueError
        If an argument, layer or column is unknown, gene names are duplicated, values are NaN or infinite, ``adata``
        is backed, or fewer than 2 candidates are left.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.pbmc68k()
    >>> lava.pp.select_genes(adata, n_top_genes=200)
    >>> int(adata.var["lava_genes"].sum())
    200
    """
    _validate.annotated(adata)
    _validate.column(key_added)
    _validate.one_of("flavor", flavor, get_args(Flavor))
    if n_top_genes is not None:
        _validate.in_range("n_top_genes", n_top_genes, _FEWEST_GENES, np.inf, integer=True)
    if batch_key is not None:
        _validate.column_names("column of adata.obs", batch_key, list(adata.obs.columns))
    _validate.unique_var_names(adata)
    X = _read.matrix(adata, layer)

    candidates = _candidates(adata, X, exclude, gene_symbols, localities_key)
    selected = candidates
    if n_top_genes is not None and candidates.sum() > n_top_genes:
        data = _measurable(adata, X, _read.matrix_name(layer), flavor)[:, candidates].copy()
        batches = None if batch_key is None else adata.obs[batch_key]
        selected = candidates.copy()
        selected[candidates] = _highly_variable(data, n_top_genes, flavor, batches)
    elif n_top_genes is not None:
        logger.info("n_top_genes=%d: taking all %d candidates", n_top_genes, candidates.sum())

    target = adata.copy() if copy else adata
    if target.is_view:  # as scanpy does: a view becomes an object of its own when something is written to it
        target._init_as_actual(target.copy())
    target.var[key_added] = selected
    logger.info("var[%r]: %d of %d genes selected", key_added, selected.sum(), adata.n_vars)
    return target if copy else None


def _candidates(
    adata: AnnData, X: DataMatrix, exclude: str | Sequence[str], gene_symbols: str | None, localities_key: str | None
) -> BoolArray:
    """Genes that may be selected, (n_vars,); each condition is logged with what it leaves."""
    families = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    candidates = ~_excluded(adata, families, gene_symbols)
    n_allowed = int(candidates.sum())
    candidates &= _lowest_and_highest_differ(X)
    n_varying = int(candidates.sum())
    if localities_key is not None:
        candidates[candidates] = _defined_somewhere(adata, X[:, candidates], localities_key)
    n_left = int(candidates.sum())
    logger.info("%d genes, %d not excluded, %d varying, %d candidates", adata.n_vars, n_allowed, n_varying, n_left)
    if n_left < _FEWEST_GENES:
        msg = (
            f"Found {n_left} candidate genes ({n_allowed} of {adata.n_vars} are in no excluded family, {n_varying} of "
            f"these vary), expected at least {_FEWEST_GENES}; exclude fewer families or enlarge the localities."
        )
        raise ValueError(msg)
    return candidates


def _excluded(adata: AnnData, families: Sequence[str], gene_symbols: str | None) -> BoolArray:
    symbols = _read.symbols(adata, gene_symbols)
    if families and gene_symbols is None and _validate.looks_like_ensembl(symbols.tolist()):
        msg = (
            "adata.var_names are Ensembl ids and there is no var['feature_name'], so no gene can be excluded by its "
            "symbol; pass gene_symbols= with the var column that holds symbols, or exclude=() to select from all."
        )
        warn(msg)
    return in_families(symbols, families)


def _lowest_and_highest_differ(X: DataMatrix) -> BoolArray:
    lowest, highest = X.min(axis=0), X.max(axis=0)
    if not isinstance(X, np.ndarray):
        lowest, highest = lowest.toarray().ravel(), highest.toarray().ravel()
    return np.asarray(lowest != highest)


def _defined_somewhere(adata: AnnData, X: DataMatrix, key: str) -> BoolArray:
    """Genes that are defined in at least one locality (paper, Section 2.2)."""
    rows = X if isinstance(X, np.ndarray) else X.tocsr()

    def defined(cells: IntArray) -> IntArray:
        return defined_features(rows, cells, _MAX_TIE_FRACTION)

    found = thread_map(
        defined, list(_read.locality_members(adata, key)), n_jobs=None, desc="genes defined in localities"
    )
    somewhere = np.zeros(X.shape[1], dtype=bool)
    somewhere[np.concatenate(found)] = True
    return somewhere


def _measurable(adata: AnnData, X: DataMatrix, where: str, flavor: Flavor) -> AnnData:
    """Wrap what the flavor measures variability of; warns where that takes a guess.

    Raises
    ------
    ValueError
        If the values are too large for logarithms.
    """
    from anndata import AnnData

    wants_counts = flavor in _COUNT_FLAVORS
    expected = f"flavor={flavor!r} measures variability of {'raw counts' if wants_counts else 'log-normalised values'}"
    is_log, is_counts = False, _validate.looks_like_counts(X)
    if _validate.looks_scaled(X):
        msg = f"{where} holds negative values and looks scaled, but {expected}; pass layer= with unscaled values."
    elif wants_counts and not is_counts:
        msg = f"{where} does not look like raw counts, but {expected}; pass layer= with counts or another flavor."
    elif is_counts and not wants_counts:
        msg = f"{where} looks like raw counts, but {expected}; genes are ranked by log1p counts per 10,000 of it."
        X = _log_normalised(X)
    else:
        msg, is_log = "", not wants_counts
    if msg:
        warn(msg)
    if flavor == "seurat" and X.max() > _LARGEST_LOG:
        msg = f"Found values up to {X.max():g} in {where}, but {expected}; normalise and log-transform first."
        raise ValueError(msg)
    values = X if isinstance(X, np.ndarray) else sparse.csr_matrix(X)  # scanpy 1.11 refuses sparse arrays
    values = values.astype(np.float32) if X.dtype.kind in "biu" else values
    base = {"log1p": adata.uns["log1p"]} if is_log and "log1p" in adata.uns else {}
    data = AnnData(X=values, uns=base)
    data.var_names = adata.var_names
    return data


def _log_normalised(X: DataMatrix) -> DataMatrix:
    factors = _TARGET_SUM / np.maximum(np.asarray(X.sum(axis=1), dtype=np.float64).ravel(), 1)
    return np.log1p(X * factors[:, None] if isinstance(X, np.ndarray) else sparse.diags(factors) @ X)


def _highly_variable(data: AnnData, n_top_genes: int, flavor: Flavor, batches: pd.Series | None) -> BoolArray:
    """Let scanpy choose among more than ``n_top_genes`` genes."""
    import scanpy as sc

    if batches is not None:
        data.obs["batch"] = pd.Categorical(batches.astype(str))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between scanpy and pandas
        table = sc.pp.highly_variable_genes(
            data,
            n_top_genes=n_top_genes,
            flavor=flavor,
            batch_key=None if batches is None else "batch",
            check_values=False,  # has been looked at
            inplace=False,
        )
    return table.loc[data.var_names, "highly_variable"].to_numpy(dtype=bool)
