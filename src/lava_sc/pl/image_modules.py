"""Modules and localities of images, as images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc.core.correlation.pairs import pair_features
from lava_sc.core.interpret.summary import PRESENT_ABOVE, gene_weights
from lava_sc.pl import _canvas, _layout
from lava_sc.pl._plot_names import module_titles
from lava_sc.stored import checks, inputs
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray

_POWER: Final = 3
_WEAKEST: Final = 0.1  # after cubing (paper, B.4)
_SIDE: Final = 2.0  # of a square panel, inches
_TITLE: Final = 14.0  # of a module, in font sizes
_WIDEST: Final = 1.2  # line of a correlation of 1, in points
_LINES: Final = "#2166ac"
_LINES_ON_BLACK: Final = "#92c5de"


@dataclass(frozen=True)
class _Image:
    """Correlations of one panel.

    Attributes
    ----------
    heat
        (rows, columns) sum of the absolute correlations of each pixel.
    lines
        (K, 2, 2) ends of the lines as (column, row), the weakest first.
    strengths
        (K,) their cubed correlations.
    """

    heat: FloatArray
    lines: FloatArray
    strengths: FloatArray


@document_parameters
def image_modules(
    adata: AnnData,
    shape: tuple[int, int],
    modules: int | Sequence[int] | None = None,
    *,
    localities: int | Sequence[int] | None = None,
    pixel_key: str | None = None,
    max_lines: int = 500,
    cmap: str | Colormap | None = None,
    ncols: int | None = None,
    key: str = "lava",
    show: bool | None = None,
) -> Figure | None:
    """Modules, or localities, whose features are the pixels of an image.

    A pixel's heat is the sum of the absolute correlations in which it takes part; a line joins two pixels that are correlated. Lines are as wide
    as the cube of the correlation, and those whose cube is below 0.1 (correlations below 0.46) are left out (paper, B.4; Figures 1c,
    4a, S3, S13). Heat is relative to the hottest pixel of the same panel, so panels do not compare in colour.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`; for ``localities``, correlations from
        :func:`lava_sc.tl.locality_corr` are enough.
    shape
        Rows and columns of the image. Variable j of ``adata`` is pixel j, row by row from the top, and all pixels are
        variables, unless there is a ``pixel_key``.
    modules
    localities
        Number or numbers of localities to draw instead of modules.
    pixel_key
        Column of ``adata.var`` with the pixel of each variable, a whole number from 0; pixels without a variable stay empty.
    max_lines
        Lines in a panel at most, the strongest.
    cmap
        Colours of heat, 0 first; pale yellow to dark red when ``None``.
    ncols
    key
    show

    Returns
    -------
    The figure, which pyplot does not hold any more, or ``None`` when it was shown.

    Raises
    ------
    ValueError
        If modules or correlations are missing, a module, a locality or the column is unknown, both modules and localities are
        asked for, or the variables are not the pixels of such an image.

    Examples
    --------
    >>> import anndata as ad
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> import lava_sc as lava
    >>> images = load_digits(n_class=4).data / 16
    >>> adata = ad.AnnData(images, obsm={"X_pca": PCA(2, random_state=0).fit_transform(images)})
    >>> lava.tl.localities(adata, n_neighbors=150)
    >>> lava.tl.locality_corr(adata)
    >>> lava.tl.amf(adata, 3, n_runs=2)
    >>> fig = lava.pl.image_modules(adata, (8, 8), show=False)
    >>> [ax.get_title(loc="left") for ax in fig.axes]
    ['module 0', 'module 1', 'module 2']
    """
    checks.annotated(adata)
    checks.in_range("max_lines", max_lines, 0, np.inf, integer=True)
    numbers, patterns, titles = _chosen(adata, modules, localities, key)
    pixels = _pixels_of_genes(adata, shape, pixel_key, key)
    images = [_image(patterns[[i]], pixels, shape, max_lines) for i in numbers]
    scale = _canvas.presence_scale(np.ones(1), cmap)

    em = _layout.em()
    stretch = np.sqrt(shape[1] / shape[0])
    width, height = _SIDE * stretch, _SIDE / stretch
    grid = _layout.make_grid(
        len(images), ncols, max(width, _layout.title_width(titles)) + 1.2 * em, height + 3.2 * em, bottom=0.0
    )
    fig = _layout.new_figure(grid.size)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        ax = fig.add_axes(grid.box(i, 0, 2.0 * em, width, height))
        _draw(ax, image, scale)
        _canvas.write_title(ax, *title)
    return _canvas.hand_over(fig, fig, show=show)


def _chosen(
    adata: AnnData, modules: int | Sequence[int] | None, localities: int | Sequence[int] | None, key: str
) -> tuple[list[int], sparse.csr_matrix, list[tuple[str, str]]]:
    """Rows to draw, of which matrix, and their titles."""
    if localities is None:
        numbers = _canvas.chosen_modules(adata, modules, key)
        presences = load(adata, key, "presences")
        present = (presences[:, numbers] > PRESENT_ABOVE).sum(axis=0)
        heads = module_titles(adata, numbers, key, room=_TITLE * _layout.em())
        remarks = [f"in {n:,} of {len(presences):,}" for n in present]
        return numbers, load(adata, key, "modules"), list(zip(heads, remarks, strict=True))
    if modules is not None:
        msg = f"Found modules={modules!r} and localities={localities!r}, expected one of them; leave the other out."
        raise ValueError(msg)
    C = load(adata, key, "C")
    numbers = _canvas.chosen_numbers("localities", localities, C.shape[0])
    if not numbers:
        msg = "Found no localities to draw, expected at least one; name some, or leave localities out to draw modules."
        raise ValueError(msg)
    return numbers, C, [(f"locality {i}", "") for i in numbers]


def _pixels_of_genes(adata: AnnData, shape: tuple[int, int], pixel_key: str | None, key: str) -> IntArray:
    """Pixel of each correlated feature, (D,).

    Raises
    ------
    ValueError
        If variables are not the pixels of such an image.
    """
    if np.shape(shape) != (2,) or not all(isinstance(side, int | np.integer) and side > 0 for side in shape):
        msg = f"Found shape={shape!r}, expected rows and columns of the image; pass for example shape=(28, 28)."
        raise ValueError(msg)
    n_pixels = int(shape[0]) * int(shape[1])
    if pixel_key is None:
        if adata.n_vars != n_pixels:
            msg = (
                f"Found {adata.n_vars} variables for an image of {shape[0]} × {shape[1]} pixels, expected {n_pixels}; pass another "
                f"shape, or name the column of adata.var with the pixel of each variable as pixel_key."
            )
            raise ValueError(msg)
        pixels = np.arange(n_pixels)
    else:
        pixels = inputs.var_column(adata, pixel_key).to_numpy()
        if (
            pixels.dtype.kind not in "iu"
            or pixels.min() < 0
            or pixels.max() >= n_pixels
            or len(set(pixels)) < len(pixels)
        ):
            msg = (
                f"Found no pixel for each variable in adata.var[{pixel_key!r}], expected different whole numbers from 0 to "
                f"{n_pixels - 1}; correct the column or shape."
            )
            raise ValueError(msg)
    at = adata.var_names.get_indexer(load(adata, key, "genes"))
    if (at < 0).any():
        msg = (
            f"Found {int((at < 0).sum())} of {len(at)} correlated features missing from adata.var_names, expected all; call "
            f"lava_sc.pl.image_modules on the object that was correlated."
        )
        raise ValueError(msg)
    return np.asarray(pixels[at], dtype=np.int64)


def _image(row: sparse.csr_matrix, pixels: IntArray, shape: tuple[int, int], max_lines: int) -> _Image:
    """Heat and lines of one row of C or of the modules."""
    ends = pixels[np.stack(pair_features(row.indices, len(pixels)), axis=1)]
    heat = np.zeros(shape[0] * shape[1])
    heat[pixels] = gene_weights(abs(row), len(pixels))[:, 0]
    strengths = np.abs(row.data.astype(np.float64)) ** _POWER
    order = np.argsort(-strengths, kind="stable")[:max_lines]
    order = order[strengths[order] >= _WEAKEST][::-1]
    y, x = np.divmod(ends[order], shape[1])
    return _Image(heat.reshape(shape), np.stack([x, y], axis=2).astype(np.float64), strengths[order])


def _draw(ax: Axes, image: _Image, scale: ScalarMappable) -> None:
    from matplotlib.collections import LineCollection

    hottest = image.heat.max()
    heat = ax.imshow(image.heat / hottest if hottest > 0 else image.heat, interpolation="nearest")
    heat.set(cmap=scale.cmap, norm=scale.norm)
    lines = LineCollection(
        list(image.lines),
        linewidths=_WIDEST * image.strengths,
        colors=_canvas.for_background(_LINES, _LINES_ON_BLACK),
        alpha=0.7,
        capstyle="round",
        rasterized=True,
    )
    ax.add_collection(lines, autolim=False)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color=_canvas.foreground(_canvas.FRAME))
