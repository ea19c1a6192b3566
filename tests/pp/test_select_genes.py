from __future__ import annotations

import importlib.util
import logging
import sys
import warnings
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from tests.helpers import data

from lava_sc import datasets
from lava_sc.io import sources
from lava_sc.pp import select_genes
from lava_sc.pp._gene_families import FAMILIES, in_families
from lava_sc.stored.fields import Slots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

needs_skmisc = pytest.mark.skipif(importlib.util.find_spec("skmisc") is None, reason="scikit-misc is not installed")


@pytest.fixture
def adata() -> AnnData:
    return datasets.planted(n_cells=400, n_genes=150, n_modules=2, rng=1)


def genes(adata: AnnData, key: str = "lava_genes") -> set[str]:
    return set(adata.var_names[adata.var[key]])


def by_hand(adata: AnnData, candidates: np.ndarray, **kwargs) -> set[str]:
    data = adata[:, candidates].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.highly_variable_genes(data, **kwargs)
    return set(data.var_names[data.var["highly_variable"]])


def allowed(adata: AnnData) -> np.ndarray:
    return ~in_families(adata.var_names, list(FAMILIES))


def with_localities(adata: AnnData, members: list[np.ndarray], key: str = "lava", **params) -> AnnData:
    """What tl.localities stores, for localities of our choice."""
    membership = np.zeros((adata.n_obs, len(members)), dtype=bool)
    for i, cells in enumerate(members):
        membership[cells, i] = True
    adata.obsm[Slots(key).localities] = sparse.csr_matrix(membership)
    adata.uns[key] = {
        "probes": np.zeros((len(members), 2)),
        "params": {"localities": {"n_neighbors": len(members[0]), **params}},
    }
    return adata


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_takes_scanpys_choice_among_the_candidates(adata: AnnData, flavor: str) -> None:
    select_genes(adata, n_top_genes=60, flavor=flavor)
    assert adata.var["lava_genes"].dtype == bool
    assert genes(adata) == by_hand(adata, allowed(adata), n_top_genes=60, flavor=flavor)
    assert len(genes(adata)) == 60


def test_batches(adata: AnnData) -> None:
    select_genes(adata, n_top_genes=60, batch_key="region")
    assert genes(adata) == by_hand(adata, allowed(adata), n_top_genes=60, batch_key="region")
    adata.obs["number"] = adata.obs["region"].cat.codes.to_numpy()
    select_genes(adata, n_top_genes=60, batch_key="number", key_added="by_number")
    assert genes(adata, "by_number") == genes(adata)


@needs_skmisc
@pytest.mark.parametrize("flavor", ["seurat_v3", "seurat_v3_paper"])
def test_count_flavors(adata: AnnData, flavor: str) -> None:
    select_genes(adata, n_top_genes=60, flavor=flavor, layer="counts")
    assert genes(adata) == by_hand(adata, allowed(adata), n_top_genes=60, flavor=flavor, layer="counts")


@needs_skmisc
def test_count_flavors_warn_about_other_values(adata: AnnData) -> None:
    with pytest.warns(UserWarning, match="adata.X does not look like raw counts, but flavor='seurat_v3'") as caught:
        select_genes(adata, n_top_genes=60, flavor="seurat_v3")
    assert caught[0].filename == __file__


@pytest.mark.skipif(importlib.util.find_spec("skmisc") is not None, reason="scikit-misc is installed")
def test_count_flavors_say_what_they_need(adata: AnnData) -> None:
    with pytest.raises(ImportError, match="scikit-misc"):
        select_genes(adata, n_top_genes=60, flavor="seurat_v3", layer="counts")


@pytest.mark.parametrize(
    "array_type", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
)
@pytest.mark.parametrize("localities_key", [None, "lava"])
def test_array_types_agree(adata: AnnData, array_type: Callable, localities_key: str | None) -> None:
    with_localities(adata, [np.arange(0, 100), np.arange(200, 300)])
    expected = adata.copy()
    select_genes(expected, n_top_genes=60, localities_key=localities_key)
    adata.X = array_type(adata.X.toarray())
    select_genes(adata, n_top_genes=60, localities_key=localities_key)
    assert genes(adata) == genes(expected)


def test_writes_one_column_only(adata: AnnData) -> None:
    before = adata.copy()
    result = select_genes(adata, n_top_genes=50, key_added="panel")
    assert result is None
    assert set(adata.var) == {*before.var, "panel"}
    assert set(adata.uns) == set(before.uns)
    assert adata.shape == before.shape
    np.testing.assert_array_equal(adata.X.toarray(), before.X.toarray())


