"""Names of modules and genes in pictures."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from lava_sc.pl import _layout
from lava_sc.stored import inputs
from lava_sc.stored.fields import has, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

_LONGEST: Final = 18  # letters of a gene
_BETWEEN: Final = " · "


def gene_names(adata: AnnData, genes: Iterable[str], gene_symbols: str | None) -> list[str]:
    """Symbols of some genes, no longer than a picture bears; genes that were removed since keep their names.

    Raises
    ------
    ValueError
        If the column does not exist.
    """
    labels = inputs.labels(adata, gene_symbols)
    names = (labels.get(gene, gene) for gene in genes)
    return [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]


def module_titles(adata: AnnData, modules: Sequence[int], key: str, *, room: float) -> list[str]:
    """Number and name of modules that :func:`lava_sc.tl.name_modules` has named, ``module 3`` otherwise.

    Parameters
    ----------
    adata, key
        Where the names are.
    modules
        Their numbers.
    room
        Inches that a title may be wide, in bold; names are shortened to fit.
    """
    if not has(adata, key, "module_names"):
        return [f"module {m}" for m in modules]
    names = load(adata, key, "module_names")
    return [_shorten(f"{m}{_BETWEEN}{names[m]}", room) for m in modules]


def _shorten(title: str, room: float) -> str:
    """Fewer genes, fewer words, or fewer letters, so that it fits."""
    if _fits(title, room):
        return title
    ends = [i for i in range(len(title) - 1, 0, -1) if title[i] == " "]
    by_gene = [title[:i] for i in ends if title.startswith(_BETWEEN, i)][:-1]  # not the number alone
    by_word = [title[:i] for i in ends if title[i - 1].isalnum()][:-1]
    for shorter in (f"{text} …" for text in (*by_gene, *by_word)):
        if _fits(shorter, room):
            return shorter
    number = title.partition(_BETWEEN)[0]
    by_letter = range(len(number + _BETWEEN) + 1, len(title))
    n_fitting = bisect_left(by_letter, x=True, key=lambda end: not _fits(f"{title[:end].rstrip()}…", room))
    return f"{title[: by_letter[n_fitting - 1]].rstrip()}…" if n_fitting else number


def _fits(title: str, room: float) -> bool:
    return _layout.text_width([title], "medium", weight="bold") <= room
