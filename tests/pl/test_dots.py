"""Dots that are stamped in runs look like those that matplotlib draws one by one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection

from lava_sc.pl._canvas import draw_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

N = 20_000


def places(n: int = N) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(n, 2))


def canvas() -> tuple[Figure, Axes]:
    fig = plt.figure(figsize=(3, 3), dpi=100)
    return fig, fig.add_axes((0.1, 0.1, 0.8, 0.8))


def pixels(fig: Figure) -> NDArray[np.int64]:
    fig.canvas.draw()
    found = np.asarray(fig.canvas.buffer_rgba())[:, :, :3].astype(np.int64)
    plt.close(fig)
    return found


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the collections that matplotlib draws."""
    found: list[int] = []
    original = PathCollection.draw

    def note(self: PathCollection, renderer: object) -> None:
        found.append(len(self.get_offsets()))
        original(self, renderer)

    monkeypatch.setattr(PathCollection, "draw", note)
    return found


@pytest.mark.parametrize("size", [1, 14])
def test_values_in_order(calls: list[int], size: int) -> None:
    at, values = places(), np.repeat(np.arange(20.0), N // 20)
    mine, ax = canvas()
    cloud = draw_cells(ax, at, of=N // size, array=values, cmap="viridis")
    found = pixels(mine)
    assert calls == [N // 20] * 20
    theirs, plain = canvas()
    plain.scatter(*at.T, c=values, cmap="viridis", s=cloud.get_sizes()[0], linewidths=0)
    assert (ax.get_xlim(), ax.get_ylim()) == (plain.get_xlim(), plain.get_ylim())
    expected = pixels(theirs)
    assert (expected != 255).any(axis=2).mean() > 0.1
    # a stamp begins at a whole pixel, so that edges differ
    blocks = [image.reshape(30, 10, 30, 10, 3).mean(axis=(1, 3)) for image in (found, expected)]
    assert abs(blocks[0] - blocks[1]).max() < 30
    assert abs(blocks[0] - blocks[1]).mean() < 3


def test_later_ones_lie_on_top() -> None:
    fig, ax = canvas()
    draw_cells(ax, np.zeros((2000, 2)), of=1, facecolor=np.repeat(["#ff0000", "#0000ff"], 1000))
    assert pixels(fig)[150, 150].tolist() == [0, 0, 255]


def test_nothing_is_drawn_beyond_the_axes_or_when_hidden(calls: list[int]) -> None:
    fig, ax = canvas()
    ax.set_axis_off()
    cloud = draw_cells(ax, places(), array=np.repeat([0.0, 1.0], N // 2))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    fig.canvas.draw()
    image = np.asarray(fig.canvas.buffer_rgba())[:, :, :3].copy()
    assert calls == [N // 2] * 2
    assert (image[40:260, 40:260] != 255).any()
    image[29:271, 29:271] = 255
    assert (image == 255).all()
    cloud.set_visible(False)
    assert (pixels(fig) == 255).all()
    assert calls == [N // 2] * 2


def test_colours_that_alternate_are_left_to_matplotlib(calls: list[int]) -> None:
    fig, ax = canvas()
    draw_cells(ax, places(), array=np.arange(N) % 2)
    pixels(fig)
    assert calls == [N]


@pytest.mark.parametrize("change", [{"linewidth": 2, "edgecolor": "black"}, {"sizes": [1, 50]}])
def test_what_others_change_is_seen(calls: list[int], change: dict[str, object]) -> None:
    """Axes are handed over, and whoever takes them may go on with them."""
    drawn = []
    for changes in ({}, change):
        fig, ax = canvas()
        draw_cells(ax, places(), array=np.repeat([0.0, 1.0], N // 2)).set(**changes)
        drawn.append(pixels(fig))
    assert calls == [N // 2, N // 2, N]
    assert (drawn[0] != drawn[1]).any()


def test_runs_are_one_image_in_a_vector_file() -> None:
    fig, ax = canvas()
    draw_cells(ax, places(), array=np.repeat(np.arange(10.0), N // 10))
    with io.BytesIO() as file:
        fig.savefig(file, format="svg")
        assert file.getvalue().count(b"<image") == 1
    plt.close(fig)
