"""Modules in other localities: figures by their formulas, p-values level where a module's features are any."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from lava_sc.core.correlation.pairs import n_pairs, pair_index
from lava_sc.core.correlation.relabel import relabelled
from lava_sc.core.interpret.preservation import (
    explained_by_exchanged,
    likeness,
    pattern_cosines,
    project,
    strongest_pairs,
)
from lava_sc.core.nulls.exchanged_genes import DetectionStats, permutation_test

N_FEATURES, N_LOCALITIES = 40, 12
HOW = {"nu": 9.0, "gamma": 1e-4}


def module_on(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    row = np.zeros(n_pairs(N_FEATURES))
    a, b = (np.sort(features)[index] for index in np.triu_indices(len(features), 1))
    row[pair_index(a, b, N_FEATURES)] = rng.uniform(0.4, 1, len(a))
    return row


def some_localities(rng: np.random.Generator, modules: np.ndarray) -> sparse.csr_matrix:
    """Each locality has one of the modules, with signs, and some noise."""
    own = modules[np.arange(N_LOCALITIES) % len(modules)] * rng.uniform(0.3, 0.8, (N_LOCALITIES, 1))
    noise = rng.uniform(0.2, 0.4, own.shape) * (rng.random(own.shape) < 0.02)
    return sparse.csr_matrix(np.maximum(own, noise) * rng.choice([-1, 1], own.shape), dtype=np.float32)


def everything_defined() -> tuple[np.ndarray, DetectionStats]:
    same = np.ones((N_LOCALITIES, N_FEATURES))
    return same.astype(bool), DetectionStats(same, same)


def exchanges(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.array([np.arange(N_FEATURES), *(rng.permutation(N_FEATURES) for _ in range(n))])


def test_cosines_by_the_formula() -> None:
    rng = np.random.default_rng(0)
    modules = np.array([module_on(rng.permutation(N_FEATURES)[:7], rng) for _ in range(3)] + [np.zeros(780)])
    C, M = some_localities(rng, modules[:2]), sparse.csr_matrix(modules, dtype=np.float32)
    C = sparse.vstack([C, sparse.csr_matrix((1, 780), dtype=np.float32)], format="csr")
    dense, M64 = np.abs(C.toarray()).astype(float), M.toarray().astype(float)
    unit = dense / np.where(dense.any(axis=1), np.linalg.norm(dense, axis=1), 1)[:, None]
    expected = []
    for module in M64[:3]:
        alike = unit @ module / np.linalg.norm(module)
        mean = (alike[:, None] * unit).sum(axis=0)
        expected.append(mean @ module / np.linalg.norm(mean) / np.linalg.norm(module))
    np.testing.assert_allclose(pattern_cosines(C, M)[:3], expected, rtol=1e-6)
    assert pattern_cosines(C, M)[3] == 0
    same = np.ones((len(dense), N_FEATURES))
    labels = exchanges(rng, 4)
    found = likeness(C, same.astype(bool), DetectionStats(same, same), M, labels, n_jobs=1)
    np.testing.assert_allclose(found.pattern[0, :3], expected, rtol=1e-5)
    for n, new in enumerate(labels):
        np.testing.assert_allclose(
            found.pattern[n], pattern_cosines(C, relabelled(M, new, N_FEATURES)), rtol=1e-5, atol=1e-7
        )
    np.testing.assert_allclose(found.totals, found.excess.sum(axis=1))


def test_modules_that_are_there_and_that_are_not() -> None:
    rng = np.random.default_rng(1)
    parts = np.array_split(rng.permutation(N_FEATURES), 4)
    modules = np.array([module_on(part, rng) for part in parts])
    C, M = some_localities(rng, modules[:2]), sparse.csr_matrix(modules, dtype=np.float32)
    found = likeness(C, *everything_defined(), M, exchanges(rng, 199), n_jobs=2)
    _, pvalues = permutation_test(found.totals)
    assert (pvalues[:2] == 1 / 200).all()
    assert (pvalues[2:] > 0.3).all()
    projected = project(C, M, seed=0, **HOW)
    assert (projected.presences[::2, 0] > 0.2).all()
    assert (projected.presences[1::2, 1] > 0.2).all()
    assert (projected.explained[:2] > 0.2).all()
    assert (projected.explained[2:] < 0.05).all()
    null = explained_by_exchanged(C, M, exchanges(rng, 3)[1:], seed=0, n_jobs=1, **HOW)
    assert null.shape == (3, 4)
    assert (null.mean(axis=0)[:2] < projected.explained[:2] / 2).all()


def test_p_values_of_a_module_on_any_features_are_level() -> None:
    """Each of 150 localities' structures is another; the module lies on features that are drawn at random."""
    rng, found = np.random.default_rng(0), []
    for _ in range(150):
        there = np.array([module_on(part, rng) for part in np.array_split(rng.permutation(N_FEATURES), 5)[:3]])
        module = sparse.csr_matrix(module_on(rng.permutation(N_FEATURES)[:8], rng)[None], dtype=np.float32)
        C = some_localities(rng, there)
        alike = likeness(C, *everything_defined(), module, exchanges(rng, 39), n_jobs=1)
        found.append(permutation_test(alike.totals)[1][0])
    assert stats.kstest(np.array(found) - rng.uniform(0, 1 / 40, 150), "uniform").pvalue > 1e-3
    assert np.mean(np.array(found) <= 0.05) < 0.12


@pytest.mark.parametrize("n_most", [1, 3, 100])
def test_strongest_pairs(n_most: int) -> None:
    M = sparse.csr_matrix(np.array([[0, 0.3, 0.9, 0.3, 0.5], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0.2]]), dtype=np.float32)
    found = strongest_pairs(M, n_most).toarray()
    for row, kept in zip(M.toarray(), found, strict=True):
        order = np.argsort(-row, kind="stable")[:n_most]
        expected = np.zeros_like(row)
        expected[order] = row[order]
        np.testing.assert_array_equal(kept, expected)
