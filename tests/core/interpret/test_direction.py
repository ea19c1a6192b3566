"""Sums of signed correlations and shares of positive ones, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from lava_sc.core.interpret.direction import positive_shares, sums_where_present


def problem(seed: int, density: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """C, modules and presences of 7 localities, 6 features and 3 modules."""
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(6) for b in range(a + 1, 6)]
    C = rng.uniform(-1, 1, (7, 15)) * (rng.random((7, 15)) < density)
    modules = rng.random((3, 15)) * (rng.random((3, 15)) < density)
    presences = np.where(rng.random((7, 3)) < 0.5, rng.uniform(0.011, 1, (7, 3)), rng.choice([0.0, 0.01], (7, 3)))
    return C, modules, presences, pairs


def shares_by_loop(
    C: np.ndarray, modules: np.ndarray, presences: np.ndarray, pairs: list[tuple[int, int]]
) -> np.ndarray:
    found = np.full((6, len(modules)), np.nan)
    for m in range(len(modules)):
        for gene in range(6):
            positive = total = 0.0
            for i in range(len(C)):
                for j, pair in enumerate(pairs):
                    if gene in pair and presences[i, m] > 0.01:
                        total += abs(C[i, j]) * modules[m, j]
                        positive += max(C[i, j], 0.0) * modules[m, j]
            if total > 0:
                found[gene, m] = positive / total
    return found


@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_positive_shares(seed: int, density: float) -> None:
    C, modules, presences, pairs = problem(seed, density)
    found = positive_shares(sparse.csr_matrix(C), sparse.csr_matrix(modules), presences, 6)
    np.testing.assert_allclose(found, shares_by_loop(C, modules, presences, pairs), rtol=1e-9, atol=1e-12)


def test_one_sign_gives_exactly_0_or_1() -> None:
    C, modules, presences, _ = problem(1, 0.9)
    values = np.abs(C).astype(np.float32)
    for sign, expected in ((1, 1.0), (-1, 0.0)):
        found = positive_shares(sparse.csr_matrix(sign * values), sparse.csr_matrix(modules), presences, 6)
        assert np.unique(found[~np.isnan(found)]).tolist() == [expected]


def test_stored_zeros_of_modules_do_not_count() -> None:
    C, modules, presences, pairs = problem(2, 0.8)
    stored = sparse.csr_matrix(modules)
    stored.data[::2] = 0
    found = positive_shares(sparse.csr_matrix(C), stored, presences, 6)
    np.testing.assert_allclose(found, shares_by_loop(C, stored.toarray(), presences, pairs), rtol=1e-9)


@pytest.mark.parametrize("block", [1, 10, 33, 10**6])
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
def test_sums_of_some_pairs_whatever_the_blocks(block: int, kind: type) -> None:
    C, _, presences, _ = problem(3, 0.7)
    C[2] = 0  # a locality without any correlation
    columns = np.array([0, 3, 4, 11, 14])
    signed, absolute = sums_where_present(kind(C), presences, columns, block=block)
    present = (presences > 0.01).astype(float)
    np.testing.assert_allclose(signed, C[:, columns].T @ present, atol=1e-12)
    np.testing.assert_allclose(absolute, np.abs(C[:, columns]).T @ present, atol=1e-12)


def test_no_pairs_and_no_localities() -> None:
    C, _, presences, _ = problem(4, 0.5)
    nothing = np.array([], dtype=np.int64)
    assert sums_where_present(sparse.csr_matrix(C), presences, nothing)[0].shape == (0, 3)
    signed, absolute = sums_where_present(sparse.csr_matrix(C[:0]), presences[:0], np.arange(15))
    assert not signed.any()
    assert not absolute.any()


def test_other_pairs_than_those_of_the_features_are_refused() -> None:
    C, modules, presences, _ = problem(5, 0.5)
    with pytest.raises(RuntimeError, match="15 pairs are not those of 7 features"):
        positive_shares(sparse.csr_matrix(C), sparse.csr_matrix(modules), presences, 7)
