from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from statsmodels.stats.multitest import multipletests
from tests.core.correlation.cases import pvalues_of_all_pairs
from tests.helpers import assert_same, assert_unchanged, localities, localities_with_pairs, locality_corr, toy
from tests.reference import correlation as reference

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

#: Ways to correlate between which the order of genes and cells, the number of workers and the class of X make no difference.
WAYS: dict[str, dict[str, Any]] = {
    "spearman": {},
    "every pair": {"fdr": None},
    "pearson": {"method": "pearson"},
    "partial": {"covariates": ["total_counts", "region"]},
    "partial pearson": {"covariates": ["total_counts", "region"], "method": "pearson", "fdr": None},
}


@pytest.fixture(scope="module")
def few(stages: Mapping[str, AnnData]) -> AnnData:
    """Localities, and a panel of twelve genes that the references get through in no time."""
    adata = stages["localities"].copy()
    wanted = ["M1_01", "M1_02", "M1_03", "M2_01", "M2_02", "MARK1_01", "MARK2_01", "RPL13A"]
    adata.var["few"] = adata.var_names.isin(wanted) | (np.arange(adata.n_vars) >= adata.n_vars - 4)
    adata.obs["batch"] = np.where(np.random.default_rng(0).random(adata.n_obs) < 0.5, "a", "b")
    adata.obs["old"] = np.random.default_rng(1).random(adata.n_obs) < 0.5
    return adata


def members(adata: AnnData) -> np.ndarray:
    return adata.obsm["lava_localities"].toarray()


def values(adata: AnnData, mask: str) -> np.ndarray:
    return adata.X.toarray()[:, adata.var[mask]].astype(np.float64)


def squares(adata: AnnData) -> np.ndarray:
    """C as (l, n_vars, n_vars), genes in the order of the object; NaN outside of the panel."""
    C, genes = adata.uns["lava"]["C"].toarray(), adata.uns["lava"]["genes"]
    at = adata.var_names.get_indexer(genes)
    out = np.full((len(C), adata.n_vars, adata.n_vars), np.nan, dtype=C.dtype)
    out[np.ix_(range(len(C)), at, at)] = 0
    a, b = np.triu_indices(len(genes), 1)
    out[:, at[a], at[b]] = C
    out[:, at[b], at[a]] = C
    return out


