"""Files that are mapped into memory: what the system is told of the pages that are needed, and of those that are not."""

from __future__ import annotations

import mmap
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_THREAD: Final = "lava_sc-drop-pages"
_PAUSE: Final = 0.02  # seconds; the nanny of a Dask worker looks at the memory of the worker every 0.1


def mapping_of(array: NDArray[Any]) -> mmap.mmap | None:
    """Mapping through which an array's values are read, ``None`` if they are in memory or the system takes no advice."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) and hasattr(base, "madvise") else None


def drop_pages_above(array: NDArray[Any], most: float) -> None:
    """Let go of an array's pages whenever this process holds more than so many bytes, as long as there is the array.

    They stay in the system's cache, if there is room, and are had again at once. But whoever counts what a process holds counts
    them, too: a Dask worker that had read more of a file than its limit allows would be killed.
    """
    mapping = mapping_of(array)
    if mapping is None or most == np.inf:
        return
    with _LOCK:
        _WATCHED.append((weakref.ref(mapping), most))
        if len(_WATCHED) == 1:  # one thread watches all arrays, and ends with the last of them
            threading.Thread(target=_watch, name=_THREAD, daemon=True).start()


def _watch() -> None:
    import psutil

    process = psutil.Process()
    while True:
        with _LOCK:
            _WATCHED[:] = [one for one in _WATCHED if one[0]() is not None]
            watched = list(_WATCHED)
        if not watched:
            return
        held = process.memory_info().rss
        for reference, most in watched:
            mapping = reference()
            if mapping is not None and held > most:
                mapping.madvise(mmap.MADV_DONTNEED)  # of a shared mapping nothing is lost, whatever was written to it
        del mapping
        time.sleep(_PAUSE)


_LOCK: Final = threading.Lock()
_WATCHED: Final[list[tuple[weakref.ref[mmap.mmap], float]]] = []
