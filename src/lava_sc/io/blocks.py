"""Protocol of the sources of localities' values: a matrix in memory, or one that is read piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lava_sc._types import BoolArray, DataMatrix, IntArray


@dataclass(frozen=True)
class Block:
    """Localities that are worked on together, and the samples they need, in memory.

    Attributes
    ----------
    localities
        (k,) indices of the localities.
    X
        (r, D) CSR matrix or dense array, finite; not to be changed.
    members
        (k, n) rows of ``X``, in the order of the localities' samples.
    """

    localities: IntArray
    X: DataMatrix
    members: IntArray


class Source(Protocol):
    """Samples × features that localities are taken from, wherever they are kept."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and of features, (E, D)."""

    def head(self, n_rows: int) -> DataMatrix:
        """The first rows."""

    def rows(self, start: int, stop: int) -> DataMatrix:
        """Rows from ``start`` up to ``stop``."""

    def pieces(self) -> list[tuple[int, int]]:
        """Starts and stops of pieces of rows that fit into memory."""

    def features(self, chosen: BoolArray) -> Source:
        """Select features of the same samples."""

    def blocks(self, members: IntArray, most: float = np.inf) -> Iterator[Block]:
        """Every locality of (ℓ, n) sample indices in exactly one block, whose values take about so many bytes at most."""


@dataclass(frozen=True)
class InMemory:
    """A CSR matrix, a CSC matrix or a dense array: all localities are one block, whose rows are not copied, if it may be so large."""

    X: DataMatrix

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and of features, (E, D)."""
        return self.X.shape[0], self.X.shape[1]

    def head(self, n_rows: int) -> DataMatrix:
        """The first rows."""
        return self.X[:n_rows]

    def rows(self, start: int, stop: int) -> DataMatrix:
        """Rows from ``start`` up to ``stop``."""
        return self.X if (start, stop) == (0, self.shape[0]) else self.X[start:stop]

    def pieces(self) -> list[tuple[int, int]]:
        """All rows in one piece."""
        return [(0, self.shape[0])]

    def features(self, chosen: BoolArray) -> InMemory:
        """Select features of the same samples."""
        return InMemory(self.X[:, np.flatnonzero(chosen)])

    def blocks(self, members: IntArray, most: float = np.inf) -> Iterator[Block]:
        """One block with all localities, or localities that share samples together, as many as may be."""
        X = self.X if isinstance(self.X, np.ndarray) else self.X.tocsr()
        size, n_samples = n_bytes(X), self.shape[0]
        if size <= most:
            yield Block(np.arange(len(members)), X, members)
            return
        for group in group_localities(members, n_samples, max(int(most / size * n_samples), 1)):
            rows, positions = rows_needed(members[group], n_samples)
            yield Block(group, X[rows], positions)


def n_bytes(X: DataMatrix) -> int:
    """Bytes of a matrix."""
    return int(X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes + X.indices.nbytes + X.indptr.nbytes)


def rows_needed(members: IntArray, n_samples: int) -> tuple[IntArray, IntArray]:
    """Samples that are in any of some localities, ascending, and the localities as positions among these."""
    needed = np.zeros(n_samples, dtype=bool)
    needed[members] = True
    return np.flatnonzero(needed), (np.cumsum(needed) - 1)[members]


def group_localities(members: IntArray, n_samples: int, rows_at_once: int) -> list[IntArray]:
    """Share localities out to groups that need few samples each.

    Parameters
    ----------
    members
        (ℓ, n) sample indices of the localities.
    n_samples
        Number of samples, E.
    rows_at_once
        Largest number of different samples in a group. A group has at least one locality, even if that is larger.

    Returns
    -------
    Indices of the localities of each group, ascending. Localities that share samples are neighbours in the order of the
    reverse Cuthill–McKee algorithm on the graph of shared samples, and each group is a stretch of that order.
    """
    if len(rows_needed(members, n_samples)[0]) <= rows_at_once:
        return [np.arange(len(members))]
    in_group = np.zeros(n_samples, dtype=np.int64)  # number of the last group that needs the sample
    groups: list[list[int]] = [[]]
    n_rows = 0
    for locality in _neighbors_first(members, n_samples):
        n_new = int(np.count_nonzero(in_group[members[locality]] != len(groups)))
        if groups[-1] and n_rows + n_new > rows_at_once:
            groups.append([])
            n_rows, n_new = 0, members.shape[1]
        groups[-1].append(locality)
        in_group[members[locality]] = len(groups)
        n_rows += n_new
    return [np.sort(group) for group in groups]


def _neighbors_first(members: IntArray, n_samples: int) -> IntArray:
    """Localities in an order in which those that share samples come soon after one another."""
    starts = np.arange(0, members.size + 1, members.shape[1])
    ones = np.ones(members.size, dtype=np.int32)
    membership = sparse.csr_matrix((ones, members.ravel(), starts), shape=(len(members), n_samples))
    order: IntArray = reverse_cuthill_mckee(sparse.csr_matrix(membership @ membership.T), symmetric_mode=True)
    return order
