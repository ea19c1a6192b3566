"""Stored correlations as what is factorised."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from lava_sc.core.factorise.problem import make_problem
from lava_sc.io.correlation_store import open_store, scratch_in
from lava_sc.parallel.mapped import drop_pages_above
from lava_sc.parallel.memory import memory_available
from lava_sc.parallel.workers import folder_of_worker, memory_limit_of_worker
from lava_sc.stored.fields import load, stored_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from anndata import AnnData
    from numpy.typing import DTypeLike, NDArray
    from scipy import sparse

    from lava_sc.core.factorise.problem import Problem

#: Of what is available, that a store may take without being streamed; the rest is for the runs. Files that do not fit are read
#: over and over where they are not streamed; copies of files that do fit cost time for nothing.
_MOST_MAPPED: Final = 0.7
#: Of the limit of a worker, above which it lets go of what it has read of files; it puts results on disk at 0.6 and more.
_SHARE_OF_LIMIT: Final = 0.5


def problem_of(adata: AnnData, key: str, *, min_localities: int = 1) -> Problem:
    """The correlations that :func:`lava_sc.tl.locality_corr` stored, in memory or where its ``store`` is.

    Of a store nothing that is as large as C comes into memory, and workers may read it themselves.

    Raises
    ------
    ValueError
        If there are none.
    OSError
        If they are in a store that is gone, damaged or replaced by another one.
    """
    C = load(adata, key, "C")
    reference = stored_at(adata, key, "C")
    if reference is None:
        return make_problem(C, min_localities=min_localities)
    problem = _laid_out(C, min_localities, Path(reference["store"]))
    return replace(problem, origin=_Origin(reference, min_localities))


@dataclass(frozen=True)
class _Origin:
    """Lays the same store out in another process; see :data:`lava_sc.parallel.copies.Origin`."""

    reference: Mapping[str, str]
    min_localities: int

    def __call__(self) -> Problem:
        """Beside its tasks, not beside the store, which may be far from there."""
        scratch = Path(folder_of_worker() or tempfile.gettempdir())
        most = _SHARE_OF_LIMIT * memory_limit_of_worker()
        return _laid_out(open_store(self.reference), self.min_localities, scratch, most)


def _laid_out(C: sparse.csr_matrix, min_localities: int, scratch: Path, most: float = inf) -> Problem:
    """Lay C out for AMF; pages of files are dropped above ``most`` bytes that the process holds."""
    make = scratch_in(scratch)

    def empty(n: int, dtype: DTypeLike) -> NDArray[Any]:
        array = make(n, dtype)
        drop_pages_above(array, most)
        return array

    for array in (C.data, C.indices):
        drop_pages_above(array, most)
    problem = make_problem(C, min_localities=min_localities, empty=empty)
    mapped = problem.data.nbytes + problem.indices.nbytes
    return replace(problem, streamed=mapped > _MOST_MAPPED * memory_available())
