from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from tests import helpers
from tests.pl.pictures import assert_readable, overlap

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


@pytest.fixture
def signed(explained: AnnData) -> AnnData:
    """A sign for each pair, whatever the locality."""
    adata = explained.copy()
    C = adata.uns["lava"]["C"]
    signs = np.random.default_rng(0).choice([-1, 1], C.shape[1]).astype(C.dtype)
    C.data = np.abs(C.data) * signs[C.indices]
    lava.tl.module_genes(adata)
    return adata


def large(n: int) -> AnnData:
    """A module of n genes, and a second one without any."""
    rng = np.random.default_rng(0)
    adata = lava.datasets.planted(n_cells=300, n_genes=max(n, 60), n_modules=2, genes_per_module=8)
    helpers.run_steps(adata, "localities", "locality_corr", "amf")
    D = len(adata.uns["lava"]["genes"])
    values = rng.random((2, D * (D - 1) // 2)) ** 40
    values[1] = 0
    adata.uns["lava"]["modules"] = type(adata.uns["lava"]["modules"])(values.astype(np.float32))
    lava.tl.module_genes(adata, n_genes=n)
    return adata


def names_at(ax: Axes) -> dict[str, tuple[float, float]]:
    """Place of the dot above each name; the last text is the remark."""
    (cloud,) = (c for c in ax.collections if not isinstance(c, LineCollection))
    nodes = np.asarray(cloud.get_offsets())
    found = {}
    for text in ax.texts[:-1]:
        x, y = text.get_position()
        above = np.flatnonzero((np.abs(nodes[:, 0] - x) < 1e-9) & (nodes[:, 1] > y))
        nearest = above[nodes[above, 1].argmin()]
        found[text.get_text()] = tuple(nodes[nearest].round(6))
    return found


def lines(ax: Axes) -> dict[frozenset[str], tuple[str, float, bool]]:
    """Colour, width and dashes by the names of both ends."""
    gene = {place: name for name, place in names_at(ax).items()}
    found = {}
    for collection in ax.collections:
        if isinstance(collection, LineCollection):
            ends = [frozenset(gene[tuple(at)] for at in segment.round(6)) for segment in collection.get_segments()]
            dashed = collection.get_linestyle()[0][1] is not None
            color = to_hex(collection.get_colors()[0])
            for pair, width in zip(ends, collection.get_linewidths(), strict=True):
                found[pair] = (color, float(width), dashed)
    return found


def pairs_of(adata: AnnData, m: int, genes: list[str]) -> pd.Series:
    """Values of the module by pairs of some genes, largest first."""
    table = lava.get.modules(adata)
    table = table[(table["module"] == m) & table["gene_a"].isin(genes) & table["gene_b"].isin(genes)]
    return pd.Series(
        table["value"].to_numpy(), [frozenset(p) for p in zip(table["gene_a"], table["gene_b"], strict=True)]
    )


@pytest.mark.parametrize("n_genes", [2, 6, 10])
def test_dots_are_the_strongest_genes(signed: AnnData, n_genes: int) -> None:
    for m in range(3):
        ax = lava.pl.module_network(signed, m, n_genes=n_genes)
        assert list(names_at(ax)) == lava.get.module(signed, m).index[:n_genes].tolist()
        (cloud,) = (c for c in ax.collections if not isinstance(c, LineCollection))
        weights = lava.get.module(signed, m).to_numpy(dtype=np.float64).sum(axis=0)[:n_genes]
        areas = cloud.get_sizes()
        np.testing.assert_allclose(
            np.diff(areas) / (areas[0] - 14), np.diff(weights) / weights[0], rtol=1e-4, atol=1e-9
        )


@pytest.mark.parametrize("n_edges", [1, 7, 1000])
def test_lines_are_the_strongest_correlations(signed: AnnData, n_edges: int) -> None:
    ax = lava.pl.module_network(signed, 0, n_genes=8, n_edges=n_edges)
    expected = pairs_of(signed, 0, list(names_at(ax))).iloc[:n_edges]
    found = lines(ax)
    assert set(found) == set(expected.index)
    widths = pd.Series({pair: width for pair, (_, width, _) in found.items()})[expected.index]
    assert (np.diff(widths) <= 1e-9).all()  # the stronger the wider
    assert widths.iloc[0] == pytest.approx(3.0)


def test_every_gene_has_its_strongest_correlation_unless_told_otherwise(signed: AnnData) -> None:
    ax = lava.pl.module_network(signed, 1)
    genes = list(names_at(ax))
    pairs, found = pairs_of(signed, 1, genes), set(lines(ax))
    strongest = {next(pair for pair in pairs.index if gene in pair) for gene in genes}
    assert strongest <= found
    assert len(found) == min(2 * len(genes), len(pairs))
    others = [pair for pair in pairs.index if pair not in strongest]
    assert found - strongest == set(others[: len(found) - len(strongest)])


def mean_where_present(adata: AnnData, m: int, pair: frozenset[str]) -> float:
    genes = list(adata.uns["lava"]["genes"])
    order = [(a, b) for a in range(len(genes)) for b in range(a + 1, len(genes))]
    column = order.index(tuple(sorted(genes.index(gene) for gene in pair)))
    present = adata.uns["lava"]["presences"][:, m] > 0.01
    return float(adata.uns["lava"]["C"].toarray()[present, column].mean())


def test_colours_and_dashes_are_signs_where_the_module_is_present(signed: AnnData) -> None:
    kinds = {}
    for pair, (color, _, dashed) in lines(lava.pl.module_network(signed, 2)).items():
        mean = mean_where_present(signed, 2, pair)
        kinds.setdefault(np.sign(mean), set()).add((color, dashed))
    assert kinds == {1.0: {("#d55e00", False)}, -1.0: {("#0072b2", True)}}
    legend = lava.pl.module_network(signed, 2).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["mean ρ positive", "mean ρ negative"]


def test_a_module_that_is_nowhere_has_no_signs(signed: AnnData) -> None:
    signed.uns["lava"]["presences"][:] = 0
    ax = lava.pl.module_network(signed, 0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["not correlated where present"]


@pytest.mark.parametrize("font_size", [7, 16])
@pytest.mark.parametrize("n", [15, 150])
def test_all_names_are_readable(n: int, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True, "figure.autolayout": True})
    adata = large(n)
    ax = lava.pl.module_network(adata, 0, n_genes=n)
    assert len(ax.texts) == n + 1
    assert_readable(ax.figure)
    width, height = ax.figure.get_size_inches()
    assert max(width, height) < (22 if font_size > 10 else 12)
    with pytest.raises(ValueError, match=r"Found no correlations in module 1, expected at least one to draw; choose"):
        lava.pl.module_network(adata, 1)


def test_in_axes_of_ones_own_names_that_find_no_room_are_left_out(explained: AnnData) -> None:
    fig, (small, other) = plt.subplots(1, 2, figsize=(2.6, 1.6))
    assert lava.pl.module_network(explained, 0, ax=small) is small
    assert plt.fignum_exists(fig.number)
    assert not other.collections
    fig.draw_without_rendering()
    boxes = [text.get_window_extent() for text in small.texts[:-1]]
    assert 0 < len(boxes) < 10
    assert small.texts[0].get_text() == lava.get.module(explained, 0).index[0]
    assert not any(overlap(a, b) for a, b in combinations(boxes, 2))
    plt.close(fig)


def test_same_seed_same_picture(explained: AnnData) -> None:
    first, second, other = (names_at(lava.pl.module_network(explained, 0, rng=rng)) for rng in (0, 0, 1))
    assert first == second
    assert first != other


def test_symbols_titles_and_names(signed: AnnData) -> None:
    signed.var["symbol"] = [f"s{name}" for name in signed.var_names]
    lava.tl.name_modules(signed, labels={0: "mine"})
    ax = lava.pl.module_network(signed, 0, n_genes=4, n_edges=3, gene_symbols="symbol")
    listed = signed.uns["lava"]["module_genes"]
    n_pairs = (lava.get.modules(signed)["module"] == 0).sum()
    assert ax.get_title(loc="left") == "0 · mine"
    assert ax.texts[-1].get_text() == f"4 of {(listed['module'] == 0).sum()} genes, 3 of {n_pairs:,} correlations"
    assert all(name.startswith("sM") for name in names_at(ax))


def test_nothing_in_adata_changes(signed: AnnData) -> None:
    before = signed.copy()
    plt.style.use("dark_background")
    ax = lava.pl.module_network(signed, 0)
    helpers.assert_unchanged(signed, before)
    assert {color for color, _, _ in lines(ax).values()} == {"#d55e00", "#56b4e9"}  # seen on black


@pytest.mark.parametrize("show", [True, False])
def test_shown_or_returned(explained: AnnData, monkeypatch: pytest.MonkeyPatch, *, show: bool) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(plt, "show", lambda: (calls.append(plt.get_fignums()), plt.close("all")))
    assert (lava.pl.module_network(explained, 0, show=show) is None) == show
    assert calls == ([[1]] if show else [])
