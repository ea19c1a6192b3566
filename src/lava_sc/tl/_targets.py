"""Stored correlations as what is factorised."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lava_sc._slots import load, stored_at
from lava_sc._store import open_store, scratch_in
from lava_sc.core._tasks import folder_of_worker
from lava_sc.core.amf.target import make_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from lava_sc.core.amf.target import Target


def target_of(adata: AnnData, key: str, *, min_localities: int = 1) -> Target:
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
        return make_target(C, min_localities=min_localities)
    target = make_target(C, min_localities=min_localities, empty=scratch_in(Path(reference["store"])))
    return replace(target, origin=_Origin(reference, min_localities))


@dataclass(frozen=True)
class _Origin:
    """Lays the same store out in another process; see :data:`lava_sc.core._copies.Origin`."""

    reference: Mapping[str, str]
    min_localities: int

    def __call__(self) -> Target:
        """Beside its tasks, not beside the store, which may be far from there."""
        scratch = scratch_in(Path(folder_of_worker() or tempfile.gettempdir()))
        return make_target(open_store(self.reference), min_localities=self.min_localities, empty=scratch)