def test_fields_have_the_documented_shapes_and_dtypes(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"]
    results = adata.uns["lava"]
    n_genes = int(adata.var["lava_genes"].sum())
    assert n_genes < adata.n_vars
    assert results["genes"].shape == (n_genes,)
    assert all(type(gene) is str for gene in results["genes"])
    np.testing.assert_array_equal(results["genes"], adata.var_names[adata.var["lava_genes"]])
    assert results["defined"].shape == (15, n_genes)
    assert results["defined"].dtype == bool
    C = results["C"]
    assert C.shape == (15, n_genes * (n_genes - 1) // 2)
    assert C.format == "csr"
    assert C.dtype == np.float32
    assert C.has_canonical_format
    assert (C.data != 0).all()
    assert np.abs(C.data).max() <= 1
    evidence = results["evidence"]
    assert evidence.index.tolist() == [str(i) for i in range(15)]
    assert evidence.columns.tolist() == ["n_defined_genes", "n_defined_pairs", "n_kept_pairs"]
    expected = {
        "use_raw": False,
        "method": "spearman",
        "max_tie_fraction": 0.75,
        "fdr": 0.05,
        "n_genes": n_genes,
        "device": "auto",
    }
    assert results["params"]["locality_corr"] == expected


@pytest.mark.parametrize("max_tie_fraction", [0.75, 0.3])
def test_spearman(few: AnnData, max_tie_fraction: float) -> None:
    adata = lava.tl.locality_corr(few, mask_var="few", fdr=None, max_tie_fraction=max_tie_fraction, copy=True)
    X = values(few, "few")
    results = adata.uns["lava"]
    expected = reference.spearman_matrix(X, members(few), max_tie_fraction)
    np.testing.assert_allclose(results["C"].toarray(), expected, atol=1e-6)
    np.testing.assert_array_equal(results["defined"], reference.defined_mask(X, members(few), max_tie_fraction))
    assert not results["defined"].all() or max_tie_fraction == 0.75
    assert "fdr" not in results["params"]["locality_corr"]


def test_pearson(few: AnnData) -> None:
    adata = lava.tl.locality_corr(few, mask_var="few", fdr=None, method="pearson", copy=True)
    expected = reference.pearson_matrix(values(few, "few"), members(few))
    np.testing.assert_allclose(adata.uns["lava"]["C"].toarray(), expected, atol=1e-6)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("names", ["total_counts", ["batch"], ["old", "total_counts"], ["region", "batch"]])
def test_covariates(few: AnnData, method: str, names: str | list[str]) -> None:
    adata = lava.tl.locality_corr(few, mask_var="few", fdr=None, method=method, covariates=names, copy=True)
    columns = few.obs[[names] if isinstance(names, str) else names]
    numeric = columns.select_dtypes("number").to_numpy(dtype=np.float64)
    levels = columns.select_dtypes(exclude="number").astype(str)
    dummies = np.column_stack([np.empty((len(levels), 0))] + [levels[c] == v for c in levels for v in set(levels[c])])
    partial = reference.partial_spearman_matrix if method == "spearman" else reference.partial_pearson_matrix
    expected = partial(values(few, "few"), members(few), numeric, dummies)
    np.testing.assert_allclose(adata.uns["lava"]["C"].toarray(), expected, atol=2e-6)
    recorded = adata.uns["lava"]["params"]["locality_corr"]["covariates"]
    np.testing.assert_array_equal(recorded, columns.columns)


def test_what_depth_alone_drives_is_not_kept_once_depth_is_given() -> None:
    adata = lava.datasets.planted(n_cells=400, n_genes=60, n_modules=0, markers_per_region=0, depth_sd=0.6)
    adata.X = adata.layers["counts"].astype(np.float32).log1p()
    localities(adata, n_neighbors=100)
    locality_corr(adata)
    assert adata.uns["lava"]["evidence"]["n_kept_pairs"].min() > 100
    assert localities_with_pairs(adata, covariates="total_counts") <= 2


def test_fdr_keeps_some_of_the_pairs_and_changes_none(stages: Mapping[str, AnnData]) -> None:
    every = lava.tl.locality_corr(stages["localities"], fdr=None, copy=True).uns["lava"]
    full, n_kept = every["C"].toarray(), []
    for fdr in (0.5, 0.05, 0.01):
        found = lava.tl.locality_corr(stages["localities"], fdr=fdr, copy=True).uns["lava"]
        C = found["C"].toarray()
        np.testing.assert_array_equal(C[C != 0], full[C != 0])
        for i in range(len(C)):  # what is left out is weaker, up to the different tails of tied genes
            left_out = np.abs(full[i, C[i] == 0]).max()
            assert left_out < 1.3 * np.abs(C[i, C[i] != 0]).min(initial=1)
        np.testing.assert_array_equal(found["evidence"]["n_kept_pairs"], (C != 0).sum(axis=1))
        defined = found["defined"].sum(axis=1)
        np.testing.assert_array_equal(found["evidence"]["n_defined_genes"], defined)
        np.testing.assert_array_equal(found["evidence"]["n_defined_pairs"], defined * (defined - 1) // 2)
        n_kept.append(found["C"].nnz)
    assert full.size >= n_kept[0] > n_kept[1] > n_kept[2] > 0


@pytest.mark.parametrize("fdr", [0.001, 0.05, 0.5])
def test_fdr_is_that_of_statsmodels_in_each_locality(stages: Mapping[str, AnnData], fdr: float) -> None:
    adata = lava.tl.locality_corr(stages["localities"], fdr=fdr, copy=True)
    C, X = adata.uns["lava"]["C"].toarray(), values(adata, "lava_genes")
    for cells, row in zip(members(adata).T, C, strict=True):
        _, pvalues, columns = pvalues_of_all_pairs(X, np.flatnonzero(cells))
        np.testing.assert_array_equal(np.flatnonzero(row), columns[multipletests(pvalues, fdr, method="fdr_bh")[0]])


@pytest.mark.parametrize("way", WAYS)
def test_order_of_genes(stages: Mapping[str, AnnData], way: str) -> None:
    expected = lava.tl.locality_corr(stages["localities"], **WAYS[way], copy=True)
    order = np.random.default_rng(0).permutation(expected.n_vars)
    found = stages["localities"][:, order].copy()
    locality_corr(found, **WAYS[way])
    np.testing.assert_array_equal(found.uns["lava"]["genes"], found.var_names[found.var["lava_genes"]])
    np.testing.assert_array_equal(squares(found), squares(expected)[:, order][:, :, order])
    assert_same(found.uns["lava"]["evidence"], expected.uns["lava"]["evidence"])
    at = pd.Index(expected.uns["lava"]["genes"]).get_indexer(found.uns["lava"]["genes"])
    np.testing.assert_array_equal(found.uns["lava"]["defined"], expected.uns["lava"]["defined"][:, at])


@pytest.mark.parametrize("way", WAYS)
def test_order_of_cells(stages: Mapping[str, AnnData], way: str) -> None:
    expected = lava.tl.locality_corr(stages["localities"], **WAYS[way], copy=True)
    for seed in range(3):
        found = stages["localities"][np.random.default_rng(seed).permutation(expected.n_obs)].copy()
        locality_corr(found, **WAYS[way])
        assert_same(found.uns["lava"], expected.uns["lava"])


@pytest.mark.parametrize("way", WAYS)
def test_number_of_workers(stages: Mapping[str, AnnData], way: str) -> None:
    found = [lava.tl.locality_corr(stages["localities"], **WAYS[way], n_jobs=n, copy=True) for n in (1, 2, None)]
    assert_unchanged(found[1], found[0])
    assert_unchanged(found[2], found[0])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "kind",
    [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array],
    ids=["dense", "fortran", "csr_matrix", "csc_matrix", "csr_array", "csc_array"],
)
def test_class_of_the_matrix(stages: Mapping[str, AnnData], kind: Any, way: str) -> None:
    expected = lava.tl.locality_corr(stages["localities"], **WAYS[way], copy=True)
    adata = stages["localities"].copy()
    adata.layers["same"] = kind(adata.X.toarray())
    adata.X = None
    locality_corr(adata, layer="same", **WAYS[way])
    assert adata.uns["lava"]["params"]["locality_corr"].pop("layer") == "same"
    assert_same(adata.uns["lava"], expected.uns["lava"])


def test_readonly_and_unsorted_matrices(stages: Mapping[str, AnnData]) -> None:
    expected = lava.tl.locality_corr(stages["localities"], copy=True)
    adata = stages["localities"].copy()
    X = adata.X.tocsc().tocsr()
    for i in range(X.shape[0]):  # descending column indices
        row = slice(X.indptr[i], X.indptr[i + 1])
        X.indices[row], X.data[row] = X.indices[row][::-1].copy(), X.data[row][::-1].copy()
    X.has_sorted_indices = False
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = False
    adata.X = X
    locality_corr(adata)
    assert_same(adata.uns["lava"], expected.uns["lava"])


def test_counts_of_any_dtype(stages: Mapping[str, AnnData]) -> None:
    adata = stages["localities"].copy()
    counts = adata.layers["counts"]
    found = []
    for dtype in (np.int32, np.float32, np.float64):
        adata.layers["typed"] = counts.astype(dtype)
        with pytest.warns(UserWarning, match="looks like raw counts"):
            found.append(lava.tl.locality_corr(adata, layer="typed", copy=True))
    for other in found[1:]:
        assert_same(other.uns["lava"], found[0].uns["lava"])


@pytest.mark.parametrize("dtype", ["float16", ">f4"])
def test_floats_that_compiled_code_does_not_know(stages: Mapping[str, AnnData], dtype: str) -> None:
    adata = stages["localities"].copy()
    adata.layers["typed"] = adata.X.toarray().astype(dtype)
    adata.layers["plain"] = adata.layers["typed"].astype(np.float32)
    found, expected = (
        lava.tl.locality_corr(adata, layer=layer, copy=True).uns["lava"]["C"] for layer in ("typed", "plain")
    )
    assert_same(found, expected)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (np.asarray, np.float16),
        (np.asarray, np.float32),
        (sparse.csr_matrix, np.float64),
        (sparse.csc_array, np.float32),
    ],
)
def test_infinite_values_are_refused(stages: Mapping[str, AnnData], kind: Any, dtype: type, value: float) -> None:
    adata = stages["localities"].copy()
    X = adata.X.toarray().astype(dtype)
    X[np.flatnonzero(members(adata).any(axis=1))[-1], np.flatnonzero(adata.var["lava_genes"])[-1]] = value
    adata.layers["spoilt"] = kind(X)
    before = adata.copy()
    message = r"^Found 1 NaN or infinite values in adata\.layers\['spoilt'\], expected finite numbers; drop"
    with pytest.raises(ValueError, match=message):
        locality_corr(adata, layer="spoilt")
    assert_unchanged(adata, before)