def test_copy(adata: AnnData) -> None:
    result = select_genes(adata, n_top_genes=50, copy=True)
    assert "lava_genes" not in adata.var
    select_genes(adata, n_top_genes=50)
    pd.testing.assert_series_equal(result.var["lava_genes"], adata.var["lava_genes"])


def test_view_becomes_an_object_of_its_own(adata: AnnData) -> None:
    view = adata[:200]
    select_genes(view, n_top_genes=50)
    assert not view.is_view
    assert "lava_genes" not in adata.var
    assert genes(view) == by_hand(adata[:200], allowed(adata), n_top_genes=50)


def test_order_of_genes_does_not_matter(adata: AnnData) -> None:
    shuffled = adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()
    select_genes(adata, n_top_genes=50)
    select_genes(shuffled, n_top_genes=50)
    assert genes(shuffled) == genes(adata)


def test_exclusion(adata: AnnData) -> None:
    families = {"MT-CO1", "MT-ND4", "RPL13A", "RPS27A", "MRPL12"}
    select_genes(adata, n_top_genes=None)
    assert genes(adata) == set(adata.var_names) - families
    select_genes(adata, n_top_genes=None, exclude="ribosomal")
    assert genes(adata) == set(adata.var_names) - {"RPL13A", "RPS27A"}
    select_genes(adata, n_top_genes=None, exclude=())
    assert genes(adata) == set(adata.var_names)


def test_genes_that_do_not_vary_are_no_candidates(adata: AnnData) -> None:
    X = adata.X.toarray()
    X[:, 3] = 0
    X[:, 4] = 1.5
    adata.X = sparse.csr_matrix(X)
    select_genes(adata, n_top_genes=None, exclude=())
    assert set(adata.var_names) - genes(adata) == set(adata.var_names[[3, 4]])


