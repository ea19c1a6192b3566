"""The genes of each module, by weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.core.interpret.summary import gene_weights
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._direction import direction_scale
from lava_sc.pl._plot_names import gene_names, module_titles
from lava_sc.stored import checks
from lava_sc.stored.fields import load, load_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    from lava_sc._types import FloatArray

_WIDTH, _TITLE = 9.5, 12.0  # of a panel and of its module's name, in font sizes
_ROW: Final = 1.3  # height of a named gene, in the font size of its name
_REST: Final = 7.0  # height of the genes without name, in rows
_BEYOND: Final = 1.5  # times the genes of the module are drawn,
_AT_LEAST: Final = 10  # and so many more than there are
_FAINT, _STEM, _CUT = 0.28, 0.25, 0.7  # strength of foreground
_DOTS: Final = (24.0, 9.0)  # square points, with and without name
_SIZE, _STYLE = "small", "italic"


@dataclass(frozen=True)
class _Ranking:
    """Genes of a module in falling order.

    Attributes
    ----------
    weights
        Of the genes that are drawn.
    positive
        Share of positive ρ of those that belong to the module, which are the first.
    names
        Of the first ones.
    n_genes
        Genes that belong to the module, drawn or not.
    """

    weights: FloatArray
    positive: FloatArray
    names: Sequence[str]
    n_genes: int

    @property
    def rows(self) -> FloatArray:
        """Heights of genes: one row for each with a name, the others closer together below them."""
        n_named, n_rest = len(self.names), len(self.weights) - len(self.names)
        step = min(1.0, (_REST - 1.0) / max(n_rest - 1, 1))
        return np.concatenate([np.arange(n_named), n_named + 0.3 + step * np.arange(n_rest)])


@document_parameters
def module_genes(
    adata: AnnData,
    modules: int | Sequence[int] | None = None,
    *,
    n_genes: int = 20,
    gene_symbols: str | None = None,
    ncols: int | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Gene weights of each module in falling order, with the line beyond which genes do not belong to it.

    The strongest genes have their names; those that follow stand closer together, with their ranks (paper, Figure S31). Dots are
    coloured by direction: orange for genes whose correlations in the module are positive, blue for those that fall as the others
    rise. Genes beyond the dashed line, the cut-off of :func:`lava_sc.tl.module_genes`, are faint.

    Parameters
    ----------
    adata
        Annotated data with gene lists from :func:`lava_sc.tl.module_genes`.
    modules
    n_genes
        Genes to name in each module.
    gene_symbols
    ncols
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If gene lists are missing, or a module or the column is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> fig = lava.pl.module_genes(adata, show=False)
    >>> len(fig.axes)  # a panel for each module and the colourbar
    5
    """
    checks.annotated(adata)
    checks.in_range("n_genes", n_genes, 1, np.inf, integer=True)
    threshold = load_params(adata, key, "module_genes").get("threshold")
    chosen = _canvas.chosen_modules(adata, modules, key)
    rankings = _rankings(adata, chosen, n_genes, gene_symbols, key)
    heads = module_titles(adata, chosen, key, room=_TITLE * _layout.em())
    titles = [(head, _remark(ranking, threshold)) for head, ranking in zip(heads, rankings, strict=True)]
    scale = direction_scale()

    em = _layout.em()
    left = _layout.text_width(_labels(rankings), _SIZE, style=_STYLE) + 0.5 * em
    lowest = max(float(ranking.rows.max(initial=0)) for ranking in rankings) + 0.7
    width = max(_WIDTH * em, _layout.title_width(titles) - left)
    height = max((lowest + 0.7) * _ROW * _layout.font_points(_SIZE) / _layout.POINTS, 4 * em)
    header = 2.0 * em
    grid = _layout.make_grid(len(chosen), ncols, left + width + 1.5 * em, header + height + 2.2 * em, bottom=1.4 * em)
    fig = _layout.new_figure(grid.size)
    for i, ranking in enumerate(rankings):
        ax = fig.add_axes(grid.box(i, left, header, width, height))
        _draw(ax, ranking, scale)
        _draw_cut(ax, ranking, threshold)
        _frame(ax, ranking, lowest, labelled=grid.is_lowest(i))
        _canvas.write_title(ax, *titles[i], x=-left / width)  # over the names
    _canvas.fill_colorbar(fig.add_axes(grid.colorbar_box(header, height)), scale, "share of positive ρ")
    return _canvas.hand_over(fig, fig, show=show)


