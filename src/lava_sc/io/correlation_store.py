"""Correlations in a folder, for where C outgrows memory: written row by row, mapped into memory, read as it is needed.

The folder is a zarr group (version 2) with the three arrays of a CSR matrix as anndata stores one, each as a single chunk
without compression. Such a chunk is the array's bytes and no more, so that the operating system can page it in and out; and
anything that reads zarr can read it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

    from numpy.typing import DTypeLike, NDArray

    from lava_sc._types import FloatArray, IntArray

_CHUNK: Final = "0"
_GROUP, _ATTRIBUTES, _ARRAY = ".zgroup", ".zattrs", ".zarray"
_UNFINISHED: Final = ".unfinished"
_LARGEST: Final = np.iinfo(np.int32).max


class Writer:
    """Takes in rows of C in any order; see :class:`lava_sc.core.correlation.locality.Sink`."""

    def __init__(self, path: Path, n_rows: int, n_columns: int) -> None:
        self.path, self.unfinished = path, path.with_name(path.name + _UNFINISHED)
        self._shape = n_rows, n_columns
        self._index_type = np.dtype(np.int32 if n_columns <= _LARGEST else np.int64)
        self._arrived: list[int] = []
        self._counts = np.zeros(n_rows, dtype=np.int64)
        self._id = uuid.uuid4().hex
        for name in ("data", "indices", "indptr"):
            (self.unfinished / name).mkdir(parents=True)
        self._files = {name: self._chunk(name).open("wb") for name in ("data", "indices")}

    @property
    def reference(self) -> dict[str, str]:
        """Reference that finds the store again, and tells it from another one in its place."""
        return {"store": str(self.path), "id": self._id}

    def add(self, row: int, columns: IntArray, values: FloatArray) -> None:
        """One row, its columns in rising order."""
        self._arrived.append(row)
        self._counts[row] = len(columns)
        self._files["data"].write(np.asarray(values, dtype="<f4").tobytes())
        self._files["indices"].write(np.asarray(columns, dtype=self._index_type.newbyteorder("<")).tobytes())

    def matrix(self) -> sparse.csr_matrix:
        """All rows, once they are in."""
        self.close()
        indptr = np.concatenate([[0], np.cumsum(self._counts)])
        index_type = np.dtype(np.int32 if max(indptr[-1], self._shape[1]) <= _LARGEST else np.int64)
        for name, before, after in (("data", "<f4", "<f4"), ("indices", self._index_type, index_type)):
            if self._arrived != sorted(self._arrived) or before != after:
                self._put_in_order(name, np.dtype(before), np.dtype(after), indptr)
        self._chunk("indptr").write_bytes(indptr.astype(index_type).tobytes())
        types = {"data": np.dtype("<f4"), "indices": index_type, "indptr": index_type}
        for name, dtype in types.items():
            n = len(indptr) if name == "indptr" else int(indptr[-1])
            _write_json(self.unfinished / name / _ARRAY, _array(n, dtype))
        encoding = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(self._shape)}
        _write_json(self.unfinished / _ATTRIBUTES, encoding | {"lava_sc": version("lava-sc"), "id": self._id})
        _write_json(self.unfinished / _GROUP, {"zarr_format": 2})
        return _mapped(self.unfinished, self._shape)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def put_in_place(self) -> None:
        """Take the place of a store that was there before."""
        former = self.path.with_name(self.path.name + ".former")
        shutil.rmtree(former, ignore_errors=True)
        if self.path.exists():
            self.path.rename(former)
        self.unfinished.rename(self.path)
        shutil.rmtree(former, ignore_errors=True)

    def _chunk(self, name: str) -> Path:
        return self.unfinished / name / _CHUNK

    def _put_in_order(self, name: str, before: np.dtype[Any], after: np.dtype[Any], indptr: IntArray) -> None:
        chunk, ordered = self._chunk(name), self.unfinished / name / "ordered"
        arrived = np.array(self._arrived)
        starts = np.zeros(len(arrived), dtype=np.int64)
        starts[arrived] = np.cumsum(self._counts[arrived]) - self._counts[arrived]
        values = _map(chunk, before, int(indptr[-1]))
        with ordered.open("wb") as file:
            for start, count in zip(starts, self._counts, strict=True):
                file.write(values[start : start + count].astype(after).tobytes())
        del values
        ordered.replace(chunk)


@contextmanager
def new_store(path: str | PathLike[str] | None, n_rows: int, n_columns: int) -> Iterator[Writer | None]:
    """A store to write rows to, which is there when the block ends without an error. ``None`` for no path.

    Raises
    ------
    ValueError
        If something else than a store is there.
    OSError
        If it cannot be written.
    """
    if path is None:
        yield None
        return
    place = Path(path).absolute()
    _refuse_other_things(place)
    unfinished = place.with_name(place.name + _UNFINISHED)
    writer = None
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        writer = Writer(place, n_rows, n_columns)
        yield writer
        writer.put_in_place()
    except OSError as error:
        if error.filename is None and error.errno is None:  # one of ours, of what is read
            raise
        msg = (
            f"Found no way to write store={str(place)!r} ({error.strerror}), expected a new folder in an existing, writable "
            f"one, with enough space; pass another path."
        )
        raise OSError(msg) from error
    finally:
        if writer is not None:
            writer.close()
        shutil.rmtree(unfinished, ignore_errors=True)


def open_store(reference: Mapping[str, Any]) -> sparse.csr_matrix:
    """A stored matrix, mapped into memory: it is read as it is needed, and is not to be changed.

    Parameters
    ----------
    reference
        Of the writer.

    Raises
    ------
    OSError
        If it is not there any more, damaged or replaced by another one.
    """
    path = Path(str(reference["store"]))
    if not path.is_dir():
        msg = f"Found no store {str(path)!r}, which holds the correlations, expected it where lava_sc.tl.locality_corr wrote it; put it back or call that again."
        raise OSError(msg)
    attributes = _attributes(path)
    if attributes["id"] != str(reference["id"]):
        msg = f"Found other correlations in store {str(path)!r} than this object has, expected its own; call lava_sc.tl.locality_corr again, with another path."
        raise OSError(msg)
    return _mapped(path, tuple(attributes["shape"]))


def scratch_in(folder: Path) -> Callable[[int, DTypeLike], NDArray[Any]]:
    """Makes arrays in files that are gone when the process ends, in a folder, or elsewhere if that is read-only."""
    where = folder if os.access(folder, os.W_OK) else None

    def empty(n: int, dtype: DTypeLike) -> NDArray[Any]:
        dtype = np.dtype(dtype)
        if n == 0:
            return np.empty(0, dtype=dtype)
        with tempfile.TemporaryFile(dir=where) as file:
            if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and the end of the process later
                os.posix_fallocate(file.fileno(), 0, n * dtype.itemsize)
            return np.asarray(np.memmap(file, dtype=dtype, mode="w+", shape=(n,)))

    return empty


def _refuse_other_things(path: Path) -> None:
    if path.exists() and not (path / _ATTRIBUTES).is_file():
        msg = f"Found something else at store={str(path)!r}, expected nothing or correlations of lava_sc; pass another path."
        raise ValueError(msg)


def _mapped(path: Path, shape: tuple[int, ...]) -> sparse.csr_matrix:
    arrays = {name: _array_in(path / name) for name in ("data", "indices", "indptr")}
    return sparse.csr_matrix((arrays["data"], arrays["indices"], np.array(arrays["indptr"])), shape=shape, copy=False)


def _array_in(folder: Path) -> NDArray[Any]:
    found = _json(folder / _ARRAY)
    return _map(folder / _CHUNK, np.dtype(found["dtype"]), int(found["shape"][0]))


def _map(file: Path, dtype: np.dtype[Any], n: int) -> NDArray[Any]:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise OSError(_damaged(file, "nothing", f"{n * dtype.itemsize:,} bytes")) from error
    if size != n * dtype.itemsize:
        raise OSError(_damaged(file, f"{size:,} bytes", f"{n * dtype.itemsize:,}"))
    return np.asarray(np.memmap(file, dtype=dtype, mode="r", shape=(n,))) if n else np.empty(0, dtype=dtype)


def _attributes(path: Path) -> dict[str, Any]:
    found = _json(path / _ATTRIBUTES)
    if "id" not in found or "shape" not in found:
        raise OSError(_damaged(path / _ATTRIBUTES, "other attributes", "those of lava_sc"))
    return found


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise OSError(_damaged(file, "nothing that is readable", "JSON")) from error


def _damaged(file: Path, found: str, expected: str) -> str:
    return f"Found {found} in {str(file)!r}, expected {expected}; call lava_sc.tl.locality_corr again to write the store anew."


def _array(n: int, dtype: np.dtype[Any]) -> dict[str, Any]:
    own = {"shape": [n], "chunks": [max(n, 1)], "dtype": dtype.newbyteorder("<").str}
    return own | {"zarr_format": 2, "compressor": None, "filters": None, "fill_value": 0, "order": "C"}


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
