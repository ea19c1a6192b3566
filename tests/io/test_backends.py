"""Rows and columns of stored matrices against slices of the same matrix in memory, and what is read for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lava_sc.io import backends
from lava_sc.io.backends import Chunks, CompressedColumns, CompressedRows, Dense, runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lava_sc.io.backends import Storage

ROWS, COLUMNS = 60, 23
EVERYTHING = np.arange(ROWS), np.arange(COLUMNS)


def matrix(dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(0).poisson(0.4, (ROWS, COLUMNS)).astype(dtype)


class Watched:
    """An array that notes which stretches, or tiles, are read."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.read: list[Any] = []
        self.dtype, self.shape = array.dtype, array.shape
        self.chunks = getattr(array, "chunks", None)

    def __getitem__(self, index: Any) -> Any:
        self.read.append(index)
        return self.array[index]


def compressed(X: Any, dtype: Any = None) -> CompressedRows | CompressedColumns:
    kind = {"csr": CompressedRows, "csc": CompressedColumns}[X.format]
    return kind(
        Watched(X.data.astype(dtype or X.dtype)), Watched(X.indices), X.indptr.astype(np.int64), X.shape, "adata.X"
    )


def some(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(size, rng.integers(1, size), replace=False))


def dense(X: Any) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.toarray()


