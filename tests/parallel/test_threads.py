"""Results come in the order of the items, errors come out, a thread's BLAS is held to one thread, and parts are whole."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from lava_sc.parallel.threads import quiet_thread_map, resolve_n_jobs, split, thread_map

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def named_thread_map(function: Callable[[int], object], items: Sequence[int], *, n_jobs: int | None) -> list[object]:
    return thread_map(function, items, n_jobs=n_jobs, desc="x")


MAPS = pytest.mark.parametrize("thread_map", [named_thread_map, quiet_thread_map], ids=["with bar", "quiet"])


@MAPS
@pytest.mark.parametrize("n_jobs", [1, 2, 7, None])
def test_results_in_the_order_of_the_items(n_jobs: int | None, thread_map: Callable[..., list[object]]) -> None:
    def slower_at_first(i: int) -> int:
        time.sleep(0.002 * (10 - i))
        return i * i

    assert thread_map(slower_at_first, range(10), n_jobs=n_jobs) == [i * i for i in range(10)]
    assert thread_map(slower_at_first, [], n_jobs=n_jobs) == []


@MAPS
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_errors_come_out(n_jobs: int, thread_map: Callable[..., list[object]]) -> None:
    with pytest.raises(ZeroDivisionError):
        thread_map(lambda i: 1 // i, [2, 1, 0, 1], n_jobs=n_jobs)


@MAPS
@pytest.mark.parametrize(("n_jobs", "expected"), [(1, 1), (3, 3), (9, 4)])
def test_number_of_threads(n_jobs: int, expected: int, thread_map: Callable[..., list[object]]) -> None:
    """As many at once as asked for, no more than items."""
    together = threading.Barrier(expected)
    assert thread_map(lambda i: together.wait(timeout=30) >= 0, [0] * (12 if n_jobs < 9 else 4), n_jobs=n_jobs)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_blas_is_held_to_one_thread(n_jobs: int) -> None:
    def blas_threads(_: int) -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = blas_threads(0)
    found = thread_map(blas_threads, range(3), n_jobs=n_jobs, desc="x")
    assert {n for threads in found for n in threads} <= {1}
    assert blas_threads(0) == before


def test_at_least_one_worker() -> None:
    assert resolve_n_jobs(None) >= 1
    assert resolve_n_jobs(3) == 3


@pytest.mark.parametrize("length", [0, 1, 2, 63, 64, 65, 1000, 12_345])
def test_parts_hold_every_index_once_in_order(length: int) -> None:
    """Kernels take the first and last index of a part, so parts are unbroken and never empty."""
    parts = split(length)
    assert len(parts) == min(length, 64)
    np.testing.assert_array_equal(np.concatenate([*parts, np.empty(0, int)]), np.arange(length))
    assert all(len(part) == part[-1] - part[0] + 1 for part in parts)
    assert length == 0 or max(map(len, parts)) - min(map(len, parts)) <= 1
