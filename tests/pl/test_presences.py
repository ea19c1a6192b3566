from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from tests import helpers
from tests.pl.pictures import assert_readable, by_place, dots, expected_by_place

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData


def test_cells_have_the_colour_of_their_mean_presence(explained: AnnData) -> None:
    *maps, bar = lava.pl.presences(explained).axes
    membership, presences = explained.obsm["lava_localities"].toarray(), explained.uns["lava"]["presences"]
    there = membership.any(axis=1)
    assert 0 < there.sum() < len(there)
    means = np.array([presences[row].mean(axis=0) for row in membership[there]])
    for m, ax in enumerate(maps):
        outside, inside = dots(ax)
        colors = inside.get_cmap()(np.float64(means[:, m]) / inside.norm.vmax)
        drawn, wanted = by_place(inside), expected_by_place(explained.obsm["X_umap"][there], colors)
        assert drawn.keys() == wanted.keys()
        np.testing.assert_allclose([drawn[at] for at in wanted], list(wanted.values()), atol=0.02)  # 1 step of 256
        assert list(inside.get_array()) == sorted(inside.get_array())  # the highest is drawn last
        np.testing.assert_array_equal(outside.get_offsets(), explained.obsm["X_umap"][~there])
        assert outside.get_sizes() == inside.get_sizes()
        assert inside.get_rasterized()
        assert ax.get_title(loc="left") == f"module {m}"
        assert (inside.norm.vmin, inside.norm.vmax) == (0, pytest.approx(means.max()))
    assert bar.get_ylabel() == "presence"


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("n_modules", [1, 2, 9])
def test_no_text_meets_another(explained: AnnData, n_modules: int, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True})
    fig = lava.pl.presences(explained, [m % 3 for m in range(n_modules)])
    assert len(fig.axes) == n_modules + 1
    assert_readable(fig)


@pytest.mark.parametrize("stretch", [(1, 20), (20, 1)])
def test_tissues_are_readable(explained: AnnData, stretch: tuple[int, int]) -> None:
    adata = explained.copy()
    adata.obsm["spatial"] = adata.obsm["X_umap"] * stretch
    assert_readable(lava.pl.presences(adata, basis="spatial"))


def test_ncols_is_kept(explained: AnnData) -> None:
    *maps, _ = lava.pl.presences(explained, ncols=1).axes
    assert len({round(ax.get_position().x0, 6) for ax in maps}) == 1


def test_subset_is_drawn(explained: AnnData) -> None:
    *maps, _ = lava.pl.presences(explained[::3], [0]).axes
    assert sum(len(cloud.get_offsets()) for cloud in dots(maps[0])) == 200


def test_nothing_in_adata_changes(explained: AnnData) -> None:
    before = explained.copy()
    lava.pl.presences(explained)
    helpers.assert_unchanged(explained, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(modules=[5]), r"modules=\[5\], expected numbers from 0 to 2"),
        (dict(basis="pca"), "no basis in adata.obsm 'pca'"),
        (dict(key="other"), "lava_sc.tl.amf"),
    ],
)
def test_bad_arguments_get_one_sentence(explained: AnnData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lava.pl.presences(explained, **arguments)
