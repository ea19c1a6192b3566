"""Kinds of matrices are a registry: a toy one is read by every step once it is registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lava_sc.core.correlation.locality import CorrelationOptions, locality_correlations
from lava_sc.io.sources import open_source, open_storage


@dataclass(frozen=True)
class Columns:
    """A matrix that is kept as a list of columns."""

    parts: list[np.ndarray]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.parts[0]), len(self.parts)


@dataclass(frozen=True)
class ColumnStorage:
    X: Columns
    where: str

    @property
    def shape(self) -> tuple[int, int]:
        return self.X.shape

    def read(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.column_stack([self.X.parts[j][rows] for j in columns])

    def bytes_per_row(self, columns: np.ndarray) -> float:
        return 8.0 * len(columns)


def test_a_kind_that_is_registered_is_read_like_any_other() -> None:
    rng = np.random.default_rng(0)
    X, columns = rng.random((50, 6)), np.array([4, 0, 1, 5])
    toy: Any = Columns(list(X.T))
    with pytest.raises(ValueError, match=r"Found Columns in adata\.X"):
        open_source(toy, columns, "adata.X", None)
    open_storage.register(Columns)(ColumnStorage)
    source = open_source(toy, columns, "adata.X", 4 * 8 * 20)  # 20 rows at once
    members = np.sort(np.array([rng.choice(50, 15, replace=False) for _ in range(4)]))
    found = locality_correlations(source, members, CorrelationOptions(), n_jobs=1)
    in_memory = open_source(X, columns, "adata.X", None)
    expected = locality_correlations(in_memory, members, CorrelationOptions(), n_jobs=1)
    np.testing.assert_array_equal(found.C.toarray(), expected.C.toarray())
