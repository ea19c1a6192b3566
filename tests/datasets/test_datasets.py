from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse, stats

from lava_sc import datasets

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


def region_ranks(adata: AnnData, region: str) -> np.ndarray:
    """Centred, scaled ranks of every gene among the cells of a region, so that R.T @ R is Spearman's rho."""
    ranks = stats.rankdata(adata[adata.obs["region"] == region].X.toarray(), axis=0)
    ranks -= ranks.mean(axis=0)
    norm = np.linalg.norm(ranks, axis=0)
    return ranks / np.where(norm > 0, norm, 1)


def given_depth(ranks: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Partial correlations of the columns given a further variable, from ranks."""
    z = stats.rankdata(depth)
    z = (z - z.mean()) / np.linalg.norm(z - z.mean())
    rest = ranks - np.outer(z, z @ ranks)
    rest /= np.maximum(np.linalg.norm(rest, axis=0), 1e-12)
    return rest.T @ rest


@pytest.fixture(scope="module")
def toy() -> AnnData:
    return datasets.planted()


def test_pbmc68k_holds_log_normalised_values() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adata = datasets.pbmc68k()
    assert not caught
    assert adata.shape == (700, 765)
    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.float32
    assert adata.X.min() == 0
    assert {"bulk_labels", "louvain", "n_counts"} <= set(adata.obs)
    assert set(adata.obsm) == {"X_pca", "X_umap"}
    assert adata.raw is None


def test_pbmc68k_is_the_raw_of_scanpys_object() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = sc.datasets.pbmc68k_reduced()
    adata = datasets.pbmc68k()
    np.testing.assert_array_equal(adata.X.toarray(), source.raw.X.toarray())
    assert adata.var_names.equals(source.raw.var_names)
    # X is log1p of counts per 10,000: undone, it is whole numbers
    counts = sparse.diags(adata.obs["n_counts"].to_numpy(dtype=float) / 1e4) @ adata.X.astype(float).expm1()
    np.testing.assert_allclose(counts.data, np.round(counts.data), rtol=5e-3)


def test_loading_is_quiet_under_strict_warnings() -> None:
    strict = ["-W", "error::UserWarning", "-W", "error::FutureWarning"]
    code = "from lava_sc import datasets; datasets.pbmc68k(); datasets.planted(n_cells=50)"
    done = subprocess.run([sys.executable, *strict, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_planted_layout(toy: AnnData) -> None:
    assert toy.shape == (2000, 200)
    assert toy.obs["region"].value_counts().to_dict() == dict.fromkeys(["R1", "R2", "R3", "R4", "R5"], 400)
    assert toy.varm["planted_modules"].sum(axis=0).tolist() == [15] * 4
    for m in range(4):
        assert toy.var_names[toy.varm["planted_modules"][:, m] == 1].str.startswith(f"M{m + 1}_").all()
    assert toy.var_names.is_unique
    cells = toy.obs.groupby("region", observed=True).indices
    for region, m in [("R1", 0), ("R2", 1), ("R3", 2), ("R4", 3), ("R5", None)]:
        expected = np.zeros(4)
        if m is not None:
            expected[m] = 1
        assert (toy.obsm["planted_presences"][cells[region]] == expected).all()


def test_planted_counts_and_values_belong_together(toy: AnnData) -> None:
    counts = toy.layers["counts"]
    assert counts.dtype == np.int32
    assert counts.format == toy.X.format == "csr"
    total = toy.obs["total_counts"].to_numpy()
    np.testing.assert_allclose(toy.X.toarray(), np.log1p(counts.toarray() * 1e4 / total[:, None]), rtol=1e-5, atol=1e-6)
    # honest depth: the counts themselves follow it
    assert stats.spearmanr(np.asarray(counts.sum(axis=1)).ravel(), total).statistic > 0.5


def test_regions_are_apart_in_the_embedding(toy: AnnData) -> None:
    from sklearn.neighbors import NearestNeighbors

    region = toy.obs["region"].to_numpy()
    neighbours = NearestNeighbors(n_neighbors=200).fit(toy.obsm["X_umap"]).kneighbors(return_distance=False)
    assert (region[neighbours] == region[:, None]).mean() > 0.995


def test_module_genes_correlate_in_their_region_only(toy: AnnData) -> None:
    for m in range(4):
        genes = np.flatnonzero(toy.varm["planted_modules"][:, m])
        upper = np.triu_indices(len(genes), 1)
        for region in toy.obs["region"].cat.categories:
            ranks = region_ranks(toy, region)[:, genes]
            rho = (ranks.T @ ranks)[upper]
            if region == f"R{m + 1}":
                assert rho.mean() > 0.4
                assert rho.std() < 0.1
            else:
                assert abs(rho.mean()) < 3 / np.sqrt(400 * len(rho)) + 0.02


def test_factor_is_independent_of_position_and_mean_of_region(toy: AnnData) -> None:
    inside = (toy.obs["region"] == "R1").to_numpy()
    genes = toy.varm["planted_modules"][:, 0] == 1
    score = np.asarray(toy.X[inside][:, genes].sum(axis=1)).ravel()
    for axis in range(2):
        assert stats.spearmanr(score, toy.obsm["X_umap"][inside, axis]).pvalue > 1e-3
    counts = toy.layers["counts"][:, genes]
    assert counts[inside].mean() == pytest.approx(counts[~inside].mean(), rel=0.15)


def test_markers_are_mean_shifts_without_covariance(toy: AnnData) -> None:
    markers = toy.var_names.str.startswith("MARK2_")
    inside = (toy.obs["region"] == "R2").to_numpy()
    counts = toy.layers["counts"][:, markers]
    assert counts[inside].mean() / counts[~inside].mean() == pytest.approx(5, rel=0.1)
    partial = given_depth(region_ranks(toy, "R2")[:, markers], toy.obs["total_counts"][inside].to_numpy())
    assert np.abs(partial[np.triu_indices(markers.sum(), 1)]).max() < 4 / np.sqrt(400)


def test_recoverable_by_significant_correlations(toy: AnnData) -> None:
    """What a locality of 150 cells shows after Benjamini-Hochberg has cosine >= 0.95 with the planted pairs."""
    a, b = np.triu_indices(toy.n_vars, 1)
    for m in range(4):
        cells = np.flatnonzero(toy.obs["region"] == f"R{m + 1}")[:150]
        ranks = region_ranks(toy[cells], f"R{m + 1}")
        rho = (ranks.T @ ranks)[a, b]
        t = rho * np.sqrt(148 / (1 - rho**2))
        kept = np.abs(rho) * (stats.false_discovery_control(2 * stats.t.sf(np.abs(t), 148)) <= 0.05)
        truth = toy.varm["planted_modules"][a, m] * toy.varm["planted_modules"][b, m]
        assert kept @ truth / (np.linalg.norm(kept) * np.linalg.norm(truth)) >= 0.95


@pytest.mark.parametrize("depth_sd", [0.3, 0.6])
def test_noise_only_is_independent_given_depth(depth_sd: float) -> None:
    adata = datasets.planted(n_cells=600, n_genes=150, n_modules=0, depth_sd=depth_sd, rng=1)
    assert adata.varm["planted_modules"].shape == (150, 0)
    assert adata.obs["region"].cat.categories.tolist() == ["R1"]
    partial = given_depth(region_ranks(adata, "R1"), adata.obs["total_counts"].to_numpy())
    rho = partial[np.triu_indices(150, 1)]
    n = adata.n_obs - 1  # one degree of freedom goes to the depth
    assert np.var(rho) * (n - 1) == pytest.approx(1, abs=0.1)
    t = rho * np.sqrt((n - 2) / (1 - rho**2))
    assert (2 * stats.t.sf(np.abs(t), n - 2) < 0.05).mean() == pytest.approx(0.05, abs=0.01)


def test_depth_confounds_counts() -> None:
    adata = datasets.planted(n_cells=400, n_genes=100, n_modules=0, depth_sd=0.6, rng=2)
    adata.X = adata.layers["counts"]
    ranks = region_ranks(adata, "R1")
    upper = np.triu_indices(adata.n_vars, 1)
    partial = given_depth(ranks, adata.obs["total_counts"].to_numpy())
    plain = (ranks.T @ ranks)[upper].mean()
    assert plain > 0.1
    assert abs(partial[upper].mean()) < plain / 5


def test_shared_genes_and_regions() -> None:
    adata = datasets.planted(n_cells=1200, n_modules=4, shared_genes=5, n_shared_regions=2, n_empty_regions=2)
    membership = adata.varm["planted_modules"]
    assert membership.sum(axis=0).tolist() == [15] * 4
    for first, second in pairwise(range(4)):
        assert membership[:, first] @ membership[:, second] == 5
        assert f"M{first + 1}+M{second + 1}_05" in adata.var_names
    activity = {
        region: "".join(str(int(v)) for v in adata.obsm["planted_presences"][cells[0]])
        for region, cells in adata.obs.groupby("region", observed=True).indices.items()
    }
    assert list(activity.values()) == ["1000", "0100", "0010", "0001", "1100", "0011", "0000", "0000"]
    ranks = region_ranks(adata, "R5")
    rho = ranks.T @ ranks
    own = [np.flatnonzero((membership[:, m] == 1) & (membership.sum(axis=1) == 1)) for m in range(2)]
    both = np.flatnonzero(membership[:, 0] * membership[:, 1])
    assert min(rho[np.ix_(g, g)][np.triu_indices(len(g), 1)].mean() for g in own) > 0.35
    assert abs(rho[np.ix_(*own)].mean()) < 0.1
    assert min(rho[np.ix_(g, both)].mean() for g in own) > 0.2


def test_zero_strength_plants_nothing() -> None:
    adata = datasets.planted(n_cells=1000, n_modules=1, strength=0, rng=4)
    ranks = region_ranks(adata, "R1")[:, adata.varm["planted_modules"][:, 0] == 1]
    assert abs((ranks.T @ ranks)[np.triu_indices(15, 1)].mean()) < 0.03


def test_dropout_loses_counts() -> None:
    kept, lossy = (datasets.planted(n_cells=300, dropout=d, rng=5).layers["counts"] for d in (0.0, 0.3))
    assert lossy.sum() / kept.sum() == pytest.approx(0.7, abs=0.02)


def test_same_seed_same_data() -> None:
    first, second = (datasets.planted(n_cells=100, rng=7) for _ in range(2))
    np.testing.assert_array_equal(first.X.toarray(), second.X.toarray())
    np.testing.assert_array_equal(first.obsm["X_umap"], second.obsm["X_umap"])
    other = datasets.planted(n_cells=100, rng=np.random.default_rng(8))
    assert (first.X != other.X).nnz > 0


def test_highly_variable_genes_hold_most_module_genes(toy: AnnData) -> None:
    chosen = sc.pp.highly_variable_genes(toy, n_top_genes=120, inplace=False)["highly_variable"].to_numpy()
    assert chosen[toy.varm["planted_modules"].any(axis=1)].mean() > 0.8


@pytest.mark.parametrize("n_modules", [0, 2])
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_survives_files(tmp_path: Path, kind: str, n_modules: int) -> None:
    adata = datasets.planted(n_cells=60, n_genes=100, n_modules=n_modules, shared_genes=2)
    path = tmp_path / f"toy.{kind}"
    with warnings.catch_warnings():
        if kind == "zarr":
            warnings.simplefilter("ignore")  # zarr's and anndata's own announcements about formats
        getattr(adata, f"write_{kind}")(path)
        back = getattr(ad, f"read_{kind}")(path)
    np.testing.assert_array_equal(back.X.toarray(), adata.X.toarray())
    np.testing.assert_array_equal(back.varm["planted_modules"], adata.varm["planted_modules"])
    np.testing.assert_array_equal(back.obsm["planted_presences"], adata.obsm["planted_presences"])
    assert dict(back.uns["planted"]) == dict(adata.uns["planted"])
    assert back.obs["region"].cat.categories.equals(adata.obs["region"].cat.categories)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_genes": 60}, r"n_genes=60, expected at least 91"),
        ({"n_cells": 0}, "n_cells=0"),
        ({"n_modules": -1}, "n_modules=-1"),
        ({"n_modules": 2.5}, "whole number"),
        ({"genes_per_module": 1}, "genes_per_module=1"),
        ({"shared_genes": 8}, "shared_genes=8, expected a whole number between 0 and 7"),
        ({"n_shared_regions": 3}, "n_shared_regions=3"),
        ({"n_empty_regions": 0}, "n_empty_regions=0"),
        ({"strength": -0.1}, "strength=-0.1"),
        ({"base_mean": 0}, "base_mean=0"),
        ({"depth_sd": float("nan")}, "depth_sd=nan"),
        ({"dropout": 1}, "dropout=1"),
    ],
)
def test_bad_arguments(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.planted(**arguments)
