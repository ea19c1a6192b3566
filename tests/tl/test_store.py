"""Correlations in a store: the same numbers, little memory, and stores that are not to be trusted."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
import zarr
from tests.helpers import amf, assert_same, assert_unchanged, stored

import lava_sc as lava
from lava_sc.core.factorise.amf import batches
from lava_sc.core.factorise.amf.batches import Batches
from lava_sc.io.correlation_store import Writer, new_store, open_store
from lava_sc.io.sources import Stored
from lava_sc.stored.fields import load
from lava_sc.stored.problems import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData
    from scipy import sparse


@pytest.fixture
def adata(stages: Mapping[str, AnnData]) -> AnnData:
    return stages["localities"].copy()


def correlations(stages: Mapping[str, AnnData]) -> sparse.csr_matrix:
    return stages["locality_corr"].uns["lava"]["C"]


@pytest.mark.parametrize("fdr", [0.05, None])
def test_the_store_holds_the_same_as_memory(adata: AnnData, tmp_path: Path, fdr: float | None) -> None:
    expected = lava.tl.locality_corr(adata, fdr=fdr, copy=True).uns["lava"]
    lava.tl.locality_corr(adata, fdr=fdr, store=tmp_path / "C.zarr", n_jobs=2)
    found = adata.uns["lava"]
    assert found["C"]["store"] == str(tmp_path / "C.zarr")
    assert_same(load(adata, "lava", "C"), expected["C"])
    assert_same(ad.io.read_elem(zarr.open(str(tmp_path / "C.zarr"), mode="r")), expected["C"])
    lazy = ad.io.sparse_dataset(zarr.open(str(tmp_path / "C.zarr"), mode="r"))
    np.testing.assert_array_equal(lazy[2:5].toarray(), expected["C"][2:5].toarray())
    for name in ("genes", "defined", "evidence"):
        assert_same(found[name], expected[name])
    assert [file.name for file in tmp_path.iterdir()] == ["C.zarr"]


def test_localities_that_come_in_groups(adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file they come in the order in which they share cells."""
    expected = lava.tl.locality_corr(adata, copy=True).uns["lava"]["C"]
    adata.write_h5ad(tmp_path / "in.h5ad")
    monkeypatch.setattr(Stored, "rows_at_once", 100)
    backed = ad.read_h5ad(tmp_path / "in.h5ad", backed="r")
    order = []
    add = Writer.add
    monkeypatch.setattr(Writer, "add", lambda self, row, *rest: (order.append(row), add(self, row, *rest)))
    lava.tl.locality_corr(backed, store=tmp_path / "C.zarr")
    assert order != sorted(order)
    assert_same(load(backed, "lava", "C"), expected)


@pytest.mark.parametrize(
    "arguments", [{}, {"init": "random"}, {"init": "kmeans"}, {"min_localities": 2}, {"n_jobs": 2}, {"batch_size": 4}]
)
def test_amf_ends_at_the_same_numbers(
    stages: Mapping[str, AnnData], tmp_path: Path, adata: AnnData, arguments: dict[str, Any]
) -> None:
    expected = stages["locality_corr"].copy()
    amf(expected, **arguments)
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr")
    amf(adata, **arguments)
    assert_same(stored(adata, ["amf"]), stored(expected, ["amf"]))


