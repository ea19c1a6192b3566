"""The report: numbers and pictures of one explained embedding, in one HTML file."""

from __future__ import annotations

import base64
import io
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from lava_sc import _validate
from lava_sc._slots import all_params, has, load
from lava_sc.report.summary import describe_modules

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TEMPLATE: Final = "report.html.jinja"
_DPI: Final = 130
_CELL_TYPE: Final = "cell_type"


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
    """Write a self-contained HTML page: evidence, modules over the embedding, their genes, gene sets and cell groups.

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
        these are Ensembl ids.
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

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.pbmc68k()
    >>> lava.tl.explain(adata, n_modules=4)
    >>> path = lava.report(adata, "pbmc68k.html", groupby="bulk_labels")
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from lava_sc import __version__, pl

    _validate.annotated(adata)
    _validate.in_range("n_genes", n_genes, 1, np.inf, integer=True)
    choice = load(adata, key, "n_modules_choice") if has(adata, key, "n_modules_choice") else None
    without = choice is not None and choice["n_modules"] == 0 and not has(adata, key, "modules")
    if not without:
        load(adata, key, "module_genes")
    groups = _groups(adata, groupby)
    runs = [] if without else load(adata, key, "runs").to_dict("records")
    context = {
        "title": title,
        "summary": _summary(adata, key),
        "modules": []
        if without
        else describe_modules(adata, key, groups=groups, gene_symbols=gene_symbols, n_genes=n_genes),
        "choice": choice,
        "exceeding": _exceeding(adata, key),
        "groupby": None if groups is None else groups.name,
        "pictures": {
            "modules": ""
            if without
            else _png(pl.modules(adata, basis=basis, gene_symbols=gene_symbols, key=key, show=False)),
            "localities": _png(pl.localities(adata, basis=basis, key=key, show=False)),
        },
        "runs": runs,
        "best": next((run for run in runs if run["best"]), None),
        "params": all_params(adata, key),
        "versions": {"lava_sc": __version__}
        | {name: version(name) for name in ("anndata", "scanpy", "numpy", "scipy")},
    }
    environment = Environment(
        loader=PackageLoader("lava_sc", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    path = Path(path)
    path.write_text(environment.get_template(_TEMPLATE).render(context), encoding="utf-8")
    return path


def _groups(adata: AnnData, groupby: str | None) -> pd.Series | None:
    if groupby is None:
        return adata.obs[_CELL_TYPE].rename(_CELL_TYPE) if _CELL_TYPE in adata.obs else None
    _validate.column_names("column of adata.obs", groupby, list(adata.obs.columns))
    return adata.obs[groupby]


def _summary(adata: AnnData, key: str) -> dict[str, Any]:
    evidence = load(adata, key, "evidence")
    return {
        "n_cells": adata.n_obs,
        "n_genes": len(load(adata, key, "genes")),
        "n_localities": len(evidence),
        "n_defined": int(evidence["n_defined_pairs"].sum()),
        "n_kept": int(evidence["n_kept_pairs"].sum()),
        "n_empty": int((evidence["n_kept_pairs"] == 0).sum()),
        "loss_per_neighbor": float(load(adata, key, "placement")["loss_per_neighbor"]),
    }


def _exceeding(adata: AnnData, key: str) -> int | None:
    """How many modules exceed chance; ``None`` if that was not tested."""
    if not has(adata, key, "module_evidence"):
        return None
    return int(load(adata, key, "module_evidence")["exceeds_chance"].sum())


def _png(drawn: Figure | Axes | None) -> str:
    """Encode a figure, or that of some axes, as a data URI."""
    from matplotlib.figure import Figure

    figure = cast("Figure", drawn if isinstance(drawn, Figure) else cast("Axes", drawn).get_figure(root=True))
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
