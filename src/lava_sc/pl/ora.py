"""Gene sets that the modules are enriched in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.pl import _canvas, _layout
from lava_sc.stored import checks
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEVEL: Final = 0.05
_LONGEST: Final = 46  # letters of a name
_ROW, _COLUMN = 1.55, 2.2  # of the table, in font sizes
_SIZES: Final = (12.0, 130.0)  # square points of the dots, no hit of the set's genes and all of them
_WEAKEST, _STRONGEST = 0.0, 10.0  # −log₁₀ p at the ends of the colours


@document_parameters
def ora(
    adata: AnnData,
    modules: int | Sequence[int] | None = None,
    *,
    n_sets: int = 5,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Gene sets by module as dots: their size is the share of the set's genes on the module's list, their colour the p-value.

    Drawn are the ``n_sets`` sets with the lowest p-values of each module that pass 0.05 after adjustment within the module
    (paper, Figure S32), and all of their dots in other modules that have a hit. Dots that pass have a dark edge. The number of
    sets that pass stands above each module, with the number for random modules as large in brackets.

    Parameters
    ----------
    adata
        Annotated data with the result of :func:`lava_sc.tl.ora`.
    modules
    n_sets
        Sets of each module.
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If there is no result or a module is unknown.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.ora(adata, {"first": ["M1_01", "M1_02", "M1_03", "M1_04", "M1_05"]})
    >>> fig = lava.pl.ora(adata, show=False)
    >>> [text.get_text() for text in fig.axes[0].get_yticklabels()]
    ['first']
    """
    checks.annotated(adata)
    checks.in_range("n_sets", n_sets, 1, np.inf, integer=True)
    table, control = load(adata, key, "ora"), load(adata, key, "ora_control")
    chosen = _canvas.chosen_modules(adata, modules, key)
    table = table[table["module"].isin(chosen)]
    passing = table[table["pvalue_adj"] <= _LEVEL].sort_values(["module", "pvalue"], kind="stable")
    names = list(dict.fromkeys(passing.groupby("module").head(n_sets)["gene_set"]))

    em = _layout.em()
    labels = _readable(names) or ["no set passes 0.05"]
    left = 0.56 * max(map(len, labels)) + 1.5
    width, height = _COLUMN * len(chosen), _ROW * len(labels)
    right, top, bottom = 11.0, 3.6, 2.8
    total = left + width + right, max(top + height + bottom, 17.0)
    fig = _layout.new_figure((total[0] * em, total[1] * em))
    ax = fig.add_axes((left / total[0], 1 - (top + height) / total[1], width / total[0], height / total[1]))
    dots = _draw(ax, table[table["gene_set"].isin(names) & (table["n_hits"] > 0)], chosen, names)
    _frame(ax, chosen, labels, control)
    _legend(fig, dots, (left + width + 1.2) / total[0], total)
    return _canvas.hand_over(fig, fig, show=show)


def _readable(names: Sequence[str]) -> list[str]:
    """Names without a first word that all share, in small letters where they are all capitals, shortened in the middle."""
    words = [str(name).replace("_", " ").split() for name in names]
    if len({one[0] for one in words}) == 1 and all(len(one) > 1 for one in words) and len(words) > 1:
        words = [one[1:] for one in words]
    joined = [" ".join(one) for one in words]
    joined = [name.capitalize() if name.isupper() and " " in name else name for name in joined]
    end = _LONGEST // 2
    return [name if len(name) <= _LONGEST else f"{name[: _LONGEST - end - 1]}…{name[-end:]}" for name in joined]


def _draw(ax: Axes, rows: pd.DataFrame, chosen: Sequence[int], names: Sequence[str]) -> Any:
    x = [chosen.index(m) for m in rows["module"]]
    y = [names.index(name) for name in rows["gene_set"]]
    share = rows["n_hits"] / rows["set_size"]
    strength = -np.log10(np.maximum(rows["pvalue_adj"], 1e-300))
    edges = [_canvas.foreground(1 if p <= _LEVEL else _canvas.CELLS) for p in rows["pvalue_adj"]]
    small, large = _SIZES
    return ax.scatter(
        x,
        y,
        s=small + (large - small) * share,
        c=strength,
        cmap=_canvas.rising_colors(),
        vmin=_WEAKEST,
        vmax=_STRONGEST,
        edgecolors=edges,
        linewidths=0.8,
        zorder=3,
    )


def _frame(ax: Axes, chosen: Sequence[int], labels: Sequence[str], control: pd.DataFrame) -> None:
    ax.set(xlim=(-0.6, len(chosen) - 0.4), ylim=(len(labels) - 0.4, -0.6))
    ax.set_xticks(range(len(chosen)), [str(m) for m in chosen], fontsize="small")
    ax.set_yticks(range(len(labels)), labels, fontsize="small")
    ax.set_xlabel("module", fontsize="small", color=_canvas.foreground(_canvas.REMARK))
    ax.tick_params(length=0)
    ax.grid(visible=True, color=_canvas.foreground(_canvas.CELLS), linewidth=0.5, zorder=0)
    ax.set_axisbelow(True)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for k, m in enumerate(chosen):
        row = control.iloc[m]
        by_chance = "" if np.isnan(row["random_mean"]) else f"\n({row['random_mean']:.1f})"
        ax.annotate(
            f"{row['n_significant']:.0f}{by_chance}",
            xy=(k, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize="x-small",
            color=_canvas.foreground(_canvas.REMARK),
        )


def _legend(fig: Figure, dots: Any, x: float, total: tuple[float, float]) -> None:
    bar = fig.add_axes((x, 1 - 9.6 / total[1], 0.9 / total[0], 6.0 / total[1]))
    _canvas.fill_colorbar(bar, dots, "−log₁₀ adjusted p")
    small, large = _SIZES
    shares = (0.1, 0.5, 1.0)
    handles = [
        fig.axes[0].scatter([], [], s=small + (large - small) * share, color=_canvas.foreground(_canvas.BARS))
        for share in shares
    ]
    fig.legend(
        handles,
        [f"{share:.0%}" for share in shares],
        title="genes of the set",
        loc="upper left",
        bbox_to_anchor=(x - 0.6 / total[0], 1 - 10.3 / total[1]),
        fontsize="x-small",
        title_fontsize="x-small",
        frameon=False,
    )
