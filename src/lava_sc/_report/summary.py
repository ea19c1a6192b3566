"""Each module in a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc import get
from lava_sc.core.interpret.summary import PRESENT_ABOVE
from lava_sc.stored import inputs
from lava_sc.stored.fields import has, load

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_SIGNIFICANT: Final = 0.05
_MOST_SETS: Final = 5
_MOST_GROUPS: Final = 3


@dataclass(frozen=True)
class ModuleSummary:
    """One module.

    Attributes
    ----------
    number
        Column of the presences.
    name
        What it is called beside its number; empty unless modules were named.
    n_localities
        Localities in which it is present (presence above 0.01).
    n_genes
        Genes in its list.
    genes
        The strongest of them, by symbol.
    groups
        Groups of cells with the highest mean presence, and that presence.
    gene_sets
        Rows of the most significant gene sets.
    """

    number: int
    name: str
    n_localities: int
    n_genes: int
    genes: list[str]
    groups: list[tuple[str, float]]
    gene_sets: list[dict[str, Any]]


def describe_modules(
    adata: AnnData, key: str, *, groups: pd.Series | None, gene_symbols: str | None, n_genes: int
) -> list[ModuleSummary]:
    """Summaries of all modules, in their order; ``groups`` names a group for each cell."""
    table = load(adata, key, "module_genes")
    names = inputs.labels(adata, gene_symbols)
    presences = np.asarray(load(adata, key, "presences"))
    by_cell = get.presences(adata, key=key)
    labels = load(adata, key, "module_names") if has(adata, key, "module_names") else None
    summaries = []
    for m in range(presences.shape[1]):
        genes = table.loc[table["module"] == m, "gene"]
        summaries.append(
            ModuleSummary(
                number=m,
                name=str(labels[m]) if labels is not None else "",
                n_localities=int((presences[:, m] > PRESENT_ABOVE).sum()),
                n_genes=len(genes),
                genes=[names.get(gene, gene) for gene in genes[:n_genes]],
                groups=[] if groups is None else _highest(by_cell[m], groups),
                gene_sets=_significant_sets(adata, key, m),
            )
        )
    return summaries


def _highest(presence: pd.Series, groups: pd.Series) -> list[tuple[str, float]]:
    means = presence.groupby(groups.astype(str).to_numpy()).mean().sort_values(ascending=False)
    return [(str(name), float(value)) for name, value in means[means > PRESENT_ABOVE].head(_MOST_GROUPS).items()]


def _significant_sets(adata: AnnData, key: str, m: int) -> list[dict[str, Any]]:
    if not has(adata, key, "ora"):
        return []
    table = load(adata, key, "ora")
    passing = table[(table["module"] == m) & (table["pvalue_adj"] <= _SIGNIFICANT)]
    return [{str(name): value for name, value in row.items()} for row in passing.head(_MOST_SETS).to_dict("records")]
