"""Dots for very many cells."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from matplotlib.artist import allow_rasterization
from matplotlib.collections import PathCollection
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import IdentityTransform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure

    from lava_sc._types import FloatArray

_WORTH_IT: Final = 300  # dots of one colour on the average: a run takes as long as so many dots one by one
_ROUND: Final = MarkerStyle("o")


class Dots(PathCollection):
    """Dots of one size without an edge. Those of one colour that follow one another are stamped together.

    Matplotlib draws dots of several colours one by one, and dots of one colour by copying the first. What is ordered by value
    has no more runs of a colour than the colour map has colours.
    """

    def __init__(self, ax: Axes, places: FloatArray, size: float) -> None:
        path = _ROUND.get_path().transformed(_ROUND.get_transform())
        super().__init__(
            (path,), [size], offsets=places, offset_transform=ax.transData, linewidths=0, edgecolors="face"
        )
        self.set_transform(IdentityTransform())

    @allow_rasterization
    def draw(self, renderer: RendererBase) -> None:
        """Draw the dots in their order."""
        if not self.get_visible():
            return
        self.update_scalarmappable()
        places, colors = np.asarray(self.get_offsets()), np.asarray(self.get_facecolor())
        changes = 1 + np.flatnonzero(np.any(colors[1:] != colors[:-1], axis=1))
        if self._is_plain() and 0 < len(changes) < len(places) / _WORTH_IT:
            for run in self._runs(places, colors, [0, *changes, len(places)]):
                run.draw(renderer)
            self.stale = False
        else:
            super().draw(renderer)

    def _is_plain(self) -> bool:
        """Tell whether they still are as they were made: whoever has the axes may have changed them."""
        return len(self.get_sizes()) == 1 and not np.any(self.get_linewidth())

    def _runs(self, places: FloatArray, colors: FloatArray, edges: list[int]) -> Iterator[PathCollection]:
        for start, stop in pairwise(edges):
            run = PathCollection(
                self.get_paths(),
                self.get_sizes(),
                offsets=places[start:stop],
                offset_transform=self.get_offset_transform(),
                facecolors=colors[start],
                edgecolors="face",
                linewidths=0,
            )
            run.set_transform(self.get_transform())
            run.set_figure(cast("Figure", self.get_figure()))
            run.set_clip_path(self.get_clip_path())
            run.set_clip_box(self.get_clip_box())
            yield run
