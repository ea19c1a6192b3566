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

    from lava_sc._types import FloatArray, IntArray

_WORTH_IT: Final = 300  # dots of one colour on the average: a run takes as long as so many dots one by one
_RUNS: Final = 200
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
        self.update_scalarmappable()
        starts = self._starts()
        if len(starts) == 1 or len(starts) * _WORTH_IT > len(np.asarray(self.get_offsets())):
            super().draw(renderer)
            return
        if self.get_visible():
            for run in self._runs(starts):
                run.draw(renderer)
        self.stale = False

    def _starts(self) -> IntArray:
        """Where each run of a colour starts."""
        colors = np.asarray(self.get_facecolor())
        return np.flatnonzero(np.r_[True, np.any(colors[1:] != colors[:-1], axis=1)])

    def _runs(self, starts: IntArray) -> Iterator[PathCollection]:
        places, colors = np.asarray(self.get_offsets()), np.asarray(self.get_facecolor())
        for start, stop in pairwise([*starts, len(places)]):
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


def shuffled(codes: IntArray) -> IntArray:
    """An order in which no category lies on top of the others, with the same ones side by side as far as that goes.

    It is the same for the same cells. In the order of the object the last sample would hide the others.
    """
    order = np.random.default_rng(0).permutation(len(codes))
    n_rounds = max(1, _RUNS // (len(np.unique(codes)) or 1))
    rounds = np.arange(len(order)) * n_rounds // max(len(order), 1)
    return order[np.lexsort((codes[order], rounds))]
