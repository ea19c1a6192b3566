from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from tests import helpers
from tests.pl.pictures import assert_readable, dots

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.collections import PathCollection


def test_both_maps_have_mean_one_and_one_scale(explained: AnnData) -> None:
    first, second, bar = lava.pl.centrality(explained).axes
    n = explained.uns["lava"]["params"]["localities"]["n_neighbors"]
    drawn = [dots(first)[0], dots(second)[0]]
    for cloud, column in zip(drawn, ("lava_in_degree", "lava_locality_in_degree"), strict=True):
        order = np.argsort(explained.obs[column].to_numpy(), kind="stable")  # the highest on top
        np.testing.assert_array_equal(cloud.get_offsets(), explained.obsm["X_umap"][order])
        np.testing.assert_allclose(cloud.get_array(), explained.obs[column].iloc[order] * 600 / n, rtol=1e-12)
        assert cloud.get_array().mean() == pytest.approx(1, rel=1e-9)
        assert cloud.get_rasterized()
    highest = max(cloud.get_array().max() for cloud in drawn)
    assert {(cloud.norm.vmin, cloud.norm.vmax) for cloud in drawn} == {(0.0, highest)}
    assert drawn[0].get_cmap() == drawn[1].get_cmap()
    assert bar.get_ylabel() == "in-degree"


def test_probes_lie_over_the_second_map(explained: AnnData) -> None:
    first, second, _ = lava.pl.centrality(explained).axes
    assert len(dots(first)) == 1
    np.testing.assert_array_equal(dots(second)[-1].get_offsets(), explained.uns["lava"]["probes"])
    assert (first.get_xlim(), first.get_ylim()) == (second.get_xlim(), second.get_ylim())
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["all neighbourhoods", "localities"]
    loss = explained.uns["lava"]["placement"]["loss_per_neighbor"]
    assert f"L/n = {loss:.3f}" in [text.get_text() for text in second.texts]


@pytest.mark.parametrize("font_size", [6, 10, 18])
def test_no_text_meets_another(explained: AnnData, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True})
    assert_readable(lava.pl.centrality(explained))


@pytest.mark.parametrize("stretch", [(1, 20), (20, 1)])
def test_tissues_are_readable(explained: AnnData, stretch: tuple[int, int]) -> None:
    adata = explained.copy()
    adata.obsm["spatial"] = adata.obsm["X_umap"] * stretch
    assert_readable(lava.pl.centrality(adata, basis="spatial", cmap="magma"))


def test_a_subset_keeps_the_colours_of_its_cells(explained: AnnData) -> None:
    adata = explained.copy()
    whole = value_by_place(dots(lava.pl.centrality(adata).axes[0])[0])
    some = adata[100:400:3]
    part = value_by_place(dots(lava.pl.centrality(some).axes[0])[0])
    assert part.keys() == set(map(tuple, some.obsm["X_umap"].tolist()))
    assert part == pytest.approx({at: whole[at] for at in part}, rel=1e-12)


def value_by_place(cloud: PathCollection) -> dict[tuple[float, float], float]:
    places, values = np.asarray(cloud.get_offsets()), np.asarray(cloud.get_array())
    return dict(zip(map(tuple, places.tolist()), values.tolist(), strict=True))


def test_many_cells(explained: AnnData) -> None:
    import anndata as ad

    adata = explained[:, :1].copy()
    adata = ad.concat([adata] * 334, merge="same", uns_merge="same", index_unique="-")
    fig = lava.pl.centrality(adata)
    fig.draw_without_rendering()
    assert len(dots(fig.axes[0])[0].get_offsets()) == 200_400


def test_shown_or_returned(explained: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(plt, "show", lambda: (calls.append(plt.get_fignums()), plt.close("all")))
    assert lava.pl.centrality(explained, show=True) is None
    assert calls == [[1]]


def test_nothing_in_adata_changes(explained: AnnData) -> None:
    before = explained.copy()
    lava.pl.centrality(explained)
    helpers.assert_unchanged(explained, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(basis="pca"), "no basis in adata.obsm 'pca'"),
        (dict(key="other"), "lava_sc.tl.localities; call it first"),
    ],
)
def test_bad_arguments_get_one_sentence(explained: AnnData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lava.pl.centrality(explained, **arguments)
