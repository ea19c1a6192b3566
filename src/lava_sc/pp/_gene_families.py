"""Families of genes that are commonly left out, recognised by their symbols."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final

    from lava_sc._types import BoolArray

#: RPL13P12, Rpl36-ps3: a copy without a function.
_PSEUDOGENE = r"(?:P\d*|[-.]PS\d*)?"
#: RPL13A-1, RPS18_ENSG00000231500: what makes a repeated symbol unique.
_MADE_UNIQUE = r"(?:[-.]\d+|_ENS[A-Z]*G\d+(?:\.\d+)?)?"

FAMILIES: Final[Mapping[str, re.Pattern[str]]] = {
    "mitochondrial": re.compile(r"MT[-.][A-Z].*", re.IGNORECASE),
    # Numbered, then A, AL, A1, L, L1, X, Y1 or rt; whatever else follows is another gene (RPS6KA1, RPS19BP1, RPS10-NUDT3)
    "ribosomal": re.compile(
        rf"RP(?:L\d+|S\d+|LP\d|SA\d?)(?:A\d?L?|L\d*|X|Y\d?|RT)?{_PSEUDOGENE}{_MADE_UNIQUE}", re.IGNORECASE
    ),
    "mitoribosomal": re.compile(rf"MRP[LS]\d+[A-C]?{_PSEUDOGENE}{_MADE_UNIQUE}", re.IGNORECASE),
}


def in_families(symbols: Iterable[object], families: Sequence[str]) -> BoolArray:
    """Find the genes that belong to any of some families.

    Parameters
    ----------
    symbols
        (D,) gene symbols in human or mouse spelling; upper and lower case are the same.
    families
        Any of "mitochondrial" (the genes on the mitochondrial chromosome: MT-CO1, mt-Co1, MT.CO1), "ribosomal" (the
        proteins of the cytosolic ribosome: RPL13A, RPS4Y1, RPLP0, RPSA, Rps27rt) and "mitoribosomal" (those of
        the mitochondrial ribosome: MRPL12, Mrps18a).

    Returns
    -------
    (D,) mask.

    Raises
    ------
    ValueError
        If a family is unknown; the message lists those there are.

    Notes
    -----
    Pseudogenes named after a member (RPL13P12, Rpl36-ps3) count as members: reads cannot be told apart from the
    original's. Kinases of ribosomal proteins (RPS6KA1), binding partners (RPS19BP1), read-through and antisense transcripts
    (RPS10-NUDT3, RPL34-DT), nuclear look-alikes of mitochondrial genes (MTRNR2L1, MTND1P23) and members
    whose names follow no such scheme (FAU, UBA52, DAP3) do not.
    """
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        msg = f"Found no gene family {unknown[0]!r}, expected some of {', '.join(FAMILIES)}; change the name."
        raise ValueError(msg)
    patterns = [FAMILIES[family] for family in families]
    return np.array([any(pattern.fullmatch(str(symbol)) for pattern in patterns) for symbol in symbols], dtype=bool)
