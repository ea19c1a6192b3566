"""Problems for the engines of an accelerator, and steps of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from lava_sc.core.factorise.amf.loss import batch_loss
from lava_sc.core.factorise.problem import make_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lava_sc.core.factorise.problem import Problem

    Floats = NDArray[Any]
    Ints = NDArray[np.intp]
    Factory = Callable[..., Callable[[Floats, Floats], Any]]


class Example(NamedTuple):
    """A problem that has all its columns, a start, and the rows of a batch."""

    problem: Problem
    P: Floats
    M: Floats
    rows: Ints

    @property
    def dense(self) -> Floats:
        return np.asarray(self.problem.absolute().toarray(), dtype=np.float64)

    @property
    def doubles(self) -> tuple[Floats, Floats, Floats]:
        return self.dense, self.P.astype(np.float64), self.M.astype(np.float64)


def example(
    n_localities: int = 9, n_pairs: int = 70, n_modules: int = 4, *, density: float = 0.6, edges: bool = True
) -> Example:
    """With an all-zero row, and as ``edges`` one reconstructed as zero, presences of 0 and 1, and modules that tie."""
    rng = np.random.default_rng(n_pairs)
    C = rng.uniform(-1, 1, (n_localities, n_pairs)) * (rng.random((n_localities, n_pairs)) < density)
    C[2] = 0
    C[1, ~C.any(axis=0)] = 0.5
    P = rng.random((n_localities, n_modules), dtype=np.float32)
    M = rng.random((n_modules, n_pairs), dtype=np.float32)
    if edges:
        P[0], P[1], P[3] = np.arange(n_modules) == 0, 1, 0
        P[4, 0] = 0
        P[5, -1], M[-1, : n_pairs // 2] = P[5, 0], M[0, : n_pairs // 2]
    problem = make_problem(sparse.csr_matrix(C.astype(np.float32)))
    assert problem.n_columns == n_pairs
    return Example(problem, P, M, rng.permutation(n_localities)[: max(n_localities - 2, 1)])


def step(engine: Any, case: Example, rows: Ints, *, nu: float, gamma: float, rate: float = 1e-2) -> None:
    sums = engine.row_sums(rows, nu)
    found = batch_loss(sums, case.problem.locality_weights[rows], n_pairs=case.problem.n_pairs, gamma=gamma)
    engine.descend(rows, found.slopes, nu=nu, mae_slope=gamma / case.problem.n_pairs, learning_rate=rate)


def state(engine: Any) -> tuple[Floats, Floats]:
    engine.keep()
    return engine.kept()
