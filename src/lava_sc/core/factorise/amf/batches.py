"""Rows of a batch for the kernels: in the problem or, where its files are larger than memory, in a copy of these rows."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lava_sc.parallel.mapped import mapping_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.problem import Problem

    #: Values, columns, and where the blocks of each row start in them, (ℓ, n_blocks + 1); see :class:`Problem`.
    Layout: TypeAlias = tuple[FloatArray, IntArray, IntArray]


class Batches:
    """Rows of a problem, a batch at a time.

    Kernels go over blocks of columns, and in each over the rows: of files that do not fit into memory they would read small pieces
    from all over the batch, and read the batch again for each use of it. A copy takes a row in one piece, and once for all uses
    in succession, while the next row is on its way. It changes no number.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rows: IntArray | None = None
        self._parts = _Part(problem.data), _Part(problem.indices)
        self._starts = np.empty_like(problem.block_starts) if problem.streamed else problem.block_starts

    def layout(self, rows: IntArray) -> Layout:
        """The entries of some rows, and perhaps of others; good until other rows are asked for."""
        problem = self._problem
        if not problem.streamed:
            return problem.data, problem.indices, problem.block_starts
        if self._rows is None or not np.array_equal(rows, self._rows):
            self._copy(rows)
        data, indices = (part.copy for part in self._parts)
        return data, indices, self._starts

    def _copy(self, rows: IntArray) -> None:
        firsts, ends = self._problem.indptr[rows], self._problem.indptr[rows + 1]
        places = np.concatenate([[0], np.cumsum(ends - firsts)])
        for part in self._parts:
            part.reserve(int(places[-1]))
        spans = list(zip(firsts.tolist(), ends.tolist(), strict=True))
        for k, span in enumerate(spans):
            for part in self._parts:
                if k + 1 < len(spans):
                    part.will_need(*spans[k + 1])
                part.take(*span, int(places[k]))
        self._starts[rows] = self._problem.block_starts[rows] + (places[:-1] - firsts)[:, None]
        self._rows = np.array(rows)


class _Part:
    """An array of a problem, and copies of stretches of it.

    Where it is mapped from a file and the system is told what is needed next, it reads that meanwhile, and in large pieces.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.copy = np.empty(0, dtype=array.dtype)
        self._mapping = mapping_of(array)

    def reserve(self, n: int) -> None:
        """Room for so many entries; what was copied is gone."""
        if n > len(self.copy):
            self.copy = np.empty(n, dtype=self.copy.dtype)

    def take(self, first: int, end: int, place: int) -> None:
        """Copy entries ``first`` to ``end`` to a place."""
        self.copy[place : place + end - first] = self._array[first:end]

    def will_need(self, first: int, end: int) -> None:
        """Have entries ``first`` to ``end`` read."""
        if self._mapping is not None and end > first:
            begin = self._array.ctypes.data - np.frombuffer(self._mapping, dtype=np.uint8, count=1).ctypes.data
            size = self._array.itemsize
            start = (begin + first * size) // mmap.PAGESIZE * mmap.PAGESIZE
            self._mapping.madvise(mmap.MADV_WILLNEED, start, begin + end * size - start)
