"""Choose the genes between which correlations are worth computing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np

from lava_sc._logging import logger, warn
from lava_sc.core.correlation.ranks import defined_features
from lava_sc.parallel.threads import thread_map
from lava_sc.pp._gene_families import in_families
from lava_sc.pp._variability import Flavor, highly_variable, survey
from lava_sc.stored import checks, fields, inputs
from lava_sc.stored.steps import column_step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from anndata import AnnData

    from lava_sc._types import BoolArray, IntArray
    from lava_sc.io.blocks import Source
    from lava_sc.pp._variability import Survey

_FEWEST_GENES: Final = 2


@column_step("var")
def select_genes(
    adata: AnnData,
    *,
    n_top_genes: int | None = 1000,
    exclude: str | Sequence[str] = ("mitochondrial", "ribosomal", "mitoribosomal"),
    flavor: Flavor = "seurat",
    localities_key: str | None = None,
    max_tie_fraction: float = 0.75,
    layer: str | None = None,
    use_raw: bool = False,
    batch_key: str | None = None,
    gene_symbols: str | None = None,
    n_jobs: int | None = None,
    key_added: str = fields.GENE_MASK,
    copy: bool = False,
) -> BoolArray:
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
        ``key_added`` of :func:`lava_sc.tl.localities`: take only genes that are defined in one of those localities. Most
        variable genes are not, in sparse data.
    max_tie_fraction
        A gene is *defined* in a locality when no single value, such as zero, is shared by more than this fraction of its
        cells; as for :func:`lava_sc.tl.locality_corr`.
    layer
    use_raw
    batch_key
        ``obs`` column: rank variability within each batch and merge, so that differences between batches do not count.
    gene_symbols
        ``var`` column with the symbols. Left out, symbols are ``var_names`` or, where these are Ensembl ids, the column
        ``feature_name`` of the CELLxGENE schema.
    n_jobs
    key_added
        ``var`` column to write.
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.var[key_added]`
        Mask of the selected genes, bool. Genes are never removed.

    Raises
    ------
    ValueError
        If an argument, layer or column is unknown, gene names are duplicated, values are NaN or infinite, ``adata``
        cannot be written to (a view of a backed object), or fewer than 2 candidates are left.
    OSError
        If the file of a backed or lazily opened object cannot be read.
    MemoryError
        If values that are not in memory do not fit there, and Dask is not installed or ``flavor`` wants them all at once.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.pbmc68k()
    >>> lava.pp.select_genes(adata, n_top_genes=200)
    >>> int(adata.var["lava_genes"].sum())
    200
    """
    checks.one_of("flavor", flavor, get_args(Flavor))
    checks.in_range("max_tie_fraction", max_tie_fraction, 0, 1)
    if n_top_genes is not None:
        checks.in_range("n_top_genes", n_top_genes, _FEWEST_GENES, np.inf, integer=True)
    batches = None if batch_key is None else inputs.obs_column(adata, batch_key)
    checks.unique_var_names(adata)
    families = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    allowed = ~_excluded(adata, families, gene_symbols)
    members = None if localities_key is None else inputs.locality_members(adata, localities_key)

    source = inputs.source(adata, np.ones(adata.n_vars, dtype=bool), layer=layer, use_raw=use_raw)
    found = survey(source)
    selected = candidates = _candidates(source, allowed, found, members, max_tie_fraction, n_jobs)
    if n_top_genes is not None and candidates.sum() > n_top_genes:
        selected = candidates.copy()
        selected[candidates] = highly_variable(
            source.features(candidates),
            found.take(candidates),
            n_top_genes,
            names=adata.var_names[candidates],
            flavor=flavor,
            batches=batches,
            log1p=adata.uns.get("log1p", {}),
            where=inputs.matrix_name(layer, use_raw=use_raw),
        )
    elif n_top_genes is not None:
        logger.info("n_top_genes=%d: taking all %d candidates", n_top_genes, candidates.sum())

    logger.info("var[%r]: %d of %d genes selected", key_added, selected.sum(), adata.n_vars)
    return selected


def _candidates(
    source: Source,
    allowed: BoolArray,
    found: Survey,
    members: IntArray | None,
    max_tie_fraction: float,
    n_jobs: int | None,
) -> BoolArray:
    """Genes that may be selected, (n_vars,); each condition is logged with what it leaves.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    candidates = allowed & (found.lowest != found.highest)
    n_allowed, n_varying = int(allowed.sum()), int(candidates.sum())
    if members is not None:
        candidates[candidates] = _defined_somewhere(source.features(candidates), members, max_tie_fraction, n_jobs)
    n_left = int(candidates.sum())
    logger.info("%d genes, %d not excluded, %d varying, %d candidates", len(allowed), n_allowed, n_varying, n_left)
    if n_left < _FEWEST_GENES:
        msg = (
            f"Found {n_left} candidate genes ({n_allowed} of {len(allowed)} are in no excluded family, {n_varying} of "
            f"these vary), expected at least {_FEWEST_GENES}; exclude fewer families or enlarge the localities."
        )
        raise ValueError(msg)
    return candidates


def _excluded(adata: AnnData, families: Sequence[str], gene_symbols: str | None) -> BoolArray:
    symbols = inputs.symbols(adata, gene_symbols)
    if families and gene_symbols is None and checks.looks_like_ensembl(symbols.tolist()):
        msg = (
            "adata.var_names are Ensembl ids and there is no var['feature_name'], so no gene can be excluded by its "
            "symbol; pass gene_symbols= with the var column that holds symbols, or exclude=() to select from all."
        )
        warn(msg)
    return in_families(symbols, families)


def _defined_somewhere(source: Source, members: IntArray, max_tie_fraction: float, n_jobs: int | None) -> BoolArray:
    """Genes that are defined in at least one locality (paper, Section 2.2)."""
    somewhere = np.zeros(source.shape[1], dtype=bool)
    for block in source.blocks(members):
        defined = thread_map(
            partial(defined_features, block.X, max_tie_fraction=max_tie_fraction),
            list(block.members),
            n_jobs=n_jobs,
            desc="genes defined in localities",
        )
        somewhere[np.concatenate(defined)] = True
    return somewhere