def test_mask(stages: Mapping[str, AnnData]) -> None:
    adata = stages["localities"].copy()
    adata.var["mine"] = ~adata.var["lava_genes"] | (np.arange(adata.n_vars) < 12)
    by_name = lava.tl.locality_corr(adata, mask_var="mine", copy=True)
    np.testing.assert_array_equal(by_name.uns["lava"]["genes"], adata.var_names[adata.var["mine"]])
    for mask in (adata.var["mine"], adata.var["mine"].to_numpy(), adata.var["mine"].tolist()):
        found = lava.tl.locality_corr(adata, mask_var=mask, copy=True).uns
        kept = found["lava"]["params"]["locality_corr"].pop("mask_var")
        assert kept.tolist() == found["lava"]["genes"].tolist()
        expected = by_name.copy().uns
        assert expected["lava"]["params"]["locality_corr"].pop("mask_var") == "mine"
        assert_same(found, expected)
    whole = squares(lava.tl.locality_corr(adata, mask_var=np.ones(adata.n_vars, dtype=bool), fdr=None, copy=True))
    part = squares(lava.tl.locality_corr(adata, fdr=None, copy=True))
    np.testing.assert_array_equal(part[np.isfinite(part)], whole[np.isfinite(part)])
    del adata.var["lava_genes"]
    assert_same(squares(lava.tl.locality_corr(adata, fdr=None, copy=True)), whole)


