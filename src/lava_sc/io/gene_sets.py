"""Gene sets as users have them: dictionaries, tables, GMT files, names of Enrichr libraries. All become name → genes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import singledispatch
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from lava_sc._logging import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import GeneSets

_FIELDS: Final = 3  # of a line: name, description, and at least one gene
#: Columns of a long table: those of decoupler, and what others call them.
_COLUMNS: Final = (("source", "target"), ("gene_set", "gene"), ("geneset", "genesymbol"), ("term", "gene"))
_WITH_ID: Final = re.compile(r"^(?P<symbol>.+)_ENS[A-Z]*G\d{11}(\.\d+)?$")


def collect(gene_sets: GeneSets | Sequence[GeneSets], *, network: bool) -> dict[str, set[str]]:
    """All sets by name; of sets with the same name the last is taken, and this is logged.

    Raises
    ------
    ValueError
        If a source is of no known kind, or a file cannot be read.
    """
    if isinstance(gene_sets, str | PathLike | Mapping | pd.DataFrame):
        sources: Iterable[Any] = [gene_sets]
    elif isinstance(gene_sets, Iterable):
        sources = gene_sets
    else:
        raise ValueError(_unknown(gene_sets))
    collected: dict[str, set[str]] = {}
    for source in sources:
        named = _read(source, network=network)
        repeated = collected.keys() & named.keys()
        if repeated:
            logger.warning("%d gene sets have a name given before and replace it", len(repeated))
        collected |= {str(name): {str(gene) for gene in genes} for name, genes in named.items()}
    return collected


def without_ids(names: Sequence[str]) -> list[str] | None:
    """Names, those like ``HLA-DRA_ENSG00000204287`` without their id; ``None`` where none is like that."""
    matches = [_WITH_ID.match(name) for name in names]
    if not any(matches):
        return None
    return [name if match is None else match["symbol"] for name, match in zip(names, matches, strict=True)]


def _unknown(source: object) -> str:
    return f"Found gene_sets={source!r}, expected a dictionary, a table, a path or a list of these; change gene_sets."


def _read(source: Any, *, network: bool) -> Mapping[str, Iterable[str]]:
    if isinstance(source, str) and not source.lower().endswith(".gmt") and not Path(source).exists():
        return _library(source, network=network)
    return _sets_of(source)


@singledispatch
def _sets_of(source: Any) -> Mapping[str, Iterable[str]]:
    raise ValueError(_unknown(source))


@_sets_of.register(Mapping)
def _(source: Mapping[str, Iterable[str]]) -> Mapping[str, Iterable[str]]:
    return source


@_sets_of.register(pd.DataFrame)
def _(source: pd.DataFrame) -> Mapping[str, Iterable[str]]:
    for name, gene in _COLUMNS:
        if {name, gene} <= set(source.columns):
            return {str(key): list(genes) for key, genes in source.groupby(name, observed=True)[gene]}
    wanted = " or ".join(f"{name!r} and {gene!r}" for name, gene in _COLUMNS[:2])
    msg = f"Found a table of gene sets with columns {list(source.columns)}, expected {wanted}; rename them."
    raise ValueError(msg)


@_sets_of.register(str)
@_sets_of.register(PathLike)
def _(source: str | PathLike[str]) -> Mapping[str, Iterable[str]]:
    path = Path(source)
    if not path.is_file() or path.suffix.lower() != ".gmt":
        msg = f"Found no GMT file at {str(path)!r}, expected an existing file that ends in .gmt; check the path."
        raise ValueError(msg)
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, *others = line.split("\t")
        if len(others) < _FIELDS - 1 or not name.strip():
            msg = (
                f"Found {len(others) + 1} fields in line {number} of {str(path)!r}, expected a name, a description and "
                f"genes with tabs between them; mend that line."
            )
            raise ValueError(msg)
        sets[name.strip()] = [gene.strip() for gene in others[1:] if gene.strip()]
    if not sets:
        msg = f"Found no gene sets in {str(path)!r}, expected lines of name, description and genes; check the file."
        raise ValueError(msg)
    return sets


def _library(name: str, *, network: bool) -> Mapping[str, Iterable[str]]:
    if not network:
        msg = (
            f"Found no GMT file at {name!r}, expected an existing file that ends in .gmt; check the path, or pass "
            f"network=True if it is the name of an Enrichr library, to be downloaded."
        )
        raise ValueError(msg)
    import gseapy

    try:
        library: Mapping[str, Iterable[str]] = gseapy.get_library(name)
    except Exception as error:  # whatever gseapy and requests raise
        msg = f"Found no way to download the Enrichr library {name!r} ({error}), expected its name and a network; pass a GMT file."
        raise ValueError(msg) from error
    return library
