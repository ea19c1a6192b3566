"""Tones, dots and frames that all pictures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np

from lava_sc.pl._layout import POINTS, font_points
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.pl._basis import Basis

T = TypeVar("T")

#: ColorBrewer's YlOrRd, safe for colour-blind readers, with an end that recedes into the paper, yet is seen: on white, on black.
_PRESENCE_COLORS: Final = ("#f3ecca", "#fed976", "#fd8d3c", "#e31a1c", "#800026")
_PRESENCE_ON_BLACK: Final = ("#3a2a2a", "#8c1218", "#e31a1c", "#fd8d3c", "#ffeda0")
#: Strength of foreground, 1 being that of the style's text.
CELLS, BARS, FRAME, REMARK = 0.12, 0.45, 0.4, 0.65
_GREY: Final = 1.5  # sum of red, green and blue
_LARGEST_CELL, _SMALLEST_CELL = 14.0, 0.3  # square points
_LARGEST_PROBE, _SMALLEST_PROBE = 40.0, 5.0


def foreground(strength: float) -> str:
    """A tone between the background and the text of the style."""
    from matplotlib import rcParams
    from matplotlib.colors import to_hex, to_rgba

    *background, opacity = to_rgba(rcParams["axes.facecolor"])
    paper = 1.0 - opacity + opacity * np.array(background)
    tone = (1 - strength) * paper + strength * np.array(to_rgba(rcParams["text.color"])[:3])
    return to_hex(tuple(tone.tolist()))


def _is_dark() -> bool:
    """Tell whether the style's text is light, hence its paper dark."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgb

    return sum(to_rgb(rcParams["text.color"])) > _GREY


def for_background(on_white: T, on_black: T) -> T:
    """Choose by the style's paper."""
    return on_black if _is_dark() else on_white


def rising_colors() -> str:
    """Colours other than those of presence whose low end recedes into the paper; their light end is no grey."""
    return for_background("viridis_r", "viridis")


def highest_last(values: FloatArray) -> IntArray:
    """An order for values over a map, so that the highest lie on top; what is not a number is left out."""
    return np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]


def draw_cells(
    ax: Axes, cells: FloatArray, *, of: int | None = None, margin: float = 0.0, **style: Any
) -> PathCollection:
    """Cells as dots, rasterised.

    Parameters
    ----------
    ax
        Where to.
    cells
        (E, 2) places; later ones lie on top.
    of
        How many cells there are in all, which decides on their size.
    margin
        Points by which the dots reach farther on all sides: what is drawn beneath other dots becomes their outline.
    style
        Properties of the dots: ``facecolor``, or ``array``, ``cmap`` and ``norm``; ``zorder``.
    """
    from lava_sc.pl._dots import Dots

    size = np.clip(0.9 * _area(ax) / max(of or len(cells), 1), _SMALLEST_CELL, _LARGEST_CELL)
    dots = Dots(ax, cells, (np.sqrt(size) + 2 * margin) ** 2)
    dots.set(**{"rasterized": True, "zorder": 1, **style})
    ax.add_collection(dots)
    if "array" in style:
        dots.autoscale_None()
    ax.autoscale_view()
    return dots


def draw_probes(ax: Axes, probes: FloatArray, *, of: int | None = None, **style: Any) -> PathCollection:
    """Probes as dots with an edge that thins as they shrink."""
    size = np.clip(0.1 * _area(ax) / max(of or len(probes), 1), _SMALLEST_PROBE, _LARGEST_PROBE)
    return ax.scatter(
        *probes.T, **{"s": size, "linewidths": 0.07 * np.sqrt(size), "edgecolors": "0.3", "zorder": 3, **style}
    )


def _area(ax: Axes) -> float:
    """Area of the axes in square points, the unit of marker sizes."""
    sides = np.asarray(ax.get_position().size) * figure_of(ax).get_size_inches() * POINTS
    return float(sides.prod())


def figure_of(ax: Axes) -> Figure:
    """The whole figure, also of axes in a subfigure."""
    return cast("Figure", ax.figure).canvas.figure


def frame_map(ax: Axes, basis: Basis, *, x: bool = True, y: bool = True) -> None:
    """No ticks and no grid, whatever the style; labels where asked; true proportions in a tissue."""
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[], xlabel=basis.axes[0] if x else "", ylabel=basis.axes[1] if y else "")
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(fontsize="small", color=foreground(REMARK))
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color=foreground(FRAME))
    if basis.is_space:
        ax.set_aspect("equal", adjustable="box", anchor="NW")


def presence_scale(presences: FloatArray, cmap: str | Colormap | None) -> ScalarMappable:
    """Colours from 0 to the largest presence there is in any module, so that they mean the same in all pictures."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    if cmap is None:
        colors = for_background(_PRESENCE_COLORS, _PRESENCE_ON_BLACK)
        cmap = LinearSegmentedColormap.from_list("lava_presence", colors)
    largest = float(np.nanmax(presences, initial=0.0))
    return ScalarMappable(Normalize(0.0, largest if largest > 0 else 1.0), cmap)


def fill_colorbar(cax: Axes, scale: ScalarMappable, label: str) -> None:
    """A colourbar without a frame."""
    cax.grid(visible=False)
    bar = figure_of(cax).colorbar(scale, cax=cax)
    bar.outline.set_visible(False)
    cax.tick_params(labelsize="small", length=2, width=0.6)
    bar.set_label(label, fontsize="small", color=foreground(REMARK))


def chosen_numbers(name: str, asked: int | Sequence[int] | None, n: int) -> list[int]:
    """The modules or localities asked for, all of the ``n`` there are when ``None``.

    Raises
    ------
    ValueError
        If one does not exist.
    """
    numbers = list(range(n)) if asked is None else np.atleast_1d(asked).tolist()
    if not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < n for i in numbers):
        msg = f"Found {name}={asked!r}, expected numbers from 0 to {n - 1}; choose among the {n} {name} there are."
        raise ValueError(msg)
    return numbers


def chosen_modules(adata: AnnData, modules: int | Sequence[int] | None, key: str) -> list[int]:
    """The modules to draw, at least one.

    Raises
    ------
    ValueError
        If modules are missing, one does not exist, or none is asked for.
    """
    chosen = chosen_numbers("modules", modules, load(adata, key, "presences").shape[1])
    if not chosen:
        msg = "Found no modules to draw, expected at least one; leave modules out to draw all."
        raise ValueError(msg)
    return chosen


def write_title(ax: Axes, title: str, remark: str, *, x: float = 0.0) -> None:
    """A bold title over the left corner, or from ``x`` in widths of the axes, and a remark behind it."""
    anchor = ax.set_title(title, loc="left", x=x, fontsize="medium", fontweight="bold", parse_math=False)
    if remark:
        ax.annotate(
            remark,
            xy=(1, 0),
            xycoords=anchor,
            xytext=(0.5 * font_points("medium"), 0),
            textcoords="offset points",
            fontsize="small",
            color=foreground(REMARK),
            va="bottom",
            annotation_clip=False,
        )


def is_interactive() -> bool:
    """Tell whether figures appear by themselves, as in notebooks."""
    import matplotlib.pyplot as plt

    return plt.isinteractive()


def hand_over(result: T, fig: Figure, *, show: bool | None, close: bool = True) -> T | None:
    """Show the figure, or let pyplot forget it and return the result.

    pyplot would keep the figure for ever in a script; a notebook would show it a second time, after the result.
    """
    import matplotlib.pyplot as plt

    if is_interactive() if show is None else show:
        plt.show()
        return None
    if close:
        plt.close(fig)
    return result