def test_fewer_candidates_than_wanted(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        select_genes(adata)
    assert genes(adata) == set(adata.var_names[allowed(adata)])
    assert "taking all 145 candidates" in caplog.text


def ensembl(adata: AnnData) -> AnnData:
    adata.var["feature_name"] = pd.Categorical(adata.var_names)
    adata.var_names = [f"ENSMUSG{i:011d}" for i in range(adata.n_vars)]
    return adata


def test_ensembl_ids_with_feature_names(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    expected = by_hand(adata, allowed(adata), n_top_genes=60)
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        select_genes(ensembl(adata), n_top_genes=60)
    assert set(adata.var["feature_name"][adata.var["lava_genes"]]) == expected
    assert "feature_name" in caplog.text


def test_ensembl_ids_without_symbols(adata: AnnData) -> None:
    adata = ensembl(adata)
    adata.var = adata.var.rename(columns={"feature_name": "symbol"})
    with pytest.warns(UserWarning, match="no gene can be excluded") as caught:
        select_genes(adata, n_top_genes=None)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert adata.var["lava_genes"].all()
    select_genes(adata, n_top_genes=None, exclude=())
    select_genes(adata, n_top_genes=None, gene_symbols="symbol")
    assert adata.var["lava_genes"].sum() == adata.n_vars - 5


def test_symbols_among_which_some_look_like_ids(adata: AnnData) -> None:
    adata.var["feature_name"] = "ACTB"  # must not be taken
    names = adata.var_names.to_numpy(dtype=object, copy=True)
    names[60:] = [f"ENSG{i:011d}" for i in range(60, adata.n_vars)]  # 60 % are
    adata.var_names = names
    select_genes(adata, n_top_genes=None)
    assert adata.var["lava_genes"].sum() == adata.n_vars - 5


def defined_somewhere(X: np.ndarray, members: list[np.ndarray], fraction: float) -> np.ndarray:
    """METHOD, in the plainest words: the most frequent value of each gene in each locality."""
    result = np.zeros(X.shape[1], dtype=bool)
    for cells in members:
        for gene in range(X.shape[1]):
            most = np.unique(X[cells, gene], return_counts=True)[1].max()
            result[gene] |= most <= fraction * len(cells)
    return result


def test_only_genes_defined_in_a_locality(adata: AnnData) -> None:
    rng = np.random.default_rng(2)
    X = adata.X.toarray()
    X[rng.random(X.shape) < np.linspace(0, 1, adata.n_vars)] = 0  # ever sparser genes
    X[:320, 0] = 7.0  # a tie other than zero
    adata.X = sparse.csr_matrix(X)
    members = [np.sort(rng.choice(400, 40, replace=False)) for _ in range(5)]
    with_localities(adata, members, key="other")
    expected = defined_somewhere(X, members, 0.75) & allowed(adata)
    assert 30 < expected.sum() < 130
    select_genes(adata, n_top_genes=None, localities_key="other")
    np.testing.assert_array_equal(adata.var["lava_genes"], expected)
    select_genes(adata, n_top_genes=20, localities_key="other")
    assert genes(adata) == by_hand(adata, expected, n_top_genes=20)
    select_genes(adata, n_top_genes=None, localities_key="other", max_tie_fraction=0.4)
    np.testing.assert_array_equal(adata.var["lava_genes"], defined_somewhere(X, members, 0.4) & allowed(adata))


def test_exactly_three_quarters_is_still_defined() -> None:
    X = np.zeros((40, 4), dtype=np.float32)
    X[:10, 0] = np.arange(1, 11)  # 75 % zeros
    X[:9, 1] = np.arange(1, 10)  # just over
    X[:10, 2], X[10:, 2] = np.arange(1, 11), 3.5  # 75 % of another value
    X[:9, 3], X[9:, 3] = np.arange(1, 10), 3.5
    adata = with_localities(ad.AnnData(X, var=pd.DataFrame(index=list("abcd"))), [np.arange(40)])
    select_genes(adata, n_top_genes=None, localities_key="lava")
    assert genes(adata) == {"a", "c"}


def test_subset_has_no_whole_localities(adata: AnnData) -> None:
    with_localities(adata, [np.arange(0, 60), np.arange(100, 160)])
    with pytest.raises(ValueError, match="cells missing from 1 of 2 localities"):
        select_genes(adata[5:].copy(), localities_key="lava")


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_raw_counts(adata: AnnData, dtype: type) -> None:
    logged = adata.copy()
    logged.X = adata.layers["counts"].astype(np.float64)
    sc.pp.normalize_total(logged, target_sum=1e4)
    sc.pp.log1p(logged)
    adata.X = (adata.layers["counts"]).toarray().astype(dtype)
    with pytest.warns(UserWarning, match="adata.X looks like raw counts, but flavor='seurat'") as caught:
        select_genes(adata, n_top_genes=60)
    assert caught[0].filename == __file__
    assert genes(adata) == by_hand(logged, allowed(adata), n_top_genes=60)


def test_scaled_values(adata: AnnData) -> None:
    adata.X = adata.X.toarray()
    sc.pp.scale(adata)
    with pytest.warns(UserWarning, match="adata.X holds negative values and looks scaled") as caught:
        select_genes(adata, n_top_genes=60)
    assert caught[0].filename == __file__


def test_other_base_of_the_logarithm(adata: AnnData) -> None:
    select_genes(adata, n_top_genes=60, key_added="natural")
    adata.X = adata.X / np.log(2).astype(np.float32)
    adata.uns["log1p"] = {"base": 2}
    select_genes(adata, n_top_genes=60)
    assert genes(adata) == genes(adata, "natural")


def nan(adata: AnnData) -> AnnData:
    adata.X = adata.X.copy()
    adata.X.data[3] = np.nan
    return adata


def duplicated(adata: AnnData) -> AnnData:
    adata.var_names = ["A", "A", *adata.var_names[2:]]
    return adata


def unlogged(adata: AnnData) -> AnnData:
    adata.X = adata.layers["counts"] * np.float32(1.5)
    adata.X[0, 0] = 300.5
    return adata


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (None, {"layer": "raw"}, r"no layer 'raw'.*'counts'"),
        (None, {"batch_key": "donor"}, r"no column of adata.obs 'donor'.*'region', 'total_counts'"),
        (None, {"gene_symbols": "symbol"}, r"no column of adata.var 'symbol'"),
        (None, {"exclude": ("ribo",)}, r"no gene family 'ribo'.*mitochondrial, ribosomal, mitoribosomal"),
        (None, {"flavor": "scran"}, r"flavor='scran'.*'seurat', 'cell_ranger'"),
        (None, {"n_top_genes": 1}, r"n_top_genes=1, expected a whole number of at least 2"),
        (None, {"n_top_genes": 10.5}, r"n_top_genes=10.5"),
        (None, {"key_added": "a/b"}, r"key 'a/b'"),
        (None, {"max_tie_fraction": 1.5}, r"max_tie_fraction=1.5, expected a number between 0 and 1"),
        (None, {"use_raw": True}, r"Found no adata.raw"),
        (None, {"localities_key": "lava"}, r"lava_localities.*lava_sc.tl.localities"),
        (nan, {}, r"1 NaN or infinite values in adata.X"),
        (duplicated, {}, r"1 duplicated names"),
        (unlogged, {"n_top_genes": 20}, r"values up to 300.5 in adata.X.*log-transform"),
        (lambda a: a[:, ["MT-CO1", "RPL13A", "BG_001"]].copy(), {}, r"Found 1 candidate genes \(1 of 3"),
    ],
)
def test_bad_input_changes_nothing(
    adata: AnnData, change: Callable[[AnnData], AnnData] | None, arguments: dict, message: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = change(adata) if change else adata
    before = set(adata.var), set(adata.uns)
    with pytest.raises(ValueError, match=message):
        select_genes(adata, **arguments)
    assert (set(adata.var), set(adata.uns)) == before


def test_backed(adata: AnnData, tmp_path: Path) -> None:
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for each in (adata, backed):
        select_genes(each, n_top_genes=50)
    assert genes(backed) == genes(adata)
    with pytest.raises(ValueError, match=r"copy=True with a backed AnnData object, .*; leave copy out"):
        select_genes(backed, copy=True)
    with pytest.raises(
        ValueError, match=r"view of a backed AnnData object, .*; call adata = adata\.to_memory\(\) first"
    ):
        select_genes(backed[:100])
    backed.file.close()


def test_raw(adata: AnnData) -> None:
    expected = adata.copy()
    select_genes(expected, n_top_genes=50)
    adata.raw = adata[:, ::-1].copy()
    adata.X = np.ones(adata.shape, dtype=np.float32)
    select_genes(adata[:, 10:].copy(), n_top_genes=20, use_raw=True)
    select_genes(adata, n_top_genes=50, use_raw=True)
    assert genes(adata) == genes(expected)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "memory_available", lambda: 400_000)


