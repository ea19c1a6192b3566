from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist
from tests import helpers
from tests.pl.pictures import assert_readable, by_place, dots, expected_by_place

import lava_sc as lava

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


def split(fig: Figure) -> tuple[list[Any], list[Any], Any]:
    """Maps, bars, colourbar."""
    return fig.axes[:-1:2], fig.axes[1:-1:2], fig.axes[-1]


def weights_by_loop(adata: AnnData, m: int) -> dict[str, float]:
    genes = list(adata.uns["lava"]["genes"])
    row = adata.uns["lava"]["modules"][[m]].toarray()[0]
    weights = dict.fromkeys(genes, 0.0)
    pair = 0
    for a in range(len(genes)):
        for b in range(a + 1, len(genes)):
            weights[genes[a]] += float(row[pair])
            weights[genes[b]] += float(row[pair])
            pair += 1
    return weights


def test_probes_lie_where_they_were_placed_in_the_colour_of_their_presence(explained: AnnData) -> None:
    maps, _, bar = split(lava.pl.modules(explained))
    presences, probes = explained.uns["lava"]["presences"], explained.uns["lava"]["probes"]
    assert len(maps) == presences.shape[1]
    for m, ax in enumerate(maps):
        cells, cloud = dots(ax)
        np.testing.assert_array_equal(cells.get_offsets(), explained.obsm["X_umap"])
        assert cells.get_rasterized()
        assert not cloud.get_rasterized()
        colors = cloud.get_cmap()(presences[:, m] / presences.max())
        assert by_place(cloud) == expected_by_place(probes, colors)
        assert list(cloud.get_array()) == sorted(presences[:, m])  # the highest is drawn last
        assert (cloud.norm.vmin, cloud.norm.vmax) == (0, pytest.approx(presences.max()))
    assert bar.get_ylabel() == "presence"
    assert bar.get_ylim() == (0, pytest.approx(presences.max()))


def test_colours_do_not_depend_on_which_modules_are_drawn(explained: AnnData) -> None:
    (ax,), _, _ = split(lava.pl.modules(explained, 1))
    assert dots(ax)[1].norm.vmax == pytest.approx(explained.uns["lava"]["presences"].max())


@pytest.mark.parametrize("n_genes", [1, 5, 10])
def test_bars_are_gene_weights(explained: AnnData, n_genes: int) -> None:
    _, bars, _ = split(lava.pl.modules(explained, n_genes=n_genes))
    for m, ax in enumerate(bars):
        weights = weights_by_loop(explained, m)
        strongest = [w for w in sorted(weights.values(), reverse=True) if w >= 0.05 * max(weights.values())][:n_genes]
        assert [patch.get_width() for patch in ax.patches] == pytest.approx(strongest, rel=1e-5)
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert [weights[name] for name in names] == pytest.approx(strongest, rel=1e-5)
        heights = [ax.transData.transform((0, patch.get_y()))[1] for patch in ax.patches]
        assert heights == sorted(heights, reverse=True)  # strongest on top


def test_titles_count_localities(explained: AnnData) -> None:
    maps, _, _ = split(lava.pl.modules(explained, [2, 0]))
    for m, ax in zip([2, 0], maps, strict=True):
        present = sum(p > 0.01 for p in explained.uns["lava"]["presences"][:, m])
        assert ax.get_title(loc="left") == f"module {m}"
        assert [t.get_text() for t in ax.texts] == [
            f"in {present} of {len(explained.uns['lava']['probes'])} localities"
        ]


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("n_modules", [1, 2, 3, 9, 12])
def test_no_text_meets_another(explained: AnnData, n_modules: int, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True, "figure.autolayout": True})
    adata = explained.copy()
    adata.var["long"] = [name if i % 3 else f"a_gene_with_a_long_name_{name}" for i, name in enumerate(adata.var_names)]
    fig = lava.pl.modules(adata, [m % 3 for m in range(n_modules)], gene_symbols="long")
    assert len(fig.axes) == 2 * n_modules + 1
    assert_readable(fig)


