"""AMF goes on from its checkpoint: real processes that are killed, and checkpoints that are not to be trusted."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from tests.helpers import assert_same, assert_unchanged, comes_true, stored

import lava_sc as lava
from lava_sc.cli import commands
from lava_sc.core.factorise.amf import record as record_module
from lava_sc.io.checkpoint import open_checkpoint, removed_at_the_end

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

    from lava_sc.io.checkpoint import StateStore

LONG: dict[str, Any] = dict(n_modules=2, n_runs=3, tol=0.0, patience=10**6, max_epochs=1500, batch_size=5)

#: What the process does that is killed. Its second run does not end: however late the kill comes, it comes in mid-run.
SCRIPT = """
import sys
import time
import anndata as ad
import lava_sc as lava
from lava_sc.core.factorise.amf import record
record.LEAST_SECONDS = record._TIMES_THE_COST = 0.0
adata, after_epoch = ad.read_h5ad(sys.argv[1]), record.Record.after_epoch

def wait_for_the_kill(self, descent, **how):
    after_epoch(self, descent, **how)
    while self.n_epochs == 1000 and self._store.path.name == "run_1.npz":
        time.sleep(600)

record.Record.after_epoch = wait_for_the_kill
lava.tl.amf(adata, **{arguments}, checkpoint=sys.argv[2])
"""


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "LEAST_SECONDS", 0.0)


@pytest.fixture
def adata(stages: Mapping[str, AnnData]) -> AnnData:
    return stages["locality_corr"].copy()


def epochs(checkpoint: Path) -> list[int]:
    """Of each run that has begun; a file is whole whenever it is looked at."""
    found = []
    for file in sorted(checkpoint.glob("*/*.npz")):
        with np.load(file, allow_pickle=False) as arrays:
            found.append(json.loads(str(arrays["facts"]))["n_epochs"])
    return found


def kill_in_mid_run(file: Path, checkpoint: Path, log: Path, arguments: dict[str, Any], *, n_begun: int) -> None:
    """Kill a process that runs AMF when the last of some runs is well under way."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(arguments=arguments), str(file), str(checkpoint)]
    with log.open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:

        def well_under_way() -> bool:
            begun = epochs(checkpoint)
            return process.poll() is not None or (len(begun) >= n_begun and begun[n_begun - 1] > 100)

        reached = comes_true(well_under_way)
        killed = process.poll() is None
        process.kill()
    assert reached
    assert killed, log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.filterwarnings("ignore:3 of 3 runs stopped at max_epochs")
def test_a_killed_run_goes_on_to_the_same_end(adata: AnnData, tmp_path: Path, n_jobs: int) -> None:
    file, checkpoint = tmp_path / "toy.h5ad", tmp_path / "checkpoint"
    adata.write_h5ad(file)
    unbroken = lava.tl.amf(adata, **LONG, copy=True)
    kill_in_mid_run(file, checkpoint, tmp_path / "log", LONG | {"n_jobs": n_jobs}, n_begun=2)
    begun, seen = epochs(checkpoint), []
    assert len(begun) >= 2
    assert min(begun) < LONG["max_epochs"]
    lava.tl.amf(adata, **LONG, n_jobs=1, checkpoint=checkpoint, callback=lambda *event: seen.append(event[:2]))
    assert not checkpoint.exists()
    assert_same(stored(adata, ["amf"]), stored(unbroken, ["amf"]))
    rest = [(k, epoch) for k, done in enumerate(begun) for epoch in range(done, LONG["max_epochs"])]
    rest += [(k, epoch) for k in range(len(begun), 3) for epoch in range(LONG["max_epochs"])]
    assert seen == rest


def stop_after(n: int) -> Any:
    calls = itertools.count(1)

    def callback(*_: float) -> None:
        if next(calls) == n:  # once: a second interrupt would leave at once
            raise KeyboardInterrupt

    return callback


@pytest.mark.usefixtures("in_step")
@pytest.mark.filterwarnings("ignore:2 of 2 runs stopped at max_epochs")
def test_an_interrupt_keeps_the_checkpoint(adata: AnnData, tmp_path: Path) -> None:
    long = LONG | {"n_runs": 2}
    unbroken = lava.tl.amf(adata, **long, copy=True)
    with pytest.warns(UserWarning, match="Interrupted: kept the best of 1 of 2 runs") as caught:
        lava.tl.amf(adata, **long, n_jobs=1, checkpoint=tmp_path / "c", callback=stop_after(3))
    assert "goes on from there" in str(caught[0].message)
    assert (tmp_path / "c").is_dir()
    assert adata.uns["lava"]["runs"]["n_epochs"].item() == 3
    lava.tl.amf(adata, **long, checkpoint=tmp_path / "c")
    assert_same(stored(adata, ["amf"]), stored(unbroken, ["amf"]))
    assert not (tmp_path / "c").exists()


