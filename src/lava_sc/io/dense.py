"""Matrices of any kind in memory, made dense."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray


@singledispatch
def dense(X: Any) -> NDArray[Any]:
    """A dense array of the same values, not a copy where it is one."""
    return np.asarray(X)


@dense.register(sparse.sparray)
@dense.register(sparse.spmatrix)
def _(X: Any) -> NDArray[Any]:
    return np.asarray(X.toarray())
