from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from sklearn.neighbors import KNeighborsTransformer
from tests.helpers import assert_same, assert_unchanged, contents, data, run_steps, toy
from tests.reference import placement as reference

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def cloud(n_cells: int = 200, n_dimensions: int = 2, seed: int = 0) -> AnnData:
    """Cells of uneven density without any genes to speak of."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_cells, n_dimensions)) * np.where(rng.random(n_cells) < 0.5, 1.0, 4.0)[:, None]
    return AnnData(X=np.ones((n_cells, 3), dtype=np.float32), obsm={"X_umap": Z})


def members(adata: AnnData, key: str = "lava") -> np.ndarray:
    return adata.obsm[f"{key}_localities"].toarray()


def tissue(sizes: tuple[int, ...] = (240, 90, 30)) -> AnnData:
    """Three slides over the same ground, cells in mixed order; a module of the toy's genes in each."""
    adata = toy(n_cells=sum(sizes))
    rng = np.random.default_rng(1)
    names = np.repeat(["s3", "s1", "s2"], sizes)
    adata.obs["slide"] = pd.Categorical(rng.permutation(names), categories=["s2", "none", "s3", "s1"])
    return adata


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
    expected = {"n_cells": 200, "use_rep": "X_umap", "n_neighbors": 30, "overlap": 4.0, "optimizer": "moves"}
    expected |= {"max_evals": 8, "rng": 0}
    assert results["params"]["localities"] == expected


def test_a_locality_is_the_cells_nearest_to_its_probe(placed: AnnData) -> None:
    np.testing.assert_array_equal(
        members(placed), reference.membership(placed.obsm["X_umap"], placed.uns["lava"]["probes"], 30)
    )


def test_in_degrees_are_exact(placed: AnnData) -> None:
    neighbours = reference.neighbourhoods(placed.obsm["X_umap"], 30)
    np.testing.assert_array_equal(placed.obs["lava_in_degree"], reference.in_degree(neighbours))
    np.testing.assert_array_equal(placed.obs["lava_locality_in_degree"], reference.locality_in_degree(members(placed)))


@pytest.mark.parametrize("optimizer", ["moves", "direct"])
@pytest.mark.parametrize("n_dimensions", [1, 2, 4, 30])
def test_the_loss_is_that_of_the_stored_probes(optimizer: str, n_dimensions: int) -> None:
    """Everything from nothing but the embedding and the probes in ``uns``."""
    adata = cloud(n_dimensions=n_dimensions)
    lava.tl.localities(adata, n_neighbors=30, overlap=4, max_evals=8, optimizer=optimizer)
    Z, found = adata.obsm["X_umap"], adata.uns["lava"]["placement"]
    localities = reference.membership(Z, adata.uns["lava"]["probes"], 30)
    loss = reference.loss(reference.in_degree(reference.neighbourhoods(Z, 30)), localities)
    assert found["loss"] == pytest.approx(loss, rel=1e-12)
    assert found["loss_per_neighbor"] == pytest.approx(loss / 30, rel=1e-12)
    assert found["n_evals"] == 8
    assert max(abs(found["alpha"]), abs(found["beta"])) <= 2 * n_dimensions
    np.testing.assert_array_equal(members(adata), localities)
    assert adata.uns["lava"]["params"]["localities"]["optimizer"] == optimizer


def test_more_evaluations_are_no_worse_than_theory() -> None:
    adata = cloud()
    losses = []
    for max_evals in (1, 8, 30):
        lava.tl.localities(adata, n_neighbors=30, max_evals=max_evals, optimizer="direct")
        found = adata.uns["lava"]["placement"]
        assert found["n_evals"] == max_evals
        losses.append(found["loss"])
        if max_evals == 1:
            assert (found["alpha"], found["beta"]) == (0.0, 2.0)
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("seed", range(3))
def test_moves_end_below_direct(seed: int) -> None:
    adata = cloud(400, seed=seed)
    losses = {}
    for optimizer in ("moves", "direct"):
        lava.tl.localities(adata, n_neighbors=40, optimizer=optimizer, rng=seed)
        losses[optimizer] = adata.uns["lava"]["placement"]["loss_per_neighbor"]
    assert losses["moves"] < 0.85 * losses["direct"]


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


@pytest.mark.parametrize("n_dimensions", [1, 4, 30])
def test_any_dimension(n_dimensions: int) -> None:
    adata = cloud(n_dimensions=n_dimensions)
    lava.tl.localities(adata, n_neighbors=30, max_evals=3)
    assert adata.uns["lava"]["probes"].shape == (20, n_dimensions)
    degree = reference.in_degree(reference.neighbourhoods(adata.obsm["X_umap"], 30))
    np.testing.assert_array_equal(adata.obs["lava_in_degree"], degree)


