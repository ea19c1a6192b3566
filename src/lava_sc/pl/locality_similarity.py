"""Similarity of the correlations of one locality to those of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.core.interpret.similarity import cosines_with, pairs_within
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._basis import find_basis
from lava_sc.pl._genes import numbers_of_genes
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from lava_sc._types import FloatArray
    from lava_sc.pl._basis import Basis

_LARGER: Final = 1.5  # a single map may be larger than one of many
_NOTHING: Final = 0.2  # strength of foreground
_RING: Final = 13.0  # points


@document_parameters
def locality_similarity(
    adata: AnnData,
    locality: int,
    *,
    genes: Sequence[str] | None = None,
    basis: str | None = None,
    cmap: str | Colormap | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Cosine between the absolute correlations of one locality and those of all others.

    Cells are light grey; a dot is a probe, coloured by the cosine, and the chosen one is ringed (paper, Figure S10). Probes
    of localities without any correlation among the pairs are grey.

    Parameters
    ----------
    adata
        Annotated data with correlations from :func:`lava_sc.tl.locality_corr`.
    locality
        Number of the locality, from 0.
    genes
        Names out of ``adata.uns[key]["genes"]``: only pairs of two of these are compared, all pairs when ``None``.
    basis
    cmap
        Colours from cosine 0 to 1; yellow to dark violet when ``None``.
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If correlations are missing, the locality, a gene or the basis is unknown, or the locality has no correlation among
        these pairs.

    Notes
    -----
    Localities that share cells are alike for that reason alone. Absolute correlations that are mere noise are alike as well
    when all are kept (``fdr=None`` of :func:`lava_sc.tl.locality_corr`): about 0.64 without any structure.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> lava.tl.locality_corr(adata)
    >>> fig = lava.pl.locality_similarity(adata, 0, show=False)
    >>> len(fig.axes)  # the map and its colourbar
    2
    """
    checks.annotated(adata)
    C = load(adata, key, "C")
    checks.in_range("locality", locality, 0, C.shape[0] - 1, integer=True)
    place = find_basis(adata, basis, key)
    pairs = None
    if genes is not None:
        pairs = pairs_within(numbers_of_genes(adata, genes, key), len(load(adata, key, "genes")))
    cosines = cosines_with(C, int(locality), pairs)
    _refuse_nothing(cosines, locality, is_subset=pairs is not None)
    scale = _scale(cmap)

    em = _layout.em()
    width, height = (_LARGER * side for side in _layout.map_size(place))
    n_pairs = C.shape[1] if pairs is None else len(pairs)
    title = f"locality {locality}", f"similarity of {n_pairs:,} pairs" if n_pairs > 1 else "similarity of one pair"
    grid = _layout.make_grid(
        1, 1, max(width, _layout.title_width([title])), 2.0 * em + max(height, 1.0 + em), bottom=1.6 * em
    )
    fig = _layout.new_figure(grid.size)
    ax = fig.add_axes(grid.box(0, 0, 2.0 * em, width, height))
    _draw(ax, place, cosines, int(locality), scale)
    _canvas.frame_map(ax, place)
    _canvas.write_title(ax, *title)
    _canvas.fill_colorbar(fig.add_axes(grid.colorbar_box(2.0 * em, height)), scale, "cosine")
    return _canvas.hand_over(fig, fig, show=show)


def _refuse_nothing(cosines: FloatArray, locality: int, *, is_subset: bool) -> None:
    if np.isnan(cosines[locality]):
        where, remedy = (" among these genes", "another one or other genes") if is_subset else ("", "another one")
        msg = f"Found no correlation of locality {locality}{where}, expected at least one to compare; choose {remedy}."
        raise ValueError(msg)


def _scale(cmap: str | Colormap | None) -> ScalarMappable:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0.0, 1.0), _canvas.rising_colors() if cmap is None else cmap)


def _draw(ax: Axes, place: Basis, cosines: FloatArray, locality: int, scale: ScalarMappable) -> None:
    _canvas.draw_cells(ax, place.cells, facecolor=_canvas.foreground(_canvas.CELLS))
    shown = cosines[place.drawn]
    nothing, n = np.isnan(shown), len(shown)
    if nothing.any():
        edged = dict(color=_canvas.foreground(_NOTHING), edgecolors=_canvas.foreground(_canvas.FRAME), zorder=2)
        _canvas.draw_probes(ax, place.probes[nothing], of=n, **edged)
    order = _canvas.highest_last(shown)
    _canvas.draw_probes(ax, place.probes[order], of=n, c=shown[order], cmap=scale.cmap, norm=scale.norm)
    for at in place.probes[place.drawn == locality]:  # none when a subset has none of its cells
        ax.plot(*at, marker="o", markersize=_RING, markerfacecolor="none", color=_canvas.foreground(1), zorder=4)
