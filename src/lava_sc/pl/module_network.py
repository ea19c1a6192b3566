"""A module as a network of genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lava_sc._docs import document_parameters
from lava_sc.core.correlation.pairs import pair_features
from lava_sc.core.interpret.direction import sums_where_present
from lava_sc.core.interpret.summary import gene_weights
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._direction import direction_colors
from lava_sc.pl._network_layout import fit, place_nodes, without_overlap
from lava_sc.pl._plot_names import gene_names, module_titles
from lava_sc.stored import checks, inputs
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from lava_sc._types import FloatArray, IntArray, SeedLike

_MANY: Final = 60  # genes from which names, dots and lines are smaller
_DOTS: Final = {False: (14.0, 130.0), True: (8.0, 70.0)}  # square points, lightest and heaviest gene
_SIZES: Final = {False: "small", True: "x-small"}
_FILLED: Final = 0.16  # of the page, by boxes
_SIDES: Final = (3.4, 11.0)  # of the page, inches
_WIDER: Final = 1.25  # than high
_HEADER, _BELOW, _MARGIN = 2.0, 2.4, 0.6  # in font sizes
_LINES: Final = {False: (0.4, 3.0), True: (0.3, 1.5)}  # width in points, weakest and strongest of the edges
_OPACITIES: Final = {False: (0.5, 0.9), True: (0.35, 0.75)}
_NODE: Final = 0.6  # strength of foreground
_STYLE: Final = "italic"


@dataclass(frozen=True)
class _Network:
    """Genes by falling weight, and correlations between them by falling strength.

    Attributes
    ----------
    genes, weights
        (n,) numbers and weights of the genes.
    edges, strengths
        (K, 2) positions among the genes and (K,) values of the module.
    means
        (K,) the sign is that of the mean ρ where the module is present; 0 where nothing is correlated.
    n_genes, n_pairs
        Of the module, drawn or not.
    """

    genes: IntArray
    weights: FloatArray
    edges: IntArray
    strengths: FloatArray
    means: FloatArray
    n_genes: int
    n_pairs: int


@document_parameters
def module_network(
    adata: AnnData,
    module: int,
    *,
    n_genes: int = 40,
    n_edges: int | None = None,
    gene_symbols: str | None = None,
    rng: SeedLike = 0,
    ax: Axes | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Axes | None:
    """Genes of a module as a network of their strongest correlations.

    A dot is a gene, the larger the larger its weight; a line is a correlation of the module, the wider the stronger. Lines are
    orange where the mean ρ is positive over the localities in which AMF found the module present (above 0.01), and blue
    and dashed where it is negative. Genes that correlate strongly stand close to each other.

    Parameters
    ----------
    adata
        Annotated data with gene lists from :func:`lava_sc.tl.module_genes`.
    module
        Number of the module, from 0.
    n_genes
        How many of the genes in its list are drawn, by weight.
    n_edges
        How many of the correlations between these are drawn, the strongest. ``None`` draws the strongest one of each gene
        and then the strongest of all, two for each gene altogether.
    gene_symbols
    rng
        Seed of the layout.
    ax
        Axes to draw into, of a figure that has its final size; a new figure that is large enough for all names when
        ``None``. Names that would lie on others are left out, those of light genes first.
    key
    show

    Returns
    -------
    The axes, or ``None`` when the figure was shown. Lengths on the axes are inches.

    Raises
    ------
    ValueError
        If gene lists are missing, there is no such module, it has no correlations, or the column is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> ax = lava.pl.module_network(adata, 0, n_genes=15, show=False)
    >>> len(ax.texts) > 1
    True
    """
    checks.annotated(adata)
    load(adata, key, "module_genes")
    n_modules = load(adata, key, "modules").shape[0]
    checks.in_range("module", module, 0, n_modules - 1, integer=True)
    checks.in_range("n_genes", n_genes, 2, np.inf, integer=True)
    if n_edges is not None:
        checks.in_range("n_edges", n_edges, 1, np.inf, integer=True)
    network = _network(adata, int(module), n_genes, n_edges, key)
    names = gene_names(adata, np.asarray(load(adata, key, "genes"), dtype=object)[network.genes], gene_symbols)

    many = len(names) > _MANY
    size = _layout.font_points(_SIZES[many])
    light, heavy = _DOTS[many]
    areas = light + (heavy - light) * network.weights / network.weights[0]
    radii = np.sqrt(areas / np.pi) / _layout.POINTS
    widths = np.array([_layout.text_width([name], size, style=_STYLE) for name in names])
    text_height = 1.25 * size / _layout.POINTS
    halves = np.column_stack([np.maximum(widths / 2, radii), radii + text_height / 2])
    given, ax = ax is not None, _new_axes(halves) if ax is None else ax
    page = np.asarray(ax.get_position().size) * _canvas.figure_of(ax).get_size_inches()
    places = place_nodes(len(names), network.edges, network.strengths, np.random.default_rng(rng))
    centres = fit(places, halves, page)
    nodes = centres + np.column_stack([np.zeros(len(names)), halves[:, 1] - radii])

    _draw_edges(ax, network, nodes)
    ax.scatter(
        nodes[:, 0],
        nodes[:, 1],
        s=areas,
        color=_canvas.foreground(_NODE),
        edgecolors=_canvas.foreground(0),
        linewidths=0.6,
        zorder=3,
    )
    _write_names(ax, names, centres, halves, size, text_height)
    _frame(ax, page)
    _write_title(ax, adata, int(module), network, key, page[0])
    return _canvas.hand_over(ax, _canvas.figure_of(ax), show=show, close=not given)


def _network(adata: AnnData, m: int, n_genes: int, n_edges: int | None, key: str) -> _Network:
    modules, n_features = load(adata, key, "modules"), len(load(adata, key, "genes"))
    row = modules[[m]]
    pairs, values = row.indices[row.data > 0], row.data[row.data > 0].astype(np.float64)
    if not len(pairs):
        msg = f"Found no correlations in module {m}, expected at least one to draw; choose another module."
        raise ValueError(msg)
    weights = gene_weights(row, n_features)[:, 0]
    listed = load(adata, key, "module_genes")
    listed = listed.loc[listed["module"] == m, "gene"]
    genes = pd.Index(load(adata, key, "genes"), dtype=object).get_indexer(pd.Index(listed[:n_genes], dtype=object))
    position = np.full(n_features, -1)
    position[genes] = np.arange(len(genes))
    ends = position[np.column_stack(pair_features(pairs, n_features))]
    inside = np.flatnonzero((ends >= 0).all(axis=1))
    inside = inside[np.argsort(-values[inside], kind="stable")]
    drawn = inside[_strongest(ends[inside], len(genes), n_edges)]
    order = np.argsort(pairs[drawn])
    presences = inputs.amf_presences(adata, key)[:, [m]]
    signed, _ = sums_where_present(load(adata, key, "C"), presences, pairs[drawn][order])
    means = np.empty(len(drawn))
    means[order] = signed[:, 0]
    return _Network(genes, weights[genes], ends[drawn], values[drawn], means, len(listed), len(pairs))


def _strongest(ends: IntArray, n: int, n_edges: int | None) -> IntArray:
    """Drawn edges among some, strongest first, in the same order."""
    if n_edges is not None:
        return np.arange(min(n_edges, len(ends)))
    _, first = np.unique(ends.ravel(), return_index=True)
    own = np.unique(first // 2)  # the strongest of each gene
    others = np.setdiff1d(np.arange(len(ends)), own)
    return np.sort(np.concatenate([own, others[: max(2 * n - len(own), 0)]]))


def _new_axes(halves: FloatArray) -> Axes:
    """Axes with room for all boxes."""
    em = _layout.em()
    area = 4 * halves.prod(axis=1).sum() / _FILLED
    height = float(np.clip(np.sqrt(area / _WIDER), *_SIDES))
    width = float(np.clip(_WIDER * height, 2.2 * halves[:, 0].max(), _SIDES[1]))
    width = max(width, 32 * em)
    total = width + 2 * _MARGIN * em, height + (_HEADER + _BELOW) * em
    fig = _layout.new_figure(total)
    return fig.add_axes((_MARGIN * em / total[0], _BELOW * em / total[1], width / total[0], height / total[1]))


def _draw_edges(ax: Axes, network: _Network, nodes: FloatArray) -> None:
    from matplotlib.collections import LineCollection

    many = len(network.genes) > _MANY
    (low, high), (faint, full) = _LINES[many], _OPACITIES[many]
    negative, positive = direction_colors()
    relative = network.strengths / network.strengths.max()
    kinds: dict[str, tuple[Any, str, Any]] = {
        "mean ρ positive": (network.means > 0, positive, "-"),
        "mean ρ negative": (network.means < 0, negative, (0, (3, 1.5))),
        "not correlated where present": (network.means == 0, _canvas.foreground(_canvas.FRAME), (0, (1, 1.5))),
    }
    for label, (chosen, color, style) in kinds.items():
        if chosen.any():
            weakest_first = np.flatnonzero(chosen)[::-1]
            lines = LineCollection(
                list(nodes[network.edges[weakest_first]]),
                colors=color,
                linewidths=low + (high - low) * relative[weakest_first],
                linestyles=[style],
                alpha=faint + (full - faint) * relative[weakest_first],
                label=label,
                zorder=1,
            )
            ax.add_collection(lines, autolim=False)
    _write_legend(ax, {label: (color, style) for label, (chosen, color, style) in kinds.items() if chosen.any()})


def _write_legend(ax: Axes, kinds: dict[str, tuple[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, linestyle=s, linewidth=1.6, label=label) for label, (c, s) in kinds.items()]
    place: dict[str, Any] = dict(loc="upper left", bbox_to_anchor=(0.0, 0.0), borderaxespad=0.3, borderpad=0.0)
    ax.legend(handles=handles, fontsize="small", frameon=False, ncols=len(handles), handlelength=2.2, **place)


def _write_names(
    ax: Axes, names: Sequence[str], centres: FloatArray, halves: FloatArray, size: float, height: float
) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.0, foreground=_canvas.foreground(0), alpha=0.85)]
    for i in np.flatnonzero(without_overlap(centres, halves)).tolist():
        x, y = centres[i] - [0, halves[i, 1] - height / 2]
        style: dict[str, Any] = dict(ha="center", va="center", fontsize=size, style=_STYLE, parse_math=False)
        ax.text(x, y, names[i], color=_canvas.foreground(1), path_effects=halo, zorder=4, **style)


def _frame(ax: Axes, page: FloatArray) -> None:
    ax.set(xlim=(0, page[0]), ylim=(0, page[1]), xticks=[], yticks=[], aspect="auto")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _write_title(ax: Axes, adata: AnnData, m: int, network: _Network, key: str, width: float) -> None:
    genes = f"{len(network.genes):,} of {network.n_genes:,} genes"
    remark = f"{genes}, {len(network.edges):,} of {network.n_pairs:,} correlations"
    room = width - _layout.text_width([remark], "small") - 0.5 * _layout.em()
    _canvas.write_title(ax, module_titles(adata, [m], key, room=max(room, 5 * _layout.em()))[0], remark)
