"""Relabelled features against permuted square tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from lava_sc.core.correlation.relabel import relabelled


def square(row: np.ndarray, n_features: int) -> np.ndarray:
    table = np.zeros((n_features, n_features), dtype=row.dtype)
    table[np.triu_indices(n_features, 1)] = row
    return table + table.T


@pytest.mark.parametrize("n_new", [9, 12])
@pytest.mark.parametrize("n_dropped", [0, 3])
def test_pairs_follow_their_features(n_new: int, n_dropped: int) -> None:
    rng, n = np.random.default_rng(n_new), 9
    X = sparse.random(4, n * (n - 1) // 2, 0.5, "csr", rng=rng, dtype=np.float32)
    labels = rng.permutation(n_new)[:n]
    labels[rng.permutation(n)[:n_dropped]] = -1
    found = relabelled(X, labels, n_new)
    assert found.has_sorted_indices
    assert found.dtype == X.dtype
    there = labels >= 0
    for before, after in zip(X.toarray(), found.toarray(), strict=True):
        expected = np.zeros((n_new, n_new), dtype=np.float32)
        expected[np.ix_(labels[there], labels[there])] = square(before, n)[np.ix_(there, there)]
        np.testing.assert_array_equal(square(after, n_new), expected)


def test_the_matrix_is_left_alone() -> None:
    X = sparse.random(3, 45, 0.6, "csr", rng=np.random.default_rng(0), dtype=np.float32)
    before = X.copy()
    relabelled(X, np.random.default_rng(1).permutation(10), 10)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(X, part), getattr(before, part))


def test_features_without_any_pair() -> None:
    found = relabelled(sparse.csr_matrix((2, 10), dtype=np.float32), np.full(5, -1), 3)
    assert found.shape == (2, 3)
    assert found.nnz == 0
