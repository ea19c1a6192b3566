"""Several runs of AMF side by side, from different starts."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lava_sc._logging import logger
from lava_sc.core.factorise.amf.fit import Stop
from lava_sc.core.factorise.amf.record import Record
from lava_sc.core.factorise.amf.run import keep_run, kept_run, one_run
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.parallel.tasks import as_finished
from lava_sc.parallel.threads import limit_blas_threads, progress, resolve_n_jobs

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from concurrent.futures import Future

    import numpy as np
    from distributed import Client
    from tqdm import tqdm

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.amf.run import Run
    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.io.checkpoint import Checkpoint, StateStore

#: Number of modules, options, kind of start and seed of a run.
RunSpec: TypeAlias = "tuple[int, FitOptions, str, int]"
#: Called with the run, the epoch (both from 0) and its loss.
Callback = Callable[[int, int, float], object]

_ON_ONE_DEVICE: Final = 8  # runs side by side: cores find the starts of some while the device fits others
_LISTEN: Final = 0.2  # seconds until an interrupt is noticed, where waiting for a queue cannot be interrupted


@dataclass(frozen=True)
class Runs:
    """Runs from different starts, and the best of them.

    Attributes
    ----------
    runs
        In the order of their seeds.
    best
        Position of the one with the lowest loss.
    interrupted
        Whether the user stopped them: some may be missing, and some have not converged.
    """

    runs: list[Run]
    best: int
    interrupted: bool

    @property
    def factors(self) -> tuple[FloatArray, FloatArray]:
        """P and M of the best run."""
        P, M = self.runs[self.best].P, self.runs[self.best].M
        assert P is not None
        assert M is not None
        return P, M


def share_threads(n_jobs: int | None, n_runs: int, n_blocks: int) -> tuple[int, int]:
    """Numbers of runs side by side and of threads for each."""
    available = resolve_n_jobs(n_jobs)
    side_by_side = min(available, n_runs)
    return side_by_side, max(1, min(available // side_by_side, n_blocks))


def run_many(
    problem: Problem,
    n_modules: int,
    options: FitOptions,
    *,
    init: str,
    n_runs: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
    engines: EngineFactory | None = None,
    callback: Callback | None = None,
    keep_all: bool = False,
    checkpoint: Checkpoint | None = None,
    client: Client | None = None,
) -> Runs:
    """Runs from independent starts.

    They share the cores: runs side by side first, and what cores are left over within each. Callbacks and the progress bar
    are served by the calling thread, which is also where an interrupt arrives: runs then end after the epoch they are in,
    and those that have not begun are left out. A second interrupt ends it all.

    Parameters
    ----------
    problem, n_modules, options
        See :func:`lava_sc.core.factorise.amf.run.one_run`.
    init
        One of :data:`lava_sc.core.factorise.amf.starts.STARTS`.
    n_runs
        Number of runs.
    rng
        Draws the seed of each run.
    n_jobs
        Number of threads; changes no number.
    engines
        Where to fit, a few runs at a time; on the CPU when ``None``.
    callback
        Called after each epoch; it may lag behind. ``KeyboardInterrupt`` raised in it ends the runs as an interrupt does.
    keep_all
        Keep P and M of all runs, not of the best only.
    checkpoint
        Keeps the states of these runs, and may hold some to go on from.
    client
        Its workers take a run each, with one thread; ``engines`` are not for them. The callback is called once for each run, when it
        has ended. An interrupt keeps the runs that have ended, and is raised where there is none. States go to the checkpoint
        from workers that reach it; runs that have ended are put there in any case.
    """
    seeds = [int(seed) for seed in rng.integers(2**63, size=n_runs)]
    stores = [None if checkpoint is None else checkpoint.state_store(f"run_{k}") for k in range(n_runs)]
    desk = _RunCollector(n_modules, n_runs, callback, keep_all=keep_all)
    if client is not None:
        starts = [(n_modules, options, init, seed) for seed in seeds]
        desk.collect(_at_workers(problem, list(zip(starts, stores, strict=True)), client))
        return desk.result()
    side_by_side, threads = share_threads(n_jobs, n_runs, problem.n_blocks)
    if engines is not None:
        side_by_side = min(side_by_side, _ON_ONE_DEVICE)
    engines = engines or cpu_engines(problem, threads)

    def work(k: int, seed: int) -> None:
        if k == 0 or not desk.closing.is_set():  # the first run is let into its first epoch, so that there is a result
            record = Record(stores[k])
            how: dict[str, Any] = {"init": init, "on_epoch": desk.watch(k, record.n_epochs), "record": record}
            desk.finish(k, one_run(engines, problem, n_modules, options, seed=seed, **how))

    with limit_blas_threads(), ThreadPoolExecutor(side_by_side) as pool:
        desk.serve([pool.submit(work, k, seed) for k, seed in enumerate(seeds)])
    return desk.result()


def single_run(problem: Problem, start: RunSpec, record: Record | None = None) -> Run:
    """One run in one thread."""
    n_modules, options, init, seed = start
    return one_run(cpu_engines(problem), problem, n_modules, options, init=init, seed=seed, record=record)


def _at_workers(
    problem: Problem, runs: Sequence[tuple[RunSpec, StateStore | None]], client: Client
) -> Generator[tuple[int, Run]]:
    """Runs at the workers of a client as they end, those first that had ended before."""
    left = []
    for k, (_, state_store) in enumerate(runs):
        ended = kept_run(Record(state_store))
        if ended is None:
            left.append(k)
        else:
            yield k, ended
    tasks, names = [(problem, runs[k]) for k in left], [f"run {k} with {runs[k][0][0]} modules" for k in left]
    with closing(as_finished(_run_at_worker, tasks, names, client=client)) as found:
        for i, (run, reached, failures) in found:
            k, state_store = left[i], runs[left[i]][1]
            if state_store is not None:
                state_store.failures.extend(failures)
                if not reached:
                    logger.info("run %d was at a worker that does not reach the checkpoint; it is kept as it ended", k)
                record = Record(state_store)
                if kept_run(record) is None:
                    keep_run(record, run)
            yield k, run


def _run_at_worker(problem: Problem, of: tuple[RunSpec, StateStore | None]) -> tuple[Run, bool, list[str]]:
    """A run, whether its states could be kept from there, and what hindered the writing of some."""
    start, state_store = of
    if state_store is None or not state_store.reached():
        return single_run(problem, start), False, []
    n_before = len(state_store.failures)
    run = single_run(problem, start, Record(state_store))
    return run, True, state_store.failures[n_before:]


class _RunCollector:
    """Queue in which runs report to the calling thread."""

    def __init__(self, n_modules: int, n_runs: int, callback: Callback | None, *, keep_all: bool) -> None:
        self.closing = threading.Event()
        self._interrupted = False
        self._events: queue.SimpleQueue[tuple[int, int, float] | None] = queue.SimpleQueue()
        self._runs: dict[int, Run] = {}
        self._lock = threading.Lock()
        self._what = f"AMF, {n_modules} modules"
        self._n_runs, self._callback, self._keep_all = n_runs, callback, keep_all

    def watch(self, k: int, n_epochs: int = 0) -> Callable[[float], None]:
        """Callback of the fit of run ``k`` after each epoch, some of which may be over."""
        epochs = itertools.count(n_epochs)

        def on_epoch(loss: float) -> None:
            self._events.put((k, next(epochs), loss))
            if self.closing.is_set():
                raise Stop

        return on_epoch

    def finish(self, k: int, run: Run) -> None:
        """Take in a run; of those that are not the best so far only the figures are kept."""
        with self._lock:
            self._runs[k] = run
            if not self._keep_all:
                best = self._best()
                self._runs = {i: r if i == best else replace(r, P=None, M=None) for i, r in self._runs.items()}

    def serve(self, futures: list[Future[None]]) -> None:
        """Pass events on until all runs have ended; raise what one of them raised."""
        for future in futures:
            future.add_done_callback(lambda _: self._events.put(None))
        left = len(futures)
        with progress(desc=self._what, total=self._n_runs) as bar:
            while left:
                try:
                    left -= self._next_event(bar)
                except KeyboardInterrupt:
                    self.closing.set()
                    if self._interrupted:
                        raise
                    self._interrupted = True
                except BaseException:
                    self.closing.set()
                    raise
                if any(future.done() and future.exception() for future in futures):
                    self.closing.set()
        for future in futures:
            future.result()

    def collect(self, found: Generator[tuple[int, Run]]) -> None:
        """Take in runs that end elsewhere, until the last one or an interrupt."""
        try:
            with closing(found), progress(desc=self._what, total=self._n_runs) as bar:
                for k, run in found:
                    self.finish(k, run)
                    bar.update()
                    if self._callback is not None:
                        self._callback(k, run.n_epochs - 1, run.quality.loss)
        except KeyboardInterrupt:
            if not self._runs:
                raise
            self._interrupted = True

    def _next_event(self, bar: tqdm[object]) -> bool:
        """Tell whether it was the end of a run."""
        try:
            event = self._events.get(timeout=_LISTEN)
        except queue.Empty:
            return False
        if event is None:
            bar.update()
            return True
        k, epoch, loss = event
        bar.set_postfix(run=k, epoch=epoch, loss=f"{loss:.4f}", refresh=False)
        if self._callback is not None:
            self._callback(k, epoch, loss)
        return False

    def result(self) -> Runs:
        """All runs that have ended."""
        best = self._best()
        order = sorted(self._runs)
        return Runs([self._runs[k] for k in order], order.index(best), self._interrupted)

    def _best(self) -> int:
        return min(self._runs, key=lambda k: (self._runs[k].quality.loss, k))
