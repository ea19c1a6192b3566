"""Agreement of the localities with all neighbourhoods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._basis import find_basis
from lava_sc.stored import checks
from lava_sc.stored.fields import load, load_params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from lava_sc.stored.registry import FieldName

_FIELDS: Final[Mapping[str, FieldName]] = {"all neighbourhoods": "in_degree", "localities": "locality_in_degree"}
_PROBES: Final = 0.85  # strength of foreground
_SHRUNK: Final = 4  # as if there were so many times more probes: what is behind them is to be compared


@document_parameters
def centrality(
    adata: AnnData,
    *,
    basis: str | None = None,
    cmap: str | Colormap | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Cells coloured by in-degree, among the neighbourhoods of all cells and among the localities.

    Both are divided by n/E, so that their mean over all cells is 1, and have one colour scale: the more alike the two
    maps, the better the localities stand for the whole (paper, Fig. S12). The probes lie over the second map; its
    title has the remaining difference, L/n (0 = none, 2 = as large as can be).

    Parameters
    ----------
    adata
        Annotated data with localities from :func:`lava_sc.tl.localities`.
    basis
    cmap
        Colours of the in-degree, 0 first; ``None`` takes the style's.
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If localities are missing, or the basis is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> fig = lava.pl.centrality(adata, show=False)
    >>> len(fig.axes)  # two maps and the colourbar
    3
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    checks.annotated(adata)
    params = load_params(adata, key, "localities")
    place = find_basis(adata, basis, key)
    n_cells = int(params["n_cells"])  # before any were removed
    values = {
        title: np.asarray(load(adata, key, name), dtype=np.float64) * n_cells / int(params["n_neighbors"])
        for title, name in _FIELDS.items()
    }
    scale = ScalarMappable(Normalize(0.0, max(float(value.max(initial=1.0)) for value in values.values())), cmap)
    loss = load(adata, key, "placement")["loss_per_neighbor"]
    titles = list(zip(_FIELDS, ("mean = 1", f"L/n = {loss:.3f}"), strict=True))

    em = _layout.em()
    width, height = _layout.map_size(place, len(titles))
    card_width, header = max(width, _layout.title_width(titles)) + 0.9 * em, 1.8 * em
    grid = _layout.make_grid(len(titles), len(titles), card_width, header + height + 0.5 * em, bottom=1.5 * em)
    fig = _layout.new_figure(grid.size)
    for i, title in enumerate(titles):
        ax = fig.add_axes(grid.box(i, 0, header, width, height))
        value = values[title[0]]
        order = _canvas.highest_last(value)
        _canvas.draw_cells(ax, place.cells[order], array=value[order], cmap=scale.cmap, norm=scale.norm)
        _canvas.frame_map(ax, place, x=grid.is_lowest(i), y=grid.is_leftmost(i))
        _canvas.write_title(ax, *title)
    of = _SHRUNK * len(place.probes)
    _canvas.draw_probes(ax, place.probes, of=of, color=_canvas.foreground(_PROBES), edgecolors=_canvas.foreground(0))
    fig.axes[0].set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # probes may lie outside of all cells
    _canvas.fill_colorbar(fig.add_axes(grid.colorbar_box(header, height)), scale, "in-degree")
    return _canvas.hand_over(fig, fig, show=show)
