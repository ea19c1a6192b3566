"""Pictures of the page: drawn by the public functions in matplotlib's own style, small enough for many of them."""

from __future__ import annotations

import base64
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI: Final = 130
_COLORS: Final = 256  # of a picture: a third of the bytes, and nobody sees it


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's default style on white, as the page is, whatever the user's is."""
    import matplotlib.pyplot as plt

    with plt.style.context("default"):
        yield


def png(drawn: Figure | Axes | None) -> str:
    """Encode a figure, or that of some axes, as a data URI, and let pyplot forget it: a notebook would show it."""
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure
    from PIL import Image

    figure = cast("Figure", drawn if isinstance(drawn, Figure) else cast("Axes", drawn).get_figure(root=True))
    with io.BytesIO() as whole, io.BytesIO() as small:
        figure.savefig(whole, format="png", dpi=_DPI, bbox_inches="tight", facecolor="white")
        plt.close(figure)
        whole.seek(0)
        Image.open(whole).convert("RGB").quantize(_COLORS).save(small, format="png")
        return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode("ascii")
