"""Recurrence of the result, beside chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.stored import checks
from lava_sc.stored.fields import load, load_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that colour-blind readers tell apart (Okabe & Ito 2008), and markers for print.
_STYLES: Final = {
    "placement": ("#000000", "o"),
    "runs": ("#0072B2", "o"),
    "end_to_end": ("#E69F00", "s"),
    "resamples": ("#009E73", "D"),
}
_NULL, _NULL_MEDIAN = 0.16, 0.55  # strength of foreground
_HEIGHT: Final = 14.0  # of the panels, in font sizes, as all that follows
_GROUP: Final = {"overlap": 3.2, "module": 3.0}
_HEADER, _BELOW, _LEFT, _GAP, _HANDLE = 2.2, 3.6, 4.4, 4.6, 4.0
#: Within a group, in parts of its width.
_SLOTS: Final = {
    "overlap": {"placement": -0.14, "end_to_end": 0.14},
    "module": {"runs": -0.27, "end_to_end": 0.0, "resamples": 0.27},
}
_BAR, _BESIDE = 0.23, 0.075
_CLOSE: Final = 0.5  # cosines that are all above this are drawn on an axis of their own range,
_NARROWEST: Final = 0.05  # but differences that do not matter are not blown up


@dataclass(frozen=True)
class _Panel:
    """Groups that stand side by side: a label each, the column that tells them apart, and the rows of both tables."""

    title: tuple[str, str]
    groups: Sequence[Any]
    names: Sequence[str]
    column: str
    table: pd.DataFrame
    singles: pd.DataFrame

    def width(self) -> float:
        """In inches."""
        return max(_GROUP[self.column] * len(self.groups) * _layout.em(), _layout.title_width([self.title]))


@document_parameters
def stability(adata: AnnData, *, key: str = "lava", show: bool | None = None) -> Figure | None:
    """Cosines between repetitions of the analysis, beside those of the same repetitions on shuffled genes.

    Left, mean absolute correlations of localities that were placed anew, by overlap (paper, Figure 3a), and the
    presence-weighted average of the modules found there, compared with the stored overlap (Figure S9). Right, stored modules
    and their partners in other runs, other placements and other cells, and before them the presence-weighted averages
    of all modules (Figures 3c-d). Small dots are single comparisons; marks are medians with the range of 95 % of the comparisons.
    The grey bar behind a mark reaches up to the 97.5 % quantile of shuffled genes, with a line at their median: a mark
    that does not stand out of its bar shows no more than chance.

    Parameters
    ----------
    adata
        Annotated data with the result of :func:`lava_sc.tl.stability`.
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
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.stability(adata, n_placements=2, n_runs=2, n_resamples=4)
    >>> fig = lava.pl.stability(adata, show=False)
    >>> [ax.get_xlabel() for ax in fig.axes]
    ['overlap', 'module']
    """
    checks.annotated(adata)
    table, cosines = load(adata, key, "stability"), load(adata, key, "stability_cosines")
    of_what = "donors" if "donor_key" in load_params(adata, key, "stability") else "cells"
    panels = _panels(table, cosines[~cosines["null"].to_numpy(dtype=bool)])
    legend = {
        "placement": "correlations",
        "runs": "other runs",
        "end_to_end": "other placements",
        "resamples": f"other {of_what}",
    }

    em = _layout.em()
    widths = [panel.width() for panel in panels]
    right = _layout.text_width([*legend.values(), "shuffled genes"], "small") + _HANDLE * em
    total = _LEFT * em + sum(widths) + _GAP * em + right
    height = (_HEADER + _HEIGHT + _BELOW) * em
    fig = _layout.new_figure((total, height))
    left = _LEFT * em
    for panel, width in zip(panels, widths, strict=True):
        ax = fig.add_axes((left / total, _BELOW * em / height, width / total, _HEIGHT * em / height))
        _draw(ax, panel)
        _frame(ax, panel)
        _canvas.write_title(ax, *panel.title)
        left += width + _GAP * em
    _write_legend(fig.axes[-1], legend)
    return _canvas.hand_over(fig, fig, show=show)


def _panels(table: pd.DataFrame, singles: pd.DataFrame) -> list[_Panel]:
    overlap = float(table.loc[table["part"] == "runs", "overlap"].iloc[0])  # the stored one

    def by_overlap(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["part"].isin(_SLOTS["overlap"]) & (rows["module"] < 0)]

    def by_module(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["part"].isin(_SLOTS["module"]) & (rows["overlap"] == overlap)]

    overlaps, modules = (
        sorted(rows[column].unique()) for rows, column in ((by_overlap(table), "overlap"), (by_module(table), "module"))
    )
    names = ["mean" if m < 0 else str(m) for m in modules]
    return [
        _Panel(
            ("placements", ""),
            overlaps,
            [f"{o:g}" for o in overlaps],
            "overlap",
            by_overlap(table),
            by_overlap(singles),
        ),
        _Panel(("modules", ""), modules, names, "module", by_module(table), by_module(singles)),
    ]


def _draw(ax: Axes, panel: _Panel) -> None:
    place = {group: i for i, group in enumerate(panel.groups)}
    for part, slot in _SLOTS[panel.column].items():
        color, marker = _STYLES[part]
        own = panel.table[panel.table["part"] == part]
        x = own[panel.column].map(place).to_numpy(dtype=float) + slot
        bar: dict[str, Any] = dict(width=_BAR, linewidth=0, zorder=1)
        ax.bar(x, own["null_high"], color=_canvas.foreground(_NULL), **bar)
        ends = x - _BAR / 2, x + _BAR / 2
        ax.hlines(own["null_cosine"], *ends, color=_canvas.foreground(_NULL_MEDIAN), linewidth=1, zorder=2)
        some = panel.singles[panel.singles["part"] == part]
        at = some[panel.column].map(place).to_numpy(dtype=float) + slot + _BESIDE
        ax.scatter(at, some["cosine"], s=5, color=_shade(color), alpha=0.35, linewidths=0, zorder=3)
        errors = np.abs(own[["low", "high"]].to_numpy().T - own["cosine"].to_numpy())
        style: dict[str, Any] = dict(color=_shade(color), marker=marker, markersize=4.5, linestyle="none", zorder=4)
        ax.errorbar(x, own["cosine"], yerr=errors, elinewidth=1.2, capsize=0, **style)


def _shade(color: str) -> str:
    """Black is the style's foreground."""
    return _canvas.foreground(1) if color == "#000000" else color