@pytest.fixture(params=[2**26, 100])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes in one read: everything, or a few entries; no gap is read through then."""
    monkeypatch.setattr(backends, "_READ_AT_ONCE", request.param)
    monkeypatch.setattr(backends, "_READ_THROUGH", 0)
    return request.param


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1), st.integers(1, 60), st.integers(0, 20))
def test_runs(gaps_and_sizes: list[tuple[int, int]], at_once: int, through: int) -> None:
    stops = np.cumsum(gaps_and_sizes, axis=None)[1::2]
    starts = stops - [size for _, size in gaps_and_sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "_READ_AT_ONCE", at_once)
        patch.setattr(backends, "_READ_THROUGH", through)
        found = runs(starts, stops)
    assert [i for run in found for i in range(run.start, run.stop)] == list(range(len(starts)))
    for run in found:
        assert run.stop - run.start == 1 or stops[run][-1] - starts[run][0] <= at_once
        assert (starts[run][1:] - stops[run][:-1] <= through).all()


@pytest.mark.parametrize("array_type", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float16, np.float32, ">f8"])
@pytest.mark.parametrize("seed", range(4))
def test_compressed(array_type: Callable, dtype: Any, seed: int, at_once: int) -> None:
    stored = array_type(matrix().clip(max=1 if dtype is bool else None))
    stored.data[::5] = 0  # zeros that are stored
    rows, columns = some(ROWS, seed), some(COLUMNS, seed + 50)
    found = compressed(stored, dtype).read(rows, columns)
    np.testing.assert_array_equal(found.toarray(), dense(stored)[rows][:, columns])
    assert found.format == "csr"
    assert found.dtype.isnative
    assert (found.data != 0).all()


@pytest.mark.parametrize("array_type", [sparse.csr_matrix, sparse.csc_matrix])
def test_compressed_reads_each_entry_once_and_only_what_is_near(array_type: Callable, at_once: int) -> None:
    stored = array_type(matrix())
    storage = compressed(stored)
    lines = np.arange(4, 20) if stored.format == "csr" else np.array([3, 4, 9])
    storage.read(*((lines, np.array([2, 3])) if stored.format == "csr" else (np.array([2, 3]), lines)))
    for array in (storage.data, storage.indices):
        read = np.concatenate([np.arange(stretch.start, stretch.stop) for stretch in array.read])
        wanted = np.concatenate([np.arange(*stored.indptr[[line, line + 1]]) for line in lines])
        np.testing.assert_array_equal(read, wanted)
        assert len(array.read) == 1 or at_once == 100 or stored.format == "csc"


@pytest.mark.parametrize("chunks", [None, (60, 23), (7, 23), (7, 5), (60, 2), (1, 1)])
@pytest.mark.parametrize("dtype", [bool, np.int16, np.float16, np.float32, ">f8"])
@pytest.mark.parametrize("seed", range(3))
def test_dense_file(tmp_path: Path, chunks: tuple[int, int] | None, dtype: Any, seed: int, at_once: int) -> None:
    values = matrix(dtype)
    rows, columns = some(ROWS, seed), some(COLUMNS, seed + 50)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        watched = Watched(file.create_dataset("X", data=values, chunks=chunks))
        found = Dense(watched, "adata.X").read(rows, columns)
    np.testing.assert_array_equal(found, values[rows][:, columns])
    assert found.dtype.isnative
    n_reads = np.zeros(values.shape, dtype=int)
    for tile in watched.read:
        n_reads[tile] += 1
    height, width = chunks or (1, COLUMNS)
    wanted = np.zeros(values.shape, dtype=bool)
    wanted[np.ix_(rows, columns)] = True
    for top in range(0, ROWS, height):
        for left in range(0, COLUMNS, width):
            chunk = slice(top, top + height), slice(left, left + width)
            assert len(np.unique(n_reads[chunk])) == 1  # whole chunks
            assert n_reads[chunk].max() == wanted[chunk].any()


def test_dense_zarr(at_once: int) -> None:
    values = matrix()
    array = zarr.create_array(store={}, shape=values.shape, dtype=values.dtype, chunks=(7, 5))
    array[:] = values
    np.testing.assert_array_equal(Dense(array, "adata.X").read(*EVERYTHING), values)
    rows, columns = some(ROWS, 1), some(COLUMNS, 2)
    np.testing.assert_array_equal(Dense(array, "adata.X").read(rows, columns), values[rows][:, columns])


CHUNK_TYPES = [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]


@pytest.mark.parametrize("array_type", CHUNK_TYPES)
@pytest.mark.parametrize("chunks", [(60, 23), (7, 23), (60, 5), (7, 5)])
@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_dask(array_type: Callable, chunks: tuple[int, int], dtype: Any) -> None:
    da = pytest.importorskip("dask.array", reason="Dask is not installed")
    values = matrix(dtype)
    array = da.from_array(values, chunks=chunks).map_blocks(array_type)
    storage = Chunks(array, "adata.X")
    for rows, columns in [EVERYTHING, (some(ROWS, 1), some(COLUMNS, 2)), (np.array([8]), np.array([3, 22]))]:
        found = storage.read(rows, columns)
        np.testing.assert_array_equal(dense(found), values[rows][:, columns])
        assert isinstance(found, np.ndarray) or found.format == "csr"


def test_dask_computes_chunks_once_and_only_those_needed() -> None:
    da = pytest.importorskip("dask.array", reason="Dask is not installed")
    computed: list[tuple[int, int]] = []

    def note(chunk: np.ndarray, block_id: tuple[int, int]) -> np.ndarray:
        computed.append(block_id)
        return chunk

    array = da.from_array(matrix(), chunks=(10, 6)).map_blocks(
        note, dtype=np.float32, meta=np.empty((0, 0), np.float32)
    )
    Chunks(array, "adata.X").read(np.array([1, 2, 39, 41]), np.array([0, 7, 8]))
    assert sorted(computed) == [(0, 0), (0, 1), (3, 0), (3, 1), (4, 0), (4, 1)]


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "dask dense", "dask sparse"])
def test_bytes_per_row(form: str) -> None:
    """What all rows take; more where only the first rows were looked at."""
    X = sparse.random_array((5_000, 40), density=0.1, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    storage: Storage
    if form.startswith("dask"):
        da = pytest.importorskip("dask.array", reason="Dask is not installed")
        array = da.from_array(X.toarray(), chunks=(500, 40))
        storage = Chunks(array.map_blocks(sparse.csr_matrix) if form == "dask sparse" else array, "adata.X")
    else:
        storage = Dense(X.toarray(), "adata.X") if form == "dense" else compressed(X.asformat(form))
    columns = np.arange(5, 25)
    found = X[:, columns]
    exact = 20 * 4 if "dense" in form else found.nnz * 8 / 5_000
    slack = 1.5 if form in {"csr", "dask sparse"} else 1
    assert storage.bytes_per_row(columns) == pytest.approx(slack * exact, rel=0.1 if slack > 1 else 1e-12)
