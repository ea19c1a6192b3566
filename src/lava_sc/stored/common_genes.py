"""Genes that two objects have in common, whatever either calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc.io import gene_sets
from lava_sc.stored import checks, inputs
from lava_sc.stored.gene_matching import remedy, some

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, IntArray

_FEWEST: Final = 10  # unless there are fewer


@dataclass(frozen=True)
class CommonGenes:
    """Matched genes, in the order of their names, which does not depend on that of either object.

    Attributes
    ----------
    here
        (k,) positions in ``adata.var_names``.
    there
        (k,) positions among the reference's correlated genes.
    """

    here: IntArray
    there: IntArray

    def mask(self, adata: AnnData) -> BoolArray:
        """(n_vars,) bool."""
        chosen = np.zeros(adata.n_vars, dtype=bool)
        chosen[self.here] = True
        return chosen


def common_genes(
    adata: AnnData, reference: AnnData, genes: NDArray[np.object_], gene_symbols: str | None
) -> CommonGenes:
    """Match the reference's correlated genes with those of ``adata``.

    Without ``gene_symbols`` by the names of the genes, or by their symbols if more of these are the same. Names that stand for
    several genes match none.

    Raises
    ------
    ValueError
        If fewer than ten genes match, or neither object has the column.
    """
    if gene_symbols is not None and gene_symbols not in reference.var.columns:
        checks.column_names("column of adata.var or reference.var", gene_symbols, list(adata.var.columns))
    correlated = pd.Index(genes)
    names = zip(_ways(adata, adata.var_names, gene_symbols), _ways(reference, correlated, gene_symbols), strict=True)
    matches = [(_matched(here, there), here, there) for here, there in names]
    found, here, there = max(matches, key=lambda match: len(match[0].here))
    fewest = min(_FEWEST, len(genes))
    if len(found.here) < fewest:
        to_do = _remedy(adata, reference, set(here), set(there))
        msg = (
            f"Found {len(found.here)} of the reference's {len(genes)} correlated genes ({some(set(there))}) among those of "
            f"adata ({some(set(here))}), expected at least {fewest}; {to_do}."
        )
        raise ValueError(msg)
    logger.info("%d of the %d correlated genes of the reference are found", len(found.here), len(genes))
    return found


def _ways(adata: AnnData, genes: pd.Index, gene_symbols: str | None) -> list[pd.Index]:
    """Alternative names of genes; those that were removed since keep theirs."""
    column = gene_symbols if gene_symbols in adata.var.columns else None
    of_all = dict(zip(adata.var_names, inputs.symbols(adata, column), strict=True))
    symbols = [str(of_all.get(gene, gene)) for gene in genes]
    bare = pd.Index(gene_sets.without_ids(symbols) or symbols)
    return [genes.astype(str), bare] if gene_symbols is None else [bare]


def _matched(here: pd.Index, there: pd.Index) -> CommonGenes:
    once = [names[~names.duplicated(keep=False)] for names in (here, there)]
    shared = np.sort(once[0].intersection(once[1]).to_numpy(dtype=object))
    return CommonGenes(*(pd.Series(range(len(names)), index=names)[shared].to_numpy() for names in (here, there)))


def _remedy(adata: AnnData, reference: AnnData, here: set[str], there: set[str]) -> str:
    of_species = "give one of the objects a column with the other's names, and pass it as gene_symbols="
    return (
        remedy(adata, there, here, of_species=of_species)
        or remedy(reference, here, there)
        or "pass gene_symbols=, a column of adata.var or reference.var with names that both have"
    )
