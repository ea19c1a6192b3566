from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from tests.helpers import assert_same, assert_unchanged, contents, toy
from tests.reference import placement as reference

import lava_sc as lava


def cloud(n_cells: int = 200, n_dimensions: int = 2, seed: int = 0) -> AnnData:
    """Cells of uneven density without any genes to speak of."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_cells, n_dimensions)) * np.where(rng.random(n_cells) < 0.5, 1.0, 4.0)[:, None]
    return AnnData(X=np.ones((n_cells, 3), dtype=np.float32), obsm={"X_umap": Z})


def members(adata: AnnData, key: str = "lava") -> np.ndarray:
    return adata.obsm[f"{key}_localities"].toarray()


@pytest.fixture(scope="module")
def placed() -> AnnData:
    adata = cloud()
    lava.tl.localities(adata, n_neighbors=30, overlap=4, max_evals=8)
    return adata


def test_fields_have_the_documented_shapes_and_dtypes(placed: AnnData) -> None:
    results = placed.uns["lava"]
    assert results["probes"].shape == (27, 2)
    assert results["probes"].dtype == np.float64
    membership = placed.obsm["lava_localities"]
    assert membership.shape == (200, 27)
    assert membership.dtype == bool
    assert membership.format == "csr"
    assert membership.has_sorted_indices
    for name in ("lava_in_degree", "lava_locality_in_degree"):
        assert placed.obs[name].dtype == np.float64
    assert set(results["placement"]) == {"alpha", "beta", "loss", "loss_per_neighbor", "n_evals"}
    expected = {"use_rep": "X_umap", "n_neighbors": 30, "overlap": 4.0, "max_evals": 8, "rng": 0}
    assert results["params"]["localities"] == expected


def test_a_locality_is_the_cells_nearest_to_its_probe(placed: AnnData) -> None:
    np.testing.assert_array_equal(
        members(placed), reference.membership(placed.obsm["X_umap"], placed.uns["lava"]["probes"], 30)
    )


def test_in_degrees_are_exact(placed: AnnData) -> None:
    neighbours = reference.neighbourhoods(placed.obsm["X_umap"], 30)
    np.testing.assert_array_equal(placed.obs["lava_in_degree"], reference.in_degree(neighbours))
    np.testing.assert_array_equal(placed.obs["lava_locality_in_degree"], reference.locality_in_degree(members(placed)))


def test_the_loss_is_that_of_what_is_stored(placed: AnnData) -> None:
    found = placed.uns["lava"]["placement"]
    loss = reference.loss(placed.obs["lava_in_degree"].to_numpy(), members(placed))
    assert found["loss"] == pytest.approx(loss, rel=1e-12)
    assert found["loss_per_neighbor"] == pytest.approx(loss / 30, rel=1e-12)
    assert 1 <= found["n_evals"] <= 8
    assert -4 <= found["alpha"] <= 4
    assert -4 <= found["beta"] <= 4


def test_more_evaluations_are_no_worse_than_theory() -> None:
    adata = cloud()
    losses = []
    for max_evals in (1, 8, 30):
        lava.tl.localities(adata, n_neighbors=30, max_evals=max_evals)
        found = adata.uns["lava"]["placement"]
        assert found["n_evals"] <= max_evals
        losses.append(found["loss"])
        if max_evals == 1:
            assert (found["alpha"], found["beta"], found["n_evals"]) == (0.0, 2.0, 1)
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("n_neighbors", "overlap", "expected"), [(30, 3.0, 20), (40, 2, 10), (30, 4.05, 27), (200, 0.5, 1), (3, 3.0, 200)]
)
def test_number_of_localities(n_neighbors: int, overlap: float, expected: int) -> None:
    adata = cloud()
    lava.tl.localities(adata, n_neighbors=n_neighbors, overlap=overlap, max_evals=1)
    assert members(adata).shape == (200, expected)
    assert (members(adata).sum(axis=0) == n_neighbors).all()


@pytest.mark.parametrize(("n_cells", "expected"), [(4, 3), (60, 30), (200, 57), (400, 80)])
def test_default_size(n_cells: int, expected: int) -> None:
    adata = cloud(n_cells)
    lava.tl.localities(adata, max_evals=1)
    assert adata.uns["lava"]["params"]["localities"]["n_neighbors"] == expected


@pytest.mark.parametrize(
    ("there", "use_rep", "expected"),
    [
        (["X_pca", "X_tsne", "X_umap"], None, "X_umap"),
        (["X_pca", "X_tsne"], None, "X_tsne"),
        (["X_pca", "spatial"], None, "X_pca"),
        (["X_pca", "X_umap"], "pca", "X_pca"),
        (["X_pca", "X_umap"], "X_pca", "X_pca"),
        (["spatial", "X_spatial"], "spatial", "spatial"),
    ],
)
def test_use_rep(there: list[str], use_rep: str | None, expected: str) -> None:
    adata = cloud(60)
    coordinates = {name: np.random.default_rng(i).normal(size=(60, 2)) for i, name in enumerate(there)}
    del adata.obsm["X_umap"]
    for name, Z in coordinates.items():
        adata.obsm[name] = Z
    lava.tl.localities(adata, use_rep=use_rep, n_neighbors=20, max_evals=1)
    assert adata.uns["lava"]["params"]["localities"]["use_rep"] == expected
    degree = reference.in_degree(reference.neighbourhoods(coordinates[expected], 20))
    np.testing.assert_array_equal(adata.obs["lava_in_degree"], degree)


@pytest.mark.parametrize("kind", ["float32", "integer", "fortran", "frame", "csr", "readonly"])
def test_any_kind_of_embedding(kind: str) -> None:
    adata = cloud(80)
    Z = np.round(adata.obsm["X_umap"] * 50)
    kinds = {
        "float32": Z.astype(np.float32),
        "integer": Z.astype(np.int64),
        "fortran": np.asfortranarray(Z),
        "frame": pd.DataFrame(Z, index=adata.obs_names, columns=["UMAP1", "UMAP2"]),
        "csr": sparse.csr_matrix(Z),
        "readonly": Z.copy(),
    }
    kinds["readonly"].flags.writeable = False
    adata.obsm["X_umap"] = Z
    expected = lava.tl.localities(adata, n_neighbors=20, max_evals=3, copy=True)
    adata.obsm["X_umap"] = kinds[kind]
    found = lava.tl.localities(adata, n_neighbors=20, max_evals=3, copy=True)
    assert_same(found.uns, expected.uns)
    assert_same(found.obsm["lava_localities"], expected.obsm["lava_localities"])


@pytest.mark.parametrize("n_dimensions", [1, 3, 20])
def test_any_dimension(n_dimensions: int) -> None:
    adata = cloud(n_dimensions=n_dimensions)
    lava.tl.localities(adata, n_neighbors=30, max_evals=3)
    probes = adata.uns["lava"]["probes"]
    assert probes.shape == (20, n_dimensions)
    Z = adata.obsm["X_umap"]
    np.testing.assert_array_equal(members(adata), reference.membership(Z, probes, 30))
    np.testing.assert_array_equal(adata.obs["lava_in_degree"], reference.in_degree(reference.neighbourhoods(Z, 30)))


def test_cells_at_the_same_place() -> None:
    adata = cloud()
    adata.obsm["X_umap"] = adata.obsm["X_umap"][np.repeat(np.arange(10), 20)]
    lava.tl.localities(adata, n_neighbors=30, max_evals=3)
    assert np.isfinite(adata.uns["lava"]["probes"]).all()
    assert (members(adata).sum(axis=0) == 30).all()
    degree = reference.in_degree(reference.neighbourhoods(adata.obsm["X_umap"], 30))
    np.testing.assert_array_equal(adata.obs["lava_in_degree"], degree)


def test_same_seed_same_result_whatever_the_number_of_workers(placed: AnnData) -> None:
    for arguments in (dict(), dict(n_jobs=1), dict(n_jobs=2), dict(rng=0)):
        adata = cloud()
        lava.tl.localities(adata, n_neighbors=30, overlap=4, max_evals=8, **arguments)
        assert_unchanged(adata, placed)


def test_seeds_and_generators(placed: AnnData) -> None:
    def probes(rng: object) -> np.ndarray:
        adata = cloud()
        lava.tl.localities(adata, n_neighbors=30, overlap=4, max_evals=8, rng=rng)
        return adata.uns["lava"]["probes"]

    np.testing.assert_array_equal(probes(np.random.default_rng(0)), placed.uns["lava"]["probes"])
    np.testing.assert_array_equal(probes(np.random.SeedSequence(0)), placed.uns["lava"]["probes"])
    np.testing.assert_array_equal(probes([1, 2]), probes([1, 2]))
    assert not np.array_equal(probes(1), placed.uns["lava"]["probes"])
    generator = np.random.default_rng(0)
    assert not np.array_equal(probes(generator), probes(generator))


def test_the_global_generator_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    lava.tl.localities(cloud(), n_neighbors=30, max_evals=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_copy() -> None:
    adata = toy()
    before = adata.copy()
    found = lava.tl.localities(adata, n_neighbors=60, max_evals=3, copy=True)
    assert_unchanged(adata, before)
    assert lava.tl.localities(adata, n_neighbors=60, max_evals=3) is None
    assert_unchanged(found, adata)


def test_a_view_becomes_an_object_of_its_own() -> None:
    adata = toy()
    before = adata.copy()
    view = adata[::2]
    lava.tl.localities(view, n_neighbors=30, max_evals=3)
    assert not view.is_view
    assert_unchanged(adata, before)
    alone = before[::2].copy()
    lava.tl.localities(alone, n_neighbors=30, max_evals=3)
    assert_same(contents(view), contents(alone))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_cells_matters_no_more_than_the_seed(seed: int) -> None:
    """Placement starts from cells drawn by the generator, so another order is another start.

    Criterion: over ten orders, no L/n lies further from the median over ten seeds than 1.5 times the range of these.
    """
    adata = toy(n_cells=400, rng=seed)

    def loss(rng: int, order: np.ndarray) -> float:
        shuffled = adata[order].copy()
        lava.tl.localities(shuffled, n_neighbors=60, max_evals=10, rng=rng)
        return shuffled.uns["lava"]["placement"]["loss_per_neighbor"]

    given = np.arange(400)
    seeds = np.array([loss(rng, given) for rng in range(10)])
    orders = np.array([loss(0, np.random.default_rng(rng).permutation(400)) for rng in range(10)])
    assert np.abs(orders - np.median(seeds)).max() <= 1.5 * np.ptp(seeds)


def test_in_degrees_follow_the_cells() -> None:
    adata = cloud()
    lava.tl.localities(adata, n_neighbors=30, max_evals=1)
    shuffled = adata[np.random.default_rng(0).permutation(200)].copy()
    expected = shuffled.obs["lava_in_degree"].copy()
    lava.tl.localities(shuffled, n_neighbors=30, max_evals=1)
    pd.testing.assert_series_equal(shuffled.obs["lava_in_degree"], expected, check_exact=True)


def test_dense_and_sparse_parts_are_represented_alike() -> None:
    adata = cloud(500)
    lava.tl.localities(adata, n_neighbors=50)
    best = adata.uns["lava"]["placement"]["loss_per_neighbor"]
    random = adata.obsm["X_umap"][np.random.default_rng(0).choice(500, 30, replace=False)]
    at_random = reference.loss(
        adata.obs["lava_in_degree"].to_numpy(), reference.membership(adata.obsm["X_umap"], random, 50)
    )
    assert best < 0.5 * at_random / 50
