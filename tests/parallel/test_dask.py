"""Work at the processes of a Dask cluster: the same numbers to the bit, whoever dies, and errors that say where."""

from __future__ import annotations

import contextlib
import functools
import json
import operator
import os
import pickle
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from tests.helpers import assert_same, assert_unchanged, comes_true

import lava_sc as lava
from lava_sc.cli import cluster as cluster_module
from lava_sc.cli import main
from lava_sc.core.correlation.locality import CorrelationOptions, locality_correlations
from lava_sc.core.correlation.partial import Covariate
from lava_sc.io import backends, sources
from lava_sc.io.blocks import InMemory, n_bytes
from lava_sc.parallel.tasks import map_tasks, resolve_client
from lava_sc.parallel.workers import ClusterError
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from anndata import AnnData

distributed = pytest.importorskip("distributed", reason="distributed is not installed")


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    """Three processes."""
    with (
        distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def adata(stages: Mapping[str, AnnData]) -> AnnData:
    return stages["locality_corr"].copy()


@pytest.fixture(scope="module")
def explained_toy(stages: Mapping[str, AnnData]) -> AnnData:
    return stages["amf"].copy()


def numbers(adata: AnnData) -> dict[str, Any]:
    """All results of the steps but how long they took."""
    found = {name: value for name, value in adata.uns["lava"].items() if name != "params"}
    for name in ("runs", "n_modules_runs"):
        table = found.get(name)
        if name == "n_modules_runs" and table is not None:
            found[name] = {k: v for k, v in table.items() if k != "runs"} | {
                "runs": table["runs"].drop(columns="seconds")
            }
        elif table is not None:
            found[name] = table.drop(columns="seconds")
    return found


def of_runs(adata: AnnData) -> dict[str, Any]:
    """All results of ``tl.amf`` but how long runs took."""
    return {name: numbers(adata)[name] for name in ("modules", "presences", "runs")}


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


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_array, "backed"])
def test_what_is_sent_fits_at_the_workers(
    cells: AnnData, client: distributed.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: Any
) -> None:
    """One of them has little memory, others have no limit."""
    adata = cells.copy()
    adata.X = (np.asarray if form == "backed" else form)(cells.X.toarray())
    lava.tl.localities(adata, n_neighbors=100)
    expected = lava.tl.locality_corr(adata, n_jobs=1, copy=True)
    if form == "backed":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    limits, ask = iter([4 * 100_000, 0, None]), client.scheduler_info

    def answer(**kwargs: Any) -> dict[str, Any]:
        found = ask(**kwargs)
        return found | {"workers": {w: {**of, "memory_limit": next(limits)} for w, of in found["workers"].items()}}

    monkeypatch.setattr(client, "scheduler_info", answer)
    watched = Watched(client, monkeypatch)
    lava.tl.locality_corr(adata, client=client)
    assert_same(numbers(adata), numbers(expected))
    sizes = [n_bytes(ground.X) for ground in watched.sent]
    assert len(sizes) > 4
    assert max(sizes) < 1.2 * 100_000  # cells of which more is not 0 take more than others


#: Bytes that a worker may hold; without any data it holds about a third.
LIMIT = 10**9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:1 of 1 runs stopped at max_epochs")
def test_a_worker_reads_a_store_larger_than_its_memory(tmp_path: Path) -> None:
    """Its nanny ends a worker that holds 95 % of its limit, pages of files included."""
    adata = lava.datasets.planted(n_cells=7000, n_genes=800, n_modules=2)
    lava.tl.localities(adata, n_neighbors=60, max_evals=1)
    lava.tl.locality_corr(adata, fdr=None, store=tmp_path / "C.zarr")
    assert 12 * load(adata, "lava", "C").nnz > 1.2 * LIMIT  # with the positions that are laid out at the worker
    quick: dict[str, Any] = dict(n_runs=1, init="random", n_refits=0, max_epochs=3)
    expected = lava.tl.amf(adata, 2, n_jobs=1, copy=True, **quick)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit=LIMIT, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        (first,) = client.run(os.getpid).values()
        lava.tl.amf(adata, 2, client=client, **quick)
        assert list(client.run(os.getpid).values()) == [first]
    assert_same(of_runs(adata), of_runs(expected))


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