@pytest.mark.skipif(importlib.util.find_spec("dask") is None, reason="Dask is not installed")
@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
@pytest.mark.parametrize("batch_key", [None, "region"])
@pytest.mark.parametrize("name", ["X", "counts", "base 2"])
def test_more_than_fits_into_memory(
    adata: AnnData, tmp_path: Path, flavor: str, batch_key: str | None, name: str, little_memory: None
) -> None:
    if name == "base 2":
        adata.X = adata.X / np.log(2).astype(np.float32)
        adata.uns["log1p"] = {"base": 2}
    adata.X = adata.layers["counts"] if name == "counts" else adata.X
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for each in (adata, backed):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "adata.X looks like raw counts")
            select_genes(each, n_top_genes=60, flavor=flavor, batch_key=batch_key)
    assert genes(backed) == genes(adata)
    backed.file.close()


@needs_skmisc
def test_more_counts_than_fit_into_memory(adata: AnnData, tmp_path: Path, little_memory: None) -> None:
    adata.X = adata.layers["counts"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(
        MemoryError, match=r"more candidate genes in adata\.X than fit .*; pass localities_key=.*flavor"
    ):
        select_genes(backed, n_top_genes=60, flavor="seurat_v3")
    backed.file.close()


def test_more_than_fits_into_memory_without_dask(
    adata: AnnData, tmp_path: Path, little_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(
        MemoryError, match=r"more candidate genes in adata\.X than fit .*; pip install 'lava-sc\[dask\]'"
    ):
        select_genes(backed, n_top_genes=60)
    assert "lava_genes" not in backed.var
    backed.file.close()


def test_mask_survives_h5ad(adata: AnnData, tmp_path: Path) -> None:
    select_genes(adata, n_top_genes=50)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.var["lava_genes"].dtype == bool
    assert genes(back) == genes(adata)


@pytest.mark.parametrize("name", ["pbmc3k_processed", "pbmc3k_cellxgene_shaped"])
def test_real_data(name: str) -> None:
    adata = ad.read_h5ad(data(f"pbmc3k/{name}.h5ad"))
    select_genes(adata)
    symbols = adata.var.get("feature_name", adata.var_names.to_series())
    assert adata.var["lava_genes"].sum() == 1000
    chosen = set(symbols[adata.var["lava_genes"].to_numpy()])
    assert {"NKG7", "GNLY", "CD74", "S100A9", "PPBP"} <= chosen
    assert not any(s.startswith(("MT-", "MRPL", "RPL")) for s in chosen - {"RPL34-AS1", "RPL34-DT"})
