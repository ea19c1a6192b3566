"""Independent tasks: over threads or, where there is a Dask cluster, at its workers. The results do not depend on which."""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast
from uuid import uuid4

from lava_sc.parallel.copies import WorkerReference, copies_of
from lava_sc.parallel.memory import SHARE_OF_MEMORY
from lava_sc.parallel.threads import limit_blas_threads, ordered_map
from lava_sc.parallel.workers import ClusterError, await_workers, is_task, least_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from distributed import Client, Future

    from lava_sc.parallel.copies import Copies

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

#: Tasks under way for each thread of the workers: one that it works on, and one that it finds when it is done.
_AHEAD: Final = 2
#: Times that all workers with a copy of what tasks share may be lost.
_MOST_LOST: Final = 3
_FEWEST_AHEAD: Final = 8  # so that a cluster that grows with its work sees that there is some


class _LostError(ClusterError):
    """A task was lost, with its workers or with the scheduler."""


def resolve_client(client: Client | None) -> Client | None:
    """The client that tasks go to: the one that is given, else the one that is active, ``None`` for threads.

    A process that has not imported ``distributed`` has no client, so that nothing is imported to find that out. A task of a cluster
    does not hand on its work to the same cluster, whose threads may all be waiting like this one.

    Raises
    ------
    ValueError
        If the one that is given is no client, is closed, or belongs to an event loop.
    """
    distributed: Any = sys.modules.get("distributed")
    if client is None:
        return None if distributed is None else _active(distributed)
    if distributed is None or not isinstance(client, distributed.Client):
        msg = f"Found client of type {type(client).__name__}, expected a dask.distributed.Client; pass one or leave it out."
        raise ValueError(msg)
    if not _usable(client):
        found = "an asynchronous client" if client.asynchronous else f"a client that is {client.status}"
        msg = f"Found {found}, expected a running one that waits for its results; connect another or leave client out."
        raise ValueError(msg)
    return client


def _active(distributed: Any) -> Client | None:
    if is_task():
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    return client if _usable(client) else None


def _usable(client: Client) -> bool:
    return client.status == "running" and not client.asynchronous


def map_tasks(
    function: Callable[[S, T], R],
    tasks: Sequence[tuple[S, T]],
    names: Sequence[str],
    *,
    n_jobs: int | None,
    client: Client | None,
) -> Iterator[R]:
    """Yield what a function gives for each task, in the order of the tasks.

    Parameters
    ----------
    function
        Of the two parts of a task. With a client it has to be one that can be imported, and parts and results are pickled.
    tasks
        What several tasks share, and what each has of its own. What is shared, the same object in all of them, is sent once, to
        every worker that may need it, and not again by later calls while the caller keeps it. If it has an ``origin``
        (:data:`lava_sc.parallel.copies.Origin`), workers that reach that read it themselves. What is not shared should be small.
    names
        What each task is called in errors, e.g. ``"run 3"``.
    n_jobs
        Number of threads; of no account with a client.
    client
        Begins at once with as many tasks as its workers have use for, and goes on as their results are taken.

    Raises
    ------
    ClusterError
        If workers die over a task again and again, or the cluster is lost. Whatever the function raises comes out as it is, with a
        note that names the task.
    """
    if client is None:
        return ordered_map(lambda task: function(*task), tasks, n_jobs=n_jobs)
    return _Tasks(client, function, tasks, names).in_order()


def as_finished(
    function: Callable[[S, T], R], tasks: Sequence[tuple[S, T]], names: Sequence[str], *, client: Client
) -> Generator[tuple[int, R]]:
    """Position and result of each task of :func:`map_tasks` as it ends; all are handed to the client at once."""
    return _Tasks(client, function, tasks, names).as_finished()