def test_a_store_larger_than_memory_is_read_ahead_and_a_batch_at_a_time(
    stages: Mapping[str, AnnData], adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of entries that begin anywhere on a page, of files that are mapped as long as they are."""
    expected = lava.tl.amf(stages["locality_corr"], 2, n_runs=2, copy=True)
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr")
    assert not problem_of(adata, "lava").streamed
    monkeypatch.setattr("lava_sc.stored.problems.memory_available", lambda: 100)
    problem = problem_of(adata, "lava")
    assert problem.streamed
    asked = []
    monkeypatch.setattr(batches._Part, "will_need", lambda part, *span: asked.append((part._mapping is not None, span)))
    rows = np.flatnonzero(np.diff(problem.indptr))[[2, 0, 1]]
    Batches(problem).layout(rows)
    spans = [(int(problem.indptr[i]), int(problem.indptr[i + 1])) for i in rows[1:]]
    assert asked == [(True, span) for span in (spans[0], spans[0], spans[1], spans[1])]
    monkeypatch.undo()
    monkeypatch.setattr("lava_sc.stored.problems.memory_available", lambda: 100)
    lava.tl.amf(adata, 2, n_runs=2)
    for name in ("modules", "presences"):
        assert_same(adata.uns["lava"][name], expected.uns["lava"][name])


def test_a_checkpoint_does_not_mind_where_the_correlations_are(
    stages: Mapping[str, AnnData], tmp_path: Path, adata: AnnData
) -> None:
    def interrupt(run: int, epoch: int, loss: float) -> None:
        if epoch == 0:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="goes on from there"):
        amf(
            stages["locality_corr"].copy(),
            n_runs=1,
            tol=0.0,
            patience=10**6,
            max_epochs=500,
            checkpoint=tmp_path / "c",
            callback=interrupt,
        )
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr")
    with pytest.warns(UserWarning, match="stopped at max_epochs"):
        amf(adata, n_runs=1, tol=0.0, patience=10**6, max_epochs=500, checkpoint=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_later_steps_read_the_store(explained: AnnData, tmp_path: Path) -> None:
    objects = explained.copy(), explained.copy()
    lava.tl.locality_corr(objects[1], store=tmp_path / "C.zarr")
    for adata in objects:
        lava.tl.amf(adata, 3, n_runs=2)
        lava.tl.module_genes(adata)
        lava.tl.finetune_presences(adata)
        lava.tl.compare_factorisations(adata, n_runs=2)
    assert isinstance(objects[1].uns["lava"]["C"], dict)
    expected, found = (
        stored(adata, ["amf", "module_genes", "finetune_presences", "factorisations"]) for adata in objects
    )
    assert_same(found, expected)
    assert_same(lava.get.localities(objects[1]).X, lava.get.localities(objects[0]).X)


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "copy", "cells"])
def test_an_object_that_was_saved_finds_its_store(
    stages: Mapping[str, AnnData], adata: AnnData, tmp_path: Path, kind: str
) -> None:
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr")
    if kind == "copy":
        again = adata.copy()
    elif kind == "cells":
        again = adata[:100].copy()
    else:
        getattr(adata, f"write_{kind}")(tmp_path / f"out.{kind}")
        again = getattr(ad, f"read_{kind}")(tmp_path / f"out.{kind}")
    assert_same(load(again, "lava", "C"), correlations(stages))


def test_a_store_is_replaced_and_the_object_that_had_it_is_told(adata: AnnData, tmp_path: Path) -> None:
    former = lava.tl.locality_corr(adata, store=tmp_path / "C.zarr", copy=True)
    lava.tl.locality_corr(adata, fdr=0.01, store=tmp_path / "C.zarr")
    assert_same(load(adata, "lava", "C"), lava.tl.locality_corr(adata, fdr=0.01, copy=True).uns["lava"]["C"])
    before = former.copy()
    with pytest.raises(OSError, match=r"^Found other correlations in store '.*C\.zarr' than this object has, expected"):
        amf(former)
    assert_unchanged(former, before)


@pytest.mark.parametrize("damage", ["gone", "truncated", "no chunk", "attributes"])
def test_a_damaged_store_is_named(adata: AnnData, tmp_path: Path, damage: str) -> None:
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr")
    chunk = tmp_path / "C.zarr" / "data" / "0"
    if damage == "gone":
        (tmp_path / "C.zarr").rename(tmp_path / "elsewhere")
    elif damage == "truncated":
        chunk.write_bytes(chunk.read_bytes()[:-5])
    elif damage == "no chunk":
        chunk.unlink()
    else:
        (tmp_path / "C.zarr" / ".zattrs").write_text("{")
    named = {"gone": "C.zarr", "attributes": "C.zarr/.zattrs"}.get(damage, "C.zarr/data/0")
    before = adata.copy()
    with pytest.raises(OSError, match=rf"^Found .*'{tmp_path}/{named}'.*, expected .*; .*\.$"):
        amf(adata)
    assert_unchanged(adata, before)


def test_places_that_cannot_be_written(adata: AnnData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    before = adata.copy()
    for path, kind, message in [
        ("file", ValueError, "Found something else at store="),
        ("folder", ValueError, "Found something else at store="),
        ("file/below", OSError, "Found no way to write store=.*Not a directory"),
    ]:
        with pytest.raises(kind, match=message):
            lava.tl.locality_corr(adata, store=tmp_path / path)
    assert_unchanged(adata, before)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk(adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr")
    before = adata.copy()

    def add(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "add", add)
    with pytest.raises(OSError, match=r"no way to write store='.*C\.zarr' \(No space left on device\), expected"):
        lava.tl.locality_corr(adata, fdr=0.01, store=tmp_path / "C.zarr")
    assert_unchanged(adata, before)
    assert [file.name for file in tmp_path.iterdir()] == ["C.zarr"]
    load(adata, "lava", "C")


def test_a_read_only_store(stages: Mapping[str, AnnData], adata: AnnData, tmp_path: Path) -> None:
    """What AMF lays out beside it goes elsewhere; only for those who are not root is this read-only."""
    lava.tl.locality_corr(adata, store=tmp_path / "C.zarr")
    folders = [tmp_path / "C.zarr", *(path for path in (tmp_path / "C.zarr").rglob("*") if path.is_dir())]
    for folder in folders:
        for file in folder.iterdir():
            file.chmod(0o444 if file.is_file() else 0o555)
        folder.chmod(0o555)
    try:
        amf(adata)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert_same(stored(adata, ["amf"]), stored(stages["amf"], ["amf"]))


def test_rows_in_any_order_without_any_entry_and_of_many_columns(tmp_path: Path) -> None:
    for n_columns in (7, 2**31 + 9):
        with new_store(tmp_path / "C.zarr", 3, n_columns) as sink:
            sink.add(2, np.array([1, n_columns - 1]), np.array([0.5, -1.0]))
            sink.add(0, np.array([0, 3]), np.array([0.25, 2.0]))
            sink.add(1, np.array([], dtype=int), np.array([]))
            found = sink.matrix()
        again = open_store(sink.reference)
        for matrix in (found, again):
            assert matrix.shape == (3, n_columns)
            assert matrix.indptr.tolist() == [0, 2, 2, 4]
            assert matrix.indices.tolist() == [0, 3, 1, n_columns - 1]
            assert matrix.data.tolist() == [0.25, 2.0, 0.5, -1.0]


#: Peak of what a process holds that is in no file, over what it held before, in MB. The toy has compiled everything.
MEASURE = """
import sys, threading, time
import anndata as ad
import lava_sc as lava

def held():
    with open("/proc/self/status") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1e3

def run(adata, store):
    lava.tl.locality_corr(adata, fdr=None, store=store, n_jobs=1)
    lava.tl.amf(adata, 2, n_runs=1, init="random", n_refits=0, max_epochs=3, n_jobs=1)

def watch():
    while not done.is_set():
        peak[0] = max(peak[0], held())
        time.sleep(0.002)

store = None if sys.argv[2] == "memory" else sys.argv[2]
toy = ad.read_h5ad(sys.argv[1])
run(toy[:, :60].copy(), store)
adata = ad.read_h5ad(sys.argv[1])
before, peak, done = held(), [0.0], threading.Event()
thread = threading.Thread(target=watch)
thread.start()
run(adata, store)
done.set()
thread.join()
print(peak[0] - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel says what is held only on Linux")
def test_memory_is_that_of_modules_and_batches(tmp_path: Path) -> None:
    """C, about 90 MB, is held once, and copied for its columns; or not at all, and less than half of it is needed at a time."""
    adata = lava.datasets.planted(n_cells=5000, n_genes=300, n_modules=2)
    lava.tl.localities(adata, n_neighbors=60, max_evals=1)
    del adata.layers["counts"]
    lava.tl.locality_corr(adata, fdr=None)
    size = 8 * adata.uns["lava"]["C"].nnz / 1e6
    del adata.uns["lava"]["C"]
    adata.write_h5ad(tmp_path / "in.h5ad")
    peaks = []
    for where in ("memory", str(tmp_path / "C.zarr")):
        command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(tmp_path / "in.h5ad"), where]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[0] > 0.9 * size  # the copy of its columns passes so soon that it may not be seen
    assert size > 2 * peaks[1]
