"""Where kernels find the rows of a batch: in the target or, of one in files larger than memory, in a copy of these rows."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.amf.target import Target

    #: Values, columns, and where the blocks of each row start in them, (ℓ, n_blocks + 1); see :class:`Target`.
    Layout: TypeAlias = tuple[FloatArray, IntArray, IntArray]


class Batches:
    """Rows of a target, a batch at a time.

    Kernels go over blocks of columns, and in each over the rows: of files that do not fit into memory they would read small pieces
    from all over the batch, and read the batch again for each use of it. A copy takes a row in one piece, and once for all uses
    in succession, while the next row is on its way. It changes no number.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._rows: IntArray | None = None
        self._data, self._indices = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int32)
        self._files = _File(target.data), _File(target.indices)
        self._starts = np.empty_like(target.block_starts) if target.streamed else target.block_starts

    def layout(self, rows: IntArray) -> Layout:
        """The entries of some rows, and perhaps of others; good until other rows are asked for."""
        target = self._target
        if not target.streamed:
            return target.data, target.indices, target.block_starts
        if self._rows is None or not np.array_equal(rows, self._rows):
            self._copy(rows)
        return self._data, self._indices, self._starts

    def _copy(self, rows: IntArray) -> None:
        target = self._target
        firsts, ends = target.indptr[rows], target.indptr[rows + 1]
        places = np.concatenate([[0], np.cumsum(ends - firsts)])
        if places[-1] > len(self._data):
            self._data, self._indices = np.empty(places[-1], dtype=np.float32), np.empty(places[-1], dtype=np.int32)
        spans = list(zip(firsts.tolist(), ends.tolist(), strict=True))
        for span, next_span, place in zip(spans, [*spans[1:], (0, 0)], places.tolist(), strict=False):
            for source, copy, file in zip(
                (target.data, target.indices), (self._data, self._indices), self._files, strict=True
            ):
                file.will_need(*next_span)
                copy[place : place + span[1] - span[0]] = source[span[0] : span[1]]
        self._starts[rows] = target.block_starts[rows] + (places[:-1] - firsts)[:, None]
        self._rows = np.array(rows)


class _File:
    """What an array is mapped from, if it is: told what is needed next, the system reads it meanwhile, and in large pieces."""

    def __init__(self, array: NDArray[Any]) -> None:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        self._mapping = base if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_WILLNEED") else None
        if self._mapping is not None:
            self._offset = array.ctypes.data - np.frombuffer(self._mapping, dtype=np.uint8, count=1).ctypes.data
            self._size = array.itemsize

    def will_need(self, first: int, end: int) -> None:
        """Entries ``first`` to ``end``."""
        if self._mapping is not None and end > first:
            start = (self._offset + first * self._size) // mmap.PAGESIZE * mmap.PAGESIZE
            self._mapping.madvise(mmap.MADV_WILLNEED, start, self._offset + end * self._size - start)
