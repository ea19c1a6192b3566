from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from tests.helpers import assert_same, assert_unchanged, contents, toy

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLUMNS = ["n", "jaccard", "jaccard_se", "chance", "adjusted"]


def result(adata: AnnData, **kwargs: Any) -> dict[str, Any]:
    lava.tl.locality_size(adata, **kwargs)
    return adata.uns["lava"]["locality_size"]


def mean_jaccard(first: np.ndarray, second: np.ndarray, n: int) -> float:
    neighbors = [NearestNeighbors(n_neighbors=n).fit(Z).kneighbors(Z)[1] for Z in (first, second)]
    pairs = [(set(a), set(b)) for a, b in zip(*(found.tolist() for found in neighbors), strict=True)]
    return float(np.mean([len(a & b) / len(a | b) for a, b in pairs]))


def clusters(size: int, n_clusters: int, n_others: int = 4) -> AnnData:
    """Clusters at independent places in two spaces, and independent places of the cells within them."""
    rng = np.random.default_rng(0)
    spaces = {}
    for name, n_dimensions in {"X_umap": 2, "X_latent": n_others}.items():
        centres = 30 * rng.normal(size=(n_clusters, n_dimensions))
        spaces[name] = np.repeat(centres, size, axis=0) + rng.normal(size=(n_clusters * size, n_dimensions))
    return AnnData(X=np.ones((n_clusters * size, 3), dtype=np.float32), obsm=spaces)


@pytest.fixture
def start() -> AnnData:
    return toy()


def test_fields_have_the_documented_shapes_and_dtypes(start: AnnData) -> None:
    found = result(start, groupby="region")
    assert set(found) == {"table", "suggested", "is_peak", "reason", "group_sizes"}
    table = found["table"]
    assert list(table) == COLUMNS
    assert table["n"].dtype.kind == "i"
    assert table["n"].iloc[[0, -1]].tolist() == [10, 150]
    assert (table.dtypes[1:] == np.float64).all()
    assert type(found["suggested"]) is int
    assert 50 <= found["suggested"] <= 150
    assert type(found["is_peak"]) is bool
    assert found["reason"].endswith(".")
    assert found["reason"].count(". ") == 0
    assert start.uns["lava"]["params"]["locality_size"] == {
        "use_rep": "X_umap",
        "n_comps": min(50, int(start.var["lava_genes"].sum())),
        "groupby": "region",
        "n_cells": 300,
        "n_sampled": 300,
        "rng": 0,
    }


@pytest.mark.parametrize("n_comps", [2, 5, 100])
def test_feature_space_is_the_components_of_the_selected_genes(start: AnnData, n_comps: int) -> None:
    start.var["lava_genes"] = np.arange(40) % 4 > 0
    table = result(start, sizes=[40, 8, 100], n_comps=n_comps)["table"]
    X = start.X.toarray()[:, start.var["lava_genes"]].astype(np.float64)
    features = PCA(n_comps, svd_solver="full").fit_transform(X) if n_comps < 30 else X
    assert table["n"].tolist() == [8, 40, 100]
    expected = [mean_jaccard(features, start.obsm["X_umap"], n) for n in table["n"]]
    np.testing.assert_allclose(table["jaccard"], expected, rtol=1e-9)
    np.testing.assert_allclose(table["adjusted"], (table["jaccard"] - table["chance"]) / (1 - table["chance"]))


def test_more_genes_than_covariances_are_taken_of(monkeypatch: pytest.MonkeyPatch, start: AnnData) -> None:
    expected = result(start, n_comps=5)["table"]
    monkeypatch.setattr(sys.modules["lava_sc.tl.locality_size"], "_FEW_GENES", 10)
    found = result(start, n_comps=5)["table"]
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    "kind",
    [
        sparse.csr_matrix,
        sparse.csc_matrix,
        sparse.csr_array,
        sparse.csc_array,
        lambda X: X.toarray(),
        lambda X: np.asfortranarray(X.toarray()),
        lambda X: X.astype(np.float64),
    ],
    ids=["csr_matrix", "csc_matrix", "csr_array", "csc_array", "dense", "fortran", "double"],
)
def test_every_kind_of_matrix_gives_the_same_numbers(start: AnnData, kind: Callable[[Any], Any]) -> None:
    expected = result(start, n_comps=5)["table"]
    start.X = kind(sparse.csr_matrix(start.X))
    pd.testing.assert_frame_equal(result(start, n_comps=5)["table"], expected, rtol=1e-9)