FURTHER_STEPS: dict[str, Callable[..., Any]] = {
    "choose_n_modules": lambda adata, **how: lava.tl.choose_n_modules(
        adata, [2, 3], n_runs=2, n_permutations=5, n_splits=2, init="kmeans", **how
    ),
    "module_evidence": lambda adata, **how: lava.tl.module_evidence(adata, n_permutations=6, n_decoys=1, **how),
    "stability": lambda adata, **how: lava.tl.stability(adata, n_placements=2, n_runs=2, n_resamples=4, **how),
    "explain": lambda adata, **how: lava.tl.explain(adata, 2, use_rep="umap", n_neighbors=60, n_runs=2, **how),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Number of modules")
@pytest.mark.parametrize("step", FURTHER_STEPS)
def test_further_steps_are_the_same(explained_toy: AnnData, client: distributed.Client, step: str) -> None:
    found = explained_toy.copy(), explained_toy.copy()
    for adata, how in zip(found, ({"n_jobs": 2}, {"client": client}), strict=True):
        FURTHER_STEPS[step](adata, **how)
    assert_same(numbers(found[1]), numbers(found[0]))


# who dies


class Killing:
    """Takes rows in, and kills a worker that has work, or every worker, when the first one comes."""

    def __init__(self, client: distributed.Client, *, every: bool = False) -> None:
        self.client, self.every, self.rows, self.killed = client, every, {}, 0

    def add(self, row: int, columns: np.ndarray, values: np.ndarray) -> None:
        if not self.killed:
            others = self.client.run(os.getpid).values() if self.every else []
            self.killed = kill_one_at_work(self.client)
            for process in set(others) - {self.killed}:
                os.kill(process, signal.SIGKILL)
        self.rows[row] = (columns, values)

    def matrix(self) -> sparse.csr_matrix:
        return sparse.csr_matrix((1, 1))


def kill_one_at_work(client: distributed.Client) -> int:
    """Process id of a worker that had a task, and is no more."""
    processes = client.run(os.getpid)
    at_work = [worker for worker, tasks in client.processing().items() if tasks] or list(processes)
    os.kill(processes[at_work[0]], signal.SIGKILL)
    return processes[at_work[0]]


@pytest.fixture
def healing_client(client: distributed.Client) -> Iterator[distributed.Client]:
    """Three processes, and three again afterwards."""
    yield client
    client.wait_for_workers(3, timeout=300)


def values_and_members(n_cells: int = 1500, n_genes: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_cells, n_genes)).astype(np.float32) + rng.normal(size=(n_cells, 1)).astype(np.float32)
    return X, np.array([rng.permutation(n_cells)[:50] for _ in range(200)])


def test_a_worker_is_killed_among_localities(healing_client: distributed.Client) -> None:
    X, members = values_and_members()
    expected = locality_correlations(InMemory(X), members, n_jobs=1)
    sink = Killing(healing_client)
    found = locality_correlations(InMemory(X), members, sink=sink, client=healing_client)
    assert sink.killed
    assert sink.killed not in healing_client.run(os.getpid).values()
    np.testing.assert_array_equal(found.n_kept_pairs, expected.n_kept_pairs)
    for i in range(len(members)):
        np.testing.assert_array_equal(sink.rows[i][0], expected.C[i].indices)
        np.testing.assert_array_equal(sink.rows[i][1], expected.C[i].data)


@pytest.mark.parametrize("where", ["memory", "a store"])
def test_a_worker_is_killed_among_runs(
    adata: AnnData, healing_client: distributed.Client, tmp_path: Path, where: str
) -> None:
    expected = lava.tl.amf(adata, 2, n_runs=9, n_jobs=1, copy=True)
    if where == "a store":
        lava.tl.locality_corr(adata, store=tmp_path / "C.zarr", n_jobs=1)
    killed = []

    def kill(run: int, epoch: int, loss: float) -> None:
        if not killed:
            killed.append(kill_one_at_work(healing_client))

    lava.tl.amf(adata, 2, n_runs=9, client=healing_client, callback=kill)
    assert killed
    assert_same(of_runs(adata), of_runs(expected))


@pytest.mark.slow
def test_all_workers_are_killed_at_once(adata: AnnData) -> None:
    """What was sent to them is gone, and sent again."""
    X, members = values_and_members()
    for steps in ("localities", "runs"):
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            if steps == "localities":
                sink = Killing(client, every=True)
                locality_correlations(InMemory(X), members, sink=sink, client=client)
                expected = locality_correlations(InMemory(X), members, n_jobs=1).C
                for i in range(len(members)):
                    np.testing.assert_array_equal(sink.rows[i][1], expected[i].data)
                continue
            killed: list[int] = []

            def kill(run: int, epoch: int, loss: float, client: Any = client, killed: list[int] = killed) -> None:
                if not killed:
                    killed.extend(client.run(os.getpid).values())
                    for process in killed:
                        os.kill(process, signal.SIGKILL)

            in_threads = lava.tl.amf(adata, 2, n_runs=9, n_jobs=1, copy=True)
            lava.tl.amf(adata, 2, n_runs=9, client=client, callback=kill)
            assert len(killed) == 2
            assert_same(numbers(adata), numbers(in_threads))


def die(shared: object, own: int) -> int:
    if own == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return own


