"""Two values at once: nine colours, and their key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.pl import _canvas, _layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lava_sc._types import FloatArray, IntArray

#: The first value grows to the right, the second upwards; orange and blue are told apart by all readers, and both together are
#: dark on white, light on black.
_COLORS: Final = (
    ("#f1ebe0", "#f3b583", "#e66101"),
    ("#a9cbe3", "#a58f93", "#a4481b"),
    ("#3182bd", "#3d5a80", "#2b1d2e"),
)
_ON_BLACK: Final = (
    ("#2e2a26", "#8f4a10", "#e66101"),
    ("#1f4360", "#8a7f88", "#f0a97a"),
    ("#3182bd", "#9cc3e0", "#f7f1f5"),
)

Ends = tuple[float, float]


def ends(values: FloatArray) -> Ends:
    """Least and largest value; 0 and 1 of none."""
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def colors_of(x: FloatArray, y: FloatArray) -> tuple[list[str], IntArray]:
    """Colours by thirds of the range of either, and an order in which the highest come last."""
    across, up = _thirds(x), _thirds(y)
    return np.array(_nine())[up, across].tolist(), np.argsort(across + up, kind="stable")


def _nine() -> tuple[tuple[str, ...], ...]:
    return _canvas.for_background(_COLORS, _ON_BLACK)


def _thirds(values: FloatArray) -> IntArray:
    low, high = ends(values)
    if high <= low:
        return np.zeros(len(values), dtype=np.int64)
    return np.clip((3 * (values - low) / (high - low)).astype(np.int64), 0, 2)


def room_left_of_key(y: Ends) -> float:
    """Width in inches of the numbers and the label of the second value."""
    return _layout.text_width(_numbers(y), "small") + 2.6 * _layout.em()


def draw_key(ax: Axes, x: Ends, y: Ends, labels: tuple[str, str]) -> None:
    """The nine colours, and the ends of both ranges."""
    from matplotlib.colors import to_rgb

    colors = [[to_rgb(color) for color in row] for row in _nine()]
    ax.imshow(colors, origin="lower", aspect="auto", extent=(0, 1, 0, 1), interpolation="none")
    ax.grid(visible=False)
    ax.set_xticks([0, 1], _numbers(x))
    ax.set_yticks([0, 1], _numbers(y))
    low, high = ax.get_yticklabels()
    low.set_verticalalignment("bottom")  # clear of the numbers below
    high.set_verticalalignment("top")
    ax.set_xlabel(labels[0], fontsize="small", color=_canvas.foreground(_canvas.REMARK), labelpad=1)
    ax.set_ylabel(labels[1], fontsize="small", color=_canvas.foreground(_canvas.REMARK), labelpad=1)
    ax.tick_params(labelsize="small", length=2, width=0.6)
    ax.spines[:].set_visible(False)


def _numbers(of: Ends) -> list[str]:
    return [f"{value:.2g}" for value in of]
