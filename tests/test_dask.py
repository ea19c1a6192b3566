"""Work at the processes of a Dask cluster: the same numbers to the bit, whoever dies, and errors that say where."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.helpers import assert_same, assert_unchanged, toy

import lava_sc as lava
from lava_sc._slots import load
from lava_sc.core._tasks import ClusterError, resolve_client, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from anndata import AnnData

distributed = pytest.importorskip("distributed", reason="distributed is not installed")


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    """Three processes."""
    with (
        distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def adata(stages: Mapping[str, AnnData]) -> AnnData:
    return stages["locality_corr"].copy()


def numbers(adata: AnnData) -> dict[str, Any]:
    """All results of the steps but how long they took."""
    found = {name: value for name, value in adata.uns["lava"].items() if name != "params"}
    for name in ("runs", "n_modules_runs"):
        table = found.get(name)
        if name == "n_modules_runs" and table is not None:
            found[name] = {k: v for k, v in table.items() if k != "runs"} | {"runs": table["runs"].drop(columns="seconds")}
        elif table is not None:
            found[name] = table.drop(columns="seconds")
    return found


CORRELATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "covariates": {"covariates": ["total_counts", "region"]},
    "batches": {"batch_key": "region", "covariates": "total_counts"},
    "all pairs": {"fdr": None, "method": "pearson"},
}


@pytest.mark.parametrize("arguments", CORRELATIONS.values(), ids=CORRELATIONS)
def test_correlations_are_the_same(adata: AnnData, client: distributed.Client, arguments: dict[str, Any]) -> None:
    expected = lava.tl.locality_corr(adata, **arguments, n_jobs=1, copy=True)
    lava.tl.locality_corr(adata, **arguments, client=client)
    assert_same(numbers(adata), numbers(expected))


def test_rows_go_to_a_store(adata: AnnData, client: distributed.Client, tmp_path: Path) -> None:
    expected = adata.uns["lava"]["C"]
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr", client=client)
    assert_same(load(adata, "lava", "C"), expected)
    in_memory = lava.tl.amf(adata, 2, n_runs=2, copy=True, n_jobs=1)
    lava.tl.amf(adata, 2, n_runs=2, client=client)
    assert_same(numbers(adata), numbers(in_memory))


@pytest.mark.filterwarnings("ignore:With no gamma up to 100")
@pytest.mark.parametrize("arguments", [{}, {"init": "random", "min_localities": 2}, {"gamma": "auto"}])
def test_modules_are_the_same(adata: AnnData, client: distributed.Client, arguments: dict[str, Any]) -> None:
    expected = lava.tl.amf(adata, 2, n_runs=4, n_jobs=2, **arguments, copy=True)
    called = []
    lava.tl.amf(adata, 2, n_runs=4, client=client, callback=lambda *what: called.append(what), **arguments)
    assert_same(numbers(adata), numbers(expected))
    runs = adata.uns["lava"]["runs"]
    of_the_last = sorted(called[-4:])
    assert [(k, epoch) for k, epoch, _ in of_the_last] == [(k, n - 1) for k, n in enumerate(runs["n_epochs"])]
    np.testing.assert_array_equal([loss for *_, loss in of_the_last], runs["loss"])
