"""Presences of given modules: known ones are found again, and no point of a fine grid has a lower loss."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from tests.reference.amf_numpy import batch_loss

from lava_sc.core.factorise.amf.presences import project_presences, sample_pairs, with_pairs_of
from lava_sc.core.factorise.problem import make_problem, widen

NU, GAMMA = 9.0, 1e-4
HOW: dict[str, Any] = {"nu": NU, "gamma": GAMMA}


def modules_of(rng: np.random.Generator, n_modules: int, n_pairs: int) -> sparse.csr_matrix:
    M = rng.uniform(0.2, 1, (n_modules, n_pairs)) * (rng.random((n_modules, n_pairs)) < 0.4)
    return sparse.csr_matrix(M / M.max(axis=1, keepdims=True), dtype=np.float32)


def fitted(C: Any, modules: sparse.csr_matrix, **how: Any) -> np.ndarray:
    problem, M = with_pairs_of(sparse.csr_matrix(C, dtype=np.float32), modules)
    return project_presences(problem, M, rng=np.random.default_rng(0), **(HOW | how))


def test_targets_hold_the_pairs_of_the_modules_too() -> None:
    rng = np.random.default_rng(0)
    C = sparse.csr_matrix(rng.uniform(-1, 1, (5, 40)) * (rng.random((5, 40)) < 0.2), dtype=np.float32)
    modules = modules_of(rng, 2, 40)
    problem, M = with_pairs_of(C, modules)
    np.testing.assert_array_equal(problem.columns, np.union1d(C.indices, modules.indices))
    assert len(problem.columns) > len(np.unique(C.indices))
    np.testing.assert_array_equal(M, modules.toarray()[:, problem.columns])
    np.testing.assert_array_equal(problem.absolute().toarray(), np.abs(C.toarray())[:, problem.columns])
    np.testing.assert_array_equal(problem.locality_weights, make_problem(C).locality_weights)


def test_widening_by_nothing_changes_nothing() -> None:
    problem = make_problem(sparse.random(4, 3000, 0.3, "csr", rng=np.random.default_rng(0), dtype=np.float32))
    wide = widen(problem, problem.columns)
    np.testing.assert_array_equal(wide.indices, problem.indices)
    np.testing.assert_array_equal(wide.block_starts, problem.block_starts)


@pytest.mark.parametrize("n_modules", [1, 3])
def test_known_presences_are_found_again(n_modules: int) -> None:
    """To the last step of the search, 0.1 %, and some more where several modules have to move together."""
    rng = np.random.default_rng(n_modules)
    modules = modules_of(rng, n_modules, 300)
    P = rng.uniform(0.1, 1, (12, n_modules)) * (rng.random((12, n_modules)) < 0.7)
    C = (P[:, :, None] * modules.toarray()).max(axis=1)
    np.testing.assert_allclose(fitted(C, modules), P, atol=0.01)


@pytest.mark.parametrize("gamma", [1e-4, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_point_of_a_fine_grid_is_lower(seed: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    C, modules = rng.uniform(0, 1, (4, 60)) * (rng.random((4, 60)) < 0.5), modules_of(rng, 2, 60)
    found = fitted(C, modules, gamma=gamma).astype(np.float64)
    C, M = C.astype(np.float32).astype(np.float64), modules.toarray().astype(np.float64)

    def loss(P: np.ndarray, i: int) -> float:
        return batch_loss(C, P, M, np.array([i]), nu=NU, gamma=gamma)

    grid = np.linspace(0, 1, 26)
    for i in range(4):
        others = [loss(np.tile(point, (4, 1)), i) for point in product(grid, grid)]
        assert loss(found, i) <= min(others) + 2e-3


def test_localities_without_correlations_have_no_modules() -> None:
    rng = np.random.default_rng(0)
    modules = modules_of(rng, 2, 50)
    C = np.vstack([0.7 * modules.toarray(), np.zeros((2, 50))])
    found = fitted(C, modules)
    assert not found[2:].any()
    assert np.array_equal(found[:2] > 0.5, np.eye(2, dtype=bool))


def test_a_module_that_is_nowhere() -> None:
    """Its pairs correlate with nothing, so that it could only overestimate."""
    modules = sparse.csr_matrix(np.array([[1.0, 0.8, 0, 0, 0], [0, 0, 1.0, 0.9, 0.7]]), dtype=np.float32)
    found = fitted([[0.5, 0.4, 0, 0, 0], [0.9, 0.7, 0, 0, 0]], modules)
    np.testing.assert_array_equal(found[:, 1], 0)
    np.testing.assert_allclose(found[:, 0], [0.5, 0.9], rtol=0.02)


def test_a_part_of_a_large_module_and_a_small_one() -> None:
    """Of a module of 100 pairs, 40 are there, 10 of which make up another: with ν = 9 only that is present."""
    modules = np.zeros((2, 100))
    modules[0], modules[1, :10] = 0.8, 0.8
    modules[:, 0] = 1
    C = np.where(np.arange(100) < 40, np.where(np.arange(100) < 10, 0.8, 0.4), 0)
    strict, lenient = (fitted(C[None], sparse.csr_matrix(modules, dtype=np.float32), nu=nu)[0] for nu in (9, 2))
    assert strict[0] < 0.01 < strict[1]
    assert lenient[0] > 0.05


def test_samples_of_the_pairs_and_threads() -> None:
    """A quarter of the pairs, among them those of modules that nothing correlates with, gives nearly the same presences."""
    rng = np.random.default_rng(0)
    modules = modules_of(rng, 3, 4000)
    P = rng.uniform(0.2, 1, (10, 3)) * (rng.random((10, 3)) < 0.6)
    C = (P[:, :, None] * modules.toarray()).max(axis=1) * (rng.random((10, 4000)) < 0.9)
    whole, part = fitted(C, modules), fitted(C, modules, most_pairs=1000)
    assert np.abs(whole - part).mean() < 0.05
    np.testing.assert_array_equal(fitted(C, modules, most_pairs=1000, n_jobs=2), part)
    problem, M = with_pairs_of(sparse.csr_matrix(C[:, :2000], dtype=np.float32, shape=(10, 2000)), modules[:, :2000])
    drawn, scales = sample_pairs(problem, 400, rng, M)
    assert len(drawn) == 400
    assert (scales >= 1).all()


def test_sums_of_modules_are_estimated_without_bias() -> None:
    rng = np.random.default_rng(0)
    C = sparse.random(3, 600, 0.1, "csr", rng=rng, dtype=np.float32)
    problem, M = with_pairs_of(C, modules_of(rng, 2, 600))
    draws = [sample_pairs(problem, 100, rng, M) for _ in range(600)]
    estimates = np.array([(M[:, pairs].astype(float) ** 2 * scales**2).sum(axis=1) for pairs, scales in draws])
    error = estimates.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(estimates.mean(axis=0) - (M.astype(float) ** 2).sum(axis=1)) < 4 * error).all()