def _frame(ax: Axes, panel: _Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    lowest = min(panel.table["null_cosine"].min(), panel.singles["cosine"].min())
    bottom = min(lowest, 0.0) if lowest < _CLOSE else 1 - max(1.15 * (1 - lowest), _NARROWEST)
    ax.set(xlim=(-0.55, len(panel.groups) - 0.45), ylim=(bottom, 1 + 0.03 * (1 - bottom)))
    ax.set_xticks(range(len(panel.groups)), panel.names)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_yticks([tick for tick in ax.get_yticks() if bottom <= tick <= 1 + 1e-9])
    ax.ticklabel_format(axis="y", useOffset=False)
    for set_label, text in ((ax.set_xlabel, panel.column), (ax.set_ylabel, "cosine")):
        set_label(text, fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.tick_params(labelsize="small", length=2, width=0.6)
    ax.tick_params(axis="x", length=0)
    ax.grid(visible=False)
    if panel.groups[0] == -1:  # averages stand apart
        ax.axvline(0.5, color=_canvas.foreground(_canvas.FRAME), linewidth=0.6, linestyle=":", zorder=1)
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))


def _write_legend(ax: Axes, names: dict[str, str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [
        Line2D([], [], color=_STYLES[part][0], marker=_STYLES[part][1], markersize=4.5, linewidth=1.2, label=name)
        for part, name in names.items()
    ]
    handles.append(Patch(color=_canvas.foreground(_NULL), label="shuffled genes"))
    place: dict[str, Any] = dict(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)
    ax.legend(handles=handles, fontsize="small", frameon=False, handlelength=1.6, **place)