def test_cells_at_the_same_place() -> None:
    adata = cloud()
    adata.obsm["X_umap"] = adata.obsm["X_umap"][np.repeat(np.arange(10), 20)]
    lava.tl.localities(adata, n_neighbors=30, max_evals=3)
    assert np.isfinite(adata.uns["lava"]["probes"]).all()
    assert (members(adata).sum(axis=0) == 30).all()
    degree = reference.in_degree(reference.neighbourhoods(adata.obsm["X_umap"], 30))
    np.testing.assert_array_equal(adata.obs["lava_in_degree"], degree)


@pytest.mark.parametrize("library_key", [None, "slide"])
def test_direct_gives_the_same_whatever_the_number_of_workers(library_key: str | None) -> None:
    found = [
        lava.tl.localities(
            tissue(), n_neighbors=30, max_evals=6, optimizer="direct", library_key=library_key, n_jobs=n, copy=True
        )
        for n in (1, 1, 2)
    ]
    assert_unchanged(found[0], found[1])
    assert_unchanged(found[0], found[2])


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


# Several sections in one embedding


@pytest.mark.parametrize("optimizer", ["moves", "direct"])
def test_no_locality_mixes_sections(optimizer: str) -> None:
    """Localities, in-degrees and L by brute force within each section; categories in their order, empty ones left out."""
    adata = tissue()
    Z = adata.obsm["X_umap"]
    lava.tl.localities(adata, n_neighbors=30, overlap=4, max_evals=5, optimizer=optimizer, library_key="slide")
    found, probes = adata.uns["lava"]["placement"], adata.uns["lava"]["probes"]
    assert list(found["libraries"]) == ["s2", "s3", "s1"]
    assert list(found["library"]) == ["s2"] * 4 + ["s3"] * 32 + ["s1"] * 12
    degree, localities = np.zeros(360), np.zeros((360, 48), dtype=bool)
    for name in found["libraries"]:
        cells, own = np.flatnonzero(adata.obs["slide"] == name), np.flatnonzero(found["library"] == name)
        degree[cells] = reference.in_degree(reference.neighbourhoods(Z[cells], 30)) * len(cells) / 360
        localities[np.ix_(cells, own)] = reference.membership(Z[cells], probes[own], 30)
    np.testing.assert_array_equal(members(adata), localities)
    np.testing.assert_allclose(adata.obs["lava_in_degree"], degree, rtol=1e-14)
    assert adata.obs["lava_in_degree"].sum() == pytest.approx(30)
    assert adata.obs["lava_locality_in_degree"].sum() == pytest.approx(30)
    assert found["loss"] == pytest.approx(reference.loss(degree, localities), rel=1e-12)
    assert found["loss_per_neighbor"] == pytest.approx(found["loss"] / 30, rel=1e-12)
    assert found["alpha"].shape == found["beta"].shape == (3,)
    assert found["n_evals"] == 15
    assert adata.uns["lava"]["params"]["localities"]["library_key"] == "slide"


def test_sections_that_do_not_overlap_are_placed_alike_with_or_without_their_key() -> None:
    """Far apart, no neighbourhood reaches another section anyway: same in-degrees, similar L."""
    adata = tissue((200, 100, 60))
    adata.obsm["X_umap"] = adata.obsm["X_umap"] + 1e3 * adata.obs["slide"].cat.codes.to_numpy()[:, None]
    losses, degrees = [], []
    for library_key in (None, "slide"):
        lava.tl.localities(adata, n_neighbors=30, library_key=library_key)
        losses.append(adata.uns["lava"]["placement"]["loss_per_neighbor"])
        degrees.append(adata.obs["lava_in_degree"].to_numpy())
    np.testing.assert_allclose(degrees[0], degrees[1], rtol=1e-14)
    assert losses[1] < 1.25 * losses[0]


@pytest.mark.parametrize("values", [[0, 1, 2], [0.5, 1.0, 1.5], [False, True, True], ["slide 2", "10", "µ"]], ids=str)
def test_any_kind_of_section_column(values: list[Any]) -> None:
    adata = tissue((120, 120, 120))
    adata.obs["section"] = np.array(values)[pd.factorize(adata.obs["slide"])[0]]
    lava.tl.localities(adata, n_neighbors=30, max_evals=2, library_key="section")
    found = adata.uns["lava"]["placement"]
    assert list(found["libraries"]) == [str(name) for name in sorted(set(adata.obs["section"]))]
    for probe, name in enumerate(found["library"]):
        assert set(adata.obs["section"][members(adata)[:, probe]].astype(str)) == {name}


def test_a_single_section_is_allowed() -> None:
    adata = tissue()
    adata.obs["one"] = "same"
    lava.tl.localities(adata, n_neighbors=30, max_evals=2, library_key="one")
    assert set(adata.uns["lava"]["placement"]["library"]) == {"same"}


def test_later_steps_run_on_sections_and_files_hold_them(tmp_path: Path) -> None:
    adata = tissue((150, 150, 60))
    adata.obsm["spatial"] = adata.obsm.pop("X_umap")
    lava.tl.localities(adata, use_rep="spatial", n_neighbors=60, library_key="slide", max_evals=3)
    run_steps(adata, "locality_corr", "amf", "module_genes")
    assert adata.uns["lava"]["C"].shape[0] == len(adata.uns["lava"]["placement"]["library"]) == 18
    assert lava.get.localities(adata).n_obs == 18
    lava.report(adata, tmp_path / "page.html")
    for name, write, read in (("h5ad", adata.write_h5ad, ad.read_h5ad), ("zarr", adata.write_zarr, ad.read_zarr)):
        write(tmp_path / name)
        assert_same(contents(read(tmp_path / name))["uns"], contents(adata)["uns"], dtypes=False)


