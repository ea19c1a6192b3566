from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from scipy.spatial.distance import cdist
from tests import helpers
from tests.pl.pictures import assert_readable, by_place, dots

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData


def test_probes_lie_over_grey_cells(explained: AnnData) -> None:
    ax = lava.pl.localities(explained)
    cells, probes = dots(ax)
    np.testing.assert_array_equal(cells.get_offsets(), explained.obsm["X_umap"])
    np.testing.assert_array_equal(probes.get_offsets(), explained.uns["lava"]["probes"])
    assert len(set(by_place(cells).values())) == 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("UMAP1", "UMAP2")
    assert not ax.get_xticks().size
    assert_readable(ax.figure)


def test_members_of_chosen_localities_are_coloured(explained: AnnData) -> None:
    chosen = [4, 0]
    ax = lava.pl.localities(explained, localities=chosen)
    membership = explained.obsm["lava_localities"].toarray()
    clouds = {to_hex(color): cloud for cloud in ax.collections for color in cloud.get_facecolors()[:1]}
    coloured = [cloud for cloud in dots(ax) if cloud.get_zorder() == 2]
    for number, color, cloud in zip(chosen, ["C0", "C1"], coloured, strict=True):
        drawn = {tuple(at) for at in cloud.get_offsets().tolist()}
        assert drawn == {tuple(at) for at in explained.obsm["X_umap"][membership[:, number]].tolist()}
        probe = clouds[to_hex(color)].get_offsets()
        np.testing.assert_array_equal(probe, explained.uns["lava"]["probes"][[number]])
    assert [text.get_text() for text in ax.texts] == ["4", "0"]


@pytest.mark.parametrize("column", ["region", "number"])
def test_members_keep_the_colours_of_their_column_within_an_outline(explained: AnnData, column: str) -> None:
    adata = explained.copy()
    adata.obs["number"] = np.arange(adata.n_obs, dtype=float)
    adata.obs.loc[adata.obs_names[::7], "number"] = np.nan
    below = [cloud for cloud in dots(lava.pl.localities(adata, color=column)) if cloud.get_zorder() == 1]
    plain = {at: color for cloud in below for at, color in by_place(cloud).items()}
    ax = lava.pl.localities(adata, color=column, localities=[4])
    *_, line, gap, members = [cloud for cloud in dots(ax) if cloud.get_zorder() == 2]
    inside = adata.obsm["lava_localities"].toarray()[:, 4]
    drawn = by_place(members)
    assert set(drawn) == {tuple(at) for at in adata.obsm["X_umap"][inside].tolist()}
    assert all(to_hex(drawn[at]) == to_hex(plain[at]) for at in drawn)
    widths = [np.sqrt(cloud.get_sizes()[0]) for cloud in (line, gap, members)]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3
    assert_readable(ax.figure)


def test_categories_have_the_stored_colours_and_a_legend(explained: AnnData) -> None:
    adata = explained.copy()
    names = list(adata.obs["region"].cat.categories)
    adata.uns["region_colors"] = [f"#0000{i:02x}" for i in range(len(names))]
    ax = lava.pl.localities(adata, color="region")
    drawn = by_place(dots(ax)[0])
    for at, name in zip(adata.obsm["X_umap"].tolist(), adata.obs["region"], strict=True):
        assert to_hex(drawn[tuple(at)]) == f"#0000{names.index(name):02x}"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    assert_readable(ax.figure)


@pytest.mark.parametrize("n", [1, 10, 15, 21, 60])
def test_any_number_of_categories_gets_its_own_colours(explained: AnnData, n: int) -> None:
    adata = explained.copy()
    adata.obs["kind"] = [f"kind number {i % n}" for i in range(adata.n_obs)]
    ax = lava.pl.localities(adata, color="kind")
    assert len(set(by_place(dots(ax)[0]).values())) == n
    assert_readable(ax.figure)


