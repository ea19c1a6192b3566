"""Copies at the workers of a Dask cluster of an object that tasks share, or the place where they read it themselves."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lava_sc._logging import logger

if TYPE_CHECKING:
    from distributed import Client, Future

#: Makes an object again wherever the files it is of can be reached; OSError where they cannot. An object that has one keeps it
#: as its attribute ``origin``.
Origin: TypeAlias = Callable[[], Any]


class WorkerReference:
    """Stands at a worker for an object that it reads itself, once for all of its threads and tasks.

    It goes from process to process without what was read, and lets go of that when it is let go of.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin, self._lock = origin, threading.Lock()
        self._read: Any = None

    def __reduce__(self) -> tuple[type[WorkerReference], tuple[Origin]]:
        """Only the way to read it travels."""
        return WorkerReference, (self._origin,)

    def read(self) -> Any:
        """The object.

        Raises
        ------
        OSError
            If it cannot be reached from here.
        """
        with self._lock:
            if self._read is None:
                self._read = self._origin()
        return self._read


class Copies:
    """Copies of one object at the workers of one client, sent when they are first asked for, and again if all are lost."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sent: Future | None = None
        self._out_of_reach = False

    def future(self, shared: Any, n_tasks: int) -> Future:
        """Future of the copies, for so many tasks.

        At as many workers as may need it, and at two at least, so that one that dies takes nothing with it.
        """
        if self._sent is None or self._sent.status != "finished":  # lost with all workers that had it
            origin = None if self._out_of_reach else getattr(shared, "origin", None)
            what = shared if origin is None else WorkerReference(origin)
            (self._sent,) = self._client.scatter([what], hash=False, broadcast=n_tasks + 1)
        return self._sent

    def send_whole(self, reason: str) -> None:
        """From now on send the object itself, since a worker could not read it."""
        if not self._out_of_reach:
            logger.info("sending workers what they cannot read themselves (%s)", reason)
            self._out_of_reach, self._sent = True, None


def copies_of(shared: object, client: Client) -> Copies:
    """Copies of an object, the same ones as long as it is kept: an object that several calls share is sent once."""
    at = id(client), id(shared)
    known = _KNOWN.get(at)
    if known is not None:
        return known[0]
    copies = Copies(client)
    with suppress(TypeError):  # numbers and tuples cannot be watched
        # Copies keep the client, and the reference watches the object: neither id is given to another one meanwhile
        _KNOWN[at] = copies, weakref.ref(shared, lambda _: _KNOWN.pop(at, None))
    return copies


_KNOWN: Final[dict[tuple[int, int], tuple[Copies, weakref.ref[Any]]]] = {}
