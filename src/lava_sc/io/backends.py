"""Matrices in files and Dask arrays: some rows and columns of them, in one pass over what is stored.

Contiguous stretches of bounded size are read in storage order, and what is not wanted is dropped at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numba import njit
from scipy import sparse

from lava_sc.io.arrays import number_type, plain
from lava_sc.parallel.dask_collections import scheduler_of
from lava_sc.parallel.threads import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lava_sc._types import DataMatrix, IntArray

_READ_AT_ONCE: Final = 64 * 2**20  # bytes
_READ_THROUGH: Final = 2**20  # bytes that are read sooner than skipped
_SAMPLED_ROWS: Final = 1000
_BYTES_PER_INDEX: Final = 4
_RESERVE: Final = 1.5  # other rows may hold more than those that were looked at


class Storage(Protocol):
    """A stored matrix."""

    @property
    def where(self) -> str:
        """Matrix as a user reaches it, for messages."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""

    def read(self, rows: IntArray, columns: IntArray) -> DataMatrix:
        """Some rows and columns, both ascending, as a CSR matrix without zeros or a dense array."""

    def bytes_per_row(self, columns: IntArray) -> float:
        """Mean memory of a row of these columns."""


@dataclass(frozen=True)
class Compressed:
    """The three arrays of a stored CSR or CSC matrix; the first two stay where they are."""

    data: Any
    indices: Any
    indptr: IntArray
    shape: tuple[int, int]
    where: str

    @property
    def bytes_per_entry(self) -> int:
        """Memory of a value and its index."""
        return int(number_type(self.data.dtype, self.where).itemsize) + _BYTES_PER_INDEX

    def entries(self, lines: IntArray, wanted: IntArray, length: int) -> tuple[NDArray[Any], IntArray, IntArray]:
        """Values, indices and ``indptr`` of some stored lines (rows of CSR), of ``wanted`` among their ``length`` places."""
        position = np.full(length, -1, dtype=np.int32)
        position[wanted] = np.arange(len(wanted))
        starts, stops = self.indptr[lines], self.indptr[lines + 1]
        stored = self.data.dtype.itemsize + self.indices.dtype.itemsize
        parts: tuple[list[NDArray[Any]], ...] = ([], [], [])
        for run in progress(runs(starts * stored, stops * stored), desc=f"reading {self.where}"):
            first, last = int(starts[run][0]), int(stops[run][-1])
            data = self.data[first:last].astype(number_type(self.data.dtype, self.where), copy=False)
            taken = _take(data, self.indices[first:last], starts[run] - first, stops[run] - first, position)
            for part, some in zip(parts, taken, strict=True):
                part.append(some)
        values, indices, counts = map(_joined, parts)
        return values, indices, np.concatenate([[0], np.cumsum(counts)])


class CompressedRows(Compressed):
    """A stored CSR matrix."""

    def read(self, rows: IntArray, columns: IntArray) -> sparse.csr_matrix:
        """Some rows and columns, both ascending; only what lies near these rows is read."""
        entries = self.entries(rows, columns, self.shape[1])
        return sparse.csr_matrix(entries, shape=(len(rows), len(columns)))

    def bytes_per_row(self, columns: IntArray) -> float:
        """Entries of all rows, of which the first rows tell the share in these columns."""
        n_rows = min(self.shape[0], _SAMPLED_ROWS)
        share = self.read(np.arange(n_rows), columns).nnz / max(int(self.indptr[n_rows]), 1)
        return _RESERVE * share * int(self.indptr[-1]) / self.shape[0] * self.bytes_per_entry


class CompressedColumns(Compressed):
    """A stored CSC matrix."""

    def read(self, rows: IntArray, columns: IntArray) -> sparse.csr_matrix:
        """Some rows and columns, both ascending; only what lies near these columns is read."""
        entries = self.entries(columns, rows, self.shape[0])
        return sparse.csc_matrix(entries, shape=(len(rows), len(columns))).tocsr()

    def bytes_per_row(self, columns: IntArray) -> float:
        """Entries of these columns."""
        n_entries = int((self.indptr[columns + 1] - self.indptr[columns]).sum())
        return n_entries / self.shape[0] * self.bytes_per_entry


@dataclass(frozen=True)
class Dense:
    """A stored dense matrix."""

    array: Any
    where: str

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.array.shape[0], self.array.shape[1]

    def read(self, rows: IntArray, columns: IntArray) -> DataMatrix:
        """Some rows and columns, both ascending, by whole chunks."""
        dtype = self.array.dtype
        found = np.empty((len(rows), len(columns)), dtype=number_type(dtype, self.where))
        height, width = self.array.chunks or (1, self.shape[1])
        for across, left, right in _tiles(columns, width, height * dtype.itemsize):
            tiles = _tiles(rows, height, (right - left) * dtype.itemsize)
            for down, top, bottom in progress(tiles, desc=f"reading {self.where}"):
                tile = self.array[top:bottom, left:right]
                found[down, across] = tile[np.ix_(rows[down] - top, columns[across] - left)]
        return found

    def bytes_per_row(self, columns: IntArray) -> float:
        """Exact."""
        return len(columns) * number_type(self.array.dtype, self.where).itemsize