def test_numbers_have_a_colourbar_and_what_is_missing_is_grey(explained: AnnData) -> None:
    adata = explained.copy()
    values = np.arange(adata.n_obs, dtype=float)
    values[::4] = np.nan
    adata.obs["value"] = values
    ax = lava.pl.localities(adata, color="value")
    missing, there, _ = ax.collections
    np.testing.assert_array_equal(missing.get_offsets(), adata.obsm["X_umap"][::4])
    np.testing.assert_array_equal(there.get_array(), values[~np.isnan(values)])
    (bar,) = ax.child_axes
    assert bar.get_ylabel() == "value"
    assert_readable(ax.figure)


@pytest.mark.parametrize("values", [np.nan, pd.Categorical([np.nan] * 600, categories=["a"]), [True, False] * 300, 7])
def test_odd_columns_are_drawn(explained: AnnData, values: Any) -> None:
    adata = explained.copy()
    adata.obs["odd"] = values
    lava.pl.localities(adata, color="odd").figure.draw_without_rendering()


def test_axes_are_taken_and_left_to_their_owner(explained: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown before its owner is done"))
    plt.ion()
    fig, axes = plt.subplots(1, 2)
    assert lava.pl.localities(explained, ax=axes[1], color="region") is axes[1]
    assert not axes[0].collections
    assert plt.get_fignums() == [fig.number]
    plt.close(fig)


def test_axes_of_a_subfigure(explained: AnnData) -> None:
    fig = plt.figure()
    ax = fig.subfigures(1, 2)[1].subplots()
    assert lava.pl.localities(explained, ax=ax) is ax
    plt.close(fig)


@pytest.mark.parametrize(
    ("show", "interactive", "shown"),
    [(None, False, False), (None, True, True), (True, False, True), (False, False, False)],
)
def test_shown_once_or_returned(
    explained: AnnData,
    monkeypatch: pytest.MonkeyPatch,
    *,
    show: bool | None,
    interactive: bool,
    shown: bool,
) -> None:
    calls = []
    monkeypatch.setattr(plt, "show", lambda: (calls.append(plt.get_fignums()), plt.close("all")))
    plt.interactive(interactive)
    result = lava.pl.localities(explained, show=show)
    assert calls == ([[1]] if shown else [])
    assert result is None if shown else isinstance(result, Axes)


def test_in_a_notebook_axes_that_are_not_shown_yet_stay_with_pyplot(explained: AnnData) -> None:
    plt.ion()
    ax = lava.pl.localities(explained, show=False)
    assert plt.gcf() is ax.figure
    plt.close("all")


def test_subset_is_drawn(explained: AnnData) -> None:
    some = explained[explained.obs["region"] == "R1"]
    gone = int(np.flatnonzero(~some.obsm["lava_localities"].toarray().any(axis=0))[0])
    ax = lava.pl.localities(some, localities=gone)
    assert not ax.texts
    assert len(dots(ax)[0].get_offsets()) == some.n_obs


def test_probes_of_four_dimensions_lie_at_their_nearest_cell_of_the_map(explained: AnnData) -> None:
    adata = explained.copy()
    adata.obsm["X_latent"] = np.random.default_rng(0).normal(size=(adata.n_obs, 4))
    lava.tl.localities(adata, use_rep="latent", n_neighbors=80, max_evals=2)
    _, probes = dots(lava.pl.localities(adata))
    nearest = cdist(adata.uns["lava"]["probes"], adata.obsm["X_latent"]).argmin(axis=1)
    np.testing.assert_array_equal(probes.get_offsets(), adata.obsm["X_umap"][nearest])


def test_nothing_in_adata_changes(explained: AnnData) -> None:
    before = explained.copy()
    lava.pl.localities(explained, color="region", localities=[1])
    helpers.assert_unchanged(explained, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(localities=[99]), r"localities=\[99\], expected numbers from 0 to 21"),
        (dict(basis="pca"), "no basis in adata.obsm 'pca'"),
        (dict(color="nowhere"), r"no column of adata.obs 'nowhere', expected one of those there are \('region'"),
        (dict(key="other"), "lava_sc.tl.localities; call it first"),
    ],
)
def test_bad_arguments_get_one_sentence(explained: AnnData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lava.pl.localities(explained, **arguments)
