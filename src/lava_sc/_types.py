"""Aliases that say what kind of array or seed a function takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]

SparseMatrix: TypeAlias = sparse.csr_matrix | sparse.csc_matrix | sparse.csr_array | sparse.csc_array
DataMatrix: TypeAlias = NDArray[Any] | SparseMatrix

SeedLike: TypeAlias = int | np.random.Generator | Sequence[int] | np.random.SeedSequence | None

#: Name → genes, a long table of them, or the path of a GMT file.
GeneSets: TypeAlias = Mapping[str, Iterable[str]] | pd.DataFrame | str | PathLike[str]