@pytest.mark.parametrize("stretch", [(1, 20), (20, 1), (1, 1)])
def test_tissues_keep_their_proportions(explained: AnnData, stretch: tuple[int, int]) -> None:
    adata = explained.copy()
    adata.obsm["spatial"] = adata.obsm["X_umap"] * stretch
    fig = lava.pl.modules(adata, basis="spatial")
    assert_readable(fig)
    for ax in split(fig)[0]:
        a, b = ax.transData.transform([(0, 0), (1, 1)])
        assert b[0] - a[0] == pytest.approx(b[1] - a[1])


def test_ncols_is_kept(explained: AnnData) -> None:
    maps, _, _ = split(lava.pl.modules(explained, ncols=1))
    assert len({round(ax.get_position().x0, 6) for ax in maps}) == 1
    maps, _, _ = split(lava.pl.modules(explained, [0, 1, 2, 0], ncols=4))
    assert len({round(ax.get_position().y0, 6) for ax in maps}) == 1


@pytest.fixture
def deep(explained: AnnData) -> AnnData:
    """Three dimensions explained, one of them unknown to the map."""
    adata = explained.copy()
    third = np.random.default_rng(0).normal(size=(adata.n_obs, 1))
    adata.obsm["X_deep"] = np.hstack([adata.obsm["X_umap"], third])
    lava.tl.localities(adata, use_rep="deep", n_neighbors=80, max_evals=1)
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 2, n_runs=1)
    return adata


@pytest.mark.parametrize("basis", [None, "umap", "X_umap"])
def test_outside_of_the_explained_space_a_probe_lies_at_its_nearest_cell(deep: AnnData, basis: str | None) -> None:
    maps, _, _ = split(lava.pl.modules(deep, basis=basis))
    nearest = cdist(deep.uns["lava"]["probes"], deep.obsm["X_deep"]).argmin(axis=1)
    at = deep.obsm["X_umap"][nearest]
    for m, ax in enumerate(maps):
        drawn = np.column_stack([dots(ax)[1].get_offsets(), dots(ax)[1].get_array()])
        wanted = np.column_stack([at, deep.uns["lava"]["presences"][:, m]])
        np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], wanted[np.lexsort(wanted.T)], rtol=1e-6)
    assert maps[0].get_ylabel() == "UMAP2"


def test_without_a_flat_map_the_first_two_columns_are_drawn_and_named_so(deep: AnnData) -> None:
    del deep.obsm["X_umap"]
    (ax, *_), _, _ = split(lava.pl.modules(deep))
    assert ax.get_ylabel() == "deep2 (of 3)"
    np.testing.assert_array_equal(dots(ax)[0].get_offsets(), deep.obsm["X_deep"][:, :2])
    assert set(by_place(dots(ax)[1])) == {tuple(at) for at in deep.uns["lava"]["probes"][:, :2].tolist()}


@pytest.mark.parametrize(
    ("there", "taken"), [(("X_tsne", "spatial"), "tSNE1"), (("spatial",), "spatial1"), (("X_other",), "deep1 (of 3)")]
)
def test_flat_maps_are_preferred_in_order(deep: AnnData, there: tuple[str, ...], taken: str) -> None:
    flat = deep.obsm.pop("X_umap")
    for name in there:
        deep.obsm[name] = flat
    (ax,), _, _ = split(lava.pl.modules(deep, 0))
    assert ax.get_xlabel() == taken


def test_a_subset_shows_its_own_localities(explained: AnnData) -> None:
    cells = explained.obs["region"] == "R1"
    maps, _, _ = split(lava.pl.modules(explained[cells]))
    members = explained.obsm["lava_localities"].toarray()[cells.to_numpy()]
    kept = [
        tuple(at)
        for at, any_left in zip(explained.uns["lava"]["probes"].tolist(), members.any(axis=0), strict=True)
        if any_left
    ]
    assert 0 < len(kept) < members.shape[1]
    assert set(by_place(dots(maps[0])[1])) == set(kept)


def test_genes_that_were_removed_since_are_still_named(explained: AnnData) -> None:
    def names(adata: AnnData) -> list[str]:
        return [label.get_text() for label in split(lava.pl.modules(adata, 0))[1][0].get_yticklabels()]

    assert names(explained[:, ::2]) == names(explained)


