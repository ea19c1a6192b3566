from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from tests import helpers
from tests.pl.pictures import assert_readable

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure


def with_presences(adata: AnnData, presences: list[float]) -> AnnData:
    """These presences of modules, the first three of which are those there are, in all localities."""
    adata = adata.copy()
    results = adata.uns["lava"]
    n = len(presences)
    results["modules"] = results["modules"][np.arange(n) % 3]
    results["presences"] = np.tile(np.float32(presences), (len(results["presences"]), 1))
    return adata


def locality_with_pairs(adata: AnnData) -> int:
    return int(adata.uns["lava"]["C"].getnnz(axis=1).argmax())


def titles(fig: Figure) -> list[str]:
    """Without the colourbar's."""
    return [ax.get_title(loc="left") for ax in fig.axes[:-1]]


def remarks(fig: Figure) -> list[str]:
    return ["".join(text.get_text() for text in ax.texts) for ax in fig.axes[:-1]]


def genes_of(fig: Figure) -> list[str]:
    return [label.get_text() for label in fig.axes[0].get_yticklabels()]


def dense(adata: AnnData, values: np.ndarray, genes: list[str]) -> np.ndarray:
    """A row of C or of the modules as a table of some genes, NaN on the diagonal."""
    known = list(adata.uns["lava"]["genes"])
    square = np.zeros((len(known), len(known)))
    square[np.triu_indices(len(known), 1)] = values
    square += square.T
    np.fill_diagonal(square, np.nan)
    at = [known.index(gene) for gene in genes]
    return square[np.ix_(at, at)]


def test_panels_are_the_locality_its_parts_and_their_maximum(explained: AnnData) -> None:
    adata = with_presences(explained, [0.2, 0.009, 0.7])
    i = locality_with_pairs(adata)
    fig = lava.pl.reconstruction(adata, i)
    assert titles(fig) == [f"locality {i}", "module 2", "module 0", "maximum"]
    assert remarks(fig)[1:3] == ["presence 0.70", "presence 0.20"]
    results, genes = adata.uns["lava"], genes_of(fig)
    C, M = (np.abs(results[name].toarray().astype(np.float64)) for name in ("C", "modules"))
    parts = np.float32([0.2, 0.009, 0.7]).astype(np.float64)[:, None] * M
    expected = [C[i], parts[2], parts[0], parts.max(axis=0)]
    for ax, values in zip(fig.axes, expected, strict=False):
        (image,) = ax.images
        np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), dense(adata, values, genes), rtol=1e-6)
    hat = expected[-1]
    cosine = hat @ C[i] / np.linalg.norm(hat) / np.linalg.norm(C[i])
    over = np.maximum(hat - C[i], 0).sum() / np.abs(hat - C[i]).sum()
    assert remarks(fig)[-1] == f"cosine {cosine:.2f}, overestimation {100 * over:.0f} %"
    assert fig.axes[-1].get_ylabel() == "absolute correlation"


def test_one_colour_scale(explained: AnnData) -> None:
    fig = lava.pl.reconstruction(explained, locality_with_pairs(explained))
    images = [ax.images[0] for ax in fig.axes[:-1]]
    largest = max(np.nanmax(np.ma.filled(image.get_array(), np.nan)) for image in images)
    assert {(image.norm.vmin, image.norm.vmax) for image in images} == {(0.0, largest)}


def test_genes_asked_for(explained: AnnData) -> None:
    asked = ["M1_03", "BG_001", "M2_02", "M1_03"]
    fig = lava.pl.reconstruction(explained, 0, genes=asked)
    assert sorted(genes_of(fig)) == sorted(set(asked))
    fig = lava.pl.reconstruction(explained, locality_with_pairs(explained), n_genes=5)
    assert len(genes_of(fig)) == 5


def test_the_weaker_of_many_modules_are_left_to_a_note(explained: AnnData) -> None:
    presences = [0.05, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.02, 0.001]
    fig = lava.pl.reconstruction(with_presences(explained, presences), 0)
    assert titles(fig)[1:-1] == [f"module {m}" for m in range(1, 7)]
    assert fig.axes[-2].get_xlabel() == "2 weaker modules are not drawn"
    fig = lava.pl.reconstruction(with_presences(explained, presences[:7]), 0)
    assert fig.axes[-2].get_xlabel() == "1 weaker module is not drawn"
    fig = lava.pl.reconstruction(with_presences(explained, [0.001] * 3), 0)
    assert len(titles(fig)) == 2
    assert fig.axes[-2].get_xlabel() == "no module is present"


def test_a_locality_of_nothing(explained: AnnData) -> None:
    adata = with_presences(explained, [0.0] * 3)
    empty = int(adata.uns["lava"]["C"].getnnz(axis=1).argmin())
    assert adata.uns["lava"]["C"][[empty]].nnz == 0
    message = (
        f"Found neither correlations nor modules in locality {empty}, expected something to draw; choose another one."
    )
    with pytest.raises(ValueError, match=message):
        lava.pl.reconstruction(adata, empty)
    fig = lava.pl.reconstruction(adata, empty, genes=["M1_01", "M1_02", "M1_03"])
    assert remarks(fig)[-1] == "no correlations, overestimation 0 %"
    assert_readable(fig)


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("n_modules", [1, 2, 9])
@pytest.mark.parametrize("n_genes", [3, 40, 80])
def test_no_text_meets_another(explained: AnnData, n_modules: int, n_genes: int, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True})
    adata = with_presences(explained, [0.9, 0.1, 0.8, 0.5, 0.4, 0.3, 0.2, 0.15, 0.05][:n_modules])
    assert_readable(lava.pl.reconstruction(adata, locality_with_pairs(adata), n_genes=n_genes))


def test_nothing_in_adata_changes(explained: AnnData) -> None:
    before = explained.copy()
    lava.pl.reconstruction(explained, 1)
    helpers.assert_unchanged(explained, before)


def test_genes_that_are_no_longer_there(explained: AnnData) -> None:
    subset = explained[:, ::2].copy()
    i = locality_with_pairs(explained)
    assert genes_of(lava.pl.reconstruction(subset, i)) == genes_of(lava.pl.reconstruction(explained, i))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(locality=22), "Found locality=22, expected a whole number between 0 and 21; change locality."),
        (dict(locality=0, n_genes=1), "Found n_genes=1, expected a whole number of at least 2"),
        (
            dict(locality=0, genes=["M1_01", "CD4"]),
            r"Found gene 'CD4', expected names out of the 80 genes in adata\.uns",
        ),
        (dict(locality=0, genes="M1_01"), "Found 1 genes, expected at least 2 out of"),
        (dict(locality=0, key="other"), "lava_sc.tl.amf"),
    ],
)
def test_bad_arguments_get_one_sentence(explained: AnnData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lava.pl.reconstruction(explained, **arguments)
