"""Presences of cells and weights of genes against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from lava_sc.core.summary import gene_weights, presences_of_cells


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
