"""Results come in the order of the items, errors come out, and a thread's BLAS is held to one thread."""

from __future__ import annotations

import time

import pytest
from threadpoolctl import threadpool_info

from lava_sc.core._parallel import resolve_n_jobs, thread_map


@pytest.mark.parametrize("n_jobs", [1, 2, 7, None])
def test_results_in_the_order_of_the_items(n_jobs: int | None) -> None:
    def slower_at_first(i: int) -> int:
        time.sleep(0.002 * (10 - i))
        return i * i

    assert thread_map(slower_at_first, range(10), n_jobs=n_jobs, desc="x") == [i * i for i in range(10)]
    assert thread_map(slower_at_first, [], n_jobs=n_jobs, desc="x") == []


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_errors_come_out(n_jobs: int) -> None:
    with pytest.raises(ZeroDivisionError):
        thread_map(lambda i: 1 // i, [2, 1, 0, 1], n_jobs=n_jobs, desc="x")


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
