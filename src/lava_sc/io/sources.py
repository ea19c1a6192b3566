"""Sources of localities' values, by the kind of the matrix: in memory as it is, in a file or Dask array piece by piece."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, singledispatch
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

from lava_sc.io import values as value_checks
from lava_sc.io.arrays import plain, refuse_kind
from lava_sc.io.backends import Chunks, CompressedColumns, CompressedRows, Dense
from lava_sc.io.blocks import Block, InMemory, group_localities, rows_needed
from lava_sc.parallel.dask_collections import is_dask
from lava_sc.parallel.memory import SHARE_OF_MEMORY, memory_available

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lava_sc._types import BoolArray, DataMatrix, IntArray
    from lava_sc.io.backends import Storage
    from lava_sc.io.blocks import Source


@dataclass(frozen=True)
class Stored:
    """Some columns of a stored matrix: one pass over the storage for each group of localities that fit into memory."""

    storage: Storage
    columns: IntArray
    memory: int
    file: str

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and of features, (E, D)."""
        return self.storage.shape[0], len(self.columns)

    @property
    def rows_at_once(self) -> int:
        """Number of rows that fit into ``memory`` bytes."""
        return self._rows_in(self.memory)

    def _rows_in(self, memory: float) -> int:
        return max(int(memory / self._bytes_per_row), 1)

    @cached_property
    def _bytes_per_row(self) -> float:
        with reading(self.storage.where, self.file):
            return max(self.storage.bytes_per_row(self.columns), 1.0)

    def head(self, n_rows: int) -> DataMatrix:
        """The first rows."""
        return self.rows(0, min(n_rows, self.shape[0]))

    def rows(self, start: int, stop: int) -> DataMatrix:
        """Rows from ``start`` up to ``stop``."""
        return self._read(np.arange(start, stop))

    def pieces(self) -> list[tuple[int, int]]:
        """Starts and stops of pieces of rows that fit into memory."""
        n_samples, step = self.shape[0], self.rows_at_once
        return [(start, min(start + step, n_samples)) for start in range(0, n_samples, step)]

    def features(self, chosen: BoolArray) -> Stored:
        """Select features of the same samples."""
        return replace(self, columns=self.columns[chosen])

    def blocks(self, members: IntArray, most: float = np.inf) -> Iterator[Block]:
        """Localities that share samples together, as many as fit into memory, and into so many bytes."""
        rows_at_once = self.rows_at_once if most >= self.memory else self._rows_in(most)
        for group in group_localities(members, self.shape[0], rows_at_once):
            rows, positions = rows_needed(members[group], self.shape[0])
            yield Block(group, self._read(rows), positions)

    def _read(self, rows: IntArray) -> DataMatrix:
        order = np.argsort(self.columns)
        with reading(self.storage.where, self.file):
            X = self.storage.read(rows, self.columns[order])
        if not np.array_equal(order, np.arange(len(order))):
            X = X[:, np.argsort(order)]
        X = plain(X, self.storage.where)
        value_checks.finite(X, self.storage.where)
        return X


@contextmanager
def reading(where: str, file: str) -> Iterator[None]:
    """Say which matrix cannot be read, and from where."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        found = f"{where} in {file!r}" if file else where
        msg = f"Found {found} unreadable ({type(error).__name__}), expected an intact file; check it and open it again."
        raise OSError(msg) from error


def open_source(X: Any, columns: IntArray, where: str, memory: int | None, file: str = "") -> Source:
    """Some columns of a matrix, wherever it is kept.

    Parameters
    ----------
    X
        What ``adata.X``, a layer or ``adata.raw.X`` is.
    columns
        Which columns, in which order.
    where
        How a user reaches the matrix, for messages.
    memory
        Bytes that rows of a stored matrix may take at once; ``None`` takes a quarter of what there is.
    file
        The file it is in, if any, for messages; asked of the matrix where it knows.

    Raises
    ------
    ValueError
        If the matrix is of an unknown kind, holds no real numbers or, in memory, numbers that are not finite.
    OSError
        If its file cannot be read.
    """
    if is_dask(X):
        _register_dask()
    file = _file_of(X, where) or file
    with reading(where, file):
        storage = open_storage(X, where)
    if storage is not None:
        memory = memory_available() // SHARE_OF_MEMORY if memory is None else memory
        return Stored(storage, columns, memory, file)
    everything = np.array_equal(columns, np.arange(X.shape[1]))
    X = plain(X if everything else X[:, columns], where)
    value_checks.finite(X, where)
    return InMemory(X)


@singledispatch
def open_storage(X: Any, where: str) -> Storage | None:
    """Open a stored matrix, by its class; ``None`` for one in memory. Another kind is one more function that is registered.

    Raises
    ------
    ValueError
        If its class is not registered.
    """
    refuse_kind(X, where)


@open_storage.register(np.ndarray)
@open_storage.register(sparse.sparray)
@open_storage.register(sparse.spmatrix)
def _(X: Any, where: str) -> None:  # noqa: ARG001
    return None  # in memory


@open_storage.register(CSRDataset)
@open_storage.register(CSCDataset)
def _(X: Any, where: str) -> Storage:
    kind = CompressedRows if X.format == "csr" else CompressedColumns
    data, indices, indptr = (X.group[name] for name in ("data", "indices", "indptr"))
    return kind(data, indices, indptr[...].astype(np.int64), X.shape, where)


@open_storage.register(h5py.Dataset)
@open_storage.register(zarr.Array)
def _(X: Any, where: str) -> Storage:
    return Dense(X, where)


def _register_dask() -> None:
    """Dask is optional: its class is there to be registered only once someone has made an array of it."""
    from dask.array import Array

    @open_storage.register(Array)
    def _(X: Any, where: str) -> Storage:
        return Chunks(X, where)


def _file_of(X: Any, where: str) -> str:
    """The file or folder a matrix is in, if any.

    Raises
    ------
    OSError
        If that is closed.
    """
    node = getattr(X, "group", X)
    if isinstance(node, zarr.Array | zarr.Group):
        return str(node.store)
    if not isinstance(node, h5py.Dataset | h5py.Group):
        return ""
    if not node:
        msg = f"Found {where} in a file that has been closed, expected an open one; open it again."
        raise OSError(msg)
    return str(node.file.filename)