def test_after_a_round_trip(explained: AnnData, tmp_path: Path) -> None:
    explained.write_h5ad(tmp_path / "a.h5ad")
    drawn = [lava.pl.modules(adata, [0, 1]) for adata in (explained, ad.read_h5ad(tmp_path / "a.h5ad"))]
    first, second = ([by_place(dots(ax)[1]) for ax in split(fig)[0]] for fig in drawn)
    assert first == second


@pytest.mark.parametrize("given", [True, False])
def test_symbols_are_written_instead_of_ids(explained: AnnData, *, given: bool) -> None:
    plain = [label.get_text() for label in split(lava.pl.modules(explained, 0))[1][0].get_yticklabels()]
    adata = explained.copy()
    ids = {name: f"ENSG{i:011d}" for i, name in enumerate(adata.var_names)}
    adata.var["feature_name"] = adata.var_names.to_numpy()
    adata.var_names = list(ids.values())
    adata.uns["lava"]["genes"] = np.array([ids[name] for name in adata.uns["lava"]["genes"]])
    fig = lava.pl.modules(adata, 0, gene_symbols="feature_name" if given else None)
    assert [label.get_text() for label in split(fig)[1][0].get_yticklabels()] == plain


def test_nothing_in_adata_changes(explained: AnnData) -> None:
    before = explained.copy()
    lava.pl.modules(explained)
    helpers.assert_unchanged(explained, before)


def test_style_is_kept_and_cmap_taken(explained: AnnData) -> None:
    plt.style.use("dark_background")
    (ax,), _, _ = split(lava.pl.modules(explained, 0, cmap="viridis"))
    cells, probes = dots(ax)
    assert cells.get_facecolor()[0, :3].max() < 0.3  # they recede on black, too
    assert probes.get_cmap() == mpl.colormaps["viridis"]


def test_a_module_that_is_nowhere_is_drawn(explained: AnnData) -> None:
    adata = explained.copy()
    adata.uns["lava"]["presences"] = np.zeros_like(adata.uns["lava"]["presences"])
    lava.pl.modules(adata).draw_without_rendering()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(modules=3), "modules=3, expected numbers from 0 to 2"),
        (dict(modules=[0, -1]), r"modules=\[0, -1\], expected numbers from 0 to 2"),
        (dict(modules=["0"]), r"modules=\['0'\], expected numbers"),
        (dict(modules=[True]), r"modules=\[True\], expected numbers"),
        (dict(modules=[1.0]), r"modules=\[1.0\], expected numbers"),
        (dict(modules=[]), "Found no modules to draw"),
        (dict(basis="tsne"), r"no basis in adata.obsm 'tsne', expected one of those there are \('X_umap'"),
        (dict(basis="lava_presences"), "no basis in adata.obsm 'lava_presences'"),
        (dict(n_genes=0), "n_genes=0"),
        (dict(ncols=0), "ncols=0"),
        (dict(gene_symbols="nowhere"), "'nowhere'"),
        (dict(key="other"), r'uns\["other"\].*lava_sc.tl.amf'),
    ],
)
def test_bad_arguments_get_one_sentence(explained: AnnData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        lava.pl.modules(explained, **arguments)
    assert str(error.value).count("\n") == 0
    assert str(error.value).endswith(".")


def test_without_modules_the_step_to_call_is_named(explained: AnnData) -> None:
    adata = lava.datasets.planted(n_cells=100)
    with pytest.raises(ValueError, match=r"lava_sc\.tl\.amf; call it first"):
        lava.pl.modules(adata)


def test_explained_representation_that_is_gone_is_asked_for(deep: AnnData) -> None:
    del deep.obsm["X_deep"]
    with pytest.raises(ValueError, match=r"no adata\.obsm\['X_deep'\], expected the representation that was explained"):
        lava.pl.modules(deep)


@pytest.mark.parametrize(
    ("show", "interactive", "shown"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False), (False, False, False)],
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
    result = lava.pl.modules(explained, 0, show=show)
    assert (result is None) == shown
    assert calls == ([[1]] if shown else [])
    assert shown or isinstance(result, Figure)
