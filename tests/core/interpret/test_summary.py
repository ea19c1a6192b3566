"""Presences of cells and weights of genes against plain loops, entropies against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from lava_sc.core.interpret.summary import co_presences, entropy, gene_weights, module_entropies, presences_of_cells


@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_presences_of_cells(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    members = rng.random((15, 6)) < density
    presences = rng.random((6, 3)).astype(np.float32)
    found = presences_of_cells(sparse.csr_matrix(members), presences)
    expected = np.full((15, 3), np.nan)
    for cell in range(15):
        own = [presences[i].astype(np.float64) for i in range(6) if members[cell, i]]
        if own:
            expected[cell] = sum(own) / len(own)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_many_localities_do_not_overflow_bool() -> None:
    found = presences_of_cells(
        sparse.csr_matrix(np.ones((2, 700), dtype=bool)), np.full((700, 1), 0.25, dtype=np.float32)
    )
    np.testing.assert_allclose(found, 0.25)


@pytest.mark.parametrize("n_features", [2, 3, 12])
def test_gene_weights(n_features: int) -> None:
    rng = np.random.default_rng(n_features)
    pairs = list(zip(*np.triu_indices(n_features, 1), strict=True))
    modules = rng.random((4, len(pairs))) * (rng.random((4, len(pairs))) < 0.5)
    modules[1] = 0
    expected = np.zeros((n_features, 4))
    for m in range(4):
        for column, (a, b) in enumerate(pairs):
            expected[a, m] += modules[m, column]
            expected[b, m] += modules[m, column]
    found = gene_weights(sparse.csr_matrix(modules), n_features)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.sum() == pytest.approx(2 * modules.sum())
    single = gene_weights(sparse.csr_matrix(modules.astype(np.float32)), n_features)
    np.testing.assert_allclose(single, expected, rtol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-6, 1e6))
@settings(max_examples=40, deadline=None)
def test_entropy(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((5, 3, 7)) * (rng.random((5, 3, 7)) < 0.6)
    values[..., 0] += 0.1
    np.testing.assert_allclose(entropy(scale * values), stats.entropy(values, base=2, axis=-1), atol=1e-12)
    single = (scale * values).astype(np.float32)
    np.testing.assert_allclose(entropy(single), stats.entropy(values, base=2, axis=-1), atol=1e-6)


def test_entropy_of_one_of_all_and_of_nothing() -> None:
    found = entropy(np.array([[0, 3, 0, 0], [2, 2, 2, 2], [0, 0, 0, 0]]))
    np.testing.assert_allclose(found, [0, 2, np.nan], atol=1e-15)
    assert not np.signbit(found[0])


def test_co_presences_only_where_there_is_enough() -> None:
    P = np.array([[0.25, 0.25], [0.25, 0.125], [0, 0], [0.5, 0]], dtype=np.float32)
    np.testing.assert_allclose(co_presences(P, min_presence_sum=0.5), [1, np.nan, np.nan, 0])
    np.testing.assert_allclose(
        co_presences(P, min_presence_sum=0), [1, stats.entropy([2, 1], base=2), np.nan, 0], atol=1e-12
    )


def test_entropies_of_modules_sparse_and_dense() -> None:
    rng = np.random.default_rng(0)
    modules = (rng.random((4, 50)) * (rng.random((4, 50)) < 0.5)).astype(np.float32)
    expected = stats.entropy(modules.astype(np.float64), base=2, axis=1)
    modules = np.vstack([modules, np.zeros((1, 50), dtype=np.float32)])
    for form in (modules, sparse.csr_matrix(modules)):
        np.testing.assert_allclose(module_entropies(form), [*expected, np.nan], rtol=1e-9)