@pytest.mark.usefixtures("often", "in_step")
def test_a_search_for_gamma_goes_on(adata: AnnData, tmp_path: Path) -> None:
    how = dict(n_modules=2, n_runs=2, gamma="auto", nu=1, n_jobs=1, patience=5, n_refits=0)
    unbroken = lava.tl.amf(adata, **how, copy=True)
    seen: list[tuple[int, int]] = []
    lava.tl.amf(adata, **how, copy=True, callback=lambda *event: seen.append(event[:2]))
    with pytest.raises(KeyboardInterrupt):
        lava.tl.amf(adata, **how, checkpoint=tmp_path / "c", callback=stop_after(60))
    again: list[tuple[int, int]] = []
    lava.tl.amf(adata, **how, checkpoint=tmp_path / "c", callback=lambda *event: again.append(event[:2]))
    assert 0 < len(again) < len(seen)
    assert_same(stored(adata, ["amf"]), stored(unbroken, ["amf"]))
    assert_same(adata.uns["lava"]["gamma_sweep"], unbroken.uns["lava"]["gamma_sweep"])


def unfinished(adata: AnnData, folder: Path) -> None:
    """A checkpoint of runs that were broken off."""
    with pytest.warns(UserWarning, match="Interrupted"):
        lava.tl.amf(adata, 2, n_runs=2, n_jobs=1, checkpoint=folder, callback=stop_after(1), copy=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_modules": 3}, "n_modules=2 instead of 3"),
        ({"nu": 3.0, "init": "random"}, "nu=9.0 instead of 3.0 and init='nmf' instead of 'random'"),
        ({"rng": 1}, "other seed"),
        ({"min_localities": 2}, "other correlations and min_localities=1 instead of 2"),
    ],
)
def test_a_checkpoint_of_other_arguments_is_refused(
    adata: AnnData, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    unfinished(adata, tmp_path / "c")
    before, files = adata.copy(), sorted((tmp_path / "c").rglob("*"))
    expected = rf"^Found a checkpoint of {message} in '.*', expected .*; delete it or pass another path\.$"
    with pytest.raises(ValueError, match=expected):
        lava.tl.amf(adata, **(dict(n_modules=2, n_runs=2, checkpoint=tmp_path / "c") | arguments))
    assert_unchanged(adata, before)
    assert sorted((tmp_path / "c").rglob("*")) == files


def test_a_checkpoint_of_other_data_is_refused(adata: AnnData, tmp_path: Path) -> None:
    unfinished(adata, tmp_path / "c")
    C = adata.uns["lava"]["C"].copy()
    C.data[0] *= 0.99
    adata.uns["lava"]["C"] = C
    before = adata.copy()
    with pytest.raises(ValueError, match=r"^Found a checkpoint of other correlations in '.*c', expected"):
        lava.tl.amf(adata, 2, n_runs=2, checkpoint=tmp_path / "c")
    assert_unchanged(adata, before)


@pytest.mark.parametrize("name", ["run_0.npz", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
def test_a_damaged_file_is_named(adata: AnnData, tmp_path: Path, name: str, damage: str) -> None:
    unfinished(adata, tmp_path / "c")
    (file,), before = (tmp_path / "c").rglob(name), adata.copy()
    content = file.read_bytes()
    middle = len(content) // 2
    # within an array: of an archive's own headers some bytes are never read, and which lie in the middle depends on how long it took
    at = content.index(b"NUMPY") if name.endswith(".npz") else middle
    flipped = content[:at] + bytes(255 - byte for byte in content[at : at + 9]) + content[at + 9 :]
    file.write_bytes({"truncated": content[:middle], "empty": b"", "flipped": flipped}[damage])
    with pytest.raises(OSError, match=rf"^Found '.*{re.escape(name)}' unreadable \(.*; delete .* to begin .*\.$"):
        lava.tl.amf(adata, 2, n_runs=2, checkpoint=tmp_path / "c")
    assert_unchanged(adata, before)


def test_a_run_whose_file_was_deleted_begins_anew(adata: AnnData, tmp_path: Path) -> None:
    unbroken = lava.tl.amf(adata, 2, n_runs=2, copy=True)
    unfinished(adata, tmp_path / "c")
    (file,) = (tmp_path / "c").glob("*/run_0.npz")
    file.unlink()
    lava.tl.amf(adata, 2, n_runs=2, checkpoint=tmp_path / "c")
    assert_same(stored(adata, ["amf"]), stored(unbroken, ["amf"]))


def test_places_that_cannot_be_taken(adata: AnnData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "arrays").mkdir()
    np.savez(tmp_path / "arrays" / "run_0.npz", mine=np.arange(3))
    before = adata.copy()
    for path, kind, message in [
        ("file", ValueError, "Found a file at checkpoint="),
        ("full", ValueError, "Found 'notes.txt' but no checkpoint in"),
        ("arrays", ValueError, "Found 'run_0.npz' but no checkpoint in"),
        ("file/below", OSError, "Found no way to write to checkpoint="),
        ("missing/below", OSError, "Found no way to write to checkpoint="),
    ]:
        with pytest.raises(kind, match=message):
            lava.tl.amf(adata, 2, n_runs=2, checkpoint=tmp_path / path)
    assert_unchanged(adata, before)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(adata: AnnData, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir(mode=0o500)
    with pytest.raises(OSError, match="Found no way to write to checkpoint="):
        lava.tl.amf(adata, 2, n_runs=2, checkpoint=tmp_path / "c")


def test_no_permission_to_write(adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a read-only folder answers those who are not root."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lava_sc.io.checkpoint.replacing", refuse)
    before = adata.copy()
    with pytest.raises(OSError, match=r"no way to write to checkpoint='.*c' \(Permission denied\), expected"):
        lava.tl.amf(adata, 2, n_runs=2, checkpoint=tmp_path / "c")
    assert_unchanged(adata, before)


@pytest.mark.usefixtures("often")
def test_a_full_disk_is_said_and_loses_nothing(adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = lava.tl.amf(adata, 2, n_runs=2, copy=True)

    def savez(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lava_sc.io.checkpoint.np.savez", savez)
    with pytest.warns(UserWarning, match=r"states could not be written to the checkpoint .*No space left") as caught:
        lava.tl.amf(adata, 2, n_runs=2, checkpoint=tmp_path / "c")
    assert caught[0].filename == __file__
    assert_same(stored(adata, ["amf"]), stored(unbroken, ["amf"]))


@pytest.mark.usefixtures("often")
def test_what_could_not_be_written_is_not_left_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(file: Any, **_: Any) -> None:
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    store = open_checkpoint(tmp_path / "c", {}).state_store("run_0")
    monkeypatch.setattr("lava_sc.io.checkpoint.np.savez", half)
    store.write({}, {})
    assert store.failures == ["[Errno 28] No space left on device"]
    assert [file.name for file in (tmp_path / "c").rglob("*.*")] == ["checkpoint.json"]


def test_a_run_that_was_given_up_writes_nothing_to_the_next_checkpoint(tmp_path: Path) -> None:
    """As one at a worker that the scheduler has lost sight of."""
    first = open_checkpoint(tmp_path / "c", {"gamma": 1}).state_store("run_0")
    assert first.reached()
    shutil.rmtree(tmp_path / "c")
    first.write({"n_epochs": 1}, {})
    second = open_checkpoint(tmp_path / "c", {"gamma": 2}).state_store("run_0")
    first.write({"n_epochs": 2}, {})
    assert not first.reached()
    assert len(first.failures) == 2
    assert second.read() is None
    second.write({"n_epochs": 3}, {})
    continued = open_checkpoint(tmp_path / "c", {"gamma": 2}).state_store("run_0").read()
    assert continued is not None
    assert continued[0] == {"n_epochs": 3}
    assert second.reached()


def test_a_run_that_was_given_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the midst of writing when the checkpoint is removed."""
    checkpoint, savez = open_checkpoint(tmp_path / "c", {}), np.savez
    store = checkpoint.state_store("run_0")

    def slowly(file: Any, **arrays: Any) -> None:
        savez(file, **arrays)
        checkpoint.remove()

    monkeypatch.setattr("lava_sc.io.checkpoint.np.savez", slowly)
    store.write({}, {})
    assert len(store.failures) == 1
    assert list(tmp_path.iterdir()) == []


def test_runs_that_were_given_up_leave_nothing_behind_wherever_they_are(tmp_path: Path) -> None:
    """In other threads, which write all the time while the checkpoint is removed."""
    for k in range(30):
        checkpoint = open_checkpoint(tmp_path / "c", {"gamma": k})
        stores = [checkpoint.state_store(f"run_{run}") for run in range(3)]
        ended = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(write_on, store, ended) for store in stores]
            begun = comes_true(lambda stores=stores: all(store.path.exists() for store in stores))
            checkpoint.remove()
            given_up = comes_true(lambda stores=stores: all(store.failures for store in stores))
            ended.set()
        assert begun
        assert given_up
        assert [run.result() for run in runs] == [None] * 3
        assert list(tmp_path.iterdir()) == []


def write_on(store: StateStore, ended: threading.Event) -> None:
    while not ended.is_set():
        store.write({}, {"P": np.zeros(3)})


def test_a_state_of_a_former_checkpoint_is_none_of_the_next(tmp_path: Path) -> None:
    """The process was killed while it removed the former, or somebody copied it there."""
    open_checkpoint(tmp_path / "a", {}).state_store("run_0").write({"n_epochs": 5}, {})
    open_checkpoint(tmp_path / "c", {})
    (states,) = (tmp_path / "a").glob("*/")
    shutil.copytree(states, tmp_path / "c" / states.name)
    shutil.copytree(states, tmp_path / "c" / f"{states.name}.removed")
    checkpoint = open_checkpoint(tmp_path / "c", {})
    assert checkpoint.state_store("run_0").read() is None
    shutil.move(tmp_path / "a", tmp_path / "elsewhere")
    moved = open_checkpoint(tmp_path / "elsewhere", {}).state_store("run_0").read()
    assert moved is not None
    assert moved[0] == {"n_epochs": 5}
    checkpoint.remove()
    assert not (tmp_path / "c").exists()


def test_what_is_not_of_a_checkpoint_stays(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tmp_path / "c", {})
    checkpoint.state_store("run_0").write({}, {})
    (tmp_path / "c" / "notes.txt").write_text("mine")
    checkpoint.remove()
    checkpoint.state_store("run_0").write({}, {})
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["notes.txt"]


def test_a_state_is_read_of_one_piece(tmp_path: Path) -> None:
    store = open_checkpoint(tmp_path / "c", {}).state_store("run_0")
    store.write({}, {"P": np.zeros(3), "M": np.zeros(3)})
    found = store.read()
    assert found is not None
    P = found[1]["P"]
    store.write({}, {"P": np.ones(3), "M": np.ones(3)})
    np.testing.assert_array_equal(P, found[1]["M"])


def test_without_a_seed_there_is_nothing_to_go_on_from(adata: AnnData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Found rng=None with a checkpoint, expected a seed"):
        lava.tl.amf(adata, 2, checkpoint=tmp_path / "c", rng=None)
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_outlives_later_steps_that_fail(tmp_path: Path) -> None:
    def fail() -> None:
        with removed_at_the_end(), removed_at_the_end():
            open_checkpoint(tmp_path / "c", {}).done()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "c").is_dir()
    (tmp_path / "c" / "notes.npz").write_text("mine")
    with removed_at_the_end():
        with removed_at_the_end():
            open_checkpoint(tmp_path / "c", {}).done()
        assert (tmp_path / "c" / "checkpoint.json").exists()
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["notes.npz"]


def test_explain_goes_on_after_a_step_that_failed(stages: Mapping[str, AnnData], tmp_path: Path) -> None:
    adata = stages["start"].copy()
    how = dict(n_modules=2, n_neighbors=60, n_runs=2, checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="Found no gene set"):
        lava.tl.explain(adata, gene_sets={"none": ["no", "such"]}, **how)
    assert len(list((tmp_path / "c").glob("*/run_*.npz"))) == 2
    lava.tl.explain(adata, **how)
    assert not (tmp_path / "c").exists()
    assert "modules" in adata.uns["lava"]
    with pytest.raises(ValueError, match=r"Found checkpoint='.*' without n_modules, expected a number"):
        lava.tl.explain(adata, **(how | {"n_modules": None}))


def test_command_line(stages: Mapping[str, AnnData], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages["start"].write_h5ad(tmp_path / "in.h5ad")
    command = ["run", str(tmp_path / "in.h5ad"), "-o", str(tmp_path / "out.h5ad"), "--n-neighbors", "60"]
    command += ["--n-modules", "2", "--n-runs", "2", "--checkpoint", str(tmp_path / "c")]
    assert commands.main(command) == 0
    assert not (tmp_path / "c").exists()
    assert "modules" in ad.read_h5ad(tmp_path / "out.h5ad").uns["lava"]
    (tmp_path / "c").write_text("")
    assert commands.main(command) == 2
    assert "Found a file at checkpoint=" in capsys.readouterr().err
