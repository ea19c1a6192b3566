from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from tests import helpers
from tests.pl.pictures import assert_readable, by_place, dots

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData


def locality_with_pairs(adata: AnnData) -> int:
    return int(adata.uns["lava"]["C"].getnnz(axis=1).argmax())


@pytest.mark.parametrize("genes", [None, [f"M{m}_{i:02d}" for m in (1, 2, 3) for i in range(1, 11)]])
def test_probes_have_the_colour_of_their_cosine(explained: AnnData, genes: list[str] | None) -> None:
    i, results = locality_with_pairs(explained), explained.uns["lava"]
    C, known = np.abs(results["C"].toarray().astype(np.float64)), list(results["genes"])
    if genes is not None:
        first, second = np.triu_indices(len(known), 1)
        asked = np.isin(known, genes)
        C = C[:, asked[first] & asked[second]]
    some = C.any(axis=1)
    assert 3 < some.sum() < len(some)
    fig = lava.pl.locality_similarity(explained, i, genes=genes)
    place, bar = fig.axes
    cells, nothing, there = dots(place)
    np.testing.assert_array_equal(cells.get_offsets(), explained.obsm["X_umap"])
    np.testing.assert_array_equal(nothing.get_offsets(), results["probes"][~some])
    cosines = np.clip(cosine_similarity(C[[i]], C[some])[0], 0, 1)
    colors = dict(zip(map(tuple, results["probes"][some].tolist()), mpl.colormaps["viridis_r"](cosines), strict=True))
    drawn = by_place(there)
    assert set(drawn) == set(colors)
    for at, color in drawn.items():
        assert color == pytest.approx(tuple(colors[at]), abs=1 / 128)
    (ring,) = place.lines
    np.testing.assert_array_equal(ring.get_xydata()[0], results["probes"][i])
    assert (there.norm.vmin, there.norm.vmax) == (0, 1)
    assert place.get_title(loc="left") == f"locality {i}"
    assert f"{C.shape[1]:,} pairs" in place.texts[0].get_text()
    assert bar.get_ylabel() == "cosine"


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("genes", [None, ["M1_01", "M1_02"]])
def test_no_text_meets_another(explained: AnnData, genes: list[str] | None, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True})
    pair = np.flatnonzero(explained.uns["lava"]["C"].getnnz(axis=0))[0]
    first, second = (explained.uns["lava"]["genes"][at[pair]] for at in np.triu_indices(80, 1))
    i = int(abs(explained.uns["lava"]["C"][:, [pair]]).toarray().argmax())
    fig = lava.pl.locality_similarity(explained, i, genes=None if genes is None else [first, second])
    assert_readable(fig)


@pytest.mark.parametrize("stretch", [(1, 20), (20, 1)])
def test_tissues_are_readable(explained: AnnData, stretch: tuple[int, int]) -> None:
    adata = explained.copy()
    adata.obsm["spatial"] = adata.obsm["X_umap"] * stretch
    assert_readable(lava.pl.locality_similarity(adata, locality_with_pairs(adata), basis="spatial"))


def test_a_subset_without_the_locality_has_no_ring(explained: AnnData) -> None:
    i = locality_with_pairs(explained)
    members = explained.obsm["lava_localities"][:, [i]].toarray().ravel()
    place, _ = lava.pl.locality_similarity(explained[~members].copy(), i).axes
    assert not place.lines


def test_nothing_in_adata_changes(explained: AnnData) -> None:
    before = explained.copy()
    lava.pl.locality_similarity(explained, locality_with_pairs(explained))
    helpers.assert_unchanged(explained, before)


def test_nothing_to_compare(explained: AnnData) -> None:
    adata = explained.copy()
    adata.uns["lava"]["C"] = adata.uns["lava"]["C"].multiply(np.arange(22)[:, None] > 0).tocsr()
    adata.uns["lava"]["C"].eliminate_zeros()
    message = "Found no correlation of locality 0, expected at least one to compare; choose another one."
    with pytest.raises(ValueError, match=message):
        lava.pl.locality_similarity(adata, 0)
    with pytest.raises(ValueError, match=r"locality 0 among these genes, .*; choose another one or other genes\."):
        lava.pl.locality_similarity(adata, 0, genes=["M1_01", "M1_02"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(locality=-1), "Found locality=-1, expected a whole number between 0 and 21; change locality."),
        (
            dict(locality=8, genes=["M1_01", "CD4"]),
            r"Found gene 'CD4', expected names out of the 80 genes in adata\.uns",
        ),
        (dict(locality=8, genes=[]), "Found 0 genes, expected at least 2 out of"),
        (dict(locality=8, basis="pca"), "no basis in adata.obsm 'pca'"),
        (dict(locality=8, key="other"), "lava_sc.tl.locality_corr"),
    ],
)
def test_bad_arguments_get_one_sentence(explained: AnnData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lava.pl.locality_similarity(explained, **arguments)
