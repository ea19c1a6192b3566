"""Short labels of the modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.stored import checks, inputs
from lava_sc.stored.fields import load
from lava_sc.stored.module_naming import distinct, of_genes, of_sets
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

_SIGNIFICANT: Final = 0.05


@step("name_modules")
def name_modules(
    adata: AnnData,
    *,
    by: str = "genes",
    n_genes: int = 3,
    labels: Sequence[str] | Mapping[int, str] | None = None,
    gene_symbols: str | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Give each module a short name, which plots and the report then write beside its number.

    Parameters
    ----------
    adata
        Annotated data with gene lists from :func:`lava_sc.tl.module_genes`.
    by
        ``"genes"``: the strongest genes. ``"sets"``: the gene set with the smallest p-value out of
        :func:`lava_sc.tl.ora`, if it is significant at 5 % after adjustment, or else the strongest genes.
    n_genes
        How many genes a name has. One that two modules would share gets as many more genes as tell them apart.
    labels
        Names of your own: one for each module, or number → name; the modules that are not in it are named as ``by`` says.
    gene_symbols
        Column of ``adata.var`` with the names to write. ``None`` takes ``adata.var_names``, or ``feature_name`` when
        these are Ensembl ids. Appended ids (``HLA-DRA_ENSG00000204287``) are left out
        unless two genes would then have one name.
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following field:

    `adata.uns[key]["module_names"]`
        (M,) str, all different, such as ``IFIT3 · CXCL10 · IFIT2`` or ``Interferon alpha response``.

    Raises
    ------
    ValueError
        If gene lists are missing, gene sets are asked for and have not been tested, or your names are not one for each
        module, empty or not all different.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.name_modules(adata, n_genes=2, labels={0: "the first"})
    >>> print(adata.uns["lava"]["module_names"][0])
    the first
    """
    checks.one_of("by", by, ["genes", "sets"])
    checks.in_range("n_genes", n_genes, 1, np.inf, integer=True)
    n_modules = load(adata, key, "modules").shape[0]
    own = _own(labels, n_modules)
    genes = _symbols(adata, n_modules, gene_symbols, key)
    candidates = [of_genes(names, n_genes) for names in genes]
    if by == "sets":
        best = _best_sets(load(adata, key, "ora"))
        candidates = [of_sets(best[m], genes[m]) if m in best else candidates[m] for m in range(n_modules)]
    names = distinct([[own[m]] if m in own else candidates[m] for m in range(n_modules)], fixed=own)
    return Result({"module_names": np.array(names, dtype=object)}, {"labels": "given" if own else None})


def _own(labels: Sequence[str] | Mapping[int, str] | None, n_modules: int) -> dict[int, str]:
    """Names that were given, by module."""
    if labels is None:
        return {}
    is_list = not isinstance(labels, Mapping | str) and np.ndim(np.asarray(labels, dtype=object)) == 1
    given = dict(labels) if isinstance(labels, Mapping) else dict(enumerate(labels)) if is_list else {}
    wrong = (
        (
            not given or (is_list and len(given) != n_modules),
            f"one for each of the {n_modules} modules, or a dictionary",
        ),
        (any(isinstance(m, bool) or m not in range(n_modules) for m in given), f"modules from 0 to {n_modules - 1}"),
        (any(not isinstance(name, str) or not name.strip() for name in given.values()), "texts that are not empty"),
        (len({" ".join(str(name).split()) for name in given.values()}) < len(given), "names that are all different"),
    )
    for is_wrong, expected in wrong:
        if is_wrong:
            msg = f"Found labels={_short(labels)}, expected {expected}; change labels."
            raise ValueError(msg)
    return {int(m): " ".join(name.split()) for m, name in given.items()}


def _short(labels: object) -> str:
    text = " ".join(repr(labels).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def _symbols(adata: AnnData, n_modules: int, gene_symbols: str | None, key: str) -> list[list[str]]:
    """Genes of each module as they are written, strongest first."""
    table = load(adata, key, "module_genes")
    labels = inputs.labels(adata, gene_symbols)
    return [[labels.get(gene, gene) for gene in table.loc[table["module"] == m, "gene"]] for m in range(n_modules)]


def _best_sets(table: pd.DataFrame) -> dict[int, str]:
    """Gene set with the smallest p-value of each module that has a significant one."""
    passing = table[table["pvalue_adj"] <= _SIGNIFICANT].sort_values(["module", "pvalue"], kind="stable")
    first = passing.drop_duplicates("module")
    return dict(zip(first["module"].astype(int), first["gene_set"].astype(str), strict=True))
