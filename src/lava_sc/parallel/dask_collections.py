"""Scheduler of Dask collections: this process, unless a cluster holds them. Dask need not be installed.

An active client would have its workers compute them. Results would come here, to be sent to workers again; and workers that do not
reach a file cannot read it or, of a zarr store, take the chunks that they do not find for chunks of nothing.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_THE_CLIENT: Final = (None, "distributed", "dask.distributed")
_LOCK: Final = threading.Lock()


def is_dask(X: Any) -> bool:
    """Tell whether it is a Dask array or another collection of Dask."""
    return any(base.__module__.partition(".")[0] == "dask" for base in type(X).__mro__)


def scheduler_of(X: Any) -> Any:
    """Scheduler of a collection, as ``scheduler=`` of :func:`dask.compute` takes it.

    That is the client of the cluster that holds parts of it, as after ``persist()``; else what the user has set; else threads.
    """
    distributed: Any = sys.modules.get("distributed")
    held = [] if distributed is None else distributed.futures_of(X)
    return held[0].client if held else _of_this_process()


@contextmanager
def computed_here() -> Iterator[None]:
    """For readers that know no ``scheduler=``: what they compute is computed in this process."""
    distributed: Any = sys.modules.get("distributed")
    if distributed is None:
        yield
        return
    import dask

    with _LOCK, dask.config.set(scheduler=_of_this_process()):  # of the whole process: one at a time puts it back
        yield


def _of_this_process() -> Any:
    import dask.threaded

    chosen = dask.config.get("scheduler", None)
    # Not by name: older versions of Dask warn of threads beside an active client
    return dask.threaded.get if chosen in _OF_THE_CLIENT else chosen
