"""A toy in which the modules, and the regions of the embedding where they act, are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from lava_sc.stored.checks import in_range

if TYPE_CHECKING:
    from typing import Final

    from lava_sc._types import FloatArray, IntArray, SeedLike

#: Two mitochondrial, two ribosomal and one mitoribosomal gene, and a kinase whose name only looks ribosomal.
_NAMED: Final = ("MT-CO1", "MT-ND4", "RPL13A", "RPS27A", "MRPL12", "RPS6KA1")
_NAMED_FOLD: Final = np.array([8.0, 5.0, 6.0, 6.0, 1.0, 1.0])
#: Transcripts outside of the panel for each one inside; without them, normalising would tie the genes together.
_OUTSIDE: Final = 9.0
_MARKER_FOLD: Final = 5.0
_GENE_SPREAD: Final = 0.1
_BACKGROUND_SPREAD: Final = 0.8
_BLOB_DISTANCE: Final = 9.0
_TARGET_SUM: Final = 1e4
_AT_LEAST: Final = {
    "n_cells": 2,
    "n_genes": 2,
    "n_modules": 0,
    "genes_per_module": 2,
    "n_empty_regions": 1,
    "markers_per_region": 0,
}


@dataclass(frozen=True)
class _Design:
    """Plan of what is planted where: everything about genes and regions that is not random."""

    names: list[str]
    membership: IntArray
    """(D, M) 0/1: gene belongs to module."""
    activity: IntArray
    """(regions, M) 0/1: module is active in region."""
    fold: FloatArray
    """(regions, D): mean of the gene in the region relative to its base mean."""


def planted(
    *,
    n_cells: int = 2000,
    n_genes: int = 200,
    n_modules: int = 4,
    genes_per_module: int = 15,
    shared_genes: int = 0,
    n_shared_regions: int = 0,
    n_empty_regions: int = 1,
    markers_per_region: int = 5,
    strength: float = 1.0,
    base_mean: float = 4.0,
    depth_sd: float = 0.3,
    dropout: float = 0.05,
    rng: SeedLike = 0,
) -> AnnData:
    """Simulate single cells with gene modules that act in known regions of a two-dimensional embedding.

    Regions are round, well separated groups of (nearly) equally many cells on a circle. First comes one region for each
    module ("R1" for module "M1", ...) in which it alone is active, then ``n_shared_regions`` regions in which two
    modules are active together (M1 and M2, M3 and M4, ...), last ``n_empty_regions`` regions without any.

    Where a module is active, each of its genes has the log-mean ``strength * f - strength**2 / 2`` added, with one f ~
    N(0, 1) per cell and module that is independent of the position: the genes correlate *within* a neighbourhood
    while their mean is the same in all regions. Marker genes are the opposite: their mean is five times higher in their
    region, and within it they are independent of everything. All other genes are independent of region and of one
    another. Counts are Poisson with a log-normal depth per cell; each count is then lost (set to 0) with
    probability ``dropout``. As in an object that was subset to some genes, a cell has further transcripts of genes that
    are not there, nine times as many on average (Poisson, same depth), and is normalised by all of them.

    Parameters
    ----------
    n_cells
        Number of cells, E.
    n_genes
        Number of genes; those that neither belong to a module nor are markers nor named are background.
    n_modules
        Number of modules, M; 0 gives independent genes only.
    genes_per_module
        Genes of each module, shared ones included.
    shared_genes
        Genes that each module shares with the next one; at most half of ``genes_per_module``. Where both are active,
        such a gene follows (f_a + f_b) / √2.
    n_shared_regions
        Regions with two active modules; at most ``n_modules // 2``.
    n_empty_regions
        Regions without a module, at least 1.
    markers_per_region
        Marker genes of each region.
    strength
        Loading: standard deviation (natural log) of the module factor in the mean of each of its genes.
    base_mean
        Mean count of a module or marker gene (the latter outside of its region) in a cell of average depth before
        dropout; genes differ by about 10 %. Background genes are log-normal around half of it (log-sd 0.8).
    depth_sd
        Standard deviation of the natural log of a cell's depth.
    dropout
        Probability that a count is lost, in [0, 1).
    rng
        Seed or generator.

    Returns
    -------
    AnnData object with the following fields:

    `X`
        log1p of counts per 10,000 of ``total_counts``, CSR float32.
    `layers["counts"]`
        Counts, CSR int32.
    `obs["region"]`, `obs["total_counts"]`
        Region ("R1", "R2", ...), categorical, and the cell's realised depth: its transcripts inside and outside of
        the panel.
    `obsm["X_umap"]`
        (E, 2) positions: within a region standard normal around its centre.
    `varm["planted_modules"]`
        (n_genes, M) membership, 0 or 1. Genes are named "M1_01" by module ("M1+M2_01" when shared), "MARK2_03" by
        region and marker, "BG_001", and six have real names ("MT-CO1", "RPL13A", ...) to show what exclusion by symbol
        does; these are independent genes of high abundance.
    `obsm["planted_presences"]`
        (E, M) whether the module is active in the region of the cell, 0 or 1.
    `uns["planted"]`
        The arguments.

    Raises
    ------
    ValueError
        If an argument is out of range, or ``n_genes`` is too small for what it should hold.

    Notes
    -----
    Variability relative to genes of similar abundance (as flavor "seurat" measures it) singles out only part of the module
    genes, because they are of similar abundance: take all genes, or ``pp.select_genes(adata, n_top_genes=None)``.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500, n_modules=2)
    >>> adata.obs["region"].cat.categories.tolist()
    ['R1', 'R2', 'R3']
    """
    params = {name: value for name, value in locals().items() if name != "rng"}
    _check(params)
    rng = np.random.default_rng(rng)
    design = _design(
        n_genes=n_genes,
        n_genes_per_module=genes_per_module,
        n_shared_genes=shared_genes,
        activity=_activity(n_modules, n_shared_regions, n_empty_regions),
        n_markers=markers_per_region,
    )
    region = rng.permutation(np.arange(n_cells) % len(design.activity))
    base = base_mean * _base_folds(design, rng)
    depth = np.exp(rng.normal(-(depth_sd**2) / 2, depth_sd, size=n_cells))
    mean = base * design.fold[region] * np.exp(_factors(design, region, strength, rng)) * depth[:, None]
    counts = rng.poisson(mean) * (rng.random(mean.shape) >= dropout)
    total = counts.sum(axis=1) + rng.poisson(_OUTSIDE * base.sum() * depth)
    return _annotate(counts, total, design, region, _positions(region, len(design.activity), rng), params)


def _check(params: dict[str, float]) -> None:
    for name, low in _AT_LEAST.items():
        in_range(name, params[name], low, np.inf, integer=True)
    in_range("shared_genes", params["shared_genes"], 0, params["genes_per_module"] // 2, integer=True)
    in_range("n_shared_regions", params["n_shared_regions"], 0, params["n_modules"] // 2, integer=True)
    for name in ("strength", "depth_sd"):
        in_range(name, params[name], 0, np.inf)
    in_range("base_mean", params["base_mean"], np.finfo(float).tiny, np.inf)
    in_range("dropout", params["dropout"], 0, np.nextafter(1, 0))


def _activity(n_modules: int, n_shared: int, n_empty: int) -> IntArray:
    """Modules of each region, (regions, M) 0/1: one region each, then pairs of modules, then none."""
    pairs = np.zeros((n_shared, n_modules), dtype=int)
    for i in range(n_shared):
        pairs[i, 2 * i : 2 * i + 2] = 1
    return np.vstack([np.eye(n_modules, dtype=int), pairs, np.zeros((n_empty, n_modules), dtype=int)])


def _design(
    *, n_genes: int, n_genes_per_module: int, n_shared_genes: int, activity: IntArray, n_markers: int
) -> _Design:
    n_regions, n_modules = activity.shape
    step = n_genes_per_module - n_shared_genes
    n_planted = step * n_modules + n_shared_genes * (n_modules > 0)
    n_needed = n_planted + n_regions * n_markers + len(_NAMED)
    if n_genes < n_needed:
        msg = (
            f"Found n_genes={n_genes}, expected at least {n_needed} to hold the genes of {n_modules} modules, the "
            f"markers of {n_regions} regions and {len(_NAMED)} named genes; raise n_genes or plant fewer."
        )
        raise ValueError(msg)
    membership = np.zeros((n_genes, n_modules), dtype=int)
    for m in range(n_modules):
        membership[m * step : m * step + n_genes_per_module, m] = 1
    fold = np.ones((n_regions, n_genes))
    for r in range(n_regions):
        fold[r, n_planted + r * n_markers : n_planted + (r + 1) * n_markers] = _MARKER_FOLD
    markers = [f"MARK{r + 1}_{i + 1:02d}" for r in range(n_regions) for i in range(n_markers)]
    background = [f"BG_{i + 1:03d}" for i in range(n_genes - n_needed)]
    names = [*_module_gene_names(membership[:n_planted]), *markers, *_NAMED, *background]
    return _Design(names, membership, activity, fold)


def _module_gene_names(membership: IntArray) -> list[str]:
    """Name genes after their modules, numbered within each combination."""
    stems = pd.Series(["+".join(f"M{m + 1}" for m in np.flatnonzero(row)) for row in membership], dtype=object)
    numbers = stems.groupby(stems).cumcount() + 1
    return [f"{stem}_{number:02d}" for stem, number in zip(stems, numbers, strict=True)]


def _base_folds(design: _Design, rng: np.random.Generator) -> FloatArray:
    """Draw the base mean of each gene relative to ``base_mean``, (D,)."""
    n_background = sum(name.startswith("BG_") for name in design.names)
    n_structured = len(design.names) - n_background - len(_NAMED)
    return np.concatenate(
        [
            np.exp(rng.normal(0, _GENE_SPREAD, n_structured)),
            _NAMED_FOLD,
            0.5 * np.exp(rng.normal(0, _BACKGROUND_SPREAD, n_background)),
        ]
    )


def _factors(design: _Design, region: IntArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Draw what the active modules add to the log-means, (E, D), such that the means themselves stay as they are."""
    active = design.activity[region]
    factors = rng.normal(size=active.shape) * active
    n_acting = active @ design.membership.T
    added: FloatArray = strength * (factors @ design.membership.T) / np.sqrt(np.maximum(n_acting, 1))
    added -= strength**2 / 2 * (n_acting > 0)
    return added


