"""Gene sets over-represented in the modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lava_sc import _read, _validate
from lava_sc._logging import logger
from lava_sc._slots import load, store
from lava_sc.core.enrichment import overrepresentation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from lava_sc._types import GeneSets
    from lava_sc.core.enrichment import Overrepresentation


def ora(
    adata: AnnData,
    gene_sets: GeneSets | Sequence[GeneSets],
    *,
    background: str | Sequence[str] = "selected",
    gene_symbols: str | None = None,
    min_size: int = 5,
    key: str = "lava",
    copy: bool = False,
) -> AnnData | None:
    """Test the genes of each module for over-represented gene sets.

    Hypergeometric upper tail, Benjamini–Hochberg within each module over all sets tested (paper, B.9.2).

    Parameters
    ----------
    adata
        Annotated data with gene lists from :func:`lava_sc.tl.module_genes`.
    gene_sets
        Name → genes, the path of a GMT file, or a list of these.
    background
        The genes that could have been in a module. ``"selected"``: those that were correlated, the only ones that
        could. ``"measured"``: all of ``adata.var_names``, as in the paper; sets that are merely common among variable
        genes then come out as significant. Or a list of names.
    gene_symbols
        Column of ``adata.var`` with the names that the gene sets use. ``None`` takes ``adata.var_names``, or
        ``feature_name`` when these are Ensembl ids.
    min_size
        Sets with fewer genes in the background are not tested.
    key
        Key of the modules.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the copy. Sets the following field:

    `adata.uns[key]["ora"]`
        Long table: ``module``, ``gene_set``, ``n_hits``, ``set_size`` (within the background), ``expected`` hits,
        ``pvalue``, ``pvalue_adj`` and ``genes`` (the hits, joined by ``;``), by module and p-value.

    Raises
    ------
    ValueError
        If gene lists are missing, a file cannot be read, or no set has ``min_size`` genes in the background.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.ora(adata, {"first": ["M1_01", "M1_02", "M1_03", "M1_04", "M1_05"]})
    >>> int(adata.uns["lava"]["ora"]["n_hits"].max())
    5
    """
    _validate.annotated(adata)
    _validate.writable(adata, copy=copy)
    _validate.in_range("min_size", min_size, 1, np.inf, integer=True)
    listed = load(adata, key, "module_genes")
    modules = range(load(adata, key, "modules").shape[0])
    names = pd.Series(_read.symbols(adata, gene_symbols), index=adata.var_names)
    universe = _background(adata, background, names, key)
    sets = _collect(gene_sets)
    if not any(len(genes & universe) >= min_size for genes in sets.values()):
        msg = (
            f"Found no gene set with at least {min_size} of the {len(universe)} background genes (e.g. "
            f"{next(iter(sorted(universe)), '')!r}), expected sets that name genes alike; pass gene_symbols= or min_size=."
        )
        raise ValueError(msg)
    adata = adata.copy() if copy else adata
    tables = []
    for m in modules:
        query = set(names.reindex(listed.loc[listed["module"] == m, "gene"]).dropna())
        tables.append(_table(m, overrepresentation(query, sets, universe, min_size=min_size)))
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    params = {
        "background": background if isinstance(background, str) else "list",
        "gene_symbols": gene_symbols,
        "min_size": int(min_size),
    }
    store(adata, key, "ora", {"ora": table}, params)
    return adata if copy else None


def _background(adata: AnnData, background: str | Sequence[str], names: pd.Series, key: str) -> set[str]:
    if isinstance(background, str):
        _validate.one_of("background", background, ["selected", "measured"])
        chosen = load(adata, key, "genes") if background == "selected" else adata.var_names
        return set(names.reindex(chosen).dropna())
    if not isinstance(background, Iterable):
        msg = f"Found background={background!r}, expected 'selected', 'measured' or a list of genes; change background."
        raise ValueError(msg)
    return set(background)


def _collect(gene_sets: GeneSets | Sequence[GeneSets]) -> dict[str, set[str]]:
    """All sets by name; of sets with the same name the last is taken, and this is logged."""
    sources = [gene_sets] if isinstance(gene_sets, str | PathLike | Mapping) else gene_sets
    if not isinstance(sources, Iterable):
        msg = f"Found gene_sets={gene_sets!r}, expected a dictionary, a path or a list of these; change gene_sets."
        raise ValueError(msg)
    collected: dict[str, set[str]] = {}
    for source in sources:
        named = source if isinstance(source, Mapping) else _read_gmt(Path(source))
        repeated = collected.keys() & named.keys()
        if repeated:
            logger.warning("%d gene sets have a name given before and replace it", len(repeated))
        collected |= {name: set(genes) for name, genes in named.items()}
    return collected


def _read_gmt(path: Path) -> Mapping[str, Sequence[str]]:
    from gseapy.parser import read_gmt

    if not path.is_file() or path.suffix.lower() != ".gmt":
        msg = f"Found no GMT file at {str(path)!r}, expected an existing file that ends in .gmt; check the path."
        raise ValueError(msg)
    sets: Mapping[str, Sequence[str]] = read_gmt(str(path))
    if not sets:
        msg = f"Found no gene sets in {str(path)!r}, expected lines of name, description and genes; check the file."
        raise ValueError(msg)
    return sets


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
