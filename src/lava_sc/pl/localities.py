"""Localities on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._basis import find_basis
from lava_sc.pl._obs_column import draw_column, room_beside
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from scipy import sparse

    from lava_sc._types import IntArray
    from lava_sc.pl._basis import Basis

_GAP, _LINE = 0.7, 1.0  # points, around outlined cells
_PROBES: Final = 0.85  # strength of foreground
_SCALE: Final = 1.7  # a single map may be larger than one of many


@document_parameters
def localities(
    adata: AnnData,
    *,
    localities: int | Sequence[int] | None = None,
    basis: str | None = None,
    color: str | None = None,
    key: str = "lava",
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes | None:
    """Probes over the embedding, and the cells of chosen localities.

    Parameters
    ----------
    adata
        Annotated data with localities from :func:`lava_sc.tl.localities`.
    localities
        Number or numbers of localities, from 0, whose cells are coloured, or outlined where ``color`` is given; a cell in
        several goes with the last.
    basis
    color
        Column of ``adata.obs`` that colours the cells behind: categories with the colours that scanpy stored for them,
        if any, or numbers. ``None`` leaves them grey.
    key
    ax
    show

    Returns
    -------
    The axes, or ``None`` when the figure was shown. In scripts pyplot does not hold the figure any more unless ``ax``
    was given: save it with ``ax.figure.savefig``.

    Raises
    ------
    ValueError
        If localities are missing, or a locality, the basis or the column is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> ax = lava.pl.localities(adata, localities=[0, 1], color="region", show=False)
    >>> ax.get_xlabel()
    'UMAP1'
    """
    checks.annotated(adata)
    membership: sparse.csc_matrix = load(adata, key, "localities").tocsc()
    chosen = _canvas.chosen_numbers("localities", () if localities is None else localities, membership.shape[1])
    if color is not None:
        checks.column_names("column of adata.obs", color, list(adata.obs.columns))
    place = find_basis(adata, basis, key)

    own_figure = ax is None
    ax = _new_axes(place, 0.0 if color is None else room_beside(adata.obs[color])) if ax is None else ax
    colors = None
    if color is None:
        _canvas.draw_cells(ax, place.cells, facecolor=_canvas.foreground(_canvas.CELLS))
    else:
        colors = draw_column(ax, place, adata, color)
    _canvas.draw_probes(ax, place.probes, color=_canvas.foreground(_PROBES), edgecolors=_canvas.foreground(0))
    for i, number in enumerate(chosen):
        members = membership.indices[membership.indptr[number] : membership.indptr[number + 1]]
        if colors is None:
            _canvas.draw_cells(ax, place.cells[members], of=len(place.cells), facecolor=f"C{i % 10}", zorder=2)
        else:
            _outline(ax, place, members, colors)
        _name_probe(ax, place, number, f"C{i % 10}" if colors is None else _canvas.foreground(0))
    _canvas.frame_map(ax, place)
    show = False if show is None and not own_figure else show
    return _canvas.hand_over(ax, _canvas.figure_of(ax), show=show, close=own_figure and not _canvas.is_interactive())


def _new_axes(place: Basis, beside: float) -> Axes:
    width, height = (_SCALE * side for side in _layout.map_size(place))
    left, top, bottom = (lines * _layout.em() for lines in (2.0, 0.6, 1.8))
    total_width, total_height = left + width + top + beside, top + height + bottom
    fig = _layout.new_figure((total_width, total_height))
    box = (left / total_width, bottom / total_height, width / total_width, height / total_height)
    return fig.add_axes(box)


def _outline(ax: Axes, place: Basis, members: IntArray, colors: NDArray[Any]) -> None:
    """Cells of a locality above the others in the colours that they have, with a line around all of them."""
    mixed = np.random.default_rng(0).permutation(members)
    for margin, color in ((_LINE + _GAP, _canvas.foreground(1)), (_GAP, _canvas.foreground(0)), (0.0, colors[mixed])):
        _canvas.draw_cells(ax, place.cells[mixed], of=len(place.cells), margin=margin, facecolor=color, zorder=2)


def _name_probe(ax: Axes, place: Basis, number: int, color: str) -> None:
    """The probe of a locality above all, and its number beside it."""
    from matplotlib.patheffects import withStroke

    at = place.probes[place.drawn == number]
    if not len(at):  # no cell is left in a subset
        return
    _canvas.draw_probes(ax, at, of=len(place.probes), color=color, edgecolors=_canvas.foreground(1), zorder=4)
    ax.annotate(
        str(number),
        at[0],
        xytext=(3, 3),
        textcoords="offset points",
        fontsize="small",
        fontweight="bold",
        zorder=5,
        path_effects=[withStroke(linewidth=2, foreground=_canvas.foreground(0))],
    )
