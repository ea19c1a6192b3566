"""Gene sets over-represented in the modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lava_sc.core.correlation.fdr import adjusted_pvalues
from lava_sc.core.interpret.enrichment import overrepresentation, significant_by_chance
from lava_sc.io.gene_sets import collect
from lava_sc.stored import checks
from lava_sc.stored.fields import load
from lava_sc.stored.gene_matching import names_in_sets, require_overlap
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from lava_sc._types import FloatArray, GeneSets, IntArray, SeedLike
    from lava_sc.core.interpret.enrichment import Overrepresentation

_LEVEL: Final = 0.05  # at which sets are counted


@step("ora")
def ora(
    adata: AnnData,
    gene_sets: GeneSets | Sequence[GeneSets],
    *,
    background: str | Sequence[str] = "selected",
    gene_symbols: str | None = None,
    min_size: int = 5,
    n_random: int = 100,
    network: bool = False,
    rng: SeedLike = 0,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Test the genes of each module for over-represented gene sets.

    Hypergeometric upper tail, Benjamini–Hochberg within each module over all sets tested (paper, B.9.2).

    Parameters
    ----------
    adata
        Annotated data with gene lists from :func:`lava_sc.tl.module_genes`.
    gene_sets
        Name → genes; a table with columns ``source`` and ``target`` (decoupler) or ``gene_set`` and ``gene``; the path of a
        GMT file; the name of an Enrichr library, with ``network=True``; or a list of these.
    background
        The genes that could have been in a module. ``"selected"``: those that were correlated, the only ones that
        could. ``"measured"``: all of ``adata.var_names``, as in the paper; sets that are merely common among variable
        genes then come out as significant. Or a list of names.
    gene_symbols
        Column of ``adata.var`` with the names that the gene sets use. ``None`` takes ``adata.var_names``, or
        ``feature_name`` when these are Ensembl ids; symbols with an appended id (``HLA-DRA_ENSG00000204287``) are taken
        without it.
    min_size
        Sets with fewer genes in the background are not tested.
    n_random
        Random modules: as many genes drawn from the selected ones as the module has, tested in the same way. 0 leaves this
        control out.
    network
        Whether names that are no file may be downloaded.
    rng
        Seed or generator of the random modules.
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["ora"]`
        Long table: ``module``, ``gene_set``, ``n_hits``, ``set_size`` (within the background), ``expected`` hits,
        ``pvalue``, ``pvalue_adj`` (over the sets of the module), ``pvalue_adj_all`` (over those of all modules) and
        ``genes`` (the hits, joined by ``;``), by module and p-value.
    `adata.uns[key]["ora_control"]`
        Table, a row for each module: ``n_genes`` that count, ``n_significant`` sets at an adjusted p of 0.05, and over the
        random modules the mean (``random_mean``) and 95 % quantile (``random_high``) of the same number; NaN with
        ``n_random=0``.

    Raises
    ------
    ValueError
        If gene lists are missing, a file or library cannot be read, or no set has ``min_size`` genes in the background;
        the message says which names would match.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.ora(adata, {"first": ["M1_01", "M1_02", "M1_03", "M1_04", "M1_05"]})
    >>> int(adata.uns["lava"]["ora"]["n_hits"].max())
    5
    """
    rng = np.random.default_rng(rng)
    checks.in_range("min_size", min_size, 1, np.inf, integer=True)
    checks.in_range("n_random", n_random, 0, np.inf, integer=True)
    listed = load(adata, key, "module_genes")
    modules = range(load(adata, key, "modules").shape[0])
    sets = collect(gene_sets, network=network)
    names = names_in_sets(adata, gene_symbols, sets)
    selected = set(names.reindex(load(adata, key, "genes")).dropna())
    universe = _background(adata, background, names, selected)
    require_overlap(adata, sets, universe, min_size, "background")
    queries = [set(names.reindex(listed.loc[listed["module"] == m, "gene"]).dropna()) & universe for m in modules]
    how: dict[str, Any] = {"gene_sets": sets, "background": universe, "min_size": min_size}
    table = _joined([_table(m, overrepresentation(query, **how)) for m, query in zip(modules, queries, strict=True)])
    control = _control(table, [len(query) for query in queries], selected, n_random, rng, **how)

    given = {"gene_sets": None, "background": background if isinstance(background, str) else "list"}
    return Result({"ora": table, "ora_control": control}, given)


def _background(adata: AnnData, background: str | Sequence[str], names: pd.Series, selected: set[str]) -> set[str]:
    if isinstance(background, str):
        checks.one_of("background", background, ["selected", "measured"])
        return selected if background == "selected" else set(names.reindex(adata.var_names).dropna())
    if not isinstance(background, Iterable):
        msg = f"Found background={background!r}, expected 'selected', 'measured' or a list of genes; change background."
        raise ValueError(msg)
    return set(background)


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    table.insert(len(table.columns) - 1, "pvalue_adj_all", adjusted_pvalues(table["pvalue"].to_numpy()))
    return table


def _table(module: int, found: Overrepresentation) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "module": module,
            "gene_set": found.names,
            "n_hits": [len(hits) for hits in found.hits],
            "set_size": found.set_sizes,
            "expected": found.expected,
            "pvalue": found.pvalues,
            "pvalue_adj": found.adjusted,
            "genes": [";".join(hits) for hits in found.hits],
        }
    )
    return table.sort_values(["pvalue", "gene_set"], kind="stable")


def _control(
    table: pd.DataFrame,
    n_genes: Sequence[int],
    selected: set[str],
    n_random: int,
    rng: np.random.Generator,
    **how: Any,
) -> pd.DataFrame:
    """Significant sets of each module beside those of random modules as large."""
    passing = table.loc[table["pvalue_adj"] <= _LEVEL, "module"].value_counts()
    rows = []
    for m, n in enumerate(n_genes):
        row: dict[str, float] = {"n_genes": n, "n_significant": int(passing.get(m, 0))}
        drawn: FloatArray | IntArray = np.array([np.nan])
        if n_random:
            drawn = significant_by_chance(n, drawn_from=selected, level=_LEVEL, n_draws=n_random, rng=rng, **how)
        rows.append(row | {"random_mean": float(np.mean(drawn)), "random_high": float(np.quantile(drawn, 0.95))})
    return pd.DataFrame(rows, index=pd.Index([str(m) for m in range(len(n_genes))], name="module"))
