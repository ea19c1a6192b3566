"""A run that ends at any write of its state goes on from there as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import sparse

from lava_sc.core.factorise.amf import record as record_module
from lava_sc.core.factorise.amf.fit import FitOptions, Stop
from lava_sc.core.factorise.amf.record import Record
from lava_sc.core.factorise.amf.run import one_run
from lava_sc.core.factorise.engines.accelerator import accelerator_engines
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import digest, make_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lava_sc.core.factorise.amf.run import Run
    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.problem import Problem

OPTIONS = FitOptions(max_epochs=70, tol=0.02, patience=25, batch_size=5, n_refits=2)


class Killed(Exception):  # noqa: N818 - no error
    """Stands for the end of the process."""


class RunCollector:
    """Keeps copies, as a file does, and ends the process after some writes."""

    def __init__(self) -> None:
        self.state: tuple[str, dict[str, Any]] | None = None
        self.n_writes, self.last = 0, np.inf

    def read(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        return None if self.state is None else (json.loads(self.state[0]), self.state[1])

    def write(self, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        self.state = json.dumps(facts), {name: np.array(array) for name, array in arrays.items()}
        self.n_writes += 1
        if self.n_writes == self.last:
            raise Killed


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(record_module, "_TIMES_THE_COST", 0.0)


def correlations(seed: int = 0) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    C = rng.uniform(-1, 1, (14, 3)).clip(0) @ rng.uniform(0, 0.4, (3, 1500))
    return sparse.csr_matrix(np.where(rng.random(C.shape) < 0.7, C, 0).astype(np.float32))


def cpu(problem: Problem) -> EngineFactory:
    return cpu_engines(problem)


def run(engines: Callable[[Problem], EngineFactory], desk: RunCollector | None = None, **how: Any) -> Run:
    problem = make_problem(correlations())
    options = how.pop("options", OPTIONS)
    return one_run(engines(problem), problem, 3, options, record=Record(desk), **({"init": "nmf", "seed": 3} | how))


def assert_same(found: Run, expected: Run) -> None:
    np.testing.assert_array_equal(found.P, expected.P)
    np.testing.assert_array_equal(found.M, expected.M)
    assert found.quality == expected.quality
    assert (found.seed, found.n_modules, found.n_epochs, found.converged, found.co_presence) == (
        *(expected.seed, expected.n_modules, expected.n_epochs, expected.converged),
        expected.co_presence,
    )


def test_a_run_goes_on_from_wherever_it_ended() -> None:
    """Before the first epoch, within each fit, at both ends of each search of presences, and when it is done."""
    unbroken = run(cpu)
    whole = RunCollector()
    assert_same(run(cpu, whole), unbroken)
    assert whole.n_writes == unbroken.n_epochs + 3 + 1  # 3 fits begin, one result
    for last in (1, 2, 17, 31, 32, 33, 50, 62, 63, 64, whole.n_writes - 1, whole.n_writes):
        desk = RunCollector()
        desk.last = last
        with pytest.raises(Killed):
            run(cpu, desk)
        assert_same(run(cpu, desk), unbroken)
        assert_same(run(cpu, desk), unbroken)


def test_a_run_on_an_accelerator_goes_on() -> None:
    pytest.importorskip("torch")

    def engines(problem: Problem) -> EngineFactory:
        return accelerator_engines(problem, "cpu")

    options = replace(OPTIONS, max_epochs=8, n_refits=0)
    unbroken, desk = run(engines, init="random", options=options), RunCollector()
    desk.last = 5
    with pytest.raises(Killed):
        run(engines, desk, init="random", options=options)
    assert_same(run(engines, desk, init="random", options=options), unbroken)


def test_a_run_that_ends_again_and_again() -> None:
    unbroken, desk, ends = run(cpu), RunCollector(), 0
    while ends < 30:
        desk.last = desk.n_writes + 7
        try:
            found = run(cpu, desk)
        except Killed:
            ends += 1
        else:
            break
    assert ends > 5
    assert_same(found, unbroken)


def test_what_follows_a_stop_is_not_taken_for_the_run() -> None:
    """It goes on from the epoch that it was stopped in."""
    unbroken, desk, epochs = run(cpu), RunCollector(), []

    def on_epoch(loss: float) -> None:
        epochs.append(loss)
        if len(epochs) >= 12:
            raise Stop

    stopped = run(cpu, desk, on_epoch=on_epoch)
    assert stopped.quality != unbroken.quality
    assert stopped.n_epochs == Record(desk).n_epochs == 12
    assert_same(run(cpu, desk), unbroken)


def test_states_are_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not within the least time, nor so often that writing would take more than one part in fifty."""
    now = [0.0]
    monkeypatch.setattr(record_module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(record_module, "LEAST_SECONDS", 10.0)
    monkeypatch.setattr(record_module, "_TIMES_THE_COST", 50.0)
    written: list[float] = []

    class Slow(RunCollector):
        def write(self, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
            super().write(facts, arrays)
            written.append(now[0])
            now[0] += 1

    class Fit:
        def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
            return {}, {}

        def restore(self, facts: object, arrays: object) -> None:
            raise AssertionError

    record = Record(Slow())
    for _ in range(200):
        now[0] += 1
        record.after_epoch(Fit(), last=False)
    assert written == [10.0, 61.0, 112.0, 163.0]


def test_digest_tells_targets_apart() -> None:
    C = correlations()
    same = digest(make_problem(C))
    wide = sparse.csr_matrix((C.data, C.indices.astype(np.int64), C.indptr.astype(np.int64)), shape=C.shape)
    assert digest(make_problem(wide)) == same
    changed = C.copy()
    changed.data[5] += 1e-3
    moved = sparse.csr_matrix((C.data, C.indices + 1, C.indptr), shape=(14, 1501))
    more = sparse.csr_matrix((C.data, C.indices, C.indptr), shape=(14, 1501))
    others = [digest(make_problem(other)) for other in (changed, moved, more, C[:13])]
    assert len({same, *others}) == 5
