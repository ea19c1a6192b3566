"""The report: numbers, pictures and tables of one explained embedding, in one HTML file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._report.cards import cards
from lava_sc._report.notes import notes
from lava_sc._report.pictures import Drawn, draw_all, plain_style
from lava_sc._report.tables import downloads
from lava_sc.stored import checks
from lava_sc.stored.fields import all_params, has, load

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


_TEMPLATE: Final = "report.html.jinja"
_CELL_TYPE: Final = "cell_type"
_LEVEL: Final = 0.05
_LIBRARIES: Final = ("anndata", "scanpy", "numpy", "scipy", "scikit-learn", "numba")


def report(
    adata: AnnData,
    path: str | Path,
    *,
    groupby: str | None = None,
    gene_symbols: str | None = None,
    basis: str | None = None,
    n_genes: int = 15,
    title: str = "What organises this embedding",
    key: str = "lava",
) -> Path:
    """Write a self-contained HTML page, to look at and to send to a colleague.

    It shows what has been computed: the localities and how well they represent the cells, the choice of the number of modules,
    a card for each module (where it is, its genes and their strongest correlations, what it explains beyond chance, gene sets,
    groups of cells), stability, what to know before trusting it, all tables to take along, and what was run. Pages without
    :func:`lava_sc.tl.module_evidence` or :func:`lava_sc.tl.choose_n_modules` say that chance was not looked at.

    Parameters
    ----------
    adata
        Annotated data with module genes, e.g. from :func:`lava_sc.tl.explain`, or with the answer that there are no modules;
        not changed.
    path
        File to write; an existing one is replaced.
    groupby
        Categorical column of ``adata.obs``: the groups with the highest mean presence are named for each module.
        ``None`` takes ``cell_type``, the CELLxGENE schema's, if there is one.
    gene_symbols
        Column of ``adata.var`` with the names to show. ``None`` takes ``adata.var_names``, or ``feature_name`` when
        these are Ensembl ids. Appended ids are left out as in :func:`lava_sc.tl.name_modules`.
    basis
        Embedding to draw on, see :func:`lava_sc.pl.modules`.
    n_genes
        Genes named for each module.
    title
        Heading.
    key
        Key of the results.

    Returns
    -------
    The path written.

    Raises
    ------
    ValueError
        If results are missing or ``groupby`` is not a column of ``adata.obs``.
    OSError
        If the file cannot be written.

    Notes
    -----
    The page needs no network and no scripts, works by keyboard, on a phone and on paper. It has some 0.1 MB for each
    module. Tables of more than 5,000 rows are cut there; ``adata.uns`` has them whole.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.pbmc68k()
    >>> lava.tl.explain(adata, n_modules=4)
    >>> path = lava.report(adata, "pbmc68k.html", groupby="bulk_labels")
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    checks.annotated(adata)
    checks.in_range("n_genes", n_genes, 1, np.inf, integer=True)
    without = _has_none(adata, key)
    if not without:
        load(adata, key, "module_genes")
    groups = _groups(adata, groupby)
    with plain_style():
        context = {
            "title": title,
            "groupby": None if groups is None else groups.name,
            "cards": []
            if without
            else cards(adata, key, groups=groups, gene_symbols=gene_symbols, basis=basis, n_genes=n_genes),
            **draw_all(adata, Drawn(key, basis, gene_symbols)),
        }
    context |= _facts(adata, key)
    environment = Environment(
        loader=PackageLoader("lava_sc", "_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"p": _p_value, "thousands": "{:,}".format}
    path = Path(path)
    path.write_text(environment.get_template(_TEMPLATE).render(context), encoding="utf-8")
    return path


def _has_none(adata: AnnData, key: str) -> bool:
    """Tell whether the number of modules was found to be 0."""
    if has(adata, key, "modules") or not has(adata, key, "n_modules_choice"):
        return False
    return bool(load(adata, key, "n_modules_choice")["n_modules"] == 0)


def _groups(adata: AnnData, groupby: str | None) -> pd.Series | None:
    if groupby is None:
        return adata.obs[_CELL_TYPE].rename(_CELL_TYPE) if _CELL_TYPE in adata.obs else None
    checks.column_names("column of adata.obs", groupby, list(adata.obs.columns))
    return adata.obs[groupby]


def _facts(adata: AnnData, key: str) -> dict[str, Any]:
    """Numbers and sentences."""
    evidence = load(adata, key, "evidence")
    runs = load(adata, key, "runs").to_dict("records") if has(adata, key, "runs") else []
    return {
        "summary": {
            "n_cells": adata.n_obs,
            "n_genes": len(load(adata, key, "genes")),
            "n_localities": len(evidence),
            "n_defined": int(evidence["n_defined_pairs"].sum()),
            "n_kept": int(evidence["n_kept_pairs"].sum()),
            "loss_per_neighbor": float(load(adata, key, "placement")["loss_per_neighbor"]),
        },
        "choice": load(adata, key, "n_modules_choice") if has(adata, key, "n_modules_choice") else None,
        "exceeding": _exceeding(adata, key),
        "preserved": _preserved(adata, key),
        "notes": notes(adata, key),
        "runs": runs,
        "best": next((run for run in runs if run["best"]), None),
        "downloads": downloads(adata, key),
        "params": all_params(adata, key),
        "versions": {name: version(name) for name in ("lava-sc", *_LIBRARIES)},
    }


def _exceeding(adata: AnnData, key: str) -> int | None:
    """Number of modules that exceed chance; ``None`` if that was not tested."""
    if not has(adata, key, "module_evidence"):
        return None
    return int(load(adata, key, "module_evidence")["exceeds_chance"].sum())


def _preserved(adata: AnnData, key: str) -> int | None:
    """Number of modules of another object that are preserved; ``None`` if they are the object's own."""
    if not has(adata, key, "preservation"):
        return None
    return int((load(adata, key, "preservation")["p_adj"] <= _LEVEL).sum())


def _p_value(p: float) -> str:
    return "–" if np.isnan(p) else f"{p:.1g}" if p < 0.001 else f"{p:.3f}"
