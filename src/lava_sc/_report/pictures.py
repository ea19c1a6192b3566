"""Pictures of the page: drawn by the public functions in matplotlib's own style, small enough for many of them."""

from __future__ import annotations

import base64
import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from lava_sc import pl
from lava_sc.stored.fields import has

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lava_sc.stored.registry import FieldName


@dataclass(frozen=True)
class Drawn:
    """Arguments of the page that pictures share."""

    key: str
    basis: str | None
    gene_symbols: str | None


@dataclass(frozen=True)
class PagePicture:
    """A picture of the page, shown where ``field`` is stored; with a title it gets a section of its own."""

    field: FieldName
    draw: Callable[[AnnData, Drawn], Figure | Axes | None]
    title: str = ""
    text: str = ""
    alt: str = ""


#: Name → picture. One more with a title is one more section of the page, in this order.
PICTURES: Final[dict[str, PagePicture]] = {
    "localities": PagePicture("probes", lambda adata, on: pl.localities(adata, basis=on.basis, key=on.key, show=False)),
    "centrality": PagePicture(
        "in_degree", lambda adata, on: pl.centrality(adata, basis=on.basis, key=on.key, show=False)
    ),
    "n_modules": PagePicture("n_modules", lambda adata, on: pl.n_modules(adata, key=on.key, show=False)),
    "modules": PagePicture(
        "modules",
        lambda adata, on: pl.modules(adata, basis=on.basis, gene_symbols=on.gene_symbols, key=on.key, show=False),
    ),
    "gene-sets": PagePicture(
        "ora",
        lambda adata, on: pl.ora(adata, key=on.key, show=False),
        title="Gene sets of all modules",
        alt="Gene sets by module",
    ),
    "stability": PagePicture(
        "stability",
        lambda adata, on: pl.stability(adata, key=on.key, show=False),
        title="Stability",
        text="Cosines between repetitions of the analysis, beside those of the same repetitions on shuffled genes.",
        alt="Cosines between repetitions",
    ),
}
_DPI: Final = 130
_COLORS: Final = 256  # of a picture: a third of the bytes, and nobody sees it


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's default style on white, as the page is, whatever the user's is."""
    import matplotlib.pyplot as plt

    with plt.style.context("default"):
        yield


def draw_all(adata: AnnData, on: Drawn) -> dict[str, Any]:
    """Draw the pictures of those steps that were run: by name, and those with a title as sections."""
    there = {name: one for name, one in PICTURES.items() if has(adata, on.key, one.field)}
    sources = {name: png(one.draw(adata, on)) for name, one in there.items()}
    sections = [
        {"name": name, "title": one.title, "text": one.text, "alt": one.alt, "source": sources[name]}
        for name, one in there.items()
        if one.title
    ]
    return {"pictures": sources, "sections": sections}


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
