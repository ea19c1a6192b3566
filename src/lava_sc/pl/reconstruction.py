"""A locality, its parts and what they make together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.core.interpret.reconstruction import reconstruct_locality
from lava_sc.core.interpret.summary import PRESENT_ABOVE
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._genes import numbers_of_genes
from lava_sc.pl._plot_names import gene_names, module_titles
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.interpret.reconstruction import Reconstruction

_MOST_PARTS: Final = 6
_SIDE: Final = (2.2, 3.0)  # of a panel, inches
_LINE: Final = 1.3  # of a gene's name, in its font size
_SMALLEST: Final = 4.0  # points, below which names are not written
_TITLE: Final = 11.0  # of a module, in font sizes


@document_parameters
def reconstruction(
    adata: AnnData,
    locality: int,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 30,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Absolute correlations of a locality, those that its modules reconstruct, and their maximum.

    Tables of genes × genes: first the absolute correlations of the locality, then presence times module for each module that is present there
    (above 0.01; the six strongest), then the largest of all of them, which is what the locality is reconstructed by (paper,
    Figure 5c). All have one colour scale and the same order of genes: by the module that wins most pairs of a gene, the
    most present one first, then by weight.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    locality
        Number of the locality, from 0.
    genes
        Names of the genes to draw, out of ``adata.uns[key]["genes"]``. ``None`` takes in turn the gene
        with the largest sum over the locality's correlations and that with the largest in each of the modules drawn.
    n_genes
        How many, when ``genes`` is ``None``. Names are written where there is room for them, up to about fifty.
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown. Over the last table: cosine of the
    locality's correlations and their reconstruction, and the share of the absolute error that is overestimation, both over all
    pairs, drawn or not.

    Raises
    ------
    ValueError
        If modules are missing, the locality or a gene is unknown, or there is nothing in the locality.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> fig = lava.pl.reconstruction(adata, 0, show=False)
    >>> fig.axes[0].get_title(loc="left")
    'locality 0'
    """
    checks.annotated(adata)
    presences = load(adata, key, "presences")
    checks.in_range("locality", locality, 0, len(presences) - 1, integer=True)
    checks.in_range("n_genes", n_genes, 2, np.inf, integer=True)
    names = np.asarray(load(adata, key, "genes"), dtype=object)
    asked = None if genes is None else numbers_of_genes(adata, genes, key)
    found = reconstruct_locality(
        load(adata, key, "C"), presences, load(adata, key, "modules"), int(locality), len(names)
    )
    parts = _present(presences[locality])[:_MOST_PARTS]
    drawn = found.in_order(found.strongest_genes(n_genes, parts) if asked is None else asked)
    if not len(drawn):
        msg = f"Found neither correlations nor modules in locality {locality}, expected something to draw; choose another one."
        raise ValueError(msg)
    labels = gene_names(adata, names[drawn].tolist(), None)

    heads = module_titles(adata, parts.tolist(), key, room=_TITLE * _layout.em())
    titles, tables = _panels(found, presences[locality], (f"locality {locality}", *heads), parts, drawn)
    scale = _canvas.presence_scale(np.array([0.0, *(np.nanmax(table, initial=0.0) for table in tables)]), None)
    room = _layout.title_width(titles)
    side, size = _sizes(len(labels), room)
    em = _layout.em()
    width = max(side, room) + 1.2 * em
    grid = _layout.make_grid(len(tables), None, width, side + 2.0 * em + 1.2 * em, bottom=0.8 * em)
    grid = replace(grid, left=(_layout.text_width(labels, size, style="italic") if size else 0.0) + 1.0 * em)
    fig = _layout.new_figure(grid.size)
    for i, (title, table) in enumerate(zip(titles, tables, strict=True)):
        ax = fig.add_axes(grid.box(i, 0, 2.0 * em, side, side))
        image = ax.imshow(table, interpolation="nearest", aspect="auto")
        image.set(cmap=scale.cmap, norm=scale.norm)
        _frame(ax, labels if size and grid.is_leftmost(i) else [], size)
        _canvas.write_title(ax, *title)
    _write_rest(fig.axes[-1], presences[locality])
    _canvas.fill_colorbar(fig.add_axes(grid.colorbar_box(2.0 * em, side)), scale, "absolute correlation")
    return _canvas.hand_over(fig, fig, show=show)


def _present(presence: FloatArray) -> IntArray:
    """Modules that are present, the strongest first."""
    order = np.argsort(-presence, kind="stable")
    return order[presence[order] > PRESENT_ABOVE]


def _panels(
    found: Reconstruction, presence: FloatArray, heads: Sequence[str], parts: IntArray, genes: IntArray
) -> tuple[list[tuple[str, str]], list[FloatArray]]:
    """Titles and tables."""
    cosine = "no correlations" if np.isnan(found.cosine) else f"cosine {found.cosine:.2f}"
    over = f"overestimation {100 * found.overestimation:.0f} %"
    titles = [(heads[0], "")]
    titles += [(head, f"presence {presence[m]:.2f}") for head, m in zip(heads[1:], parts, strict=True)]
    titles += [("maximum", f"{cosine}, {over}")]
    values = [found.correlations, *found.parts[parts], found.largest]
    return titles, [found.square(value, genes) for value in values]


def _sizes(n_genes: int, title_width: float) -> tuple[float, float]:
    """Side of a panel in inches, under its title if it can be, and size of the names in points; 0 without room for them."""
    usual = _layout.font_points("x-small")
    low, high = _SIDE
    side = float(np.clip(max(title_width, _LINE * usual * n_genes / _layout.POINTS), low, max(high, 18 * _layout.em())))
    size = min(usual, side * _layout.POINTS / (_LINE * max(n_genes, 1)))
    return side, size if size >= _SMALLEST else 0.0


def _frame(ax: Axes, labels: Sequence[str], size: float) -> None:
    ax.set(xticks=[], yticks=np.arange(len(labels)))
    ax.set_yticklabels(labels, fontsize=size or None, style="italic", parse_math=False)
    ax.tick_params(axis="y", length=0, pad=2)
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))


def _write_rest(ax: Axes, presence: FloatArray) -> None:
    """Below the maximum, what of it is not drawn beside it."""
    present = _present(presence)
    n_more = len(present) - _MOST_PARTS
    if not len(present):
        note = "no module is present"
    elif n_more > 0:
        note = f"{n_more} weaker modules are not drawn" if n_more > 1 else "1 weaker module is not drawn"
    else:
        return
    ax.set_xlabel(note, fontsize="small", color=_canvas.foreground(_canvas.REMARK))