def _rankings(
    adata: AnnData, modules: Sequence[int], n_named: int, gene_symbols: str | None, key: str
) -> list[_Ranking]:
    table, genes = load(adata, key, "module_genes"), np.asarray(load(adata, key, "genes"), dtype=object)
    weights = gene_weights(load(adata, key, "modules")[modules], len(genes))
    rankings = []
    for m, column in zip(modules, weights.T, strict=True):
        positive = table.loc[table["module"] == m, "positive"].to_numpy(dtype=np.float64)
        order = np.argsort(-column, kind="stable")
        order = order[column[order] > 0]
        n_drawn = max(n_named, int(_BEYOND * len(positive)), len(positive) + _AT_LEAST)
        order = order[: n_named if len(order) <= n_named else n_drawn]
        names = gene_names(adata, genes[order[:n_named]], gene_symbols)
        rankings.append(_Ranking(column[order], positive[: len(order)], names, len(positive)))
    return rankings


def _remark(ranking: _Ranking, threshold: float | None) -> str:
    genes = "1 gene" if ranking.n_genes == 1 else f"{ranking.n_genes:,} genes"
    return genes if threshold is None or not ranking.n_genes else f"{genes} from {100 * threshold:g} %"


def _draw(ax: Axes, ranking: _Ranking, scale: ScalarMappable) -> None:
    from matplotlib.colors import to_rgba

    rows, weights = ranking.rows, ranking.weights
    n_named, n_own = len(ranking.names), len(ranking.positive)
    sizes = np.where(np.arange(len(rows)) < n_named, *_DOTS)
    ax.hlines(rows[:n_named], 0, weights[:n_named], color=_canvas.foreground(_STEM), linewidth=1.0, zorder=1)
    ax.scatter(weights[n_own:], rows[n_own:], s=sizes[n_own:], color=_canvas.foreground(_FAINT), linewidths=0, zorder=2)
    colors = scale.to_rgba(ranking.positive)
    colors[np.isnan(ranking.positive)] = to_rgba(_canvas.foreground(0))
    edge: dict[str, Any] = dict(linewidths=0.5, edgecolors=_canvas.foreground(_CUT), clip_on=False)
    ax.scatter(weights[:n_own], rows[:n_own], s=sizes[:n_own], c=colors, zorder=3, **edge)


def _draw_cut(ax: Axes, ranking: _Ranking, threshold: float | None) -> None:
    """At the least weight, or below the last gene where their number was given."""
    line: dict[str, Any] = dict(color=_canvas.foreground(_CUT), linestyle=(0, (4, 2)), linewidth=0.9, zorder=2.5)
    n_own, rows = len(ranking.positive), ranking.rows
    if not len(rows):
        return
    if threshold is not None:
        ax.axvline(threshold * ranking.weights[0], **line)
    elif n_own < len(rows):
        ax.axhline((rows[n_own - 1] + rows[n_own]) / 2, **line)


def _marked(ranking: _Ranking) -> list[int]:
    """Genes without a name of which the rank is written: the last of the module, and the last that is drawn."""
    n_named, n_drawn, rows = len(ranking.names), len(ranking.weights), ranking.rows
    last = len(ranking.positive) - 1
    marked = [last] if n_named <= last < n_drawn else []
    marked += [n_drawn - 1] if n_drawn > n_named else []
    if len(marked) == 2 and rows[marked[1]] - rows[marked[0]] < 1:
        marked.pop()
    return [i for i in marked if rows[i] - n_named >= 0.3]


def _labels(rankings: Sequence[_Ranking]) -> list[str]:
    named = [name for ranking in rankings for name in ranking.names]
    return named + [f"rank {i + 1:,}" for ranking in rankings for i in _marked(ranking)]


def _frame(ax: Axes, ranking: _Ranking, lowest: float, *, labelled: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    largest = float(ranking.weights.max(initial=0.0))
    marked, rows, n_named = _marked(ranking), ranking.rows, len(ranking.names)
    ax.set(xlim=(0, 1.04 * largest if largest > 0 else 1), ylim=(lowest, -0.7))
    ax.set_yticks([*rows[:n_named], *rows[marked]], [*ranking.names, *(f"rank {i + 1:,}" for i in marked)])
    for i, label in enumerate(ax.get_yticklabels()):
        is_beyond = i < n_named and i >= len(ranking.positive)
        label.set(fontsize=_SIZE if i < n_named else "x-small", parse_math=False)
        label.set(style=_STYLE if i < n_named else "normal")
        label.set_color(_canvas.foreground(_canvas.REMARK if is_beyond or i >= n_named else 1))
    ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.tick_params(axis="x", labelsize="x-small", length=2, width=0.6, colors=_canvas.foreground(_canvas.REMARK))
    ax.tick_params(axis="y", length=0, pad=3)
    ax.set_xlabel("gene weight" if labelled else "", fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.grid(visible=False)
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))
