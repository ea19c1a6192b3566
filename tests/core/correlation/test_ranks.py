"""Ranks and the tie rule against scipy.stats.rankdata and counting."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats
from tests.reference.correlation import is_defined

from lava_sc.core.correlation.ranks import columns_of_rows, defined_features, rank_columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Data = NDArray[np.number]

FORMATS = {
    "dense": np.array,
    "fortran": np.asfortranarray,
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
}


@pytest.fixture(params=FORMATS)
def to_format(request: pytest.FixtureRequest) -> Callable[[Data], object]:
    return FORMATS[request.param]


def assert_ranks(X: Data, given_X: object, rows: NDArray[np.intp], max_tie_fraction: float = 0.75) -> None:
    defined = [f for f in range(X.shape[1]) if is_defined(X[rows, f], max_tie_fraction)]
    np.testing.assert_array_equal(defined_features(given_X, rows, max_tie_fraction), defined)
    features, columns = columns_of_rows(given_X, rows, max_tie_fraction)
    assert set(defined) <= set(features.tolist())
    np.testing.assert_array_equal(columns, X[rows][:, features].T)
    ranks = rank_columns(columns)
    ranked = np.reshape([stats.rankdata(values) for values in columns], columns.shape)
    expected = 2 * ranked.astype(np.float64) - len(rows) - 1  # newer scipy ranks float32 in float32
    np.testing.assert_array_equal(ranks.values, expected)
    largest = [max(Counter(values.tolist()).values()) for values in columns]
    np.testing.assert_array_equal(ranks.largest_ties, largest)
    sums = np.array([(expected**power).sum(axis=1) for power in (2, 3, 4, 5)]).T
    np.testing.assert_allclose(ranks.power_sums, sums, rtol=1e-12, atol=1e-12 * len(rows) ** 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_counts_of_any_type(dtype: type, to_format: Callable[[Data], object]) -> None:
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.uniform(0.1, 5, 30), (200, 30)).astype(dtype)
    assert_ranks(X, to_format(X), rng.permutation(200)[:37])


@pytest.mark.parametrize("kind", ["negative", "other tie", "constant", "zeros"])
def test_unusual_values(kind: str, to_format: Callable[[Data], object]) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 12)).round(1) * (rng.random((60, 12)) < rng.random(12))
    X = {"negative": X - 0.5 * (X > 1), "other tie": X + 3, "constant": X * 0 - 2.5, "zeros": X * 0}[kind]
    assert_ranks(X, to_format(X), np.arange(5, 55))


@pytest.mark.parametrize("n", [2, 5, 40, 1200])
@pytest.mark.parametrize("step", [1e-9, 2.0**-52])
def test_values_that_only_double_precision_tells_apart(n: int, step: float) -> None:
    """Many of them, in no order and with ties, beside zeros and on both sides of them."""
    rng = np.random.default_rng(n)
    X = (1 + step * rng.integers(0, n, size=(n, 12))) * rng.choice([-1, 1, 1, 1], size=(n, 12)) * (rng.random(12) < 0.9)
    assert_ranks(X, X, rng.permutation(n))


@pytest.mark.parametrize("tie", [0.0, 0.5, -7.0])
@pytest.mark.parametrize("n", [3, 4, 8, 50, 100, 101])
def test_three_quarters_are_defined_and_one_more_is_not(
    n: int, tie: float, to_format: Callable[[Data], object]
) -> None:
    """A column for every number of samples that share the value, from one to all."""
    X = np.arange(1.0, n + 1)[:, None].repeat(n, axis=1)
    for column in range(n):
        X[: column + 1, column] = tie
    largest = np.arange(1, n + 1)
    found = defined_features(to_format(X), np.arange(n), 0.75)
    np.testing.assert_array_equal(found, np.flatnonzero(4 * largest <= 3 * n))
    assert_ranks(X, to_format(X), np.arange(n))


@pytest.mark.parametrize(("percent", "n"), [(10, 30), (29, 100), (57, 100), (7, 100), (58, 50), (33, 300)])
def test_the_tie_rule_holds_for_fractions_that_have_no_exact_float(percent: int, n: int) -> None:
    """0.29 · 100 is 28.999999999999996 in floating point; 29 of 100 samples are 29 % all the same."""
    allowed = percent * n // 100
    assert 100 * allowed == percent * n
    X = np.column_stack([np.maximum(np.arange(n), size - 1) for size in (allowed, allowed + 1)]).astype(float)
    np.testing.assert_array_equal(defined_features(X, np.arange(n), percent / 100), [0])


def test_explicit_zeros_are_zeros() -> None:
    X = sparse.csr_matrix(np.random.default_rng(0).poisson(2.0, (40, 8)).astype(float))
    X.data[::3] = 0
    assert X.nnz > np.count_nonzero(X.toarray())
    assert_ranks(X.toarray(), X, np.arange(40))


def test_minus_zero_is_zero() -> None:
    X = np.array([[-0.0], [0.0], [1.0], [-1.0], [-0.0]])
    for given_X in (X, sparse.csr_matrix((X.ravel(), np.zeros(5, dtype=int), np.arange(6)), shape=(5, 1))):
        assert_ranks(X, given_X, np.arange(5))


def test_unsorted_and_64_bit_indices() -> None:
    rng = np.random.default_rng(0)
    X = sparse.csr_matrix(rng.poisson(1.5, (30, 9)).astype(float))
    order = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)])
    shuffled = sparse.csr_matrix((X.data[order], X.indices[order], X.indptr), shape=X.shape)
    shuffled.indices, shuffled.indptr = shuffled.indices.astype(np.int64), shuffled.indptr.astype(np.int64)
    assert not shuffled.has_sorted_indices
    assert_ranks(X.toarray(), shuffled, np.arange(30))


def test_read_only_input_is_left_alone() -> None:
    X = np.random.default_rng(0).poisson(1.0, (30, 6)).astype(float)
    csr = sparse.csr_matrix(X)
    rows = np.arange(3, 28)
    for array in (X, csr.data, csr.indices, csr.indptr, rows):
        array.flags.writeable = False
    before = csr.copy()
    assert_ranks(X, X, rows)
    assert_ranks(X, csr, rows)
    assert (before != csr).nnz == 0


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_values(data: st.DataObject) -> None:
    """Few different values, so that ties of every size occur, zero among them or not."""
    n = data.draw(st.integers(1, 25))
    values = data.draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=6))
    X = data.draw(arrays(np.float64, (n, 3), elements=st.sampled_from([0.0, *values])))
    fraction = data.draw(st.sampled_from([0.25, 0.5, 0.75, 0.875]))
    rows = np.array(data.draw(st.permutations(range(n))))
    assert_ranks(X, X, rows, fraction)
    assert_ranks(X, sparse.csr_matrix(X), rows, fraction)
