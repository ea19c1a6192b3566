"""Evidence for a number of modules."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE: Final = (20.0, 12.0)  # of a panel, in font sizes
_LEFT, _GAP, _BELOW = 4.5, 5.0, 3.4
_LINE: Final = 0.12  # of a panel that a line of its legend takes, above the curves
_MANY: Final = 12  # numbers from which only every other one is written
#: Panels: title, columns of the table with their labels, whether the axis ends at 0 and 1.
_PANELS: Final = (
    ("loss", {"loss": "best run"}, False),
    ("other half of the cells", {"other_cells": "cosine"}, False),
    ("reconstruction", {"cosine": "cosine", "held_out": "cosine, held out", "overestimation": "overestimation"}, True),
    ("squared correlations", {"explained": "explained", "weakest": "by the weakest module"}, True),
    ("stability", {"silhouette": "silhouette of modules", "most_alike": "two most alike modules"}, True),
    ("chance", {"n_beyond_null": "modules that exceed it", "n_replicated": "in the other half"}, False),
)


@document_parameters
def n_modules(adata: AnnData, *, key: str = "lava", show: bool | None = None) -> Figure | None:
    """Evidence for each number of modules (paper, Figure 3b), with the null beside it.

    Lines with dots are the data, with one standard deviation over the runs, or for other cells the standard error of the
    difference to the best number; pale bands and dashed lines are shuffled genes: the mean and two standard deviations over
    null data sets. The last panel counts the modules of the best run that explain more than
    twice what the best module of shuffled genes does; the dotted line would be all of them. The chosen number is marked.

    Parameters
    ----------
    adata
        Annotated data with the result of :func:`lava_sc.tl.choose_n_modules`.
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If there is no result.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=1000, n_modules=2)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> lava.tl.locality_corr(adata)
    >>> lava.tl.choose_n_modules(adata, range(1, 4), n_runs=2, n_permutations=2)
    >>> fig = lava.pl.n_modules(adata, show=False)
    >>> len(fig.axes)
    6
    """
    from matplotlib.ticker import MaxNLocator

    checks.annotated(adata)
    table, choice = load(adata, key, "n_modules"), load(adata, key, "n_modules_choice")
    em = _layout.em()
    width, height = _SIZE
    total = _LEFT + 2 * width + _GAP + 1.0
    reason = textwrap.wrap(str(choice["reason"]), int(1.8 * total))
    top = 1.3 * len(reason) + 1.0
    card = height + 1.8 + _BELOW
    n_rows = -(-len(_PANELS) // 2)
    tall = top + n_rows * card
    fig = _layout.new_figure((total * em, tall * em))
    fig.text(
        _LEFT / total,
        1 - 0.4 / tall,
        "\n".join(reason),
        va="top",
        fontsize="small",
        color=_canvas.foreground(1),
        linespacing=1.3,
    )
    for i, (title, lines, to_one) in enumerate(_PANELS):
        row, column = divmod(i, 2)
        lower = (n_rows - 1 - row) * card + _BELOW
        box = (_LEFT + column * (width + _GAP)) / total, lower / tall, width / total
        ax = fig.add_axes((*box, height / tall))
        for k, (name, label) in enumerate(lines.items()):
            if table[name].notna().any():  # without splits there are no other cells
                _draw(ax, table, name, label, f"C{k}")
        if title == "chance":
            ax.yaxis.set_major_locator(MaxNLocator(integer=True))
            ax.plot(table["n_modules"], table["n_modules"], ":", color=_canvas.foreground(_canvas.REMARK), label="all")
        if not ax.lines:
            ax.text(
                0.5,
                0.5,
                "cells were not split",
                transform=ax.transAxes,
                ha="center",
                color=_canvas.foreground(_canvas.REMARK),
            )
        _frame(ax, table, int(choice["n_modules"]), to_one=to_one, labelled=row == n_rows - 1)
        _canvas.write_title(ax, title, "")
    return _canvas.hand_over(fig, fig, show=show)


def _draw(ax: Axes, table: pd.DataFrame, name: str, label: str, color: str) -> None:
    numbers, values = table["n_modules"], table[name]
    style: dict[str, Any] = {"color": color, "marker": "o", "markersize": 4, "linewidth": 1.3, "zorder": 3}
    spread = next((f"{name}_{kind}" for kind in ("sd", "se") if f"{name}_{kind}" in table), None)
    if spread is not None:
        ax.errorbar(numbers, values, yerr=table[spread], elinewidth=0.8, label=label, **style)
    else:
        ax.plot(numbers, values, label=label, **style)
    if f"{name}_null" in table:
        mean, band = table[f"{name}_null"], 2 * table[f"{name}_null_sd"].fillna(0)
        ax.fill_between(numbers, mean - band, mean + band, color=color, alpha=0.15, linewidth=0, zorder=1)
        ax.plot(numbers, mean, color=color, alpha=0.6, linewidth=1, linestyle="--", zorder=2)


def _frame(ax: Axes, table: pd.DataFrame, chosen: int, *, to_one: bool, labelled: bool) -> None:
    numbers = table["n_modules"].to_numpy()
    step = 2 if len(numbers) > _MANY else 1
    ax.set_xticks(numbers[::step])
    low, high = ax.get_ylim()
    ax.set_ylim((min(low, 0.0), max(high, 1.0)) if to_one else (min(low, 0.0), high))
    if to_one:
        ax.set_ylim(max(ax.get_ylim()[0], -0.1), min(ax.get_ylim()[1], 1.05))
        ax.set_yticks(np.linspace(0, 1, 6))
    if chosen in numbers:
        ax.axvline(chosen, color=_canvas.foreground(_canvas.FRAME), linewidth=6, alpha=0.25, zorder=0)
    ax.grid(visible=False)
    if labelled:
        ax.set_xlabel("number of modules", fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.tick_params(labelsize="small", width=0.6)
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))
    ax.spines[["top", "right"]].set_visible(False)
    n_lines = len(ax.get_legend_handles_labels()[0])
    if n_lines:
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom, top + _LINE * n_lines * (top - bottom))
        ax.legend(fontsize="x-small", frameon=False, loc="upper right", borderaxespad=0.1)
