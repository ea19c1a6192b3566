from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from tests.helpers import assert_same, assert_unchanged

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READERS: dict[str, Callable[..., Any]] = {
    "localities": lava.get.localities,
    "module": lambda adata, **kwargs: lava.get.module(adata, 0, **kwargs),
    "modules": lava.get.modules,
    "presences": lava.get.presences,
}


def dense_module(adata: AnnData, m: int) -> pd.DataFrame:
    """All selected genes × all selected genes."""
    genes = adata.uns["lava"]["genes"]
    square = np.zeros((len(genes),) * 2, dtype=np.float32)
    square[np.triu_indices(len(genes), 1)] = adata.uns["lava"]["modules"].toarray()[m]
    return pd.DataFrame(square + square.T, index=genes, columns=genes)


@pytest.mark.parametrize("m", [0, 1, np.int64(1)])
def test_module(stages: Mapping[str, AnnData], m: int) -> None:
    found, expected = lava.get.module(stages["amf"], m), dense_module(stages["amf"], m)
    taking_part = expected.index[expected.any(axis=1)]
    assert found.index.tolist() == found.columns.tolist()
    assert set(found.index) == set(taking_part)
    assert len(found) == len(taking_part)
    np.testing.assert_array_equal(found, expected.loc[found.index, found.columns])
    np.testing.assert_array_equal(np.diag(found), 0)
    np.testing.assert_array_equal(found, found.T)
    assert found.to_numpy().min() >= 0
    assert found.to_numpy().max() == 1
    weights = found.sum(axis=1).to_numpy()
    assert (np.diff(weights) <= 1e-5).all()


@pytest.mark.parametrize("m", [-1, 2, 0.0, True, None, "0"])
def test_there_is_no_such_module(stages: Mapping[str, AnnData], m: object) -> None:
    with pytest.raises(ValueError, match=r"Found m=.*, expected a whole number between 0 and 1"):
        lava.get.module(stages["amf"], m)


def test_modules(stages: Mapping[str, AnnData]) -> None:
    found = lava.get.modules(stages["amf"])
    assert found.columns.tolist() == ["module", "gene_a", "gene_b", "value"]
    assert found.index.tolist() == list(range(len(found)))
    assert len(found) == stages["amf"].uns["lava"]["modules"].nnz
    assert found["module"].is_monotonic_increasing
    assert not found.duplicated(["module", "gene_a", "gene_b"]).any()
    for m, rows in found.groupby("module"):
        expected = dense_module(stages["amf"], m)
        assert rows["value"].is_monotonic_decreasing
        at = expected.index.get_indexer(rows["gene_a"]), expected.index.get_indexer(rows["gene_b"])
        assert (at[0] < at[1]).all()
        np.testing.assert_array_equal(rows["value"], expected.to_numpy()[at])


def test_presences(stages: Mapping[str, AnnData]) -> None:
    found = lava.get.presences(stages["amf"])
    assert found.index.equals(stages["amf"].obs_names)
    assert found.columns.tolist() == [0, 1]
    np.testing.assert_array_equal(found, stages["amf"].obsm["lava_presences"])
    means = found.groupby(stages["amf"].obs["region"].to_numpy()).mean()
    assert set(means.loc[["R1", "R2"]].to_numpy().argmax(axis=1)) == {0, 1}


@pytest.mark.parametrize("stage", ["locality_corr", "amf"])
def test_localities(stages: Mapping[str, AnnData], stage: str) -> None:
    adata = stages[stage]
    results = adata.uns["lava"]
    found = lava.get.localities(adata)
    assert isinstance(found, AnnData)
    assert found.X.format == "csr"
    assert found.X.dtype == np.float32
    assert found.obs_names.tolist() == [str(i) for i in range(15)]
    assert found.var_names.is_unique
    assert_same(found.obs, results["evidence"])
    np.testing.assert_array_equal(found.obsm["probes"], results["probes"])
    assert ("presences" in found.obsm) == (stage == "amf")
    if stage == "amf":
        np.testing.assert_array_equal(found.obsm["presences"], results["presences"])

    C = results["C"].toarray()
    pairs = pd.MultiIndex.from_arrays(results["genes"][list(np.triu_indices(len(results["genes"]), 1))])
    dense = pd.DataFrame(C.T, index=pairs)
    wanted = pd.MultiIndex.from_frame(found.var[["gene_a", "gene_b"]])
    np.testing.assert_array_equal(found.X.toarray().T, dense.loc[wanted])
    assert set(wanted) == set(pairs[(C != 0).any(axis=0)])


def test_localities_can_be_written_and_analysed(stages: Mapping[str, AnnData], tmp_path: Any) -> None:
    found = lava.get.localities(stages["amf"])
    found.write_h5ad(tmp_path / "localities.h5ad")
    found.write_zarr(tmp_path / "localities.zarr")
    assert found[:, found.var["gene_a"].str.startswith("M1")].copy().n_vars > 0


@pytest.mark.parametrize("name", READERS)
def test_results_are_the_callers_own(stages: Mapping[str, AnnData], name: str) -> None:
    adata = stages["ora"].copy()
    found = READERS[name](adata)
    assert_unchanged(adata, stages["ora"])
    if isinstance(found, AnnData):
        found.X.data[:] = 7
        found.obsm["probes"][:] = 7
        found.obsm["presences"][:] = 7
        found.obs["n_kept_pairs"] = 7
        found.obs.iloc[0, 0] = 7
        found.var["gene_a"] = "none"
    else:
        found.loc[:, found.columns[-1]] = 7.0
        found.columns = [f"other {i}" for i in range(found.shape[1])]
    assert_unchanged(adata, stages["ora"])


@pytest.mark.parametrize("name", READERS)
def test_views_can_be_read_and_stay_views(stages: Mapping[str, AnnData], name: str) -> None:
    view = stages["ora"][::2]
    found = READERS[name](view)
    assert view.is_view
    if name == "presences":
        assert_same(found, lava.get.presences(stages["ora"]).iloc[::2])
    elif name == "localities":
        assert_same(found.X, lava.get.localities(stages["ora"]).X)
    else:
        assert_same(found, READERS[name](stages["ora"]))


@pytest.mark.parametrize(
    ("name", "stage", "missing"),
    [
        ("localities", "localities", "locality_corr"),
        ("module", "locality_corr", "amf"),
        ("modules", "locality_corr", "amf"),
        ("presences", "locality_corr", "amf"),
    ],
)
def test_what_is_missing_is_said(stages: Mapping[str, AnnData], name: str, stage: str, missing: str) -> None:
    with pytest.raises(ValueError, match=rf"is missing: expected the result of lava_sc\.tl\.{missing}; call it first"):
        READERS[name](stages[stage])


@pytest.mark.parametrize("name", READERS)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="Found DataFrame as first argument, expected an AnnData object"):
        READERS[name](pd.DataFrame())