def test_a_task_that_kills_its_workers_is_named(
    healing_client: distributed.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, since Dask suspects every task that the worker had been given."""
    monkeypatch.setattr(healing_client.cluster.scheduler, "allowed_failures", 0)
    found = map_tasks(die, [(None, 3)], ["run 3"], n_jobs=None, client=healing_client)
    with pytest.raises(
        ClusterError,
        match=r"^Found workers that died over run 3, as many as the scheduler allows \(1\), expected .* memory, .*\.$",
    ):
        list(found)


def test_a_cluster_that_is_gone(adata: AnnData) -> None:
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        client = distributed.Client(cluster, set_as_default=False)
        before = adata.copy()

        def shut(run: int, epoch: int, loss: float) -> None:
            cluster.close()

        with pytest.raises(
            RuntimeError, match=r"^Found that the cluster lost run \d with 2 modules \(.*\), expected .*\.$"
        ):
            lava.tl.amf(adata, 2, n_runs=4, client=client, callback=shut)
        client.close()
    assert_unchanged(adata, before)


# errors and interrupts


def test_results_come_in_order_and_few_are_under_way(client: distributed.Client) -> None:
    tasks = [(2, k) for k in range(50)]
    found = map_tasks(operator.pow, tasks, [str(k) for k in range(50)], n_jobs=None, client=client)
    assert next(found) == 1
    assert sum(key.startswith("lava_sc-pow") for key in client.cluster.scheduler.tasks) <= 10
    assert list(found) == [2**k for k in range(1, 50)]


def test_an_error_comes_out_with_its_task(client: distributed.Client) -> None:
    tasks = [(12, 4), (12, 0), (12, 3)]
    with pytest.raises(ZeroDivisionError) as raised:
        list(map_tasks(operator.floordiv, tasks, ["run 0", "run 1", "run 2"], n_jobs=None, client=client))
    assert raised.value.__notes__ == ["This was in run 1."]


@pytest.mark.parametrize("where", ["threads", "workers"])
def test_an_error_says_in_which_locality(client: distributed.Client, where: str) -> None:
    """A covariate that lacks the last cell fails in the first locality that has this cell."""
    X, members = values_and_members()
    short = Covariate(np.arange(len(X) - 1.0), categorical=False)
    first = int(np.flatnonzero((members == len(X) - 1).any(axis=1))[0])
    how = {"client": client} if where == "workers" else {"n_jobs": 2}
    with pytest.raises(IndexError) as raised:
        locality_correlations(InMemory(X), members, CorrelationOptions(covariates=[short]), **how)
    assert f"This was in locality {first}." in raised.value.__notes__
    assert idle(client)


def idle(client: distributed.Client) -> bool:
    """Whether nothing is left to do, when what had begun has ended."""
    return comes_true(lambda: not any(key.startswith("lava_sc-") for key in client.cluster.scheduler.tasks))


def test_an_interrupt_keeps_the_runs_that_have_ended(adata: AnnData, client: distributed.Client) -> None:
    def stop(run: int, epoch: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"^Interrupted: kept the best of 1 of 30 runs, 0 of them not converged\.$"):
        lava.tl.amf(adata, 2, n_runs=30, client=client, callback=stop)
    runs = adata.uns["lava"]["runs"]
    assert len(runs) == 1
    assert runs["converged"].all()
    assert idle(client)


# what is sent


class Watched:
    """Counts what is submitted, and keeps what is sent."""

    def __init__(self, client: distributed.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0
        self.sent: list[Any] = []
        submit, scatter = client.submit, client.scatter

        def count(*args: Any, **kwargs: Any) -> Any:
            self.n += 1
            return submit(*args, **kwargs)

        def keep(data: list[Any], **kwargs: Any) -> Any:
            self.sent += data
            return scatter(data, **kwargs)

        monkeypatch.setattr(client, "submit", count)
        monkeypatch.setattr(client, "scatter", keep)


class Shared:
    """A number, in what can be watched."""

    def __init__(self, number: int) -> None:
        self.number = number


def product(shared: Shared, own: int) -> int:
    return shared.number * own


def test_what_is_shared_is_sent_once_and_let_go_of(client: distributed.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, shared, other = Watched(client, monkeypatch), Shared(7), Shared(8)
    names = ["", "", ""]
    for _ in range(3):
        tasks = [(shared, 1), (other, 2), (shared, 3)]
        assert list(map_tasks(product, tasks, names, n_jobs=None, client=client)) == [7, 16, 21]
        del tasks
    assert [one.number for one in watched.sent] == [7, 8]
    assert sum(key.startswith("Shared") for key in client.cluster.scheduler.tasks) == 2
    watched.sent.clear()
    del shared, other
    assert comes_true(lambda: not any(key.startswith("Shared") for key in client.cluster.scheduler.tasks))


@pytest.mark.filterwarnings("ignore:Number of modules")
def test_correlations_are_sent_once_in_all_steps_of_a_choice(
    adata: AnnData, client: distributed.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(client, monkeypatch)
    lava.tl.choose_n_modules(adata, [2, 3], n_runs=2, n_permutations=2, n_splits=1, init="kmeans", client=client)
    assert len(watched.sent) == len({id(one) for one in watched.sent})  # all are kept, so that no id is another one's


@pytest.mark.filterwarnings("ignore:Number of modules")
def test_workers_read_a_store_themselves(
    adata: AnnData, client: distributed.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two genes that correlate nowhere, so that their columns are left out, also where a worker lays the store out."""
    adata.X = adata.X.toarray()
    adata.X[:, adata.var_names.get_indexer(adata.uns["lava"]["genes"])[:2]] = 0
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr", n_jobs=1)
    for arguments in ({}, {"min_localities": 3}):
        watched = Watched(client, monkeypatch)
        expected = lava.tl.amf(adata, 2, n_runs=3, n_jobs=1, copy=True, **arguments)
        lava.tl.amf(adata, 2, n_runs=3, client=client, **arguments)
        assert_same(of_runs(adata), of_runs(expected))
        assert [len(pickle.dumps(one)) < 1000 for one in watched.sent] == [True]
    assert {file.name for file in tmp_path.rglob("*")} == STORE


STORE = {"C.zarr", ".zgroup", ".zattrs", ".zarray", "data", "indices", "indptr", "0"}


def read_at(process: int, number: int) -> Shared:
    """What only one process can read, but for files that are nowhere."""
    if os.getpid() != process:
        raise FileNotFoundError(2, "No such file", "C.zarr")
    return Shared(number)


@pytest.mark.parametrize("arriving", ["asked for", "late"])
def test_a_cluster_without_workers_is_waited_for(
    adata: AnnData, arriving: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that grows with its work, or whose workers wait in the queue of a batch system."""
    expected = lava.tl.amf(adata, 2, n_runs=3, n_jobs=1, copy=True)
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        if arriving == "asked for":
            cluster.adapt(minimum=0, maximum=2, interval="200ms")
            lava.tl.amf(adata, 2, n_runs=3, client=client)
        else:
            with ThreadPoolExecutor(1) as pool:
                call = pool.submit(lava.tl.amf, adata, 2, n_runs=3, client=client)
                said = comes_true(lambda: "waiting for one" in caplog.text)
                cluster.scale(1)
                call.result()
            assert said
        assert idle(client)
    assert caplog.text.count("the cluster has no worker: waiting for one") == 1
    assert_same(of_runs(adata), of_runs(expected))


@pytest.mark.parametrize(("there", "found"), [(None, "no lava_sc"), ("9.9", r"lava_sc 9\.9")])
def test_workers_with_another_version_are_refused(
    adata: AnnData, client: distributed.Client, monkeypatch: pytest.MonkeyPatch, there: str | None, found: str
) -> None:
    """Asked before anything is sent, once for each client."""
    before = adata.copy()
    with distributed.Client(client.scheduler.address, set_as_default=False) as own:
        of_one, ask = next(iter(client.nthreads())), own.get_versions
        asked: list[int] = []

        def answer(**kwargs: Any) -> Any:
            asked.append(1)
            versions = ask(**kwargs)
            assert {of["packages"]["lava_sc"] for of in versions["workers"].values()} == {version("lava-sc")}
            if len(asked) == 1:
                versions["workers"][of_one]["packages"]["lava_sc"] = there
            return versions

        monkeypatch.setattr(own, "get_versions", answer)
        watched = Watched(own, monkeypatch)
        with pytest.raises(
            ClusterError, match=rf"^Found {found} at 1 of 3 workers, tcp://.* for one, expected lava_sc "
        ):
            lava.tl.amf(adata, 2, n_runs=2, client=own)
        assert watched.n == len(watched.sent) == 0
        assert_unchanged(adata, before)
        lava.tl.amf(adata, 2, n_runs=2, client=own)
        lava.tl.amf(adata, 2, n_runs=2, client=own)
        assert len(asked) == 2


def test_what_workers_do_not_reach_is_sent(
    client: distributed.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched, shared = Watched(client, monkeypatch), Shared(7)
    shared.origin = functools.partial(read_at, 0, 7)
    with caplog.at_level("INFO", logger="lava_sc"):
        for _ in range(2):
            tasks = [(shared, k) for k in range(5)]
            assert list(map_tasks(product, tasks, [""] * 5, n_jobs=None, client=client)) == [0, 7, 14, 21, 28]
    assert [type(one).__name__ for one in watched.sent] == ["WorkerReference", "Shared"]
    assert [one.message for one in caplog.records if one.name == "lava_sc"] == [
        "sending workers what they cannot read themselves ([Errno 2] No such file: 'C.zarr')"
    ]
    some = next(iter(client.run(os.getpid).values()))
    shared = Shared(7)
    shared.origin = functools.partial(read_at, some, 7)  # one of three reaches it
    tasks = [(shared, k) for k in range(5)]
    assert list(map_tasks(product, tasks, [""] * 5, n_jobs=None, client=client)) == [0, 7, 14, 21, 28]


# checkpoints


class NotingStarts(distributed.WorkerPlugin):
    """Writes down at which epoch runs begin, and has their states written after every epoch.

    Where there is a file ``wait``, runs wait at epoch 200 until there is none.
    """

    name = "noting starts"

    def __init__(self, file: Path, wait: Path, *, reached: bool) -> None:
        self.file, self.wait, self.reached = file, wait, reached

    def setup(self, worker: Any) -> None:
        from lava_sc.core.factorise.amf import record, restarts
        from lava_sc.io.checkpoint import StateStore

        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(record, "LEAST_SECONDS", 0.0)
        self.patch.setattr(record, "_TIMES_THE_COST", 0.0)
        if not self.reached:
            self.patch.setattr(StateStore, "reached", lambda _: False)
        one_run, after_epoch, file, wait = restarts.one_run, record.Record.after_epoch, self.file, self.wait

        def noting(*args: Any, record: Any = None, **kwargs: Any) -> Any:
            with file.open("a") as notes:
                notes.write(f"{0 if record is None else record.n_epochs}\n")
            return one_run(*args, record=record, **kwargs)

        def waiting(record: Any, descent: Any, **how: Any) -> None:
            after_epoch(record, descent, **how)
            while record.n_epochs == 200 and wait.exists():
                time.sleep(0.01)

        self.patch.setattr(restarts, "one_run", noting)
        self.patch.setattr(record.Record, "after_epoch", waiting)

    def teardown(self, worker: Any) -> None:
        self.patch.undo()


@pytest.fixture
def reached(request: pytest.FixtureRequest) -> bool:
    """Whether workers reach a checkpoint."""
    return bool(getattr(request, "param", True))


@pytest.fixture
def starts(healing_client: distributed.Client, tmp_path: Path, *, reached: bool) -> Iterator[Path]:
    """File in which the epochs are written down at which runs begin."""
    healing_client.register_plugin(NotingStarts(tmp_path / "starts", tmp_path / "wait", reached=reached))
    yield tmp_path / "starts"
    healing_client.unregister_worker_plugin(NotingStarts.name)


LONG: dict[str, Any] = dict(n_modules=2, n_runs=4, tol=0.0, patience=10**6, max_epochs=400, batch_size=5)


@pytest.mark.filterwarnings("ignore:4 of 4 runs stopped at max_epochs")
def test_a_run_goes_on_where_the_worker_that_died_had_come(
    adata: AnnData, healing_client: distributed.Client, starts: Path, tmp_path: Path
) -> None:
    expected = lava.tl.amf(adata, **LONG, n_jobs=1, copy=True)
    killed: list[int] = []
    (tmp_path / "wait").touch()

    def kill_soon() -> None:
        if comes_true(lambda: three_are_well_under_way(tmp_path / "states")):
            killed.append(kill_one_at_work(healing_client))
        (tmp_path / "wait").unlink()

    killer = threading.Thread(target=kill_soon)
    killer.start()
    try:
        lava.tl.amf(adata, **LONG, client=healing_client, checkpoint=tmp_path / "states")
    finally:
        killer.join()
    assert killed
    assert_same(of_runs(adata), of_runs(expected))
    assert not (tmp_path / "states").exists()
    begun = [int(line) for line in starts.read_text().split()]
    assert begun.count(0) == 4
    assert max(begun) > 100


def three_are_well_under_way(states: Path) -> bool:
    with contextlib.suppress(OSError):  # a file that is gone by now
        epochs = []
        for file in states.glob("*/run_*.npz"):
            with np.load(file, allow_pickle=False) as arrays:
                epochs.append(int(json.loads(str(arrays["facts"])).get("n_epochs", 0)))
        return len(epochs) >= 3 and min(epochs) > 100
    return False


#: What the process does that is killed.
CALL = """
import sys
import anndata as ad
import lava_sc as lava
from distributed import Client
client = Client(sys.argv[2])
lava.tl.amf(ad.read_h5ad(sys.argv[1]), **{arguments}, client=client, checkpoint=sys.argv[3])
"""


@pytest.mark.filterwarnings("ignore:4 of 4 runs stopped at max_epochs")
def test_a_call_whose_process_was_killed_goes_on(
    adata: AnnData, healing_client: distributed.Client, starts: Path, tmp_path: Path
) -> None:
    """The cluster lives on, and so do runs at its workers that nobody waits for any more."""
    client, states, wait = healing_client, tmp_path / "states", tmp_path / "wait"
    expected = lava.tl.amf(adata, **LONG, n_jobs=1, copy=True)
    adata.write_h5ad(tmp_path / "toy.h5ad")
    wait.touch()
    what = str(tmp_path / "toy.h5ad"), client.scheduler.address, str(states)
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", CALL.format(arguments=LONG), *what]) as process:
        begun = comes_true(lambda: three_are_well_under_way(states))
        process.kill()
    wait.unlink()
    assert begun
    lava.tl.amf(adata, **LONG, client=client, checkpoint=states)
    assert_same(of_runs(adata), of_runs(expected))
    assert comes_true(lambda: not states.exists())
    assert max(int(line) for line in starts.read_text().split()) > 100


@pytest.mark.parametrize("reached", [True, False], indirect=True)
@pytest.mark.usefixtures("starts")
@pytest.mark.filterwarnings("ignore:4 of 4 runs stopped at max_epochs")
def test_a_checkpoint_that_workers_began(
    adata: AnnData,
    healing_client: distributed.Client,
    tmp_path: Path,
    *,
    reached: bool,
) -> None:
    """Goes on with threads; where workers do not reach it, it holds the runs that had ended."""
    client, states = healing_client, tmp_path / "states"
    expected = lava.tl.amf(adata, **LONG, n_jobs=1, copy=True)

    def stop(run: int, epoch: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"^Interrupted: kept the best of 1 of 4 runs, .*; the same call with this ch"):
        lava.tl.amf(adata, **LONG, client=client, checkpoint=states, callback=stop)
    assert idle(client)
    (ended,) = adata.uns["lava"]["runs"]["seed"]
    (k,) = np.flatnonzero(expected.uns["lava"]["runs"]["seed"] == ended)
    files = {file.name for file in states.glob("*/*.npz")}
    assert files > {f"run_{k}.npz"} if reached else files == {f"run_{k}.npz"}
    seen: list[tuple[int, int]] = []
    again = adata.copy()
    lava.tl.amf(again, **LONG, n_jobs=1, checkpoint=states, callback=lambda *event: seen.append(event[:2]))
    assert k not in {run for run, _ in seen}
    assert comes_true(lambda: not states.exists())  # a run that was given up may still be in it
    assert_same(of_runs(again), of_runs(expected))


@pytest.fixture
def client_of_other_machines(tmp_path: Path) -> Iterator[tuple[distributed.Client, Path]]:
    """Two workers that see nothing in a folder, as if it were on another machine, and that folder."""
    folder = tmp_path / "mine"
    folder.mkdir()
    hide = f"mount -t tmpfs none {shlex.quote(str(folder))}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", hide], capture_output=True, check=False).returncode:
        pytest.skip("processes cannot be given file systems of their own here")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        contextlib.ExitStack() as stack,
    ):
        for k in range(2):
            worker = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--nthreads", "1"]
            worker += ["--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path / f"worker_{k}")]
            process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", f"{hide} && exec {shlex.join(worker)}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.enter_context(process)  # waits for it
            stack.callback(process.kill)
        client.wait_for_workers(2, timeout=300)
        yield client, folder


@pytest.mark.filterwarnings("ignore:4 of 4 runs stopped at max_epochs")
def test_workers_on_other_machines(
    adata: AnnData, client_of_other_machines: tuple[distributed.Client, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """They get the correlations of a store, and a checkpoint is kept without them."""
    client, folder = client_of_other_machines
    expected = lava.tl.amf(adata, **LONG, n_jobs=1, copy=True)
    lava.tl.locality_corr(adata, store=folder / "C.zarr", client=client)
    seen: list[set[str]] = []

    def look(*_: float) -> None:
        seen.append({file.name for file in (folder / "states").glob("*/*.npz")})

    with caplog.at_level("INFO", logger="lava_sc"):
        lava.tl.amf(adata, **LONG, client=client, checkpoint=folder / "states", callback=look)
    assert_same(of_runs(adata), of_runs(expected))
    assert max(map(len, seen)) >= 3
    assert {file.name for file in folder.iterdir()} == {"C.zarr"}
    said = [one.message for one in caplog.records if one.name == "lava_sc"]
    assert (
        sum(line.startswith("sending workers what they cannot read themselves (Found no store") for line in said) == 1
    )
    assert sum("was at a worker that does not reach the checkpoint" in line for line in said) == 4
    assert client.run(os.listdir, folder) == {worker: [] for worker in client.nthreads()}


def test_a_checkpoint_that_threads_began(
    adata: AnnData, client: distributed.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped: list[int] = []

    def stop(run: int, epoch: int, loss: float) -> None:
        if run == 1 and not stopped:  # once: a second interrupt would leave at once
            stopped.append(run)
            raise KeyboardInterrupt

    expected = lava.tl.amf(adata, 2, n_runs=4, n_jobs=1, copy=True)
    with pytest.warns(UserWarning, match=r"^Interrupted: kept the best of"):
        lava.tl.amf(adata, 2, n_runs=4, n_jobs=1, checkpoint=tmp_path / "states", callback=stop)
    n_ended = int(adata.uns["lava"]["runs"]["converged"].sum())
    assert n_ended
    watched = Watched(client, monkeypatch)
    lava.tl.amf(adata, 2, n_runs=4, client=client, checkpoint=tmp_path / "states")
    assert watched.n == 4 - n_ended
    assert not (tmp_path / "states").exists()
    assert_same(of_runs(adata), of_runs(expected))


# which client


def test_an_active_client_is_taken(adata: AnnData, client: distributed.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(client, monkeypatch)
    expected = lava.tl.amf(adata, 2, n_runs=2, copy=True)
    assert watched.n == 0
    with client.as_current():
        lava.tl.amf(adata, 2, n_runs=2)
        assert watched.n == 2
    assert_same(numbers(adata), numbers(expected))


def no_client_in_a_task() -> bool:
    return resolve_client(None) is None


def test_a_task_of_a_cluster_hands_nothing_on(client: distributed.Client) -> None:
    with client.as_current():
        assert resolve_client(None) is client
        assert client.submit(no_client_in_a_task, pure=False).result()


@pytest.mark.parametrize("step", [lava.tl.amf, lava.tl.explain])
def test_what_is_no_client(adata: AnnData, step: Callable[..., Any]) -> None:
    before = adata.copy()
    with pytest.raises(
        ValueError, match=r"^Found client of type str, expected a dask\.distributed\.Client; pass one or"
    ):
        step(adata, n_modules=2, client="tcp://here")
    assert_unchanged(adata, before)


def test_a_client_that_is_closed(adata: AnnData, client: distributed.Client) -> None:
    other = distributed.Client(client.cluster.scheduler_address, set_as_default=False)
    other.close()
    for step in (lava.tl.locality_corr, lava.tl.choose_n_modules):
        with pytest.raises(ValueError, match=r"^Found a client that is closed, expected a running one .*\.$"):
            step(adata, client=other)


# what is opened lazily


def whole_way(adata: AnnData, page: Path, **where: Any) -> dict[str, Any]:
    """All steps that the report shows, and what they found."""
    lava.tl.localities(adata, n_neighbors=100, use_rep="umap")
    lava.pp.select_genes(adata, n_top_genes=30)
    lava.tl.locality_corr(adata, **where)
    lava.tl.choose_n_modules(adata, [2, 3], n_runs=2, n_permutations=2, n_splits=1, init="kmeans", **where)
    lava.tl.amf(adata, 2, n_runs=2, **where)
    lava.tl.presence_association(adata, "region")
    lava.tl.module_genes(adata)
    lava.report(adata, page, groupby="region")
    return numbers(adata) | {"lava_genes": np.asarray(adata.var["lava_genes"])}


@pytest.fixture(scope="module")
def cells() -> AnnData:
    return lava.datasets.planted(n_cells=2400, n_genes=60, n_modules=2, genes_per_module=8, markers_per_region=2)


@pytest.fixture(scope="module")
def in_memory(cells: AnnData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of modules")
        return whole_way(cells.copy(), tmp_path_factory.mktemp("report") / "page.html", n_jobs=2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Number of modules")
@pytest.mark.parametrize(("kind", "at_workers"), [("h5ad", True), ("zarr", False)])
def test_the_whole_way_with_what_is_opened_lazily(
    cells: AnnData,
    in_memory: dict[str, Any],
    client: distributed.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    at_workers: bool,
) -> None:
    """No more than a part of the cells is in memory at a time: the file is read in three chunks, and room is for fewer."""
    import dask.array

    pytest.importorskip("xarray", reason="xarray is not installed")
    read: list[int] = []
    original = backends.Chunks.read

    def note(chunks: backends.Chunks, rows: np.ndarray, columns: np.ndarray) -> Any:
        read.append(len(rows))
        return original(chunks, rows, columns)

    monkeypatch.setattr(backends.Chunks, "read", note)
    compute = dask.array.Array.compute

    def never_all(array: dask.array.Array, **kwargs: Any) -> Any:
        assert array.shape != cells.shape
        return compute(array, **kwargs)

    monkeypatch.setattr(dask.array.Array, "compute", never_all)
    monkeypatch.setattr(sources, "memory_available", lambda: 4 * 60_000)
    getattr(cells, f"write_{kind}")(tmp_path / f"cells.{kind}")
    adata = ad.experimental.read_lazy(tmp_path / f"cells.{kind}")
    assert adata.X.numblocks[0] == 3
    found = whole_way(adata, tmp_path / "page.html", **({"client": client} if at_workers else {"n_jobs": 2}))
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert_same(found, in_memory)
    assert len(read) > 5
    assert max(read) < cells.n_obs / 2


def steps_that_read(adata: AnnData) -> dict[str, Any]:
    """The embedding, genes, values and a covariate."""
    lava.tl.localities(adata, n_neighbors=100, use_rep="umap")
    lava.pp.select_genes(adata, n_top_genes=30)
    lava.tl.locality_corr(adata, covariates="total_counts")
    return numbers(adata) | {"lava_genes": np.asarray(adata.var["lava_genes"])}


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_workers_need_not_reach_what_is_opened_lazily(
    cells: AnnData,
    client: distributed.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    form: Callable[..., Any],
) -> None:
    """They look for it in another folder. Chunks of zarr that are not found would be taken for zeros."""
    pytest.importorskip("xarray", reason="xarray is not installed")
    start = cells.copy()
    start.X = form(start.X.toarray())
    expected = steps_that_read(start.copy())
    monkeypatch.chdir(tmp_path)
    getattr(start, f"write_{kind}")(f"cells.{kind}")
    adata = ad.experimental.read_lazy(f"cells.{kind}")
    at_worker = client.submit(os.path.exists, f"cells.{kind}").result()
    assert not at_worker
    with client.as_current():
        assert_same(steps_that_read(adata), expected)


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("memory", [None, 60_000])
def test_what_a_cluster_holds_is_computed_there(
    cells: AnnData, client: distributed.Client, monkeypatch: pytest.MonkeyPatch, memory: int | None, *, derived: bool
) -> None:
    """Also where it is more than fits here, and by its own client where none is active."""
    import dask.array as da

    expected = steps_that_read(cells.copy())
    if memory is not None:
        monkeypatch.setattr(sources, "memory_available", lambda: 4 * memory)
    adata = cells.copy()
    X = da.from_array(cells.X.toarray(), chunks=(500, 37))
    Z = da.from_array(cells.obsm["X_umap"], chunks=(500, 2))
    held, adata.obsm["X_umap"] = client.persist([X, Z])
    adata.X = held.map_blocks(sparse.csr_matrix) if derived else held
    with contextlib.nullcontext() if derived else client.as_current():
        assert_same(steps_that_read(adata), expected)


@pytest.mark.parametrize("where", ["here", "at workers", "one after the other"])
def test_where_chunks_are_computed(client: distributed.Client, tmp_path: Path, where: str) -> None:
    """Here, though a client is active; a scheduler that the user has set goes before that."""
    import dask
    import dask.array as da

    def note(chunk: np.ndarray) -> np.ndarray:
        with (tmp_path / "notes").open("a") as file:
            file.write(f"{os.getpid()} {threading.get_ident()}\n")
        return chunk

    chosen = {"here": None, "at workers": client, "one after the other": dask.get}[where]
    array = da.from_array(np.ones((60, 8)), chunks=(10, 4)).map_blocks(note, meta=np.empty((0, 0)))
    with client.as_current(), dask.config.set(scheduler=chosen):
        found = backends.Chunks(array, "adata.X").read(np.arange(60), np.arange(8))
    np.testing.assert_array_equal(found, np.ones((60, 8)))
    notes = [tuple(map(int, line.split())) for line in (tmp_path / "notes").read_text().splitlines()]
    assert len(notes) == 12
    if where == "at workers":
        assert os.getpid() not in {process for process, _ in notes}
    else:
        assert {process for process, _ in notes} == {os.getpid()}
    if where == "one after the other":
        assert {thread for _, thread in notes} == {threading.get_ident()}


def test_a_lazily_opened_file_that_was_cut_off_is_named(
    cells: AnnData, client: distributed.Client, tmp_path: Path
) -> None:
    pytest.importorskip("xarray", reason="xarray is not installed")
    cells.write_h5ad(tmp_path / "cells.h5ad")
    adata = ad.experimental.read_lazy(tmp_path / "cells.h5ad")
    os.truncate(tmp_path / "cells.h5ad", 2000)
    with (
        client.as_current(),
        pytest.raises(
            OSError,
            match=r"^Found adata\.X in '.*cells\.h5ad' unreadable \(\w+\), expected an intact file; check it",
        ),
    ):
        lava.pp.select_genes(adata)


def test_a_file_that_was_cut_off_is_named(cells: AnnData, client: distributed.Client, tmp_path: Path) -> None:
    adata = cells.copy()
    lava.tl.localities(adata, n_neighbors=100, use_rep="umap")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    os.truncate(tmp_path / "cells.h5ad", (tmp_path / "cells.h5ad").stat().st_size // 20)
    with pytest.raises(
        OSError, match=r"^Found adata\.X in '.*cells\.h5ad' unreadable \(\w+\), expected an intact file; check"
    ):
        lava.tl.locality_corr(backed, client=client)
    backed.file.close()


def test_a_store_that_cannot_be_written_or_read(adata: AnnData, client: distributed.Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"^Found no way to write store='.*below'"):
        lava.tl.locality_corr(adata, store=tmp_path / "file" / "below", client=client)
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr", client=client)
    chunk = tmp_path / "C.zarr" / "data" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with pytest.raises(OSError, match=r"^Found .*C\.zarr/data/0.*, expected .*\.$"):
        lava.tl.amf(adata, 2, client=client)


# the command line


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "small.h5ad"
    lava.datasets.planted(n_cells=400, n_modules=2, n_genes=80).write_h5ad(path)
    return path


def arguments_of_run(small_file: Path, out: Path, *where: str) -> list[str]:
    return ["run", str(small_file), "-o", str(out), "--n-modules", "2", "--n-runs", "3", "--n-neighbors", "80", *where]


def in_a_process_of_its_own(arguments: list[str]) -> None:
    sources = str(Path(lava.__file__).resolve().parents[1])
    path = os.pathsep.join([sources, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"TQDM_DISABLE": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", "lava_sc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.slow
def test_the_command_line_starts_or_finds_workers(
    small_file: Path, tmp_path: Path, client: distributed.Client, capsys: pytest.CaptureFixture
) -> None:
    in_a_process_of_its_own(
        arguments_of_run(small_file, tmp_path / "workers.h5ad", "--workers", "2", "--checkpoint", str(tmp_path / "c"))
    )
    scheduler = ["--scheduler", client.cluster.scheduler_address]
    assert main(arguments_of_run(small_file, tmp_path / "scheduler.h5ad", *scheduler)) == 0
    assert main(arguments_of_run(small_file, tmp_path / "threads.h5ad")) == 0
    names = ["scheduler.h5ad", "threads.h5ad", "workers.h5ad"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    at_scheduler, in_threads, at_workers = (numbers(ad.read_h5ad(tmp_path / name)) for name in names)
    assert_same(at_scheduler, in_threads)
    assert_same(at_workers, in_threads)


def test_the_command_line_without_a_scheduler(small_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cluster_module, "_TIMEOUT", 1.0)
            assert main(["run", str(small_file), "-o", str(tmp_path / "out.h5ad"), "--scheduler", address]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"lava-sc: error: Found no scheduler that answers at 'tcp://.*' within 1 seconds, expected .*; check .*\n",
        error,
    )
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_without_distributed(
    small_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["run", str(small_file), "-o", str(tmp_path / "out.h5ad"), "--workers", "2"]) == 2
    assert (
        "expected it where --workers or --scheduler is given; pip install 'lava-sc[dask]'." in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--workers", "2", "--scheduler", "tcp://x"], ["--workers", "0"]])
def test_the_command_line_refuses(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "in.h5ad", "-o", "out.h5ad", *arguments])
    assert stopped.value.code == 2
    assert re.search("not allowed with argument|expected at least 1, found 0", capsys.readouterr().err)
