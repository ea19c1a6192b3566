"""A module against a category: where each is, where both are, and how they go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._basis import find_basis
from lava_sc.pl._bivariate import colors_of, draw_key, ends, room_left_of_key
from lava_sc.stored import checks
from lava_sc.stored.fields import has, load, load_params

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, FloatArray
    from lava_sc.pl._basis import Basis

#: ColorBrewer's Blues, the end that stands for 0 near the paper; warm colours are for presence throughout.
_FRACTION_COLORS: Final = ("#e3e9f0", "#9ecae1", "#4292c6", "#08519c", "#08306b")
_FRACTION_ON_BLACK: Final = ("#28303a", "#08519c", "#4292c6", "#9ecae1", "#e6f1fa")
#: Okabe and Ito's colours without yellow and black, for which the style's own stands, and markers: together 42 donors.
_DONOR_COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DONOR_MARKERS: Final = "os^Dv<"
_ROWS: Final = 15  # of the donors' legend
_BESIDE: Final = 14.5  # font sizes between panels: a legend, and the numbers of the next axis
_GAP: Final = 0.05


@dataclass(frozen=True)
class _Pair:
    """Presence and fraction of all localities (ℓ,), which of them count, their donors, and the row of the table."""

    x: FloatArray
    y: FloatArray
    counts: BoolArray
    donors: NDArray[np.object_] | None
    donor_key: str
    row: pd.Series
    fraction: str

    @property
    def there(self) -> tuple[FloatArray, FloatArray]:
        """Presence and fraction of the localities that count."""
        return self.x[self.counts], self.y[self.counts]


@document_parameters
def association(
    adata: AnnData,
    module: int,
    category: str,
    *,
    basis: str | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Presence of a module and fraction of a category in each locality: on maps, together, and against each other.

    Dots on the maps are probes. The third map has three classes of either, of equal width over the localities in which the
    module is present, and points for the others. The last panel has these localities only, marked by the
    donor with most of their cells, if there are donors, and above it the correlations with the p-values of the test and the
    plain ones, which take localities for independent draws (paper, Figure 7).

    Parameters
    ----------
    adata
        Annotated data with associations from :func:`lava_sc.tl.presence_association`.
    module
        Number of the module, from 0.
    category
        Category as in the table of associations, or the name of the column of numbers.
    basis
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If associations are missing, or the module, the category or the basis is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> adata.obs["side"] = ["east" if x > 0 else "west" for x in adata.obsm["X_umap"][:, 0]]
    >>> lava.tl.presence_association(adata, "side", n_permutations=100)
    >>> fig = lava.pl.association(adata, 0, "east", show=False)
    >>> len(fig.axes)  # three maps, two colourbars, a legend and the scatter
    7
    """
    checks.annotated(adata)
    pair = _read(adata, module, category, key)
    place = find_basis(adata, basis, key)
    scales = _canvas.presence_scale(load(adata, key, "presences"), None), _fraction_scale(pair)
    width, height = _layout.map_size(place, 4)
    titles = [
        (f"module {module}", "presence"),
        (category, pair.fraction),
        ("both", f"of {pair.counts.sum():,} of {len(pair.x):,} localities"),
        ("correlation", "where the module is present"),
    ]
    panels = _Panels(width, height, titles, _statistics(pair.row), _donors_shown(pair), pair.donor_key)
    fig = _layout.new_figure(panels.size)
    maps = [fig.add_axes(panels.box(i, 0, 0, width, height)) for i in range(3)]
    lower = 0.6 * _layout.em()  # so that the uppermost number stays clear of a long title
    for i, (values, scale) in enumerate(zip((pair.x, pair.y), scales, strict=True)):
        _draw_values(maps[i], place, values, scale)
        bar = panels.box(i, width + _GAP, lower, 0.11, float(np.clip(height - lower, 1.0, 2.4)))
        _canvas.fill_colorbar(fig.add_axes(bar), scale, titles[i][1])
    _draw_both(maps[2], place, pair)
    x, y = map(ends, pair.there)
    side = 3.6 * _layout.em()
    box = panels.box(2, width + room_left_of_key(y), lower, side, side)
    draw_key(fig.add_axes(box), x, y, ("presence", pair.fraction))
    scatter = fig.add_axes(panels.box(3, 0, 0, panels.side, panels.side))
    _draw_scatter(scatter, pair)
    for ax in maps:
        _canvas.frame_map(ax, place)
    for ax, title in zip([*maps, scatter], titles, strict=True):
        _canvas.write_title(ax, *title)
    _write_statistics(scatter, _statistics(pair.row))
    return _canvas.hand_over(fig, fig, show=show)


