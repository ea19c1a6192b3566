from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from tests.helpers import comes_true

from lava_sc.parallel.mapped import drop_pages_above, mapping_of

if TYPE_CHECKING:
    from pathlib import Path

MB = 10**6


def held() -> int:
    return int(psutil.Process().memory_info().rss)


def watching() -> int:
    return sum(thread.name == "lava_sc-drop-pages" for thread in threading.enumerate())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systems differ in when they take the advice")
@pytest.mark.parametrize("mode", ["w+", "r"])
def test_pages_are_let_go_of_and_nothing_is_lost(tmp_path: Path, mode: str) -> None:
    """Of what was written to the file as well."""
    expected = np.arange(25 * MB, dtype=np.int64)
    file = tmp_path / "numbers"
    if mode == "r":
        expected.tofile(file)
    before, n_watching = held(), watching()
    array = np.asarray(np.memmap(file, dtype=np.int64, mode=mode, shape=expected.shape))  # type: ignore[call-overload]
    if mode == "w+":
        array[:] = expected
    assert int(array.sum()) == int(expected.sum())
    assert held() > before + 190 * MB
    drop_pages_above(array, before + 100 * MB)
    assert comes_true(lambda: held() < before + 100 * MB)
    assert watching() == n_watching + 1
    for _ in range(5):
        np.testing.assert_array_equal(array, expected)
    assert comes_true(lambda: held() < before + 100 * MB)
    del array
    assert comes_true(lambda: watching() == n_watching)
    if mode == "w+":
        np.testing.assert_array_equal(np.fromfile(file, dtype=np.int64), expected)


def test_views_of_an_array_are_of_its_file(tmp_path: Path) -> None:
    np.arange(10).tofile(tmp_path / "numbers")
    array = np.memmap(tmp_path / "numbers", dtype=np.int64, mode="r")
    mapping = mapping_of(array[2:][::2])
    assert mapping is not None
    assert mapping is mapping_of(array)


def test_what_is_in_memory_or_has_no_limit_is_left_alone(tmp_path: Path) -> None:
    n_watching = watching()
    assert mapping_of(np.arange(5)[1:]) is None
    drop_pages_above(np.arange(5), 0)
    np.arange(10).tofile(tmp_path / "numbers")
    drop_pages_above(np.memmap(tmp_path / "numbers", dtype=np.int64, mode="r"), np.inf)
    assert watching() == n_watching


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systems differ in when they take the advice")
def test_one_thread_watches_all_arrays(tmp_path: Path) -> None:
    np.arange(10).tofile(tmp_path / "numbers")
    arrays = [np.asarray(np.memmap(tmp_path / "numbers", dtype=np.int64, mode="r")) for _ in range(5)]
    for array in arrays:
        drop_pages_above(array, 10.0**15)
    assert watching() == 1
    del array, arrays[1:]
    assert watching() == 1
    arrays.clear()
    assert comes_true(lambda: watching() == 0)
