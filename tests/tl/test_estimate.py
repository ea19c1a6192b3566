"""Estimates beside what the steps then make of it; the object is only read."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tests.helpers import assert_unchanged, toy
from tests.test_arrays import opened, values_of

import lava_sc as lava
from lava_sc.core import placement_rehearsal
from lava_sc.parallel import memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

FAST: dict[str, Any] = {"n_neighbors": 60, "n_jobs": 1}


def richer_toy() -> AnnData:
    """A toy with what all arguments need."""
    adata = toy()
    rng = np.random.default_rng(0)
    adata.X = values_of(adata)
    adata.layers["other"] = sparse.csr_matrix(adata.X * (rng.random(adata.shape) < 0.8))
    adata.raw = adata.copy()
    adata.X = sparse.csr_matrix(np.where(rng.random(adata.shape) < 0.9, adata.X, 0))
    adata.obsm["X_other"] = adata.obsm["X_umap"] @ [[1.0, 0.3], [0.0, 1.0]]
    adata.obs["donor"] = pd.Categorical(np.where(np.arange(len(adata)) % 3 == 0, "a", "b"))
    adata.obs["slide"] = np.where(np.arange(len(adata)) % 2 == 0, "left", "right")
    adata.var["mine"] = adata.var["lava_genes"] & (np.arange(adata.n_vars) % 5 > 0)
    return adata


def done(adata: AnnData, **kwargs: Any) -> AnnData:
    """The steps as they are, before the modules."""
    places = {name: kwargs[name] for name in ("use_rep", "overlap", "library_key", "rng") if name in kwargs}
    others = {name: value for name, value in kwargs.items() if name not in places}
    adata = lava.tl.localities(adata, n_neighbors=60, **places, copy=True)
    lava.tl.locality_corr(adata, **others)
    return adata


def without_seconds(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="seconds")


@pytest.mark.parametrize(
    "kwargs",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"fdr": None}, id="fdr=None"),
        pytest.param({"use_rep": "other", "overlap": 4.6, "rng": 3}, id="other places"),
        pytest.param({"mask_var": "mine"}, id="mask_var"),
        pytest.param({"layer": "other"}, id="layer"),
        pytest.param({"use_raw": True}, id="use_raw"),
        pytest.param({"covariates": ["total_counts", "slide"]}, id="covariates"),
        pytest.param({"covariates": "total_counts", "batch_key": "donor"}, id="batch_key"),
        pytest.param({"max_tie_fraction": 0.3, "fdr": None}, id="max_tie_fraction"),
    ],
)
def test_sizes_of_a_small_case_are_exact(kwargs: dict[str, Any]) -> None:
    """So few cells are placed for real, and all localities are correlated."""
    adata = richer_toy()
    table = lava.tl.estimate(adata, **FAST, **kwargs)
    results = done(adata, **kwargs).uns["lava"]
    assert table.index.tolist() == ["localities", "locality_corr", "choose_n_modules", "amf"]
    assert table.attrs["n_localities"] == len(results["probes"])
    assert table.attrs["n_neighbors"] == 60
    assert table.attrs["n_genes"] == len(results["genes"])
    assert (table.attrs["n_nonzero"], table.attrs["n_nonzero_se"]) == (results["C"].nnz, 0)
    assert table.attrs["n_columns"] == len(np.unique(results["C"].indices))


def test_number_of_localities_in_sections() -> None:
    adata = richer_toy()
    for overlap in (3.0, 0.1):  # less than one for each section
        table = lava.tl.estimate(adata, library_key="slide", overlap=overlap, **FAST)
        placed = lava.tl.localities(adata, n_neighbors=60, library_key="slide", overlap=overlap, copy=True)
        assert table.attrs["n_localities"] == len(placed.uns["lava"]["probes"])


def test_genes_are_selected_where_none_are_given() -> None:
    adata = toy()
    del adata.var["lava_genes"]
    for n_top_genes in (None, 20):
        table = lava.tl.estimate(adata, n_top_genes=n_top_genes, **FAST)
        explained = lava.tl.explain(adata, 2, n_top_genes=n_top_genes, n_runs=1, copy=True, **FAST)
        assert table.index.tolist() == ["localities", "select_genes", "locality_corr", "choose_n_modules", "amf"]
        assert table.attrs["n_genes"] == explained.var["lava_genes"].sum()
        assert table.attrs["n_nonzero"] == pytest.approx(explained.uns["lava"]["C"].nnz, rel=0.2)


@pytest.mark.parametrize("placed", [2e7, 0], ids=["placed", "drawn"])
@pytest.mark.parametrize("fdr", [0.05, None])
def test_non_zeros_of_a_sample(placed: float, fdr: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = lava.datasets.planted(n_cells=2500)
    lava.tl.localities(adata, n_neighbors=60)  # 125 of them
    lava.tl.locality_corr(adata, fdr=fdr)
    C = adata.uns["lava"]["C"]
    monkeypatch.setattr(placement_rehearsal, "_PLACED", placed)
    found = lava.tl.estimate(adata, n_neighbors=60, mask_var=np.ones(adata.n_vars, dtype=bool), fdr=fdr).attrs
    assert found["n_localities"] == C.shape[0] == 125
    assert C.nnz / 1.5 < found["n_nonzero"] < C.nnz * 1.5
    assert 0 < found["n_nonzero_se"] < 0.5 * C.nnz
    n_columns = len(np.unique(C.indices))
    assert n_columns / 1.5 < found["n_columns"] < n_columns * 1.5


def test_table() -> None:
    table = lava.tl.estimate(toy(), 3, n_runs=4, **FAST)
    assert table.columns.tolist() == ["seconds", "memory_gb", "fits", "what"]
    assert (np.isfinite(table["seconds"]) & (table["seconds"] > 0)).all()
    assert ((table["memory_gb"] > 0) & (table["memory_gb"] < 1)).all()
    assert table["fits"].dtype == bool
    assert table["fits"].all()
    assert table["what"]["localities"] == "15 localities of 60 of 300 cells"
    assert re.fullmatch(r"\d+ genes: [\d,]+ ± 0 correlations", table["what"]["locality_corr"])
    assert re.fullmatch(r"3 modules of [\d,]+ pairs, 4 runs of about \d+ epochs", table["what"]["amf"])
    assert table.attrs["n_modules"] == 3
    assert table.attrs["available_gb"] == pytest.approx(memory.memory_available() / 1e9, rel=0.5)
    more = lava.tl.estimate(toy(), 6, n_runs=4, **FAST)
    assert more.loc["amf", "memory_gb"] > table.loc["amf", "memory_gb"]
    chosen = lava.tl.estimate(toy(), n_runs=4, **FAST)
    assert chosen.loc["choose_n_modules", "seconds"] > 10 * table.loc["amf", "seconds"]  # numbers up to 15
    assert chosen.loc["amf", "seconds"] == 0  # its runs are those of the choice
    assert lava.tl.estimate(toy(), n_neighbors=150).attrs["n_modules"] == 6  # as many as there are localities


@pytest.mark.parametrize("placed", [2e7, 0], ids=["placed", "drawn"])
def test_same_seed_same_estimate(placed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_available", lambda: 10**10)
    monkeypatch.setattr(placement_rehearsal, "_PLACED", placed)
    adata = toy()
    del adata.var["lava_genes"]
    seeds = (0, np.random.default_rng(0), 1)
    first, second, other = (without_seconds(lava.tl.estimate(adata, rng=rng, **FAST)) for rng in seeds)
    pd.testing.assert_frame_equal(first, second)
    assert first.attrs == second.attrs
    assert first.attrs != other.attrs
    with_threads = lava.tl.estimate(adata, n_neighbors=60, n_jobs=3)
    assert with_threads.attrs == first.attrs


@pytest.mark.parametrize("given", [True, False], ids=["genes given", "genes selected"])
@pytest.mark.parametrize("name", ["csc_array", "backed csr", "backed dense", "lazy zarr csr", "zarr csc", "dask dense"])
def test_same_sizes_from_all_kinds_of_arrays(
    name: str, given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_available", lambda: 10**10)
    adata = richer_toy()
    if not given:
        del adata.var["lava_genes"]
    arguments = FAST | {"batch_key": "donor", "covariates": "total_counts"}
    expected, found = (lava.tl.estimate(data, **arguments) for data in (adata, opened(name, adata, tmp_path)))
    assert found.attrs == expected.attrs
    assert found["what"].tolist() == expected["what"].tolist()


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_array])
def test_nothing_is_changed(kind: Callable[[Any], Any]) -> None:
    adata = richer_toy()
    adata.X = kind(adata.X.toarray())
    for _ in range(2):  # with genes, and without
        before = adata.copy()
        lava.tl.estimate(adata, batch_key="donor", covariates="slide", **FAST)
        assert_unchanged(adata, before)
        adata.var = adata.var.drop(columns="lava_genes", errors="ignore")
    view = adata[:200]
    lava.tl.estimate(view, **FAST)
    assert view.is_view


def test_steps_that_do_not_fit_are_named_with_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    adata = toy()
    needed = lava.tl.estimate(adata, **FAST)["memory_gb"] * 1e9
    monkeypatch.setattr(memory, "memory_available", lambda: needed.max() - 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        table = lava.tl.estimate(adata, **FAST)
    assert (table["fits"] == (needed < needed.max())).all()
    assert [warning.filename for warning in caught] == [__file__]
    message = str(caught[0].message)
    assert re.match(rf"Found that {needed.idxmax()} would take about \S+ GB of memory, expected no more than", message)
    assert re.search(r"available; (raise|lower|select) [\w ,=.]+\.$", message)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_modules": 16}, "n_modules=16, expected a whole number between 1 and 15"),
        ({"n_runs": 0}, "n_runs=0"),
        ({"n_jobs": 0}, "n_jobs=0"),
        ({"fdr": 2}, "fdr=2"),
        ({"max_tie_fraction": -1}, "max_tie_fraction=-1"),
        ({"use_rep": "none"}, "in adata.obsm"),
        ({"overlap": 100.0}, "lower overlap or raise n_neighbors"),
        ({"library_key": "none"}, "no column of adata.obs 'none'"),
        ({"layer": "none"}, "no layer 'none'"),
        ({"use_raw": True, "layer": "other"}, "expected one of them"),
        ({"batch_key": "none"}, "no column of adata.obs 'none'"),
        ({"covariates": ["none"]}, "no column of adata.obs 'none'"),
        ({"covariates": "gaps"}, "missing values in adata.obs['gaps']"),
        ({"mask_var": "none"}, "no column of adata.var 'none'"),
    ],
)
def test_what_the_steps_would_refuse(kwargs: dict[str, Any], message: str) -> None:
    adata = richer_toy()
    adata.obs["gaps"] = np.where(np.arange(len(adata)) % 2 == 0, np.nan, 1.0)
    before = adata.copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        lava.tl.estimate(adata, **(FAST | kwargs))
    assert_unchanged(adata, before)


def test_raw_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"Found no adata\.raw"):
        lava.tl.estimate(toy(), use_raw=True, **FAST)
    empty = toy()
    empty.X = None
    with pytest.raises(ValueError, match=r"Found no matrix in adata\.X"):
        lava.tl.estimate(empty, **FAST)
