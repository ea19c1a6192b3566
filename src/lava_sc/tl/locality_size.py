"""Before step 1: how many cells a locality should have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from lava_sc._logging import logger, warn
from lava_sc.core.localities.size import jaccard_by_chance, jaccard_by_size, size_grid, suggest_size
from lava_sc.io import values as value_checks
from lava_sc.io.dense import dense
from lava_sc.stored import checks, embeddings, inputs
from lava_sc.stored.fields import GENE_MASK
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from lava_sc._types import BoolArray, DataMatrix, FloatArray, IntArray, SeedLike

_FEWEST_CELLS: Final = 4
_FEW_GENES: Final = 2000  # their covariances are small, and exact
_QUARTILES: Final = {"min": 0.0, "25%": 0.25, "50%": 0.5, "75%": 0.75, "max": 1.0}


@step("locality_size")
def locality_size(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    sizes: Sequence[int] | None = None,
    feature_rep: str | None = None,
    mask_var: str | Sequence[bool] | BoolArray | None = None,
    layer: str | None = None,
    n_comps: int = 50,
    groupby: str | None = None,
    n_sampled: int = 2000,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    key_added: str = "lava",
    copy: bool = False,
) -> Result:
    """Compare neighbourhoods in the embedding with those in feature space, size by size, and suggest a locality size.

    For each n, the mean over cells of the Jaccard similarity between the n cells nearest in feature space and the n
    nearest in the embedding (paper, A.1.1 and Fig. S1): at its peak the embedding is most like the data.

    Parameters
    ----------
    adata
        Annotated data, E cells.
    use_rep
        Key of ``adata.obsm`` with the embedding, as in :func:`lava_sc.tl.localities`.
    sizes
        Neighbourhood sizes n, 2 to E − 1. ``None`` takes forty from 10 to E/2, evenly spaced on a log scale.
    feature_rep
        Key of ``adata.obsm`` with the feature space. ``None`` takes principal components of the genes, computed here.
    mask_var
        Genes of the feature space, as in :func:`lava_sc.tl.locality_corr`.
    layer
        Layer with their values instead of ``X``; log-normalised.
    n_comps
        Number of principal components; with no more genes than that, their values are taken as they are.
    groupby
        Column of ``adata.obs``: store the quartiles of the sizes of its groups too. The paper's other way to choose n is a
        number between the smallest and the median cell type (B.3.1, Table S1).
    n_sampled
        Number of cells whose neighbourhoods are compared, drawn at random where there are more. The neighbours are always
        searched among all cells.
    rng
    n_jobs
    key_added
        Key under which everything is stored; that of the localities.
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key_added]["locality_size"]["table"]`
        A row for each size ``n``: ``jaccard``, the mean over the compared cells, and its standard error ``jaccard_se``;
        ``chance``, what random neighbourhoods of the cell, itself included, would have; ``adjusted`` = (jaccard − chance)/(1 − chance).
    `adata.uns[key_added]["locality_size"]["suggested"]`
        The n to pass as ``n_neighbors``, int. ``["is_peak"]``, bool, says whether it is a peak or the default for want of
        one, and ``["reason"]`` why, in a sentence.
    `adata.uns[key_added]["locality_size"]["group_sizes"]`
        With ``groupby``: ``n_cells`` of the groups, at their minimum, quartiles and maximum.

    Raises
    ------
    ValueError
        If a representation, layer or column is missing, values are not finite, or a size is not between 2 and E − 1.

    Warns
    -----
    UserWarning
        If the values look like raw counts.

    Notes
    -----
    The similarity of random neighbourhoods grows from 0 to 1 as n grows to E, and so does the plain curve at its end. The
    suggested n is therefore the highest peak of ``adjusted``, among sizes from 50 (fewer cells hardly bear a correlation)
    to E/2. On the paper's MNIST map both curves peak at n ≈ 2,800, where the paper reads 3,000. A peak has to stand
    out from chance and from both sides by three standard errors; where none does, as on maps of few cells that agree
    best on their halves, the default of :func:`lava_sc.tl.localities` is suggested.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.locality_size(adata, groupby="region")
    >>> found = adata.uns["lava"]["locality_size"]
    >>> lava.tl.localities(adata, n_neighbors=found["suggested"])
    """
    rng = np.random.default_rng(rng)
    for name, value in {"n_comps": n_comps, "n_sampled": n_sampled}.items():
        checks.in_range(name, value, 1, np.inf, integer=True)
    groups = None if groupby is None else _group_sizes(adata, groupby)
    obsm_key = embeddings.representation_key(adata, use_rep)
    Z = embeddings.representation(adata, obsm_key)
    n_cells = len(Z)
    grid = _size_grid(n_cells, sizes)
    features = _feature_space(adata, obsm_key, feature_rep, mask_var, layer, n_comps, rng)
    cells = np.sort(rng.choice(n_cells, n_sampled, replace=False)) if n_cells > n_sampled else np.arange(n_cells)

    logger.info("comparing the neighbourhoods of %d of %d cells with those in obsm[%r]", len(cells), n_cells, obsm_key)
    jaccard = jaccard_by_size((features, Z), cells, grid, n_jobs=n_jobs)
    chance = jaccard_by_chance(n_cells, grid)
    suggestion = suggest_size(grid, (jaccard - chance) / (1 - chance), n_cells)
    logger.info("n = %d: %s", suggestion.size, suggestion.reason)
    found: dict[str, Any] = {
        "table": _table(grid, jaccard, chance),
        "suggested": suggestion.size,
        "is_peak": suggestion.is_peak,
        "reason": suggestion.reason,
    }
    chosen = {
        "use_rep": obsm_key,
        "n_comps": None if feature_rep is not None else features.shape[1],
        "n_cells": n_cells,
        "n_sampled": len(cells),
        "mask_var": inputs.mask_param(adata, mask_var),
    }
    found |= {} if groups is None else {"group_sizes": groups}
    return Result({"locality_size": found}, chosen)


def _group_sizes(adata: AnnData, groupby: str) -> pd.DataFrame:
    """Table S1 of the paper."""
    sizes = inputs.obs_column(adata, groupby).value_counts().to_numpy()  # leaves out what is missing
    sizes = sizes[sizes > 0]
    if not len(sizes):
        msg = f"Found no values in adata.obs[{groupby!r}], expected the group of each cell; choose another column."
        raise ValueError(msg)
    return pd.DataFrame({"n_cells": np.quantile(sizes, list(_QUARTILES.values()))}, index=list(_QUARTILES))


def _size_grid(n_cells: int, sizes: Sequence[int] | None) -> IntArray:
    if n_cells < _FEWEST_CELLS:
        msg = f"Found {n_cells} cells, expected at least {_FEWEST_CELLS}; neighbourhoods of fewer cannot be compared."
        raise ValueError(msg)
    if sizes is None:
        return size_grid(n_cells)
    given = np.asarray(sizes)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu" or given.min() < 2 or given.max() >= n_cells:
        msg = f"Found sizes={sizes!r}, expected a list of whole numbers between 2 and {n_cells - 1}; change sizes."
        raise ValueError(msg)
    return np.unique(given.astype(np.int64))


def _feature_space(
    adata: AnnData,
    embedding: str,
    feature_rep: str | None,
    mask_var: str | Sequence[bool] | BoolArray | None,
    layer: str | None,
    n_comps: int,
    rng: np.random.Generator,
) -> FloatArray:
    """A representation of the cells, or principal components of the selected genes."""
    seed = int(rng.integers(2**31))
    if feature_rep is None:
        mask = inputs.gene_mask(adata, mask_var, GENE_MASK)
        X = inputs.source(adata, mask, layer=layer).rows(0, adata.n_obs)
        if value_checks.looks_like_counts(X):
            msg = (
                f"{inputs.matrix_name(layer)} holds whole numbers only and looks like raw counts: distances between cells "
                f"follow sequencing depth; normalise and log-transform first, or pass layer= or feature_rep=."
            )
            warn(msg)
        return _principal_components(X, n_comps, seed)
    known = [name for name, value in adata.obsm.items() if len(value.shape) == 2]
    name = feature_rep if feature_rep in known else f"X_{feature_rep}"
    checks.column_names("feature_rep in adata.obsm", name if name in known else feature_rep, known)
    if name == embedding:
        msg = f"Found adata.obsm[{name!r}] as feature_rep and as embedding, expected two different spaces; change one of them."
        raise ValueError(msg)
    return embeddings.representation(adata, name)


def _principal_components(X: DataMatrix, n_comps: int, seed: int) -> FloatArray:
    """(E, n_comps), to the same precision whatever the kind of matrix."""
    n_cells, n_genes = X.shape
    X = X.astype(np.float64)
    if n_genes <= n_comps:
        return np.ascontiguousarray(dense(X))
    from sklearn.decomposition import PCA

    X = X if isinstance(X, np.ndarray) else sparse.csr_matrix(X)
    solver = "covariance_eigh" if n_genes <= _FEW_GENES else "arpack"
    pca = PCA(min(n_comps, n_cells - 1), svd_solver=solver, random_state=seed)
    return np.ascontiguousarray(pca.fit_transform(X))


def _table(sizes: IntArray, jaccard: FloatArray, chance: FloatArray) -> pd.DataFrame:
    mean = jaccard.mean(axis=0)
    columns: dict[str, Any] = {
        "n": sizes,
        "jaccard": mean,
        "jaccard_se": jaccard.std(axis=0) / np.sqrt(len(jaccard)),
        "chance": chance,
        "adjusted": (mean - chance) / (1 - chance),
    }
    return pd.DataFrame(columns, index=[str(i) for i in range(len(sizes))])
