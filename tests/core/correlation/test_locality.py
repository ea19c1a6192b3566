"""C against scipy, pair by pair, whatever the data, their format and the covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tests.core.correlation.cases import (
    COVARIATES,
    KINDS,
    PLAIN,
    TOLERANCE,
    as_mask,
    assert_is,
    columns_of,
    correlate,
    data,
    embedded,
    membership_of,
    some_members,
)
from tests.reference import correlation as reference

import lava_sc as lava
from lava_sc.core.correlation.partial import Covariate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Data = NDArray[np.number]


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("kind", KINDS)
def test_against_scipy(kind: str, method: str) -> None:
    """Signed values of all pairs of defined features, in the order of triu_indices; sizes from 3 to a few hundred."""
    for n_samples, n in ((6, 3), (8, 4), (30, 11), (120, 100), (400, 369), (400, 370)):
        X, members = data(kind, n_samples), some_members(n_samples, n, 2)
        mask = as_mask(members, n_samples)
        expected, defined = PLAIN[method](X, mask), reference.defined_mask(X, mask)
        for given_X in (X, sparse.csr_matrix(X)):
            assert_is(correlate(given_X, members, ranked=method == "spearman"), expected, defined)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("to_format", [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csr_array])
def test_types_and_formats(to_format: Callable[[Data], object], dtype: type, method: str) -> None:
    X = data("counts", 90).astype(dtype)
    members = some_members(90, 40)
    mask = as_mask(members, 90)
    found = correlate(to_format(X), members, ranked=method == "spearman")
    assert_is(found, PLAIN[method](X, mask), reference.defined_mask(X, mask))


def test_a_ninth_of_a_tie_more_makes_a_feature_undefined() -> None:
    """12 samples: nine that share a value are exactly 75 %, ten are more; the value does not matter."""
    columns = [np.maximum(np.arange(12.0), tie) + offset for tie in (8, 9) for offset in (0, -8, -9, 3)]
    X, members = np.column_stack([*columns, np.arange(12.0)]), np.arange(12)[None]
    for given_X in (X, sparse.csr_matrix(X)):
        found = correlate(given_X, members)
        np.testing.assert_array_equal(found.defined[0], [True] * 4 + [False] * 4 + [True])
        assert_is(found, reference.spearman_matrix(X, as_mask(members, 12)), found.defined)
        assert found.C.nnz == 10


@pytest.mark.parametrize("max_tie_fraction", [0.0, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_other_tie_rules(max_tie_fraction: float, method: str) -> None:
    """Whatever the rule, C is finite: a constant correlates with nothing."""
    X = np.column_stack([data("heavy ties", 60), data("counts", 60), np.zeros(60), np.full(60, 0.1)])
    members = some_members(60, 40)
    found = correlate(X, members, ranked=method == "spearman", max_tie_fraction=max_tie_fraction)
    expected = PLAIN[method](X, as_mask(members, 60), max_tie_fraction)
    np.testing.assert_allclose(found.C.toarray(), expected, rtol=0, atol=TOLERANCE)


@given(
    X=st.integers(3, 20).flatmap(
        lambda n: st.lists(st.lists(st.integers(-1, 2), min_size=n, max_size=n), min_size=2, max_size=5)
    )
)
@settings(max_examples=80, deadline=None)
def test_any_small_whole_numbers(X: list[list[int]]) -> None:
    values = np.array(X, dtype=float).T
    members = np.arange(len(values))[None]
    mask = as_mask(members, len(values))
    found = correlate(sparse.csr_matrix(values), members)
    assert_is(found, reference.spearman_matrix(values, mask), reference.defined_mask(values, mask))


def test_perfect_correlations_are_exactly_one() -> None:
    x = np.random.default_rng(0).integers(0, 9, 77).astype(float)
    X = np.column_stack([x, x**3, -x, 0.1 * x])
    expected = np.float32([1, -1, 1, -1, 1, -1])
    np.testing.assert_array_equal(correlate(X, np.arange(77)[None]).C.toarray()[0], expected)
    np.testing.assert_allclose(
        correlate(X[:, [0, 3, 2]], np.arange(77)[None], ranked=False).C.toarray()[0], [1, -1, -1], rtol=1e-6
    )


def test_large_offsets_cost_no_digits() -> None:
    X = data("continuous", 50) + 1e6
    members = some_members(50, 30)
    found = correlate(X, members, ranked=False)
    np.testing.assert_allclose(
        found.C.toarray(), reference.pearson_matrix(X, as_mask(members, 50)), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("kind", ["counts", "continuous"])
@pytest.mark.parametrize("name", COVARIATES)
def test_covariates_against_least_squares(name: str, kind: str, method: str) -> None:
    X = data(kind, 120, 7)
    covariates = COVARIATES[name](np.random.default_rng(1), 120)
    for n in (20, 70):
        members = some_members(120, n, 2)
        plain = {"spearman": reference.partial_spearman_matrix, "pearson": reference.partial_pearson_matrix}[method]
        expected = plain(X, as_mask(members, 120), *columns_of(covariates))
        found = correlate(X, members, ranked=method == "spearman", covariates=covariates)
        np.testing.assert_allclose(found.C.toarray(), expected, rtol=0, atol=TOLERANCE)


def test_a_feature_that_is_a_covariate_correlates_with_nothing() -> None:
    X = data("continuous", 60, 5)
    members = some_members(60, 40)
    for ranked in (True, False):
        found = correlate(X, members, ranked=ranked, covariates=[Covariate(X[:, 3] * 2 + 1, False)])
        a, b = np.triu_indices(5, 1)
        C = found.C.toarray()
        assert not C[:, (a == 3) | (b == 3)].any()
        assert C[:, (a != 3) & (b != 3)].all()


@pytest.mark.filterwarnings("ignore:.*:UserWarning:tests")
@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
@pytest.mark.parametrize(
    "to_format", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
)
def test_formats_through_the_object(to_format: Callable[[Data], object], dtype: type) -> None:
    X = data("counts", 120).astype(dtype)
    adata = embedded(to_format(X))
    lava.tl.locality_corr(adata, fdr=None, n_jobs=1)
    expected = reference.spearman_matrix(X.astype(np.float64), membership_of(adata))
    assert np.count_nonzero(expected) > 20
    np.testing.assert_allclose(adata.uns["lava"]["C"].toarray(), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("matrix", [sparse.csr_matrix, sparse.csc_matrix])
def test_duplicate_entries_count_as_their_sum(matrix: type) -> None:
    """Entries given in parts, some of which add up to zero."""
    X = data("log counts", 120)
    rows, columns = np.nonzero(X)
    parts = np.random.default_rng(0).random(len(rows)) * X[rows, columns]
    extra_rows, extra_columns = np.nonzero(X == 0)
    coo = sparse.coo_matrix(
        (
            np.concatenate([parts, X[rows, columns] - parts, np.ones(len(extra_rows)), -np.ones(len(extra_rows))]),
            (
                np.concatenate([rows, rows, extra_rows, extra_rows]),
                np.concatenate([columns, columns, extra_columns, extra_columns]),
            ),
        ),
        shape=X.shape,
    )
    major, minor = (coo.row, coo.col) if matrix is sparse.csr_matrix else (coo.col, coo.row)
    order = np.argsort(major, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(major, minlength=X.shape[matrix is sparse.csc_matrix]))])
    given_X = matrix((coo.data[order], minor[order], indptr), shape=X.shape)
    np.testing.assert_allclose(given_X.toarray(), X, atol=1e-12)
    assert given_X.nnz > X.size
    adata = embedded(given_X)
    lava.tl.locality_corr(adata, fdr=None)
    # where parts are put together by addition, ties are those of the sums as the matrix gives them
    expected = reference.spearman_matrix(given_X.toarray(), membership_of(adata))
    np.testing.assert_allclose(adata.uns["lava"]["C"].toarray(), expected, rtol=0, atol=TOLERANCE)
