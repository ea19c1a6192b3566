"""What can be read off a drawn figure."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.text import Text

if TYPE_CHECKING:
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray


def dots(ax: Axes) -> list[PathCollection]:
    """Clouds of dots, lowest first."""
    return sorted(ax.collections, key=lambda cloud: cloud.get_zorder())


def by_place(cloud: PathCollection) -> dict[tuple[float, float], tuple[float, ...]]:
    """Colour at each position."""
    cloud.update_scalarmappable()
    offsets, colors = np.asarray(cloud.get_offsets()), cloud.get_facecolors()
    colors = np.broadcast_to(colors, (len(offsets), 4))
    return {tuple(at): tuple(color) for at, color in zip(offsets.tolist(), colors.tolist(), strict=True)}


def expected_by_place(places: NDArray[np.float64], colors: ArrayLike) -> dict[tuple[float, float], tuple[float, ...]]:
    rgba = np.broadcast_to(to_rgba_array(colors), (len(places), 4))
    return {tuple(at): tuple(color) for at, color in zip(places.tolist(), rgba.tolist(), strict=True)}


def texts(fig: Figure) -> list[Text]:
    """All text that is drawn; ticks beyond the end of an axis keep their text but are not."""
    fig.draw_without_rendering()
    unseen = set()
    for axis in (axis for ax in fig.findobj(Axes) for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks() + axis.get_minor_ticks():
            if not low <= tick.get_loc() <= high:
                unseen |= {tick.label1, tick.label2}
    return [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in unseen]


def assert_readable(fig: Figure) -> None:
    """All text lies within the figure, none on another or on the panel of other axes."""
    boxes = [(t, t.get_window_extent()) for t in texts(fig)]
    canvas = fig.bbox.padded(0.5)
    for text, box in boxes:
        inside = canvas.x0 <= box.x0 and canvas.y0 <= box.y0 and box.x1 <= canvas.x1 and box.y1 <= canvas.y1
        assert inside, f"{text.get_text()!r} leaves the figure"
        for ax in fig.axes:
            assert ax is text.axes or not overlap(box, ax.get_window_extent()), f"{text.get_text()!r} lies on a panel"
    for (a, box_a), (b, box_b) in combinations(boxes, 2):
        assert not overlap(box_a, box_b), f"{a.get_text()!r} lies on {b.get_text()!r}"


def overlap(a: object, b: object) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