def test_layer_mask_and_feature_rep(start: AnnData) -> None:
    start.layers["log"], start.X = start.X.copy(), start.layers["counts"]
    log = np.log1p(start.X.toarray().astype(np.float64))
    mask = np.arange(40) < 20
    start.layers["log"] = log
    expected = [mean_jaccard(log[:, mask], start.obsm["X_umap"], n) for n in (20, 60)]
    found = result(start, layer="log", mask_var=mask, sizes=(20, 60))["table"]
    np.testing.assert_allclose(found["jaccard"], expected, rtol=1e-12)
    start.obsm["X_genes"] = sparse.csr_matrix(log[:, mask])
    for name in ("X_genes", "genes"):
        np.testing.assert_array_equal(result(start, feature_rep=name, sizes=(20, 60))["table"], found)


def test_a_sample_of_the_cells_is_seeded_and_close_to_all() -> None:
    adata = clusters(100, 8)
    every = result(adata, feature_rep="latent")["table"]
    tables = [
        result(adata, feature_rep="latent", n_sampled=200, rng=rng, n_jobs=n_jobs)["table"]
        for rng, n_jobs in ((3, 1), (3, 2), (np.random.default_rng(3), 5), (4, 1))
    ]
    assert_same(tables[1], tables[0])
    assert_same(tables[2], tables[0])
    assert not tables[3].equals(tables[0])
    assert (np.abs(tables[0]["jaccard"] - every["jaccard"]) <= 4 * tables[0]["jaccard_se"] + 0.01).all()
    assert adata.uns["lava"]["params"]["locality_size"]["n_sampled"] == 200


def test_standard_error_is_that_of_the_mean() -> None:
    adata = clusters(50, 6)
    errors = result(adata, feature_rep="latent", n_sampled=100, sizes=[20, 100])["table"]["jaccard_se"]
    means = [
        result(adata, feature_rep="latent", n_sampled=100, sizes=[20, 100], rng=rng)["table"]["jaccard"]
        for rng in range(60)
    ]
    left = np.sqrt(1 - 100 / 300)  # drawn without replacement
    np.testing.assert_allclose(np.std(means, axis=0), left * errors, rtol=0.35)


def test_identical_spaces_agree_at_every_size(start: AnnData) -> None:
    start.obsm["X_copy"] = start.obsm["X_umap"].copy()
    found = result(start, feature_rep="copy")
    assert (found["table"][["jaccard", "adjusted"]] == 1).all(axis=None)
    assert not found["is_peak"]


@pytest.mark.parametrize(("size", "n_clusters"), [(60, 10), (150, 6)])
def test_the_planted_scale_is_suggested(size: int, n_clusters: int) -> None:
    adata = clusters(size, n_clusters)
    found = result(adata, feature_rep="latent")
    assert found["is_peak"]
    assert 0.85 * size <= found["suggested"] <= 1.15 * size
    assert result(adata, feature_rep="latent", sizes=[20, size, 3 * size])["suggested"] == size


def test_independent_spaces_are_said_to_be(start: AnnData) -> None:
    start.obsm["X_noise"] = np.random.default_rng(0).normal(size=(300, 5))
    found = result(start, feature_rep="noise")
    assert not found["is_peak"]
    assert found["table"]["adjusted"].abs().max() < 0.02


def test_without_a_peak_it_is_the_default_of_localities(start: AnnData) -> None:
    start.obsm["X_copy"] = start.obsm["X_umap"].copy()
    for n_cells in (300, 150, 60):
        adata = start[:n_cells].copy()
        suggested = result(adata, feature_rep="copy")["suggested"]
        lava.tl.localities(adata, max_evals=1)
        assert adata.uns["lava"]["params"]["localities"]["n_neighbors"] == suggested


def test_group_sizes(start: AnnData) -> None:
    group = np.repeat(["a", "b", "c", "d", "e"], [2, 8, 40, 100, 150]).astype(object)
    group[:2] = None
    start.obs["group"] = pd.Categorical(group, categories=list("zabcde"))
    table = result(start, groupby="group")["group_sizes"]
    assert table.index.tolist() == ["min", "25%", "50%", "75%", "max"]
    np.testing.assert_array_equal(table["n_cells"], [8, 32, 70, 112.5, 150])
    assert "group_sizes" not in result(start)