def test_copy_and_views(stages: Mapping[str, AnnData]) -> None:
    adata = stages["localities"].copy()
    found = lava.tl.locality_corr(adata, copy=True)
    assert_unchanged(adata, stages["localities"])
    view = adata[:, :]
    assert lava.tl.locality_corr(view) is None
    assert not view.is_view
    assert_unchanged(adata, stages["localities"])
    assert_unchanged(view, found)
    assert_unchanged(found, stages["locality_corr"])


def test_the_order_in_which_localities_store_their_cells_is_of_no_account(stages: Mapping[str, AnnData]) -> None:
    adata = stages["localities"].copy()
    membership = adata.obsm["lava_localities"].tocsc()
    for i in range(membership.shape[1]):
        column = slice(membership.indptr[i], membership.indptr[i + 1])
        membership.indices[column] = membership.indices[column][::-1].copy()
    membership.has_sorted_indices = False
    adata.obsm["lava_localities"] = membership
    locality_corr(adata)
    assert_same(adata.uns["lava"], stages["locality_corr"].uns["lava"])


def test_noise_keeps_next_to_nothing() -> None:
    """Genes shuffled within each of many disjoint localities: at most about 5 % of these keep an edge."""
    adata = toy(n_cells=1500, markers_per_region=0, rng=3)
    localities(adata, n_neighbors=30, overlap=1, max_evals=1)
    generator = np.random.default_rng(0)
    X = adata.X.toarray()
    assigned = np.repeat(np.arange(50), 30)
    adata.obsm["lava_localities"] = sparse.csr_matrix(assigned[:, None] == np.arange(50))
    for i in range(50):
        X[assigned == i] = generator.permuted(X[assigned == i], axis=0)
    adata.X = X
    assert localities_with_pairs(adata) <= 7  # Binomial(50, 0.05) exceeds it once in 100


def test_the_device_of_the_settings(stages: Mapping[str, AnnData]) -> None:
    """Apple's devices take no products: the CPU does, and no error comes of a setting that is meant for AMF."""
    for device, used in (("cpu", "cpu"), ("mps", "cpu")):
        with lava.settings.override(device=device):
            found = lava.tl.locality_corr(stages["localities"], copy=True)
        assert found.uns["lava"]["params"]["locality_corr"]["device"] == used
