from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from anndata import AnnData
from matplotlib.collections import LineCollection
from scipy import sparse
from tests.pl.pictures import assert_readable

import lava_sc as lava
from lava_sc.stored.fields import store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHAPE = (3, 4)
#: Correlations of two localities between pixels, and the module that is the absolute first.
PAIRS = [{(0, 1): 0.9, (1, 11): -0.5, (2, 3): 0.3}, {(5, 6): -1.0}]


def rows(pairs: list[dict[tuple[int, int], float]], n: int) -> sparse.csr_matrix:
    a, b = np.triu_indices(n, 1)
    found = [[some.get((int(i), int(j)), 0.0) for i, j in zip(a, b, strict=True)] for some in pairs]
    return sparse.csr_matrix(np.array(found, dtype=np.float32))


@pytest.fixture
def images() -> AnnData:
    """What the steps store, of correlations that were made up."""
    adata = AnnData(np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32))
    adata.obsm["X_umap"] = np.random.default_rng(1).normal(size=(30, 2))
    lava.tl.localities(adata, n_neighbors=20)
    fields = {"genes": adata.var_names.to_numpy(dtype=object), "C": rows(PAIRS, 12), "defined": np.ones((2, 12), bool)}
    store(adata, "lava", "locality_corr", fields | {"evidence": adata.obs[:2].copy()}, {})
    adata.uns["lava"]["modules"] = abs(rows(PAIRS[:1], 12))
    adata.uns["lava"]["presences"] = np.array([[1.0], [0.005]], dtype=np.float32)
    return adata


def heat(ax: Axes) -> np.ndarray:
    return np.asarray(ax.images[0].get_array())


def lines(ax: Axes) -> dict[tuple[tuple[float, float], ...], float]:
    """Widths by ends (column, row), in the order in which they are drawn."""
    (found,) = (one for one in ax.collections if isinstance(one, LineCollection))
    ends = [tuple(map(tuple, segment.tolist())) for segment in found.get_segments()]
    return dict(zip(ends, found.get_linewidths(), strict=True))


def test_heat_and_lines_of_a_module(images: AnnData) -> None:
    fig = lava.pl.image_modules(images, SHAPE, show=False)
    (ax,) = fig.axes
    expected = np.zeros(SHAPE)
    for (a, b), value in PAIRS[0].items():
        for pixel in (a, b):
            expected[pixel // 4, pixel % 4] += abs(value)
    np.testing.assert_allclose(heat(ax), expected / 1.4, rtol=1e-6)
    assert list(lines(ax)) == [((1, 0), (3, 2)), ((0, 0), (1, 0))]  # 0.3 cubed is below 0.1
    assert ax.get_title(loc="left") == "module 0"
    assert [text.get_text() for text in ax.texts] == ["in 1 of 2"]
    assert_readable(fig)


def test_lines_are_as_wide_as_cubes_and_weak_ones_left_out(images: AnnData) -> None:
    strong = {(0, 1): 0.9, (4, 8): -0.6, (2, 3): 0.46, (2, 4): 0.47}
    images.uns["lava"]["C"] = rows([strong, {}], 12)
    first, empty = lava.pl.image_modules(images, SHAPE, localities=[0, 1], show=False).axes
    found = lines(first)
    assert list(found) == [((2, 0), (0, 1)), ((0, 1), (0, 2)), ((0, 0), (1, 0))]  # the strongest on top
    widths = np.array(list(found.values()))
    np.testing.assert_allclose(widths / widths[-1], np.array([0.47, 0.6, 0.9]) ** 3 / 0.9**3, rtol=1e-5)
    assert not lines(empty)
    assert (heat(empty) == 0).all()


def test_the_strongest_lines_stay(images: AnnData) -> None:
    images.uns["lava"]["C"] = rows([{(0, 1): 0.9, (4, 8): -0.95, (2, 3): 0.8}, {}], 12)
    (ax,) = lava.pl.image_modules(images, SHAPE, localities=0, max_lines=2, show=False).axes
    assert list(lines(ax)) == [((0, 0), (1, 0)), ((0, 1), (0, 2))]


def test_pixels_by_a_column(images: AnnData) -> None:
    """Variables in another order, and an image with pixels that are no variables."""
    rng = np.random.default_rng(3)
    images.var["pixel"] = rng.choice(35, 12, replace=False)
    images.uns["lava"]["C"] = rows([{(3, 7): 0.9}, {}], 12)
    (ax,) = lava.pl.image_modules(images, (5, 7), localities=0, pixel_key="pixel", show=False).axes
    expected = np.zeros(35)
    expected[images.var["pixel"].iloc[[3, 7]]] = 1
    np.testing.assert_array_equal(heat(ax), expected.reshape(5, 7))
    ends = {(x, y) for line in lines(ax) for x, y in line}
    assert ends == {(pixel % 7, pixel // 7) for pixel in images.var["pixel"].iloc[[3, 7]].tolist()}


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_many_panels_can_be_read(images: AnnData, style: str) -> None:
    images.uns["lava"]["modules"] = sparse.vstack([images.uns["lava"]["modules"]] * 15, format="csr")
    images.uns["lava"]["presences"] = np.ones((2, 15), dtype=np.float32)
    with mpl.style.context(style):
        fig = lava.pl.image_modules(images, SHAPE, show=False)
        assert len(fig.axes) == 15
        assert_readable(fig)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (28, 28)}, r"Found 12 variables for an image of 28 × 28 pixels, expected 784; .* pixel_key\."),
        ({"shape": 12}, r"Found shape=12, expected rows and columns"),
        ({"shape": (3, -4)}, r"expected rows and columns"),
        ({"modules": 0, "localities": 0}, r"Found modules=0 and localities=0, expected one of them"),
        ({"localities": 7}, r"expected numbers from 0 to 1"),
        ({"localities": []}, r"Found no localities to draw"),
        ({"modules": 1}, r"expected numbers from 0 to 0"),
        ({"pixel_key": "where"}, r"where"),
        ({"pixel_key": "twice"}, r"Found no pixel for each variable in adata.var\['twice'\], .* from 0 to 11"),
        ({"max_lines": -1}, r"max_lines"),
    ],
)
def test_wrong_arguments(images: AnnData, arguments: dict[str, Any], message: str) -> None:
    images.var["twice"] = 0
    with pytest.raises(ValueError, match=message):
        lava.pl.image_modules(images, **({"shape": SHAPE} | arguments), show=False)


def test_features_that_were_removed(images: AnnData) -> None:
    images.var["pixel"] = np.arange(12)
    with pytest.raises(ValueError, match=r"Found 2 of 12 correlated features missing"):
        lava.pl.image_modules(images[:, :10].copy(), SHAPE, pixel_key="pixel", show=False)
