"""Workers and progress bars shared by the kernels."""

from __future__ import annotations

import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from lava_sc._settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from tqdm import tqdm

T = TypeVar("T")
R = TypeVar("R")

_PARTS: Final = 64
_BRING_LIBRARIES: Final = ("scipy.linalg", "sklearn.cluster", "sklearn.decomposition", "torch")
_PROGRESS_DELAY: Final = 2.0  # seconds before a bar appears: what is done by then needs none


def resolve_n_jobs(n_jobs: int | None) -> int:
    """Number of workers; ``None`` means every core this process may use."""
    if n_jobs is not None:
        return n_jobs
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress(iterable: Iterable[T] | None = None, *, desc: str, total: int | None = None) -> tqdm[T]:
    """A progress bar that shows itself only when the work takes longer than two seconds."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():  # a notebook without ipywidgets gets a plain bar, which needs no warning
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm
    silenced = {} if settings.progress else {"disable": True}  # else TQDM_DISABLE of the environment would not count
    return tqdm(iterable, desc=desc, total=total, delay=_PROGRESS_DELAY, leave=False, **silenced)


def split(length: int) -> list[NDArray[np.int64]]:
    """Indices in parts: enough of them for a progress bar and even work, few enough to cost nothing."""
    return [part for part in np.array_split(np.arange(length), min(_PARTS, max(length, 1))) if len(part)]


def libraries() -> ThreadpoolController:
    """BLAS and OpenMP of this process. Looking for them takes longer than a small fit, so it is done once, and when others came."""
    return _libraries(tuple(name in sys.modules for name in _BRING_LIBRARIES))


@cache
def _libraries(loaded: tuple[bool, ...]) -> ThreadpoolController:
    del loaded
    return ThreadpoolController()


def quiet_thread_map(function: Callable[[T], R], items: Sequence[T], *, n_jobs: int | None) -> list[R]:
    """Results in the order of the items, for short work that releases the interpreter lock and calls no BLAS."""
    workers = min(resolve_n_jobs(n_jobs), max(len(items), 1))
    if workers == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


def ordered_map(function: Callable[[T], R], items: Sequence[T], *, n_jobs: int | None) -> Iterator[R]:
    """Yield results in the order of the items, whatever the number of workers; BLAS is held to one thread in each."""
    workers = min(resolve_n_jobs(n_jobs), max(len(items), 1))
    with libraries().limit(limits=1, user_api="blas"):
        if workers == 1:
            yield from map(function, items)
        else:
            with ThreadPoolExecutor(workers) as pool:
                yield from pool.map(function, items)


def thread_map(function: Callable[[T], R], items: Sequence[T], *, n_jobs: int | None, desc: str) -> list[R]:
    """All results of :func:`ordered_map`, with a progress bar."""
    return list(progress(ordered_map(function, items, n_jobs=n_jobs), desc=desc, total=len(items)))


@contextmanager
def limit_blas_threads() -> Iterator[None]:
    """Threads and warnings of the libraries that starts of AMF use, for as long as runs go on.

    Both are settings of the whole process: starts that changed them and put them back, each in its own thread, would do
    so under one another's feet.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), libraries().limit(limits=1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