def n_ahead(client: Client | None, n_tasks: int = 1) -> int:
    """Number of calls of :func:`map_tasks` with so many tasks each that have to be under way to keep the workers busy.

    0 with threads: a call begins when its results are taken.
    """
    return 0 if client is None else max(-(-_n_threads(client) // n_tasks), 1)


def most_to_send(client: Client | None) -> float:
    """Bytes that what tasks share may take, so that it fits at the workers; infinity with threads."""
    if client is None:
        return inf
    with _explained("tasks"):
        await_workers(client)
        return least_memory(client) / SHARE_OF_MEMORY


def _n_threads(client: Client) -> int:
    with _explained("tasks"):
        return int(sum(client.nthreads().values()))


class _Tasks(Generic[S, T, R]):
    """Tasks at the workers of a cluster. Those that nobody waits for any more are cancelled."""

    def __init__(
        self, client: Client, function: Callable[[S, T], R], tasks: Sequence[tuple[S, T]], names: Sequence[str]
    ) -> None:
        with _explained("tasks"):
            await_workers(client)
        self._client, self._function, self._tasks, self._names = client, function, list(tasks), names
        self._uses = Counter(id(shared) for shared, _ in self._tasks)
        # Kept to the end: a result that is lost with its worker is worked out again from them
        self._copies: dict[int, Copies] = {}
        self._left = iter(range(len(self._tasks)))
        self._n_lost = 0

    def in_order(self) -> Iterator[R]:
        """All results; the first tasks begin now."""
        under_way: deque[Future] = deque()
        self._keep_busy(under_way)
        return self._in_order(under_way)

    def _in_order(self, under_way: deque[Future]) -> Iterator[R]:
        try:
            for k in range(len(self._tasks)):
                while isinstance(found := self._outcome(k, under_way[0]), _Again):
                    under_way[0] = self._submit(k)
                under_way.popleft()
                self._keep_busy(under_way)
                yield found
        finally:
            self._cancel(under_way)

    def as_finished(self) -> Generator[tuple[int, R]]:
        """All results with the positions of their tasks."""
        from distributed import as_completed

        under_way = {future.key: (k, future) for k, future in ((k, self._submit(k)) for k in self._left)}
        ended = as_completed([future for _, future in under_way.values()], loop=self._client.loop)
        try:
            for future in ended:
                k, _ = under_way.pop(future.key)
                found = self._outcome(k, future)
                if isinstance(found, _Again):
                    again = self._submit(k)
                    under_way[again.key] = k, again
                    ended.add(again)
                else:
                    yield k, found
        finally:
            self._cancel([future for _, future in under_way.values()])

    def _keep_busy(self, under_way: deque[Future]) -> None:
        wanted = max(_AHEAD * _n_threads(self._client), _FEWEST_AHEAD)
        under_way.extend(self._submit(k) for k in islice(self._left, max(wanted - len(under_way), 0)))

    def _submit(self, k: int) -> Future:
        shared, own = self._tasks[k]
        copies = self._copies.setdefault(id(shared), copies_of(shared, self._client))
        with _explained(self._names[k]):
            sent = copies.future(shared, self._uses[id(shared)])
        key = f"lava_sc-{self._function.__qualname__.strip('_')}-{uuid4().hex}"
        return self._client.submit(perform, self._function, sent, own, key=key, pure=False)

    def _outcome(self, k: int, future: Future) -> R | _Again:
        """The result, or that the task has to be handed in again since what it needs was lost."""
        try:
            with _explained(self._names[k]):
                found: R | _OutOfReach = future.result()
        except _LostError:
            self._n_lost += 1
            if self._n_lost > _MOST_LOST * len(self._tasks) or not _usable(self._client):
                raise
            return _Again()
        if isinstance(found, _OutOfReach):
            self._copies[id(self._tasks[k][0])].send_whole(found.reason)
            return _Again()
        return found

    def _cancel(self, under_way: Sequence[Future]) -> None:
        if under_way and _usable(self._client):
            self._client.cancel(list(under_way))


class _Again:
    """Stands for the result of a task that is to be handed in again."""


@dataclass(frozen=True)
class _OutOfReach:
    """Stands for the result of a task whose worker cannot read what it is of."""

    reason: str


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say which task an error is of, and what to do where it is the cluster that failed."""
    from distributed import KilledWorker
    from distributed.client import CancelledError
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        msg = (
            f"Found workers that died over {name}, as many as the scheduler allows ({error.allowed_failures + 1}), expected one that lives to its end; give the workers more "
            f"memory, or look into their logs for what ended them."
        )
        raise ClusterError(msg) from error
    except ClusterError:
        raise
    except (CancelledError, CommClosedError, TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = (
            f"Found that the cluster lost {name} ({reason}), expected a scheduler that answers and at least one worker that lives; start the "
            f"cluster again, with more memory if workers ran out of it, and call this again."
        )
        raise _LostError(msg) from error
    except Exception as error:
        error.add_note(f"This was in {name}.")
        raise


def perform(function: Callable[[S, T], R], shared: S | WorkerReference, own: T) -> R | _OutOfReach:
    """One task, at a worker."""
    if isinstance(shared, WorkerReference):
        try:
            shared = cast("S", shared.read())
        except OSError as error:
            return _OutOfReach(str(error))
    with _SETTLED:
        return function(shared, own)


class _Settled:
    """The libraries' threads held to one and their warnings settled, from the first of the tasks side by side to the last.

    Both are settings of the whole process, in which a worker may have several threads.
    """

    def __init__(self) -> None:
        self._lock, self._n_tasks, self._settings = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._n_tasks == 0:
                self._settings.enter_context(limit_blas_threads())
            self._n_tasks += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_tasks -= 1
            if self._n_tasks == 0:
                self._settings.close()


_SETTLED: Final = _Settled()
