from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from tests import helpers
from tests.pl.pictures import assert_readable, by_place, dots

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData


def with_entropies(adata: AnnData, n_modules: int, n_out: int = 4) -> AnnData:
    """Some entropies up to the largest, some localities left out."""
    adata = adata.copy()
    lava.tl.co_presence(adata, min_presence_sum=0)
    n = len(adata.uns["lava"]["co_presence"])
    bits = np.random.default_rng(0).permutation(np.linspace(0, np.log2(n_modules), n))
    bits[:n_out] = np.nan
    adata.uns["lava"]["co_presence"] = bits
    adata.uns["lava"]["module_entropy"] = np.ones(n_modules)
    return adata


@pytest.mark.parametrize("n_modules", [2, 9])
def test_probes_have_the_colour_of_their_entropy(explained: AnnData, n_modules: int) -> None:
    adata = with_entropies(explained, n_modules)
    bits = adata.uns["lava"]["co_presence"]
    place, bar, _ = lava.pl.co_presence(adata).axes
    cells, left_out, there = dots(place)
    np.testing.assert_array_equal(cells.get_offsets(), adata.obsm["X_umap"])
    np.testing.assert_array_equal(left_out.get_offsets(), adata.uns["lava"]["probes"][np.isnan(bits)])
    (grey,) = {to_hex(color) for color in by_place(left_out).values()}
    assert len({grey[k : k + 2] for k in (1, 3, 5)}) == 1
    colors = mpl.colormaps["viridis_r"](bits / np.log2(n_modules))
    expected = dict(zip(map(tuple, adata.uns["lava"]["probes"].tolist()), map(tuple, colors.tolist()), strict=True))
    assert len(by_place(there)) == len(bits) - 4
    for at, color in by_place(there).items():
        assert color == pytest.approx(expected[at])
    assert bar.get_ylabel() == "bits"


@pytest.mark.parametrize("n_modules", [2, 9])
def test_histogram_with_mean_and_reference(explained: AnnData, n_modules: int) -> None:
    adata = with_entropies(explained, n_modules)
    bits = adata.uns["lava"]["co_presence"]
    bits = bits[~np.isnan(bits)]
    ax = lava.pl.co_presence(adata).axes[2]
    edges = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in ax.patches]
    assert sum(height for *_, height in edges) == len(bits)
    for low, high, height in edges[:-1]:
        assert height == ((bits >= low) & (bits < high)).sum()
    assert ax.get_title(loc="left") == f"mean {bits.mean():.2f} bits"
    written = [text.get_text() for text in ax.texts]
    assert f"sd {np.std(bits, ddof=1):.2f}" in written
    assert f"log₂ {n_modules} = {np.log2(n_modules):.2f}" in written
    assert any(np.allclose(line.get_xdata(), np.log2(n_modules)) for line in ax.lines if len(line.get_xdata()) == 2)
    assert any(np.allclose(line.get_xdata(), bits.mean()) for line in ax.lines if len(line.get_xdata()) == 1)


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("n_modules", [1, 2, 9])
def test_no_text_meets_another(explained: AnnData, n_modules: int, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True})
    assert_readable(lava.pl.co_presence(with_entropies(explained, n_modules)))


@pytest.mark.parametrize("stretch", [(1, 20), (20, 1)])
def test_tissues_are_readable(explained: AnnData, stretch: tuple[int, int]) -> None:
    adata = with_entropies(explained, 3)
    adata.obsm["spatial"] = adata.obsm["X_umap"] * stretch
    assert_readable(lava.pl.co_presence(adata, basis="spatial"))


@pytest.mark.parametrize("n_there", [0, 1])
def test_hardly_any_locality_is_left(explained: AnnData, n_there: int) -> None:
    n = len(explained.uns["lava"]["probes"])
    fig = lava.pl.co_presence(with_entropies(explained, 3, n_out=n - n_there))
    title = fig.axes[2].get_title(loc="left")
    assert title.startswith("mean" if n_there else "all localities left out")
    assert_readable(fig)


def test_a_subset_shows_the_localities_it_has(explained: AnnData) -> None:
    adata = explained[explained.obs["region"] == explained.obs["region"].iloc[0]].copy()
    n_there = (adata.obsm["lava_localities"].sum(axis=0) > 0).sum()
    place, *_ = lava.pl.co_presence(lava.tl.co_presence(adata, min_presence_sum=0, copy=True)).axes
    assert sum(len(cloud.get_offsets()) for cloud in dots(place)[1:]) == n_there < len(adata.uns["lava"]["probes"])


def test_nothing_in_adata_changes(explained: AnnData) -> None:
    adata = with_entropies(explained, 3)
    before = adata.copy()
    lava.pl.co_presence(adata)
    helpers.assert_unchanged(adata, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(basis="pca"), "no basis in adata.obsm 'pca'"),
        (dict(key="other"), r"lava_sc\.tl\.co_presence; call it first"),
    ],
)
def test_bad_arguments_get_one_sentence(explained: AnnData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lava.pl.co_presence(with_entropies(explained, 3), **arguments)