def test_running_without_sections_leaves_nothing_of_them() -> None:
    adata, fresh = tissue(), tissue()
    lava.tl.localities(adata, n_neighbors=30, max_evals=2, library_key="slide")
    for one in (adata, fresh):
        lava.tl.localities(one, n_neighbors=30, max_evals=2)
    assert_unchanged(adata, fresh)


# A neighbour search of the user's choice


@pytest.mark.parametrize("as_read", [np.asarray, lambda column: pd.Categorical(column.astype(str))], ids=["int", "str"])
def test_spots_beside_the_tissue(as_read: Callable[[np.ndarray], Any]) -> None:
    adata = cloud()
    adata.obs["in_tissue"] = as_read((np.arange(200) >= 30).astype(int))
    adata.obsm["spatial"] = adata.obsm["X_umap"]
    with pytest.warns(UserWarning, match=r"30 of 200 spots are not covered by tissue"):
        lava.tl.localities(adata, use_rep="spatial", n_neighbors=30)
    covered = adata[adata.obs["in_tissue"].astype(int) == 1].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        lava.tl.localities(adata, n_neighbors=30)
        lava.tl.localities(covered, use_rep="spatial", n_neighbors=30)


@pytest.mark.parametrize("n_dimensions", [2, 30])
@pytest.mark.parametrize("library_key", [None, "slide"])
def test_an_exact_search_changes_nothing(n_dimensions: int, library_key: str | None) -> None:
    adata = cloud(n_dimensions=n_dimensions)
    adata.obs["slide"] = np.where(np.arange(200) % 3 == 0, "a", "b")
    transformer = KNeighborsTransformer(n_neighbors=7, algorithm="brute")
    expected, found = (
        lava.tl.localities(adata, n_neighbors=30, max_evals=3, library_key=library_key, transformer=t, copy=True)
        for t in (None, transformer)
    )
    assert transformer.get_params() == KNeighborsTransformer(n_neighbors=7, algorithm="brute").get_params()
    assert not hasattr(transformer, "n_samples_fit_")
    np.testing.assert_array_equal(found.obs["lava_in_degree"], expected.obs["lava_in_degree"])
    np.testing.assert_array_equal(members(found), members(expected))
    params = found.uns["lava"]["params"]["localities"]
    assert params.pop("transformer") == str(transformer)
    assert_same(params, expected.uns["lava"]["params"]["localities"])


def test_an_approximate_search_gives_exact_localities() -> None:
    """In-degrees are those of the search, here one that sees the first coordinate only; L is measured against them."""

    class FirstCoordinate(KNeighborsTransformer):
        def fit(self, X: np.ndarray) -> FirstCoordinate:
            return super().fit(X[:, :1])

        def transform(self, X: np.ndarray) -> sparse.csr_matrix:
            return super().transform(X[:, :1])

    adata = cloud()
    lava.tl.localities(adata, n_neighbors=30, max_evals=3, transformer=FirstCoordinate())
    Z = adata.obsm["X_umap"]
    degree = reference.in_degree(reference.neighbourhoods(Z[:, :1], 30))
    np.testing.assert_array_equal(adata.obs["lava_in_degree"], degree)
    localities = reference.membership(Z, adata.uns["lava"]["probes"], 30)
    np.testing.assert_array_equal(members(adata), localities)
    assert adata.uns["lava"]["placement"]["loss"] == pytest.approx(reference.loss(degree, localities), rel=1e-12)


@pytest.mark.slow
def test_mean_correlations_of_mnist_do_not_depend_on_the_seed() -> None:
    """Paper, Section 3: cosine of mean |C| between placements above 0.993.

    Half of the digits, drawn at random, and n halved with them, so ℓ = 280 as in the paper; the paper's o = 12.
    """
    half = np.sort(np.random.default_rng(0).choice(70_000, 35_000, replace=False))
    with np.load(data("mnist/mnist_70000.npz")) as file:
        X = file["X"][half].astype(np.float32)
    adata = AnnData(X=X, obsm={"X_umap": np.load(data("mnist/X_umap.npy"))[half]})
    means = []
    for seed in range(2):
        lava.tl.localities(adata, n_neighbors=1500, overlap=12, rng=seed)
        assert adata.uns["lava"]["placement"]["loss_per_neighbor"] < 0.081  # what the analytic weights alone give
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "adata.X holds whole numbers only")
            lava.tl.locality_corr(adata, fdr=None)
        means.append(np.asarray(abs(adata.uns["lava"]["C"]).mean(axis=0)).ravel())
    assert not np.array_equal(*means)
    assert means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1]) > 0.993
