"""Taking covariates out, against least squares on an intercept, the covariates and all indicators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.reference import correlation as reference

from lava_sc.core.correlation.measures import PEARSON, SPEARMAN
from lava_sc.core.correlation.partial import Covariate, covariate_basis, residuals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = np.random.default_rng(9).permutation(80)[:50]


def covariates(name: str) -> tuple[list[Covariate], Floats, Floats, int]:
    """Covariates, their numeric columns and indicators as the reference takes them, and degrees of freedom."""
    rng = np.random.default_rng(4)
    depth, age, donor = rng.lognormal(8, 0.5, 80), rng.integers(20, 60, 80).astype(float), rng.integers(0, 4, 80)
    numbers = {
        "none": ([], 0),
        "one": ([depth], 1),
        "two": ([depth, age], 2),
        "collinear": ([depth, 3 * depth + 7, age], 2),
        "constant": ([np.full(80, 5.0), age], 1),
        "constant that has no exact mean": ([np.full(80, 0.1)], 0),
        "categories": ([], 3),
        "categories and numbers": ([depth], 4),
        "one category": ([depth], 1),
        "nested categories": ([depth], 4),
    }
    columns, freedom = numbers[name]
    groups = {
        "categories": [donor],
        "categories and numbers": [donor],
        "one category": [np.zeros(80, dtype=int)],
        "nested categories": [donor, donor // 2],
    }.get(name, [])
    numeric = np.column_stack([np.empty((80, 0)), *columns])
    dummies = np.column_stack([np.empty((80, 0)), *(np.eye(4)[group] for group in groups)])
    return [*(Covariate(c, False) for c in columns), *(Covariate(g, True) for g in groups)], numeric, dummies, freedom


NAMES = [
    "none",
    "one",
    "two",
    "collinear",
    "constant",
    "constant that has no exact mean",
    "categories",
    "categories and numbers",
    "one category",
    "nested categories",
]


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_basis_is_orthonormal_centred_and_as_large_as_the_covariates_are_free(name: str, ranked: bool) -> None:
    given_covariates, _, _, freedom = covariates(name)
    basis = covariate_basis(given_covariates, ROWS, SPEARMAN if ranked else PEARSON)
    assert basis.shape == (freedom, 50)
    np.testing.assert_allclose(basis @ basis.T, np.eye(freedom), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_residuals_against_least_squares(name: str, ranked: bool) -> None:
    given_covariates, numeric, dummies, _ = covariates(name)
    values = np.random.default_rng(0).normal(size=(6, 50)) + numeric[ROWS].sum(axis=1) / 1000
    centred = values - values.mean(axis=1, keepdims=True)
    local = numeric[ROWS]
    if ranked:
        local = np.column_stack([np.empty((50, 0)), *(stats.rankdata(column) for column in local.T)])
    expected = [reference.residuals(v, local, dummies[ROWS]) for v in values]
    found = residuals(centred, covariate_basis(given_covariates, ROWS, SPEARMAN if ranked else PEARSON))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_names_of_categories_do_not_matter() -> None:
    donor = np.random.default_rng(0).integers(0, 3, 80)
    found, named = (
        covariate_basis([Covariate(values, True)], ROWS, SPEARMAN)
        for values in (donor, np.array(["c", "a", "b"])[donor])
    )
    np.testing.assert_allclose(found.T @ found, named.T @ named, atol=1e-12)


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    depth, age = rng.normal(size=80), rng.normal(size=80)
    spans = []
    for unit in (1e-9, 1.0, 1e9):
        basis = covariate_basis([Covariate(depth * unit, False), Covariate(age, False)], ROWS, PEARSON)
        assert len(basis) == 2
        spans.append(basis.T @ basis)
    np.testing.assert_allclose(spans[0], spans[1], atol=1e-9)
    np.testing.assert_allclose(spans[2], spans[1], atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(3, 30), n_covariates=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_nothing_of_the_covariates_is_left(seed: int, n_rows: int, n_covariates: int) -> None:
    """Also with more covariates than rows."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, (n_covariates, n_rows)).astype(float)
    rows = np.arange(n_rows)
    basis = covariate_basis([Covariate(v, False) for v in values], rows, PEARSON)
    centred = values - values.mean(axis=1, keepdims=True)
    assert len(basis) == np.linalg.matrix_rank(centred, tol=1e-6)
    np.testing.assert_allclose(residuals(centred, basis), 0, atol=1e-9)