class _Panels:
    """Two rows of two panels; inches."""

    def __init__(
        self,
        width: float,
        height: float,
        titles: list[tuple[str, str]],
        statistics: list[str],
        donors: list[str],
        title: str,
    ) -> None:
        em = _layout.em()
        self.side = max(min(width, height), 2.0)  # of the scatter, square also beside a long tissue
        legend = -(-len(donors) // _ROWS) * (_layout.text_width(donors, "small") + 3.5 * em)
        legend = max(legend, _layout.text_width([title], "small") + em if donors else 0.0)
        beside = _BESIDE * em
        firsts = [_layout.title_width([titles[i]]) + 2 * em for i in (0, 2)]
        self.left = 1.8 * em
        self.column = max(width + beside, *firsts)
        last = max(
            width + _GAP + 0.11 + 5 * em,
            self.side + legend + em,
            *(_layout.title_width([titles[i]]) + em for i in (1, 3)),
            _layout.text_width(statistics, "small") + em,
        )
        self.header = (2.0 * em, (2.4 + 1.35 * len(statistics)) * em)
        self.upper = self.header[0] + max(height, 1.0) + 2.0 * em
        lower = max(height, self.side, (1.3 * min(len(donors), _ROWS) + 2) * em) + 3.6 * em
        self.size = self.left + self.column + last, self.upper + self.header[1] + lower

    def box(self, i: int, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """A rectangle (x, y) from the upper left corner of panel i below its title, as fractions of the figure."""
        row, column = divmod(i, 2)
        left = self.left + column * self.column + x
        top = row * self.upper + self.header[row] + y
        return left / self.size[0], 1 - (top + height) / self.size[1], width / self.size[0], height / self.size[1]


def _read(adata: AnnData, module: int, category: str, key: str) -> _Pair:
    table: pd.DataFrame = load(adata, key, "presence_association")
    presences = np.asarray(load(adata, key, "presences"), dtype=np.float64)
    checks.in_range("module", module, 0, presences.shape[1] - 1, integer=True)
    names = list(dict.fromkeys(table["category"].astype(str)))
    checks.column_names("category", category, names)
    k = names.index(category)
    params = load_params(adata, key, "presence_association")
    x, y = presences[:, module], np.asarray(load(adata, key, "locality_fractions"), dtype=np.float64)[:, k]
    is_number, has_donors = len(names) == 1, has(adata, key, "locality_donors")
    return _Pair(
        x=x,
        y=y,
        counts=(x > params["min_presence"]) & ~np.isnan(y),
        donors=np.asarray(load(adata, key, "locality_donors"), dtype=object) if has_donors else None,
        donor_key=str(params.get("donor_key", "")),
        row=table.iloc[module * len(names) + k],
        fraction="mean" if is_number else "fraction",
    )


def _fraction_scale(pair: _Pair) -> ScalarMappable:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    known = pair.y[~np.isnan(pair.y)]
    low, high = (known.min(), known.max()) if pair.fraction == "mean" else (0.0, known.max())
    norm = Normalize(float(low), float(high if high > low else low + 1))
    colors = _canvas.for_background(_FRACTION_COLORS, _FRACTION_ON_BLACK)
    return ScalarMappable(norm, LinearSegmentedColormap.from_list("lava_fraction", colors))


def _statistics(row: pd.Series) -> list[str]:
    """Text above the scatter: correlation, tested and plain p-value."""
    found = []
    for name, letter in (("pearson", "Pearson r"), ("spearman", "Spearman ρ")):
        tested, plain = (f"{row[name + suffix]:.2g}" for suffix in ("_p", "_p_plain"))
        if np.isnan(row[name]):
            found.append(f"{letter} undefined")
        elif np.isnan(row[f"{name}_p"]):
            found.append(f"{letter} = {row[name]:.2f}, not tested ({row['test']}), p = {plain} (plain)")
        else:
            found.append(f"{letter} = {row[name]:.2f}, p = {tested} ({row['test']}), {plain} (plain)")
    return found


def _draw_values(ax: Axes, place: Basis, values: FloatArray, scale: ScalarMappable) -> None:
    _canvas.draw_cells(ax, place.cells, facecolor=_canvas.foreground(_canvas.CELLS))
    shown = values[place.drawn]
    order = _canvas.highest_last(shown)
    _canvas.draw_probes(ax, place.probes[order], of=len(values), c=shown[order], cmap=scale.cmap, norm=scale.norm)


def _draw_both(ax: Axes, place: Basis, pair: _Pair) -> None:
    _canvas.draw_cells(ax, place.cells, facecolor=_canvas.foreground(_canvas.CELLS))
    colors, order = np.full(len(pair.x), "", dtype=object), np.flatnonzero(pair.counts)
    colors[order], last = colors_of(*pair.there)
    order = order[last]
    at = dict(zip(place.drawn.tolist(), place.probes, strict=True))
    left_out = [at[i] for i in np.flatnonzero(~pair.counts).tolist() if i in at]
    if left_out:
        _canvas.draw_probes(
            ax, np.array(left_out), s=4, color=_canvas.foreground(_canvas.REMARK), linewidths=0, zorder=2
        )
    shown = [i for i in order.tolist() if i in at]
    if shown:
        dots = np.array([at[i] for i in shown])
        _canvas.draw_probes(ax, dots, of=len(pair.x), color=colors[shown].tolist(), edgecolors="0.3")


def _donors_shown(pair: _Pair) -> list[str]:
    return [] if pair.donors is None else sorted(set(pair.donors[pair.counts].tolist()))


def _draw_scatter(ax: Axes, pair: _Pair) -> None:
    from matplotlib.ticker import MaxNLocator

    style: dict[str, Any] = dict(s=22, linewidths=0.4, edgecolors=_canvas.foreground(0), zorder=3)
    x, y = pair.there
    colors = *_DONOR_COLORS, _canvas.foreground(1)
    for i, donor in enumerate(_donors_shown(pair)):
        of_donor = pair.donors[pair.counts] == donor if pair.donors is not None else np.zeros(len(x), dtype=bool)
        color, marker = colors[i % len(colors)], _DONOR_MARKERS[i % len(_DONOR_MARKERS)]
        ax.scatter(x[of_donor], y[of_donor], color=color, marker=marker, label=donor, **style)
    if pair.donors is None:
        ax.scatter(x, y, color=_canvas.foreground(_canvas.REMARK), **style)
    elif len(x):
        ax.legend(
            title=pair.donor_key,
            title_fontsize="small",
            alignment="left",
            fontsize="small",
            ncols=-(-len(_donors_shown(pair)) // _ROWS),
            loc="upper left",
            bbox_to_anchor=(1.0, 1.03),
            frameon=False,
            handletextpad=0.2,
            labelspacing=0.3,
        )
    ax.set_xlabel("presence", fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.set_ylabel(pair.fraction, fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize="small", length=2, width=0.6)
    ax.grid(visible=False)
    ax.spines[["top", "right"]].set_visible(False)
    for edge in ("left", "bottom"):
        ax.spines[edge].set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))


def _write_statistics(ax: Axes, lines: list[str]) -> None:
    """Between the title, which moves up, and the panel."""
    style: dict[str, Any] = dict(fontsize="small", color=_canvas.foreground(_canvas.REMARK), va="bottom")
    step = 1.35 * _layout.font_points("medium")
    for i, line in enumerate(reversed(lines)):
        ax.annotate(
            line,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 0.4 * step + i * step),
            textcoords="offset points",
            **style,
        )
    ax.set_title(
        ax.get_title(loc="left"), loc="left", fontsize="medium", fontweight="bold", pad=0.6 * step + len(lines) * step
    )
