"""Sizes and places, in inches, so that texts meet in no style and at no number of panels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc.stored import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    from lava_sc.pl._basis import Basis

POINTS: Final = 72.0  # in an inch
_PANEL: Final = 2.4  # side of a square map
_SMALL_PANEL, _MANY = 2.05, 2
_LONGEST, _NARROWEST = 1.6, 0.2  # side of a map relative to a square one
_WIDEST: Final = 97.0  # in font sizes: beyond, notebooks shrink a figure until its text is small
_GAP, _BAR_WIDTH, _BAR_HEIGHT = 0.05, 0.11, (1.0, 2.4)  # of the colourbar
_HINTING: Final = 1.07  # on a screen letters stand a little wider than in outline


@dataclass(frozen=True)
class Grid:
    """Equal cards in rows; all lengths in inches.

    Attributes
    ----------
    n, ncols
        Number of cards, and in a row.
    width, height
        Of a card.
    left, bottom, right
        Room for the labels of the axes, which the outermost cards alone have, and for the colourbar.
    """

    n: int
    ncols: int
    width: float
    height: float
    left: float
    bottom: float
    right: float

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure: the cards, and room for the colourbar."""
        n_rows = -(-self.n // self.ncols)
        return self.left + self.ncols * self.width + self.right, n_rows * self.height + self.bottom

    def is_leftmost(self, i: int) -> bool:
        """Tell whether nothing stands to the left of card i."""
        return i % self.ncols == 0

    def is_lowest(self, i: int) -> bool:
        """Tell whether nothing stands below card i."""
        return i + self.ncols >= self.n

    def box(self, i: int, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """A rectangle in card i, (x, y) from the card's upper left corner, as fractions of the figure."""
        total_width, total_height = self.size
        row, column = divmod(i, self.ncols)
        left, top = self.left + column * self.width + x, row * self.height + y
        return left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height

    def colorbar_box(self, y: float, height: float) -> tuple[float, float, float, float]:
        """A colourbar to the right of the first row, from ``y`` below its top, about as high as a map."""
        shortest, tallest = _BAR_HEIGHT
        height = float(np.clip(height, min(shortest, self.size[1] - y - em()), tallest))
        return self.box(self.ncols - 1, self.width + _GAP, y, _BAR_WIDTH, height)


def make_grid(n: int, ncols: int | None, width: float, height: float, *, bottom: float) -> Grid:
    """Rows as even as they can be, and no wider than a notebook unless ``ncols`` asks for it."""
    left, right = 1.8 * em(), _GAP + _BAR_WIDTH + 5 * em()
    if ncols is None:
        at_most = max(1, int((_WIDEST * em() - left - right) // width))
        ncols = -(-n // -(-n // at_most))
    checks.in_range("ncols", ncols, 1, np.inf, integer=True)
    return Grid(n, min(ncols, n), width, height, left=left, bottom=bottom, right=right)


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure, laid out by hand whatever the style asks for."""
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="none")


def map_size(basis: Basis, n: int = 1) -> tuple[float, float]:
    """Width and height in inches of each of n maps: square, or in a tissue of its proportions and the same area."""
    side = _SMALL_PANEL if n > _MANY else _PANEL
    if not basis.is_space:
        return side, side
    extent = np.maximum(np.nanmax(basis.cells, axis=0) - np.nanmin(basis.cells, axis=0), np.finfo(float).tiny)
    stretch = np.sqrt(extent / extent[::-1])
    width, height = side * np.maximum(stretch * min(1.0, _LONGEST / stretch.max()), _NARROWEST)
    return float(width), float(height)


def em() -> float:
    """The size of the style's font, in inches: texts keep their distance in any size."""
    return font_points("medium") / POINTS


def font_points(size: str | float) -> float:
    """A font size as matplotlib knows it, in points."""
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size=size).get_size_in_points())


def text_width(texts: Sequence[str], size: str | float, **font: Any) -> float:
    """Width in inches of the longest of some texts, read letter by letter: names with dollars are no formulas."""
    from matplotlib.font_manager import FontProperties, findfont

    prop = FontProperties(size=size, **font)
    file = findfont(prop)
    widest = max((_points_wide(text, prop, file) for text in texts if text), default=0.0)
    return _HINTING * widest / POINTS


@lru_cache(4096)
def _points_wide(text: str, prop: FontProperties, file: str) -> float:
    """Outlines take long to measure. What the properties mean depends on the style, hence the file of the font."""
    from matplotlib.textpath import TextPath

    del file
    return float(TextPath((0, 0), text.replace("$", r"\$"), prop=prop).get_extents().width)


def title_width(titles: Sequence[tuple[str, str]]) -> float:
    """Room in inches for the longest of some titles with their remarks."""
    heads, remarks = zip(*titles, strict=True)
    gap = 0.5 * em()
    return text_width(heads, "medium", weight="bold") + gap + text_width(remarks, "small")
