"""Number of modules that share a locality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._basis import find_basis
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from lava_sc._types import FloatArray
    from lava_sc.pl._basis import Basis

_LEFT_OUT: Final = 0.2  # strength of foreground
_WIDTH, _HEIGHTS = 2.6, (1.9, 2.4)  # of the histogram, inches
_BINS: Final = 24
_LINES: Final = 2.6  # above the bars, for the mean and for the reference


@document_parameters
def co_presence(
    adata: AnnData,
    *,
    basis: str | None = None,
    cmap: str | Colormap | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Entropy of the modules' presences in each locality, over the embedding and as a histogram.

    A dot is a probe, light grey where the locality was left out. Over the bars the mean and one standard deviation to
    either side, as far as 0; the dashed line at log₂ M is where all modules are present equally (paper, Figure 5a-b).

    Parameters
    ----------
    adata
        Annotated data with entropies from :func:`lava_sc.tl.co_presence`.
    basis
    cmap
        Colours from 0 to log₂ M bits; yellow to dark violet when ``None``.
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If entropies are missing or the basis is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.co_presence(adata)
    >>> fig = lava.pl.co_presence(adata, show=False)
    >>> len(fig.axes)  # the map, its colourbar and the histogram
    3
    """
    checks.annotated(adata)
    bits = np.asarray(load(adata, key, "co_presence"), dtype=np.float64)
    n_modules = len(load(adata, key, "module_entropy"))
    place = find_basis(adata, basis, key)
    scale = _scale(n_modules, cmap)

    em = _layout.em()
    width, height = _layout.map_size(place)
    titles = _titles(bits)
    header, gap = 2.0 * em, 4.5 * em
    left = max(width, _layout.title_width(titles[:1])) + 0.16 + 4.5 * em
    right = max(_WIDTH, _layout.title_width(titles[1:]))
    below = (1.8 * em, 3.6 * em)  # labels of the map's and of the histogram's axes
    tall = float(np.clip(height + below[0] - below[1], *_HEIGHTS))
    body = max(max(height, 1.0 + em) + below[0], tall + below[1])
    grid = _layout.Grid(1, 1, left + gap + right, header + body, left=1.8 * em, bottom=0.0, right=1.2 * em)
    fig = _layout.new_figure(grid.size)
    ax = fig.add_axes(grid.box(0, 0, header, width, height))
    _draw_map(ax, place, bits[place.drawn], scale)
    _canvas.frame_map(ax, place)
    _canvas.write_title(ax, *titles[0])
    lower = 0.6 * em  # so that the uppermost number stays clear of a long title
    box = grid.box(0, width + 0.05, header + lower, 0.11, max(min(height, 2.4) - lower, 1.0))
    _canvas.fill_colorbar(fig.add_axes(box), scale, "bits")
    bars = fig.add_axes(grid.box(0, left + gap, header, _WIDTH, tall))
    _draw_histogram(bars, bits[~np.isnan(bits)], n_modules, line=em / tall)
    _canvas.write_title(bars, *titles[1])
    return _canvas.hand_over(fig, fig, show=show)


def _scale(n_modules: int, cmap: str | Colormap | None) -> ScalarMappable:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0.0, np.log2(max(n_modules, 2))), _canvas.rising_colors() if cmap is None else cmap)


def _titles(bits: FloatArray) -> tuple[tuple[str, str], tuple[str, str]]:
    there = bits[~np.isnan(bits)]
    of_map = "co-presence", f"of {len(there):,} of {len(bits):,} localities"
    if not len(there):
        return of_map, ("all localities left out", "")
    spread = f"sd {there.std(ddof=1):.2f}" if len(there) > 1 else "one locality"
    return of_map, (f"mean {there.mean():.2f} bits", spread)


def _draw_map(ax: Axes, place: Basis, bits: FloatArray, scale: ScalarMappable) -> None:
    _canvas.draw_cells(ax, place.cells, facecolor=_canvas.foreground(_canvas.CELLS))
    outside = np.isnan(bits)
    if outside.any():
        edged = dict(color=_canvas.foreground(_LEFT_OUT), edgecolors=_canvas.foreground(_canvas.FRAME), zorder=2)
        _canvas.draw_probes(ax, place.probes[outside], of=len(bits), **edged)
    order = _canvas.highest_last(bits)
    _canvas.draw_probes(ax, place.probes[order], of=len(bits), c=bits[order], cmap=scale.cmap, norm=scale.norm)


def _draw_histogram(ax: Axes, bits: FloatArray, n_modules: int, *, line: float) -> None:
    """Bars, the mean with its spread above them, and the most there can be.

    A line of text takes the fraction ``line`` of the panel's height.
    """
    most = float(np.log2(n_modules))
    end = most if most > 0 else 1.0
    counts, _, _ = ax.hist(
        bits, bins=np.linspace(0, end * (1 + 1e-9), _BINS + 1).tolist(), color=_canvas.foreground(_canvas.BARS)
    )
    highest = max(float(np.max(counts)), 1.0)
    top = highest / (1 - _LINES * line)
    if len(bits):
        mean, spread = float(bits.mean()), float(bits.std(ddof=1)) if len(bits) > 1 else 0.0
        style: dict[str, Any] = dict(marker="o", markersize=5, color="C0", capsize=3, zorder=4)
        ax.errorbar(mean, (1 - 1.9 * line) * top, xerr=[[min(spread, mean)], [spread]], **style)
    ax.axvline(most, color=_canvas.foreground(_canvas.REMARK), linestyle="--", linewidth=1, zorder=2)
    ax.annotate(
        f"log₂ {n_modules} = {most:.2f}",
        xy=(most, 1),
        xycoords=ax.get_xaxis_transform(),
        xytext=(-4 if most > 0 else 4, -2),
        textcoords="offset points",
        ha="right" if most > 0 else "left",
        va="top",
        fontsize="small",
        color=_canvas.foreground(_canvas.REMARK),
    )
    _frame(ax, end, top)


def _frame(ax: Axes, end: float, top: float) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set(xlim=(-0.04 * end, 1.04 * end), ylim=(0, top))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True, prune="lower"))  # 0 lies by that of the other axis
    ax.set_xlabel("entropy of the presences, bits", fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.set_ylabel("localities", fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.tick_params(labelsize="small", length=2, width=0.6)
    ax.grid(visible=False)
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))
