"""Rows that are copied before work begins on them: the same numbers to the bit, and every entry read once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import sparse

from lava_sc.core.factorise.amf.fit import FitOptions, fit
from lava_sc.core.factorise.amf.loss import quality
from lava_sc.core.factorise.amf.run import one_run
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import make_problem

if TYPE_CHECKING:
    from lava_sc.core.factorise.problem import Problem


class Counted:
    """An array that counts what is taken from it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.dtype, self.taken = array, array.dtype, np.zeros(len(array), dtype=int)

    def __getitem__(self, some: slice) -> np.ndarray:
        self.taken[some] += 1
        return self.array[some]


def a_target() -> Problem:
    """Twenty localities over 2,500 pairs, hence three blocks; one without any correlation."""
    rng = np.random.default_rng(0)
    C = rng.uniform(-1, 1, (20, 2500)) * (rng.random((20, 2500)) < 0.3)
    C[4] = 0
    C[0, ~C.any(axis=0)] = 0.5
    return make_problem(sparse.csr_matrix(C.astype(np.float32)))


def counted(problem: Problem) -> tuple[Problem, Counted, Counted]:
    data, indices = Counted(problem.data), Counted(problem.indices)
    streamed: Any = replace(problem, data=data, indices=indices, streamed=True)
    return streamed, data, indices


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_fit_is_the_same_and_reads_each_entry_once_an_epoch(n_threads: int) -> None:
    problem = a_target()
    rng = np.random.default_rng(1)
    start = rng.random((20, 3), dtype=np.float32), rng.random((3, problem.n_columns), dtype=np.float32)
    options = FitOptions(batch_size=6, max_epochs=4, patience=5, learning_rate=1e-2)
    streamed, data, indices = counted(problem)
    found, expected = (
        fit(cpu_engines(one, n_threads), one, *start, options, np.random.default_rng(2)) for one in (streamed, problem)
    )
    np.testing.assert_array_equal(found.losses, expected.losses)
    np.testing.assert_array_equal(found.P, expected.P)
    np.testing.assert_array_equal(found.M, expected.M)
    for one in (data, indices):
        np.testing.assert_array_equal(one.taken, 4)


def test_quality_is_the_same_and_reads_each_entry_once() -> None:
    problem = a_target()
    rng = np.random.default_rng(1)
    P, M = rng.random((20, 3), dtype=np.float32), rng.random((3, problem.n_columns), dtype=np.float32)
    streamed, data, indices = counted(problem)
    assert quality(streamed, P, M, nu=3.0, gamma=0.1) == quality(problem, P, M, nu=3.0, gamma=0.1)
    for one in (data, indices):
        np.testing.assert_array_equal(one.taken, 1)


def test_a_run_is_the_same() -> None:
    problem, options = a_target(), FitOptions(max_epochs=40, batch_size=7)
    found, expected = (
        one_run(cpu_engines(one), one, 3, options, init="nmf", seed=3)
        for one in (replace(problem, streamed=True), problem)
    )
    np.testing.assert_array_equal(found.P, expected.P)
    np.testing.assert_array_equal(found.M, expected.M)
    assert found.quality == expected.quality
