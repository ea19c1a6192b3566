from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from tests import helpers
from tests.pl.pictures import assert_readable, texts

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@pytest.fixture
def signed(explained: AnnData) -> AnnData:
    """Correlations of any sign."""
    adata = explained.copy()
    C = adata.uns["lava"]["C"]
    C.data = C.data * np.random.default_rng(0).choice([-1, 1], C.nnz).astype(C.dtype)
    lava.tl.module_genes(adata)
    return adata


def drawn(ax: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Places of the dots beyond the cut-off and of those of the module."""
    beyond, own = (np.asarray(cloud.get_offsets()) for cloud in dots(ax))
    return beyond, own


def dots(ax: Axes) -> list[Any]:
    return sorted((c for c in ax.collections if hasattr(c, "get_sizes")), key=lambda c: c.get_zorder())


def weights_by_getter(adata: AnnData, m: int) -> np.ndarray:
    return lava.get.module(adata, m).to_numpy(dtype=np.float64).sum(axis=0)


@pytest.mark.parametrize("n_genes", [1, 5, 20])
def test_dots_are_gene_weights_in_falling_order(signed: AnnData, n_genes: int) -> None:
    *panels, _ = lava.pl.module_genes(signed, n_genes=n_genes).axes
    table = signed.uns["lava"]["module_genes"]
    assert len(panels) == 3
    for m, ax in enumerate(panels):
        beyond, own = drawn(ax)
        together = np.vstack([own, beyond])
        weights = weights_by_getter(signed, m)
        np.testing.assert_allclose(together[:, 0], weights[: len(together)], rtol=1e-5)
        listed = table[table["module"] == m]
        assert len(own) == min(len(listed), len(together))
        assert (np.diff(together[:, 1]) > 0).all()  # downwards, as the axis is turned
        assert ax.get_ylim()[0] > ax.get_ylim()[1]
        assert len(together) >= min(len(weights), len(listed) + 1, n_genes)
        names = [label.get_text() for label in ax.get_yticklabels()][: min(n_genes, len(together))]
        assert names == lava.get.module(signed, m).index[: len(names)].tolist()
        np.testing.assert_allclose(ax.get_yticks()[: len(names)], together[: len(names), 1])


def test_line_is_at_the_threshold(signed: AnnData) -> None:
    for threshold in (0.05, 0.4):
        lava.tl.module_genes(signed, threshold=threshold)
        for m, ax in enumerate(lava.pl.module_genes(signed).axes[:-1]):
            (line,) = ax.lines
            np.testing.assert_allclose(line.get_xdata(), threshold * weights_by_getter(signed, m)[0], rtol=1e-5)
            beyond, own = drawn(ax)
            assert (own[:, 0] >= line.get_xdata()[0]).all()
            assert (beyond[:, 0] < line.get_xdata()[0]).all()


def test_line_is_below_the_last_gene_where_their_number_was_given(signed: AnnData) -> None:
    lava.tl.module_genes(signed, n_genes=4)
    for ax in lava.pl.module_genes(signed, n_genes=2).axes[:-1]:
        (line,) = ax.lines
        beyond, own = drawn(ax)
        assert len(own) == 4
        assert own[:, 1].max() < line.get_ydata()[0] < beyond[:, 1].min()
        assert ax.texts[0].get_text() == "4 genes"


def test_colours_are_directions(signed: AnnData) -> None:
    table = signed.uns["lava"]["module_genes"]
    fig = lava.pl.module_genes(signed)
    for m, ax in enumerate(fig.axes[:-1]):
        positive = table.loc[table["module"] == m, "positive"].to_numpy()
        red, _, blue, _ = dots(ax)[1].get_facecolors().T
        assert len(red) == len(positive)
        order = np.argsort(positive)
        assert (np.diff((red - blue)[order]) >= -0.02).all()
        assert np.ptp(red - blue) > 0.1
    assert fig.axes[-1].get_ylabel() == "share of positive ρ"
    assert fig.axes[-1].get_ylim() == (0, 1)


def test_unknown_directions_are_hollow(signed: AnnData) -> None:
    signed.uns["lava"]["presences"][:] = 0
    lava.tl.module_genes(signed)
    ax = lava.pl.module_genes(signed, 0).axes[0]
    assert {tuple(color) for color in dots(ax)[1].get_facecolors()} == {to_rgba(plt.rcParams["axes.facecolor"])}


def test_genes_beyond_the_line_are_faint(signed: AnnData) -> None:
    lava.tl.module_genes(signed, threshold=0.9)
    ax = lava.pl.module_genes(signed, 1).axes[0]
    beyond, own = drawn(ax)
    colors = {label.get_text(): label.get_color() for label in ax.get_yticklabels()}
    names = lava.get.module(signed, 1).index
    assert colors[names[0]] != colors[names[len(own)]]
    assert len(beyond)


def test_titles_count_genes(signed: AnnData) -> None:
    table = signed.uns["lava"]["module_genes"]
    for m, ax in zip([2, 0], lava.pl.module_genes(signed, [2, 0]).axes, strict=False):
        assert ax.get_title(loc="left") == f"module {m}"
        assert ax.texts[0].get_text() == f"{(table['module'] == m).sum()} genes from 5 %"


def long_lists(adata: AnnData) -> AnnData:
    """As many genes as there are in each module, some with long names."""
    adata = adata.copy()
    n_pairs = adata.uns["lava"]["modules"].shape[1]
    rng = np.random.default_rng(0)
    adata.uns["lava"]["modules"] = type(adata.uns["lava"]["modules"])(rng.random((3, n_pairs)) ** 30)
    adata.var["long"] = [name if i % 3 else f"a_gene_with_a_long_name_{name}" for i, name in enumerate(adata.var_names)]
    lava.tl.module_genes(adata, threshold=0.1)
    return adata


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("n_genes", [1, 7, 20])
@pytest.mark.parametrize("n_modules", [1, 2, 9])
def test_no_text_meets_another(explained: AnnData, n_modules: int, n_genes: int, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True, "figure.autolayout": True})
    adata = long_lists(explained) if n_modules > 1 else explained
    chosen = [m % 3 for m in range(n_modules)]
    fig = lava.pl.module_genes(adata, chosen, n_genes=n_genes, gene_symbols="long" if n_modules > 1 else None)
    assert len(fig.axes) == n_modules + 1
    assert_readable(fig)


def test_ranks_are_written_where_names_end(explained: AnnData) -> None:
    adata = long_lists(explained)
    n_listed = (adata.uns["lava"]["module_genes"]["module"] == 0).sum()
    fig = lava.pl.module_genes(adata, 0, n_genes=5)
    beyond, own = drawn(fig.axes[0])
    written = [t.get_text() for t in texts(fig) if t.get_text().startswith("rank")]
    assert written[0] == f"rank {n_listed}"
    assert set(written) <= {f"rank {n_listed}", f"rank {len(own) + len(beyond)}"}


def test_a_module_without_genes_is_drawn(signed: AnnData) -> None:
    modules = signed.uns["lava"]["modules"].toarray()
    modules[1] = 0
    signed.uns["lava"]["modules"] = type(signed.uns["lava"]["modules"])(modules)
    lava.tl.module_genes(signed)
    fig = lava.pl.module_genes(signed)
    assert_readable(fig)
    assert fig.axes[1].texts[0].get_text() == "0 genes"
    assert_readable(lava.pl.module_genes(signed, 1))


def test_nothing_in_adata_changes_and_style_is_kept(explained: AnnData) -> None:
    before = explained.copy()
    plt.style.use("dark_background")
    fig: Figure = lava.pl.module_genes(explained)
    helpers.assert_unchanged(explained, before)
    assert_readable(fig)
    assert max(to_rgba(fig.axes[0].get_facecolor())[:3]) < 0.2