def _positions(region: IntArray, n_regions: int, rng: np.random.Generator) -> FloatArray:
    """Cells around the corners of a regular polygon whose sides are ``_BLOB_DISTANCE`` standard deviations long."""
    radius = _BLOB_DISTANCE / (2 * np.sin(np.pi / n_regions)) if n_regions > 1 else 0.0
    angle = 2 * np.pi * region / n_regions
    centres = radius * np.column_stack([np.cos(angle), np.sin(angle)])
    return centres + rng.normal(size=centres.shape)


def _annotate(
    counts: IntArray,
    total: IntArray,
    design: _Design,
    region: IntArray,
    positions: FloatArray,
    params: dict[str, float],
) -> AnnData:
    normalised = np.log1p(counts * (_TARGET_SUM / np.maximum(total, 1))[:, None])
    categories = [f"R{r + 1}" for r in range(len(design.activity))]
    regions = pd.Categorical(np.array(categories, dtype=object)[region], categories=categories)
    cells = [f"cell_{i:0{len(str(len(counts) - 1))}d}" for i in range(len(counts))]
    return AnnData(
        X=sparse.csr_matrix(normalised, dtype=np.float32),
        layers={"counts": sparse.csr_matrix(counts, dtype=np.int32)},
        obs=pd.DataFrame({"region": regions, "total_counts": total}, index=cells),
        var=pd.DataFrame(index=design.names),
        obsm={"X_umap": positions, "planted_presences": design.activity[region].astype(np.float32)},
        varm={"planted_modules": design.membership.astype(np.float32)},
        uns={"planted": dict(params)},
    )