@dataclass(frozen=True)
class Chunks:
    """A Dask array of numpy arrays or scipy's sparse matrices."""

    array: Any
    where: str

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.array.shape[0], self.array.shape[1]

    def read(self, rows: IntArray, columns: IntArray) -> DataMatrix:
        """Some rows and columns, both ascending, out of the chunks that hold any; all are asked for in one graph."""
        import dask

        cut = dask.delayed(_cut)
        chunks = self.array.to_delayed()
        down, across = (
            _shares(wanted, sizes) for wanted, sizes in zip((rows, columns), self.array.chunks, strict=True)
        )
        grid = [[cut(chunks[i, j], r, c, self.where) for j, c in across] for i, r in down]
        (found,) = dask.compute(grid, scheduler=scheduler_of(self.array))
        if all(isinstance(part, np.ndarray) for line in found for part in line):
            return np.block(found)
        return sparse.vstack([sparse.hstack(line, format="csr") for line in found], format="csr")

    def bytes_per_row(self, columns: IntArray) -> float:
        """Exact for dense chunks; for others as in the first rows, for which the first chunks are computed."""
        head = self.read(np.arange(min(self.array.chunks[0][0], _SAMPLED_ROWS)), columns)
        if isinstance(head, np.ndarray):
            return head.nbytes / len(head)
        return _RESERVE * head.nnz / head.shape[0] * (head.dtype.itemsize + _BYTES_PER_INDEX)


def runs(starts: IntArray, stops: IntArray) -> list[slice]:
    """Items that are read at once.

    Parameters
    ----------
    starts, stops
        Where each item starts and stops, bytes, ascending.

    Returns
    -------
    Slices of the items, which cover them all. Each stretch has at most 64 MB, or is a single item, and runs through
    gaps of at most 1 MB.
    """
    gaps = np.flatnonzero(starts[1:] - stops[:-1] > _READ_THROUGH) + 1
    found = []
    for first, last in pairwise([0, *gaps.tolist(), len(starts)]):
        begin = first
        while begin < last:
            fitting = int(np.searchsorted(stops[begin:last], starts[begin] + _READ_AT_ONCE, side="right"))
            found.append(slice(begin, begin + max(fitting, 1)))
            begin += max(fitting, 1)
    return found


def _tiles(wanted: IntArray, chunk: int, size: int) -> list[tuple[slice, int, int]]:
    """Positions that are read at once, in whole chunks: which, and where these chunks start and stop."""
    chunks, firsts = np.unique(wanted // chunk, return_index=True)
    bounds = np.append(firsts, len(wanted))
    found = []
    for run in runs(chunks * chunk * size, (chunks + 1) * chunk * size):
        start, stop = int(chunks[run][0]) * chunk, int(chunks[run][-1] + 1) * chunk
        found.append((slice(int(bounds[run.start]), int(bounds[run.stop])), start, stop))
    return found


def _shares(wanted: IntArray, sizes: Sequence[int]) -> list[tuple[int, IntArray]]:
    """Chunks that hold wanted positions, and these as counted within the chunk."""
    edges = np.concatenate([[0], np.cumsum(sizes)])
    bounds = np.searchsorted(wanted, edges)
    return [(int(i), wanted[bounds[i] : bounds[i + 1]] - edges[i]) for i in np.flatnonzero(np.diff(bounds))]


def _cut(chunk: Any, rows: IntArray, columns: IntArray, where: str) -> DataMatrix:
    X = plain(chunk, where)[rows][:, columns]
    if isinstance(X, np.ndarray):
        return X
    X = X.tocsr()
    X.eliminate_zeros()
    return X


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate, and let go of the parts at once: they are as large as the whole."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


@njit(nogil=True, cache=True)
def _take(data, indices, starts, stops, position):  # type: ignore[no-untyped-def]
    """Entries that are not zero and whose index has a position, line by line."""
    counts = np.zeros(len(starts), dtype=np.int64)
    for line in range(len(starts)):
        for k in range(starts[line], stops[line]):
            if position[indices[k]] >= 0 and data[k] != 0:
                counts[line] += 1
    values = np.empty(counts.sum(), dtype=data.dtype)
    places = np.empty(len(values), dtype=position.dtype)
    n = 0
    for line in range(len(starts)):
        for k in range(starts[line], stops[line]):
            if position[indices[k]] >= 0 and data[k] != 0:
                values[n], places[n] = data[k], position[indices[k]]
                n += 1
    return values, places, counts
