"""Step 1: localities over an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from lava_sc._logging import logger
from lava_sc.core.localities.placement import (
    OPTIMIZERS,
    PlacementOptions,
    locality_in_degree,
    n_localities,
    place_probes,
)
from lava_sc.core.localities.sections import place_in_sections
from lava_sc.core.localities.size import default_size
from lava_sc.stored import checks, embeddings, inputs
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from lava_sc._types import FloatArray, SeedLike
    from lava_sc.core.localities.in_degree import Transformer
    from lava_sc.core.localities.placement import Placement
    from lava_sc.stored.fields import Fields

_MIN_NEIGHBORS = 3


@step("localities")
def localities(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    n_neighbors: int | None = None,
    overlap: float = 3.0,
    library_key: str | None = None,
    optimizer: Literal["moves", "direct"] = "moves",
    max_evals: int = 30,
    transformer: Transformer | None = None,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    key_added: str = "lava",
    copy: bool = False,
) -> Result:
    """Place overlapping neighbourhoods, the *localities*, over an embedding.

    A locality is the ``n_neighbors`` cells nearest to a *probe*, a free point of the embedding. The probes are placed
    such that the share of the localities that contain a cell matches the share of all cells' neighbourhoods that do
    (its in-degree): dense and sparse parts of the map are represented alike (paper, Section 2.1).

    Parameters
    ----------
    adata
        Annotated data, E cells.
    use_rep
        Key of ``adata.obsm`` with the embedding, of any dimension; ``"umap"`` means ``"X_umap"``, in any
        capitals. ``None`` takes ``adata.uns["default_embedding"]``, which files from CELLxGENE have, or the first of
        ``X_umap``, ``X_tsne``, ``X_pca`` there is.
    n_neighbors
        Cells in each locality, n. ``None`` takes 4·√E, but at least 50 (a correlation over fewer cells is mostly
        noise), at most 500 (the paper's choice for an atlas) and at most E/2.
    overlap
        Mean number of localities that contain a cell, o; there are ℓ = E·o/n localities, rounded. The paper recommends
        2 to 20.
    library_key
        Column of ``adata.obs`` with the section, slide or sample of each cell, for coordinates in which several lie over
        one another, such as ``use_rep="spatial"``: no locality mixes sections, and probes are shared out by their cells.
    optimizer
        Both start from weighted k-means with the weights that quantisation theory gives (Equation 1 with α = 0, β = 2).
        ``"moves"`` then moves single probes to where L itself falls; ``"direct"`` is the paper's way (Algorithm S1):
        DIRECT (Jones et al. 1993) over α and β, with a run of k-means for each. ``"moves"`` reaches a lower L in less time.
    max_evals
        Sweeps over all probes for ``"moves"``, runs of k-means for ``"direct"``.
    transformer
        Neighbour search in the style of scikit-learn for the in-degrees, such as ``KNeighborsTransformer`` or the
        approximate ``pynndescent.PyNNDescentTransformer``, for millions of cells in many dimensions. It is asked for
        ``n_neighbors`` neighbours. ``None`` is exact. The localities themselves are always exact.
    rng
    n_jobs
    key_added
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key_added]["probes"]`
        (ℓ, D_L) float64, coordinates in the embedding.
    `adata.uns[key_added]["placement"]`
        ``alpha``, ``beta`` of Equation 1, the ``loss`` L of Equation 2, ``loss_per_neighbor`` L/n (0 = the
        in-degrees are identical, 2 = disjoint) and ``n_evals``. With ``library_key`` α and β are arrays in the order of
        ``libraries``, and ``library`` names the section of each probe.
    `adata.obsm[f"{key_added}_localities"]`
        (E, ℓ) CSR bool, which cells are in which locality.
    `adata.obs[f"{key_added}_in_degree"]`, `adata.obs[f"{key_added}_locality_in_degree"]`
        Share of all cells' neighbourhoods, and of the localities, that contain the cell.

    Results of later steps under the same key are removed.

    Raises
    ------
    ValueError
        If the representation is missing or not finite, ``n_neighbors`` is below 3 or above E, there would be more
        localities than cells, or a section has fewer than ``n_neighbors`` cells.

    Warns
    -----
    UserWarning
        If ``use_rep`` is "spatial" and ``adata.obs["in_tissue"]`` (Visium) has spots without tissue.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> adata.obsm["lava_localities"].shape
    (500, 15)
    """
    rng = np.random.default_rng(rng)
    checks.one_of("optimizer", optimizer, list(OPTIMIZERS))
    checks.in_range("max_evals", max_evals, 1, np.inf, integer=True)
    obsm_key = embeddings.representation_key(adata, use_rep)
    Z = embeddings.representation(adata, obsm_key)
    _check_transformer(transformer)
    n, n_probes = _sizes(len(Z), n_neighbors, overlap)
    libraries = inputs.sections(adata, library_key, n)
    embeddings.warn_of_background(adata, obsm_key)

    logger.info("placing %d localities of %d cells each over obsm[%r]", n_probes, n, obsm_key)
    placement, exponents = _placed(
        Z, n, n_probes, libraries, PlacementOptions(optimizer, max_evals, transformer, n_jobs), rng
    )
    figures = {"loss": placement.loss, "loss_per_neighbor": placement.loss / n, "n_evals": placement.n_evals}
    fields: Fields = {
        "probes": placement.probes,
        "placement": exponents | figures,
        "localities": _membership(placement, len(Z)),
        "in_degree": placement.in_degree,
        "locality_in_degree": locality_in_degree(placement.members, len(Z)),
    }
    return Result(fields, {"n_cells": len(Z), "use_rep": obsm_key, "n_neighbors": n, "overlap": float(overlap)})


def _placed(
    Z: FloatArray,
    n: int,
    n_probes: int,
    libraries: pd.Categorical | None,
    options: PlacementOptions,
    rng: np.random.Generator,
) -> tuple[Placement, dict[str, Any]]:
    """A placement, over all cells or section by section, and the exponents it was found with."""
    if libraries is None:
        placement = place_probes(Z, n, n_probes, options, rng)
        return placement, {"alpha": placement.alpha, "beta": placement.beta}
    found = place_in_sections(Z, libraries.codes, n, n_probes, options, rng)
    names = libraries.categories.astype(str).to_numpy(dtype=object)
    exponents = {"alpha": found.exponents[:, 0], "beta": found.exponents[:, 1]}
    return found.whole, exponents | {"libraries": names, "library": names[found.section_of_probe]}


def _check_transformer(transformer: object) -> None:
    needed = ("fit", "transform", "get_params")
    if transformer is not None and (isinstance(transformer, type) or any(not hasattr(transformer, n) for n in needed)):
        msg = (
            f"Found transformer={transformer!r}, expected an object in the style of scikit-learn with fit, transform and "
            f"get_params, such as KNeighborsTransformer(); pass one or leave transformer out."
        )
        raise ValueError(msg)


def _sizes(n_cells: int, n_neighbors: int | None, overlap: float) -> tuple[int, int]:
    """Locality size and number of localities."""
    if n_cells < _MIN_NEIGHBORS:
        msg = f"Found {n_cells} cells, expected at least {_MIN_NEIGHBORS}; a locality needs as many."
        raise ValueError(msg)
    if n_neighbors is None:
        n_neighbors = max(default_size(n_cells), _MIN_NEIGHBORS)
    checks.in_range("n_neighbors", n_neighbors, _MIN_NEIGHBORS, n_cells, integer=True)
    checks.in_range("overlap", overlap, np.finfo(float).tiny, np.inf)
    n_probes = n_localities(n_cells, n_neighbors, overlap)
    if n_probes > n_cells:
        msg = (
            f"Found overlap={overlap:g} with n_neighbors={n_neighbors}, which asks for {n_probes} localities, expected "
            f"at most one for each of the {n_cells} cells; lower overlap or raise n_neighbors."
        )
        raise ValueError(msg)
    return int(n_neighbors), n_probes


def _membership(placement: Placement, n_cells: int) -> sparse.csr_matrix:
    n_probes, n = placement.members.shape
    cells, probes = placement.members.ravel(), np.repeat(np.arange(n_probes), n)
    return sparse.csr_matrix((np.ones(len(cells), dtype=bool), (cells, probes)), shape=(n_cells, n_probes))
