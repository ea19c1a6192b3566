"""Cells coloured by a column of ``obs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lava_sc.pl import _canvas, _layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from lava_sc.pl._basis import Basis

_ROWS: Final = 15  # of a legend's column


def draw_column(ax: Axes, place: Basis, adata: AnnData, column: str) -> NDArray[Any]:
    """Cells in the colours of their category with a legend, or of their number with a colourbar; grey where missing.

    Returns the colours, one for each cell.
    """
    values = adata.obs[column]
    missing, grey = values.isna().to_numpy(), _canvas.foreground(_canvas.CELLS)
    if missing.any():
        _canvas.draw_cells(ax, place.cells[missing], of=len(values), facecolor=grey)
    if _is_number(values):
        colors = _draw_numbers(ax, place, values.to_numpy(np.float64, na_value=np.nan), column)
    else:
        colors = _draw_categories(ax, place, values.astype("category"), adata.uns.get(f"{column}_colors"), column)
    colors[missing] = grey
    return colors


def room_beside(values: pd.Series) -> float:
    """Width in inches of the legend or colourbar."""
    if _is_number(values):
        return 6 * _layout.em()
    names = list(map(str, values.astype("category").cat.categories))
    return _n_columns(names) * (_layout.text_width(names, "small") + 3.5 * _layout.em())


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _n_columns(names: Sequence[Any]) -> int:
    return -(-len(names) // _ROWS)


def _draw_numbers(ax: Axes, place: Basis, values: Any, column: str) -> NDArray[Any]:
    there = _canvas.highest_last(values)  # as scanpy does
    dots = _canvas.draw_cells(ax, place.cells[there], of=len(values), array=values[there])
    _canvas.fill_colorbar(ax.inset_axes((1.03, 0.15, 0.035, 0.7)), dots, column)
    return np.array(list(map(_hex, dots.to_rgba(values))))


def _draw_categories(
    ax: Axes, place: Basis, values: pd.Series, stored: Sequence[str] | None, column: str
) -> NDArray[Any]:
    from matplotlib.lines import Line2D

    names = list(map(str, values.cat.categories))
    palette = np.array(_palette(len(names)) if stored is None or len(stored) < len(names) else list(map(_hex, stored)))
    codes = values.cat.codes.to_numpy()
    there = np.flatnonzero(codes >= 0)
    # a fixed shuffle: in the order of the object the last sample would lie on top of the others
    there = np.random.default_rng(0).permutation(there)
    _canvas.draw_cells(ax, place.cells[there], of=len(values), facecolor=palette[codes[there]])
    handles = [
        Line2D([], [], color=color, marker="o", linestyle="none", markersize=5, label=name)
        for name, color in zip(names, palette, strict=False)
    ]
    ax.legend(
        handles=handles,
        title=column,
        title_fontsize="small",
        alignment="left",
        fontsize="small",
        ncols=_n_columns(names),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.02),
        frameon=False,
        handletextpad=0.2,
    )
    return palette[codes]


def _palette(n: int) -> list[str]:
    """Distinct colours: those of the style while they last."""
    from matplotlib import colormaps, rcParams

    colors = rcParams["axes.prop_cycle"].by_key().get("color", [])
    if n > len(colors):
        colors = colormaps["tab20"](range(20)) if n <= 20 else colormaps["turbo"](np.linspace(0.03, 0.97, n))
    return list(map(_hex, colors[:n]))


def _hex(color: Any) -> str:
    from matplotlib.colors import to_hex

    return to_hex(color)
