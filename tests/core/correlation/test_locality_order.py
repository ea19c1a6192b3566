"""What must not change any bit of C: the order of features and cells, threads, other localities, read-only input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from tests.core.correlation.cases import (
    COVARIATES,
    as_squares,
    assert_same_bits,
    correlate,
    data,
    some_members,
    with_programs,
)

from lava_sc.core.correlation.partial import Covariate


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("with_covariates", [False, True])
@pytest.mark.parametrize("fdr", [None, 0.2])
def test_reordering_features_permutes_c_and_changes_no_bit(
    method: str, with_covariates: bool, fdr: float | None
) -> None:
    X, members = with_programs("log counts", 150, 42), some_members(150, 100)
    covariates = COVARIATES["all sorts"](np.random.default_rng(0), 150) if with_covariates else []
    order = np.random.default_rng(1).permutation(42)
    options = {"ranked": method == "spearman", "fdr": fdr, "covariates": covariates}
    found, permuted = correlate(X, members, **options), correlate(sparse.csr_matrix(X[:, order]), members, **options)
    square, square_permuted = (as_squares(result.C, 42) for result in (found, permuted))
    assert found.C.nnz > 100
    np.testing.assert_array_equal(square[:, order][:, :, order], square_permuted)
    np.testing.assert_array_equal(found.defined[:, order], permuted.defined)


@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize("fdr", [None, 0.2])
def test_reordering_cells_changes_no_bit(n: int, fdr: float | None) -> None:
    """Given the localities; their members come in the new order."""
    X, members = with_programs("log counts", 500, 30), some_members(500, n)
    order = np.random.default_rng(1).permutation(500)
    permuted = np.sort(np.argsort(order)[members], axis=1)
    assert_same_bits(correlate(X, members, fdr=fdr), correlate(sparse.csr_matrix(X[order]), permuted, fdr=fdr))


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_threads_change_no_bit(method: str) -> None:
    X, members = with_programs("heavy ties", 300, 40), some_members(300, 80, 12)
    options = {"ranked": method == "spearman", "fdr": 0.1, "covariates": [Covariate(np.arange(300.0), False)]}
    first = correlate(X, members, **options)
    for n_jobs in (1, 2, 5, None):
        assert_same_bits(first, correlate(X, members, n_jobs=n_jobs, **options))


def test_other_localities_change_no_bit() -> None:
    X, members = data("log counts", 200), some_members(200, 60, 5)
    together = correlate(X, members).C
    for i in range(5):
        np.testing.assert_array_equal(together[i].toarray(), correlate(X, members[[i]]).C.toarray())


def test_read_only_input_is_left_alone() -> None:
    X, members = data("counts", 60), some_members(60, 30)
    csr, covariate = sparse.csr_matrix(X), np.arange(60.0)
    before = X.copy()
    for array in (X, csr.data, csr.indices, csr.indptr, members, covariate):
        array.flags.writeable = False
    for given_X in (X, csr):
        correlate(given_X, members, fdr=0.1, covariates=[Covariate(covariate, False)])
    np.testing.assert_array_equal(csr.toarray(), before)
