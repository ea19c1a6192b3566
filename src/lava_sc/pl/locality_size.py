"""Locality sizes and how they suit the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.stored import checks
from lava_sc.stored.fields import load, load_params

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_SIZE: Final = (27.0, 17.0)  # of the panel, in font sizes
_ROOM: Final = 1.9  # lines above the curves, for the legend and for the groups
_BOX: Final = 0.7
_LONG: Final = 100_000  # numbers that need more room


@document_parameters
def locality_size(
    adata: AnnData, *, key: str = "lava", ax: Axes | None = None, show: bool | None = None
) -> Axes | None:
    """Agreement of the embedding's neighbourhoods with those in feature space, by their size.

    The line is the mean Jaccard similarity (paper, Fig. S1), with two standard errors to either side; the grey area is
    what chance alone gives, and the dashed line what is above it. The suggested size is marked. The box over the curves,
    if any, spans the smallest to the largest group of ``groupby``, its wide part the middle half, with the median.

    Parameters
    ----------
    adata
        Annotated data with the result of :func:`lava_sc.tl.locality_size`.
    key
    ax
    show

    Returns
    -------
    The axes, or ``None`` when the figure was shown. In scripts pyplot does not hold the figure any more unless ``ax``
    was given: save it with ``ax.figure.savefig``.

    Raises
    ------
    ValueError
        If there is no result.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.locality_size(adata, groupby="region")
    >>> ax = lava.pl.locality_size(adata, show=False)
    >>> ax.get_xscale()
    'log'
    """
    checks.annotated(adata)
    found = load(adata, key, "locality_size")
    groupby = load_params(adata, key, "locality_size").get("groupby")
    own_figure = ax is None
    ax = _new_axes() if ax is None else ax
    table, suggested = found["table"], int(found["suggested"])
    _draw_curves(ax, table)
    _mark(ax, table, suggested)
    _frame(ax, table, n_lines=1 if groupby is None else 3)
    if groupby is not None:
        _draw_groups(ax, found["group_sizes"]["n_cells"], str(groupby))
    seen, chance = (_at(table, suggested, name) for name in ("jaccard", "chance"))
    why = "peak" if found["is_peak"] else "default, no peak"
    _canvas.write_title(ax, f"n = {suggested:,}", f"{why}: similarity {seen:.2f}, {chance:.2f} by chance")
    show = False if show is None and not own_figure else show
    return _canvas.hand_over(ax, _canvas.figure_of(ax), show=show, close=own_figure and not _canvas.is_interactive())


def _at(table: pd.DataFrame, size: int, column: str) -> float:
    return float(np.interp(np.log(size), np.log(table["n"]), table[column]))


def _new_axes() -> Axes:
    em = _layout.em()
    (width, height), left, bottom, right, top = _SIZE, 4.5, 4.0, 1.5, 2.2
    total_width, total_height = left + width + right, bottom + height + top
    fig = _layout.new_figure((total_width * em, total_height * em))
    return fig.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))


def _draw_curves(ax: Axes, table: pd.DataFrame) -> None:
    n, mean, error = table["n"], table["jaccard"], 2 * table["jaccard_se"]
    ax.fill_between(
        n, 0, table["chance"], color=_canvas.foreground(_canvas.CELLS), linewidth=0, zorder=1, label="by chance"
    )
    ax.fill_between(n, mean - error, mean + error, color="C0", alpha=0.3, linewidth=0, zorder=2)
    ax.plot(n, mean, color="C0", zorder=3, label="similarity")
    ax.plot(n, table["adjusted"], color="C0", linestyle="--", linewidth=1, zorder=3, label="above chance")


def _mark(ax: Axes, table: pd.DataFrame, suggested: int) -> None:
    """A line at the suggested size, up to the curve."""
    height = _at(table, suggested, "jaccard")
    ax.vlines(suggested, 0, height, color=_canvas.foreground(_canvas.REMARK), linewidth=1, zorder=2)
    ax.plot(suggested, height, "o", color="C0", markeredgecolor=_canvas.foreground(0), zorder=4)


def _frame(ax: Axes, table: pd.DataFrame, n_lines: int) -> None:
    """A log axis with plain numbers, and room above the curves for some lines of text."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    lowest, highest = min(float(table["adjusted"].min()), 0.0), float(table["jaccard"].max())
    above = n_lines * _ROOM * _layout.em() / _height(ax)
    ax.set(xscale="log", ylim=(lowest, lowest + (highest - lowest) * 1.05 / (1 - above)))
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if table["n"].max() < _LONG else (1.0,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks([tick for tick in ax.get_yticks() if lowest <= tick <= 1.05 * highest])
    ax.grid(visible=False)
    ax.set_xlabel("cells in a neighbourhood, n", fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.set_ylabel("mean Jaccard similarity", fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.tick_params(labelsize="small", width=0.6)
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))
    ax.spines[["top", "right"]].set_visible(False)
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    names = ["similarity", "above chance", "by chance"]
    ax.legend(
        [handles[name] for name in names],
        names,
        ncols=3,
        loc="upper left",
        fontsize="small",
        frameon=False,
        borderaxespad=0,
        handlelength=1.5,
    )


def _height(ax: Axes) -> float:
    """Of the axes, in inches."""
    return float(ax.get_position().height * _canvas.figure_of(ax).get_size_inches()[1])


def _draw_groups(ax: Axes, sizes: pd.Series, groupby: str) -> None:
    """A box of the sizes of the groups under the legend, and what it is."""
    em = _layout.em() / _height(ax)
    y, half = 1 - 1.4 * _ROOM * em, 0.5 * _BOX * em
    place = ax.get_xaxis_transform()
    bar_color = _canvas.foreground(_canvas.BARS)
    smallest, low, median, high, largest = (max(float(size), 1.0) for size in sizes)
    ax.plot([smallest, largest], [y, y], color=bar_color, linewidth=1, transform=place)
    ax.fill_betweenx([y - half, y + half], low, high, color=bar_color, linewidth=0, transform=place)
    ax.plot([median, median], [y - half, y + half], color=_canvas.foreground(1), linewidth=1.5, transform=place)
    ax.annotate(
        f"cells per {groupby}",
        xy=(1, y - half),
        xycoords="axes fraction",
        xytext=(0, -0.15 * _layout.POINTS * _layout.em()),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize="small",
        color=_canvas.foreground(_canvas.REMARK),
    )
