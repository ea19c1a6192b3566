"""Genes by the names that gene sets, or other objects, give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc.io import gene_sets
from lava_sc.stored import inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData

_SHOWN: Final = 3  # names, in messages


def names_in_sets(adata: AnnData, gene_symbols: str | None, sets: Mapping[str, set[str]]) -> pd.Series:
    """Name of every gene as the gene sets have it, so far as can be told."""
    names = inputs.symbols(adata, gene_symbols)
    bare = gene_sets.without_ids(list(names)) if gene_symbols is None else None
    if bare is not None:
        there = set().union(*sets.values())
        if len(there & set(bare)) > len(there & set(names)):
            k = next(i for i, name in enumerate(bare) if name != names[i])
            logger.info("genes are named like %r: matched to gene sets as %r", names[k], bare[k])
            names = np.asarray(bare, dtype=object)
    return pd.Series(names, index=adata.var_names)


def require_overlap(adata: AnnData, sets: Mapping[str, set[str]], universe: set[str], min_size: int, what: str) -> None:
    """Refuse sets that name other genes, and say what would match.

    Raises
    ------
    ValueError
        If no set has ``min_size`` genes of the universe, which are called ``what``.
    """
    if any(len(genes & universe) >= min_size for genes in sets.values()):
        return
    there = set().union(*sets.values())
    to_do = remedy(adata, there, universe) or "pass gene_symbols= or min_size="
    msg = (
        f"Found no gene set with at least {min_size} of the {len(universe)} {what} genes "
        f"({some(universe)}; the sets name {some(there)}), expected sets that name genes alike; {to_do}."
    )
    raise ValueError(msg)


def some(genes: Iterable[str]) -> str:
    """A few names."""
    return ", ".join(map(repr, sorted(genes)[:_SHOWN])) or "nothing"


def remedy(adata: AnnData, there: set[str], here: set[str], *, of_species: str = "take sets of that species") -> str:
    """Suggest what would match more of the names ``there`` than those ``here`` do; empty where nothing is found.

    ``of_species`` is what to do about those of another one.
    """
    columns = {name: set(adata.var[name].astype(str)) for name in adata.var.columns}
    matches = {name: len(there & names) for name, names in columns.items() if not here <= names}  # else it is in use
    column = max(matches, key=lambda name: matches[name], default=None)
    if column is not None and matches[column] > len(there & here):
        return f"pass gene_symbols={column!r}, which names {matches[column]} of their genes"
    upper = {gene.upper() for gene in here}
    in_capitals = len({gene.upper() for gene in there} & upper)
    if in_capitals > len(there & here):
        return f"{in_capitals} genes differ in upper and lower case only, as mouse from human symbols do: {of_species}"
    return ""
