"""Presence of the modules in the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lava_sc import get
from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._basis import find_basis
from lava_sc.pl._plot_names import module_titles
from lava_sc.stored import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from lava_sc._types import FloatArray


@document_parameters
def presences(
    adata: AnnData,
    modules: int | Sequence[int] | None = None,
    *,
    basis: str | None = None,
    cmap: str | Colormap | None = None,
    ncols: int | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Cells coloured by the mean presence of each module over the localities that contain them.

    One colour scale for all modules; cells in no locality are light grey, below the others.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    modules
    basis
    cmap
        Colours of presence, 0 first; pale yellow to dark red when ``None``.
    ncols
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If modules are missing, or a module or the basis is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> fig = lava.pl.presences(adata, [0, 2], show=False)
    >>> len(fig.axes)  # two maps and the colourbar
    3
    """
    checks.annotated(adata)
    chosen = _canvas.chosen_modules(adata, modules, key)
    place = find_basis(adata, basis, key)
    values = get.presences(adata, key=key).to_numpy()
    scale = _canvas.presence_scale(values, cmap)

    em = _layout.em()
    width, height = _layout.map_size(place, len(chosen))
    titles = [(title, "") for title in module_titles(adata, chosen, key, room=width)]
    card_width, header = max(width, _layout.title_width(titles)) + 0.9 * em, 1.8 * em
    grid = _layout.make_grid(len(chosen), ncols, card_width, header + height + 0.5 * em, bottom=1.5 * em)
    fig = _layout.new_figure(grid.size)
    for i, m in enumerate(chosen):
        ax = fig.add_axes(grid.box(i, 0, header, width, height))
        _draw(ax, place.cells, values[:, m], scale)
        _canvas.frame_map(ax, place, x=grid.is_lowest(i), y=grid.is_leftmost(i))
        _canvas.write_title(ax, *titles[i])
    _canvas.fill_colorbar(fig.add_axes(grid.colorbar_box(header, height)), scale, "presence")
    return _canvas.hand_over(fig, fig, show=show)


def _draw(ax: Axes, cells: FloatArray, values: FloatArray, scale: ScalarMappable) -> None:
    outside = np.isnan(values)
    if outside.any():
        _canvas.draw_cells(ax, cells[outside], of=len(cells), facecolor=_canvas.foreground(_canvas.CELLS))
    order = _canvas.highest_last(values)
    _canvas.draw_cells(ax, cells[order], of=len(cells), array=values[order], cmap=scale.cmap, norm=scale.norm, zorder=2)
