"""A card for each module: in numbers, in pictures, in gene sets, against groups of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lava_sc import pl
from lava_sc._report.pictures import png
from lava_sc._report.summary import describe_modules
from lava_sc.stored.fields import has, load

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from lava_sc._report.summary import ModuleSummary

_MOST_ROWS: Final = 5  # of associations
_FEWEST_GENES: Final = 3  # of a network
_LEVEL: Final = 0.05
_NETWORK_GENES: Final = 40


@dataclass(frozen=True)
class Card:
    """Card of a module on the page.

    Attributes
    ----------
    summary
        In words.
    evidence, preservation
        Rows of these tables, ``None`` where chance was not looked at, and where the module is not another object's.
    pictures
        Data URIs by what they show, with a text for those who cannot see them.
    associations
        Rows with the least p-values against groups of cells.
    """

    summary: ModuleSummary
    evidence: dict[str, Any] | None
    preservation: dict[str, Any] | None
    pictures: list[tuple[str, str]]
    associations: list[dict[str, Any]]


def cards(
    adata: AnnData, key: str, *, groups: pd.Series | None, gene_symbols: str | None, basis: str | None, n_genes: int
) -> list[Card]:
    """Cards of all modules, in their order."""
    summaries = describe_modules(adata, key, groups=groups, gene_symbols=gene_symbols, n_genes=n_genes)
    tables = {
        name: load(adata, key, name).to_dict("records")
        for name in ("module_evidence", "preservation")
        if has(adata, key, name)
    }
    found = []
    for m, summary in enumerate(summaries):
        rows = _associations(adata, key, m)
        pictures = _pictures(adata, key, summary, rows, gene_symbols=gene_symbols, basis=basis)
        evidence, preservation = (
            tables[name][m] if name in tables else None for name in ("module_evidence", "preservation")
        )
        found.append(Card(summary, evidence, preservation, pictures, rows))
    return found


def _associations(adata: AnnData, key: str, m: int) -> list[dict[str, Any]]:
    if not has(adata, key, "presence_association"):
        return []
    table = load(adata, key, "presence_association")
    rows = table[table["module"] == m].sort_values("pearson_p", kind="stable", na_position="last").head(_MOST_ROWS)
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _pictures(
    adata: AnnData,
    key: str,
    summary: ModuleSummary,
    associations: list[dict[str, Any]],
    *,
    gene_symbols: str | None,
    basis: str | None,
) -> list[tuple[str, str]]:
    m, drawn = summary.number, []
    how: dict[str, Any] = {"key": key, "show": False}
    presence = pl.presences(adata, m, basis=basis, **how)
    drawn.append((png(presence), f"Presence of module {m} over the embedding"))
    genes = pl.module_genes(adata, m, gene_symbols=gene_symbols, **how)
    drawn.append((png(genes), f"Weights of the genes of module {m}, strongest first"))
    if summary.n_genes >= _FEWEST_GENES:
        network = pl.module_network(adata, m, n_genes=_NETWORK_GENES, gene_symbols=gene_symbols, **how)
        drawn.append((png(network), f"Strongest correlations between the genes of module {m}"))
    if associations and associations[0]["pearson_p_adj"] <= _LEVEL:
        category = str(associations[0]["category"])
        figure = pl.association(adata, m, category, basis=basis, **how)
        drawn.append((png(figure), f"Presence of module {m} against the fraction of {category}"))
    return drawn
