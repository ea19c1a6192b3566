"""Checks on what users pass in. Each raises one sentence: what was found, what was expected, what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def annotated(adata: Any) -> None:
    """Refuse anything that is not an AnnData object."""
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        msg = f"Found {type(adata).__name__} as first argument, expected an AnnData object; read one with anndata.read_h5ad."
        raise TypeError(msg)


def column(name: str) -> None:
    """Refuse names that files cannot hold."""
    if not isinstance(name, str) or not name or "/" in name:
        msg = f"Found key {name!r}, expected a non-empty string without '/'; choose another key_added."
        raise ValueError(msg)


def in_range(name: str, value: float, low: float, high: float, *, integer: bool = False) -> None:
    """Refuse numbers outside of [low, high]."""
    number = isinstance(value, int | np.integer) if integer else isinstance(value, int | float | np.number)
    if isinstance(value, bool) or not number or not np.isfinite(value) or not low <= value <= high:
        kind = "a whole number" if integer else "a number"
        bound = f"between {low:g} and {high:g}" if np.isfinite(high) else f"of at least {low:g}"
        msg = f"Found {name}={value!r}, expected {kind} {bound}; change {name}."
        raise ValueError(msg)


def one_of(name: str, value: object, known: Sequence[object]) -> None:
    """Refuse values that are not in a list."""
    if value not in known:
        msg = f"Found {name}={value!r}, expected one of {', '.join(map(repr, known))}; change {name}."
        raise ValueError(msg)


def column_names(what: str, name: str, known: Sequence[str]) -> None:
    """Refuse a name that is not among those there are, and list these."""
    if name not in known:
        there = ", ".join(map(repr, known)) or "none"
        msg = f"Found no {what} {name!r}, expected one of those there are ({there}); change the name."
        raise ValueError(msg)


def unique_var_names(adata: AnnData) -> None:
    """Refuse duplicated gene names: results are stored by gene."""
    duplicated = adata.var_names[adata.var_names.duplicated()].unique()
    if len(duplicated):
        msg = (
            f"Found {len(duplicated)} duplicated names in adata.var_names (e.g. {str(duplicated[0])!r}), "
            f"expected unique ones; call adata.var_names_make_unique() first."
        )
        raise ValueError(msg)


def writable(adata: AnnData, *, copy: bool) -> None:
    """Refuse what results cannot be written to: anndata copies backed objects, and views of them, only into a new file."""
    if adata.isbacked and (copy or adata.is_view):
        found = "copy=True with a backed AnnData object" if copy else "a view of a backed AnnData object"
        rest = "leave copy out" if copy and not adata.is_view else "call adata = adata.to_memory() first"
        msg = f"Found {found}, expected one that results can be written to; {rest}."
        raise ValueError(msg)


def looks_like_ensembl(names: Sequence[str], share: float = 0.9) -> bool:
    """Tell whether at least ``share`` of the names are Ensembl gene ids."""
    hits = sum(bool(re.match(r"ENS[A-Z]*G\d+", str(name))) for name in names)
    return len(names) > 0 and hits >= share * len(names)
