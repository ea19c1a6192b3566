"""Each module at a glance: where it is present and which genes it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc import get
from lava_sc._docs import document_parameters
from lava_sc.core.interpret.summary import PRESENT_ABOVE
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._basis import find_basis
from lava_sc.pl._plot_names import gene_names, module_titles
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from lava_sc._types import FloatArray
    from lava_sc.pl._basis import Basis

_TAKES_PART: Final = 0.05  # of the largest weight (paper, B.9.2)
_BARS, _TITLE = 6.5, 14.0  # widths in font sizes
_LINES: Final = (1.25, 2.1)  # height of a bar in font sizes, at least and at most
_GENE_SIZE, _GENE_STYLE = "small", "italic"


@document_parameters
def modules(
    adata: AnnData,
    modules: int | Sequence[int] | None = None,
    *,
    basis: str | None = None,
    n_genes: int = 10,
    gene_symbols: str | None = None,
    cmap: str | Colormap | None = None,
    ncols: int | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Presence of each module over the embedding, beside its strongest genes.

    Cells are grey; a dot is a probe, where it lies, coloured by the presence of the module in its locality (paper,
    Figures 4 and S29). Bars are gene weights, the sums of the module's correlations in which a gene takes part (Figure
    S31). The title says in how many localities the presence is above 0.01.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    modules
    basis
        Key of ``adata.obsm`` to draw; ``"umap"`` means ``"X_umap"``. ``None`` takes the explained representation if it
        has two dimensions, or else the first with two of ``X_umap``, ``X_tsne``, ``spatial``, or else the first two
        columns of the explained one. When it is not the explained one, a probe is drawn at the cell nearest to it.
    n_genes
        Genes of each module at most; those below 5 % of its largest weight are left out.
    gene_symbols
    cmap
        Colours of presence, 0 first; pale yellow to dark red when ``None``.
    ncols
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If modules are missing, or a module, the basis or the column is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> fig = lava.pl.modules(adata, show=False)
    >>> len(fig.axes)  # a map and bars for each module, and the colourbar
    9
    """
    checks.annotated(adata)
    checks.in_range("n_genes", n_genes, 1, np.inf, integer=True)
    chosen = _canvas.chosen_modules(adata, modules, key)
    place = find_basis(adata, basis, key)
    presences = load(adata, key, "presences")
    weights = _strongest(adata, chosen, n_genes, gene_symbols, key)
    scale = _canvas.presence_scale(presences, cmap)

    heads = module_titles(adata, chosen, key, room=_TITLE * _layout.em())
    titles = [(head, _remark(m, presences)) for m, head in zip(chosen, heads, strict=True)]
    card = _Card(place, weights, titles)
    grid = _layout.make_grid(len(chosen), ncols, card.width, card.height, bottom=1.6 * _layout.em())
    fig = _layout.new_figure(grid.size)
    for i, m in enumerate(chosen):
        ax = fig.add_axes(grid.box(i, 0, card.header, *card.map_size))
        _draw_map(ax, place, presences[place.drawn, m], scale)
        _canvas.frame_map(ax, place, x=grid.is_lowest(i), y=grid.is_leftmost(i))
        _canvas.write_title(ax, *titles[i])
        bars = fig.add_axes(grid.box(i, card.bars_left, card.header, card.bars_width, card.bars_height))
        _draw_bars(bars, weights[i], card.n_bars)
        bars.set_xlabel(
            "gene weight" if grid.is_lowest(i) else "", fontsize="small", color=_canvas.foreground(_canvas.REMARK)
        )
    _canvas.fill_colorbar(fig.add_axes(grid.colorbar_box(card.header, card.map_size[1])), scale, "presence")
    return _canvas.hand_over(fig, fig, show=show)


class _Card:
    """Places of map and bars in a card, in inches, such that no text meets another."""

    def __init__(self, place: Basis, weights: Sequence[pd.Series], titles: Sequence[tuple[str, str]]) -> None:
        em = _layout.em()
        gene_em = _layout.font_points(_GENE_SIZE) / 72
        names = [name for column in weights for name in column.index]
        self.n_bars = max(len(column) for column in weights)
        self.map_size = _layout.map_size(place, len(titles))
        self.header = 2.0 * em
        self.bars_left = self.map_size[0] + em + _layout.text_width(names, _GENE_SIZE, style=_GENE_STYLE)
        self.bars_width = _BARS * em
        low, high = (self.n_bars * lines * gene_em for lines in _LINES)
        self.bars_height = min(max(self.map_size[1], low), high)
        self.width = max(self.bars_left + self.bars_width, _layout.title_width(titles)) + 1.3 * em
        self.height = self.header + max(self.map_size[1], self.bars_height) + 2.0 * em


def _remark(m: int, presences: FloatArray) -> str:
    present = int((presences[:, m] > PRESENT_ABOVE).sum())
    return f"in {present:,} of {len(presences):,} localities"


def _strongest(
    adata: AnnData, modules: Sequence[int], n_genes: int, gene_symbols: str | None, key: str
) -> list[pd.Series]:
    """The largest gene weights of each module, by what the genes are called."""
    columns = []
    for m in modules:
        pattern = get.module(adata, m, key=key)
        column = pattern.astype(np.float64).sum(axis=1).sort_values(ascending=False, kind="stable").head(n_genes)
        column = column[column >= _TAKES_PART * column.max()]
        names = gene_names(adata, column.index, gene_symbols)
        columns.append(pd.Series(column.to_numpy(), index=names))
    return columns


def _draw_map(ax: Axes, place: Basis, presences: FloatArray, scale: ScalarMappable) -> None:
    _canvas.draw_cells(ax, place.cells, facecolor=_canvas.foreground(_canvas.CELLS))
    order = _canvas.highest_last(presences)
    _canvas.draw_probes(ax, place.probes[order], c=presences[order], cmap=scale.cmap, norm=scale.norm)


def _draw_bars(ax: Axes, weights: pd.Series, n_bars: int) -> None:
    from matplotlib.ticker import MaxNLocator

    at = np.arange(len(weights))
    ax.barh(at, weights.to_numpy(), height=0.72, color=_canvas.foreground(_canvas.BARS), linewidth=0)
    ax.set(ylim=(n_bars - 0.5, -0.5), yticks=at)
    ax.set_yticklabels(weights.index, fontsize=_GENE_SIZE, style=_GENE_STYLE, parse_math=False)
    ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.tick_params(axis="x", labelsize="x-small", length=2, width=0.6, colors=_canvas.foreground(_canvas.REMARK))
    ax.tick_params(axis="y", length=0, pad=2)
    ax.grid(visible=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))
