"""Workers of a cluster, seen from outside and from within: whether they are ready for tasks, and what they may take."""

from __future__ import annotations

import sys
import weakref
from math import inf
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from lava_sc._logging import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client

_PACKAGE: Final = "lava_sc"


class ClusterError(RuntimeError):
    """Workers or data of a cluster are lost or unfit: nothing is wrong with the input."""


def await_workers(client: Client) -> None:
    """Wait for a worker, as long as it takes: some clusters have none before there is a task, or while jobs are in a queue.

    Raises
    ------
    ClusterError
        If workers have no lava_sc, or another version; asked once for each client, of the workers that are there then.
    """
    if not client.nthreads():
        logger.warning("the cluster has no worker: waiting for one")
        client.submit(_arrived, key=f"lava_sc-arrived-{uuid4().hex}", pure=False).result()
    if client not in _ASKED:
        _require_same_version(client.get_versions(packages=[_PACKAGE]))
        _ASKED.add(client)


def folder_of_worker() -> str | None:
    """Folder for a task's files at a worker, ``None`` in a process that is no worker."""
    worker = _worker()
    return None if worker is None else str(worker.local_directory)


def memory_limit_of_worker() -> float:
    """Bytes above which the worker that this process is would be ended, infinity where nothing is."""
    worker = _worker()
    return inf if worker is None else float(worker.memory_manager.memory_limit or inf)


def is_task() -> bool:
    """Tell whether the caller is a task of a cluster."""
    return _worker() is not None


def _worker() -> Any:
    distributed: Any = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.get_worker()
    except ValueError:
        return None


def least_memory(client: Client) -> float:
    """Bytes that the worker with the least memory may take, infinity where none has a limit."""
    limits = [worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()]
    return min([float(limit) for limit in limits if limit], default=inf)  # 0 and None are none


def _require_same_version(found: Mapping[str, Any]) -> None:
    own = _version(found["client"])
    others = {worker: _version(answer) for worker, answer in found["workers"].items()}
    unfit = sorted(worker for worker, version in others.items() if version != own)
    if own is not None and unfit:
        other = others[unfit[0]]
        msg = (
            f"Found {'no lava_sc' if other is None else f'lava_sc {other}'} at {len(unfit)} of {len(others)} workers, {unfit[0]} for "
            f"one, expected lava_sc {own} as here; install that there, or leave client out."
        )
        raise ClusterError(msg)


def _version(answer: Mapping[str, Any]) -> str | None:
    version = answer["packages"].get(_PACKAGE)
    return None if version is None else str(version)


def _arrived() -> None:
    """A task that any worker can do."""


_ASKED: Final[weakref.WeakSet[Client]] = weakref.WeakSet()