def test_localities_and_size_leave_each_other_alone(start: AnnData) -> None:
    lava.tl.localities(start, n_neighbors=60, max_evals=1)
    before = start.copy()
    found = result(start)
    for name in ("probes", "placement"):
        assert_same(start.uns["lava"][name], before.uns["lava"][name])
    lava.tl.localities(start, n_neighbors=found["suggested"], max_evals=1)
    assert_same(start.uns["lava"]["locality_size"], found)
    assert list(start.uns["lava"]["params"]) == ["locality_size", "localities"]
    del start.uns["lava"]["locality_size"], start.uns["lava"]["params"]["locality_size"]
    lava.tl.localities(start, n_neighbors=60, max_evals=1)
    assert_unchanged(start, before)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_results_survive_files(start: AnnData, tmp_path: Path, kind: str) -> None:
    lava.tl.locality_size(start, groupby="region")
    lava.tl.locality_size(start, key_added="other", sizes=[20], layer=None)
    getattr(start, f"write_{kind}")(tmp_path / "file")
    found = getattr(ad, f"read_{kind}")(tmp_path / "file")
    assert_same(contents(found), contents(start), dtypes=False)
    lava.pl.locality_size(found, show=False)


def test_copy_and_views(start: AnnData) -> None:
    before = start.copy()
    found = lava.tl.locality_size(start, copy=True)
    assert_unchanged(start, before)
    view = start[:, :]
    assert lava.tl.locality_size(view) is None
    assert_unchanged(start, before)
    assert_unchanged(view, found)


def test_what_was_done_is_logged(
    start: AnnData, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        found = result(start)
    assert caplog.messages[-1] == f"n = {found['suggested']}: {found['reason']}"
    assert capsys.readouterr() == ("", "")


def test_counts_warn_at_the_caller(start: AnnData) -> None:
    with pytest.warns(UserWarning, match=r"adata\.layers\['counts'\] holds whole numbers only.*depth") as caught:
        lava.tl.locality_size(start, layer="counts")
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(use_rep="tsne"), r"expected 'tsne'; compute that embedding first"),
        (dict(feature_rep="scvi"), r"no feature_rep in adata\.obsm 'scvi', expected one of .*'X_umap'.*change"),
        (dict(feature_rep="umap"), r"'X_umap'\] as feature_rep and as embedding, expected two different .*change"),
        (dict(groupby="kind"), r"no column of adata\.obs 'kind', expected one of .*'region'"),
        (dict(groupby="empty"), r"no values in adata\.obs\['empty'\], expected the group of each cell; choose"),
        (dict(sizes=[1, 20]), r"sizes=\[1, 20\], expected a list of whole numbers between 2 and 299; change sizes"),
        (dict(sizes=[20, 300]), r"sizes=\[20, 300\], expected"),
        (dict(sizes=[]), r"sizes=\[\], expected"),
        (dict(sizes=[20.5]), r"sizes=\[20\.5\], expected"),
        (dict(sizes=["20"]), r"sizes=\['20'\], expected"),
        (dict(sizes=20), r"sizes=20, expected"),
        (dict(n_sampled=0), r"n_sampled=0, expected a whole number of at least 1; change n_sampled"),
        (dict(n_comps=0), r"n_comps=0, expected a whole number of at least 1"),
        (dict(n_jobs=0), r"n_jobs=0, expected"),
        (dict(layer="log"), r"no layer 'log', expected one of"),
        (dict(mask_var="hvg"), r"no column of adata\.var 'hvg'"),
        (dict(key_added="a/b"), r"key 'a/b', expected a non-empty string without '/'"),
    ],
)
def test_bad_arguments_get_one_sentence_and_change_nothing(
    start: AnnData, arguments: dict[str, Any], message: str
) -> None:
    start.obs["empty"] = np.nan
    before = start.copy()
    with pytest.raises(ValueError, match=message) as caught:
        lava.tl.locality_size(start, **arguments)
    assert str(caught.value).count(". ") == 0
    assert_unchanged(start, before)


def test_bad_values_are_refused(start: AnnData) -> None:
    few = start[:3].copy()
    with pytest.raises(ValueError, match="Found 3 cells, expected at least 4; neighbourhoods of fewer"):
        lava.tl.locality_size(few)
    start.obsm["X_latent"] = np.full((300, 2), np.nan)
    with pytest.raises(ValueError, match=r"infinite coordinates for 300 of 300 cells in adata\.obsm\['X_latent'\]"):
        lava.tl.locality_size(start, feature_rep="latent")
    with pytest.raises(TypeError, match="expected an AnnData object"):
        lava.tl.locality_size(start.X)
    for n_cells in (4, 5, 11):
        assert result(start[:n_cells].copy())["suggested"] <= n_cells // 2
