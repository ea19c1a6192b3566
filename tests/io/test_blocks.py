from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lava_sc.io.blocks import InMemory, group_localities, rows_needed

if TYPE_CHECKING:
    from collections.abc import Callable


@st.composite
def localities(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    n_samples = draw(st.integers(1, 40))
    n = draw(st.integers(1, n_samples))
    members = [
        draw(st.permutations(range(n_samples)).map(lambda order: sorted(order[:n])))
        for _ in range(draw(st.integers(1, 8)))
    ]
    return np.array(members), n_samples


@given(localities(), st.integers(1, 45))
def test_groups_hold_every_locality_once_and_few_samples(drawn: tuple[np.ndarray, int], rows_at_once: int) -> None:
    members, n_samples = drawn
    groups = group_localities(members, n_samples, rows_at_once)
    assert sorted(np.concatenate(groups)) == list(range(len(members)))
    for group in groups:
        assert list(group) == sorted(group)
        assert len(group) == 1 or len(np.unique(members[group])) <= rows_at_once


def test_groups_are_neighbours() -> None:
    """Overlapping stretches of a line, in any order: as many groups as samples / rows_at_once, and little more."""
    starts = np.random.default_rng(0).permutation(np.arange(0, 9_900, 50))
    members = starts[:, None] + np.arange(100)
    groups = group_localities(members, 10_000, 1_000)
    assert all(np.ptp(starts[group]) <= 900 for group in groups)
    assert len(groups) <= 12


@given(localities())
def test_rows_needed(drawn: tuple[np.ndarray, int]) -> None:
    members, n_samples = drawn
    rows, positions = rows_needed(members, n_samples)
    np.testing.assert_array_equal(rows, np.unique(members))
    np.testing.assert_array_equal(rows[positions], members)


@given(localities(), st.integers(1, 45), st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_array]))
def test_blocks_of_what_is_in_memory_may_be_small(
    drawn: tuple[np.ndarray, int], n_rows: int, array_type: Callable
) -> None:
    members, n_samples = drawn
    values = np.arange(1, 3 * n_samples + 1, dtype=np.float32).reshape(-1, 3)
    X = array_type(values)
    size = X.nbytes if isinstance(X, np.ndarray) else sum(a.nbytes for a in (X.data, X.indices, X.tocsr().indptr))
    found = list(InMemory(X).blocks(members, size / n_samples * n_rows))
    assert sorted(np.concatenate([block.localities for block in found])) == list(range(len(members)))
    for block in found:
        np.testing.assert_array_equal(dense(block.X)[block.members], values[members[block.localities]])
        assert block.X.shape[0] <= max(n_rows, members.shape[1])


@pytest.mark.parametrize(
    "array_type", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
)
def test_in_memory(array_type: Callable) -> None:
    values = np.random.default_rng(0).poisson(0.5, (7, 5)).astype(np.float32)
    members = np.array([[0, 2, 6], [1, 2, 3]])
    chosen = np.array([True, False, False, True, True])
    source = InMemory(array_type(values))
    assert source.shape == (7, 5)
    assert source.features(chosen).shape == (7, 3)
    np.testing.assert_array_equal(dense(source.features(chosen).rows(2, 5)), values[2:5, chosen])
    np.testing.assert_array_equal(dense(source.head(3)), values[:3])
    assert source.pieces() == [(0, 7)]
    assert source.rows(0, 7) is source.X
    (block,) = source.blocks(members)
    np.testing.assert_array_equal(block.localities, [0, 1])
    np.testing.assert_array_equal(dense(block.X)[block.members], values[members])
    assert isinstance(block.X, np.ndarray) or block.X.format == "csr"


def dense(X: object) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.toarray()
