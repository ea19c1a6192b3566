"""C against scipy on values that are hard to rank, at any size; what `fdr` keeps; the variance of ρ under shuffling."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, from_dtype
from scipy import sparse, stats
from statsmodels.stats.multitest import multipletests
from tests.core.correlation.cases import (
    EVEN_LADDERS,
    LADDERS,
    as_mask,
    assert_is,
    correlate,
    embedded,
    membership_of,
    on_ladder,
    pvalues_of_all_pairs,
    some_members,
    with_signed_zeros,
    with_stored_zeros,
)
from tests.reference import correlation as reference

import lava_sc as lava

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Data = NDArray[np.number]
    Members = NDArray[np.intp]

TOLERANCE = 1e-6  # C is float32
SIZES = [3, 4, 5, 60, 4000]
CONVERTED = ["float16 of all sizes", "bool"]  # before they reach compiled code


@pytest.mark.parametrize("kind", LADDERS)
def test_ladders_ascend(kind: str) -> None:
    """In the whole numbers and doubles of Python, which have no fewer digits than the type."""
    rungs = LADDERS[kind]
    assert all(low < high for low, high in pairwise(rungs.tolist()))
    assert np.isfinite(rungs).all()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", [kind for kind in LADDERS if kind not in CONVERTED])
def test_ranks_follow_the_order_of_any_values(kind: str, n: int) -> None:
    """The truth knows the places on the ladder only, not the values."""
    X, codes, members = on_ladder(kind, n)
    mask = as_mask(members, len(X))
    expected, defined = reference.spearman_matrix(codes, mask), reference.defined_mask(codes, mask)
    assert 0 < np.count_nonzero(defined) < defined.size
    for given_X in (with_signed_zeros(X), np.asfortranarray(X), with_stored_zeros(with_signed_zeros(X))):
        assert_is(correlate(given_X, members), expected, defined, TOLERANCE)


@pytest.mark.filterwarnings("ignore:adata.X holds:UserWarning")
@pytest.mark.parametrize("kind", LADDERS)
def test_ranks_follow_the_order_of_any_values_of_an_object(kind: str) -> None:
    X, codes, _ = on_ladder(kind, 90)
    formats = [np.asarray] if X.dtype == np.float16 else [np.asarray, with_stored_zeros, sparse.csc_array]
    for to_format in formats:
        adata = embedded(to_format(with_signed_zeros(X)))
        lava.tl.locality_corr(adata, fdr=None)
        expected = reference.spearman_matrix(codes, membership_of(adata))
        np.testing.assert_allclose(adata.uns["lava"]["C"].toarray(), expected, rtol=0, atol=TOLERANCE)
        defined = reference.defined_mask(codes, membership_of(adata))
        np.testing.assert_array_equal(adata.uns["lava"]["defined"], defined)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", EVEN_LADDERS)
def test_pearson_of_evenly_spaced_values_sees_neither_origin_nor_unit(kind: str, n: int) -> None:
    X, codes, members = on_ladder(kind, n)
    mask = as_mask(members, len(X))
    expected, defined = reference.pearson_matrix(codes, mask), reference.defined_mask(codes, mask)
    for given_X in (X, with_stored_zeros(X)):
        assert_is(correlate(given_X, members, ranked=False), expected, defined, TOLERANCE)


@pytest.mark.parametrize("exponent", [-900, -300, 300, 900])
def test_pearson_of_very_large_and_very_small_values(exponent: int) -> None:
    """Squares of these are beyond the range of floats."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 6)) + rng.normal(size=(50, 1))
    X[:, 3:] = np.maximum(X[:, 3:], 0)
    members = some_members(50, 30)
    mask = as_mask(members, 50)
    expected, defined = reference.pearson_matrix(X, mask), reference.defined_mask(X, mask)
    scaled = np.ldexp(X, exponent * np.array([1, 1, 0, 1, -1, 0]))
    for given_X in (scaled, sparse.csr_matrix(scaled)):
        assert_is(correlate(given_X, members, ranked=False), expected, defined, TOLERANCE)


def test_more_samples_than_two_bytes_count() -> None:
    n = 70_000
    rng = np.random.default_rng(0)
    shared = rng.normal(size=n)
    distinct = 1 + np.argsort(np.argsort(shared + rng.normal(size=n))) * 2.0**-50
    X = np.column_stack([shared, distinct, np.maximum(shared - rng.normal(size=n), 0), shared.astype(int)])
    members = np.arange(n)[None]
    mask = as_mask(members, n)
    found = correlate(sparse.csr_matrix(X), members)
    assert_is(found, reference.spearman_matrix(X, mask), reference.defined_mask(X, mask), TOLERANCE)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 4000), as_sparse=st.booleans(), ranked=st.booleans())
@settings(max_examples=25, deadline=None)
def test_random_ties_at_any_size(seed: int, n: int, as_sparse: bool, ranked: bool) -> None:
    """From two different values to no ties, from none to all on one value."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5)) + rng.normal(size=(n, 1))
    X = np.round(X * rng.choice([0.5, 1, 3, 100, 1e6], 5)) - rng.choice([0, 2], 5)
    X[rng.random(X.shape) < rng.choice([0, 0.5, 0.7, 0.75, 1], 5)] = rng.choice([0.0, 0.0, -2.0, 1.0])
    members = rng.permutation(n)[None]
    mask = as_mask(members, n)
    plain = reference.spearman_matrix if ranked else reference.pearson_matrix
    found = correlate(sparse.csr_matrix(X) if as_sparse else X, members, ranked=ranked)
    assert_is(found, plain(X, mask), reference.defined_mask(X, mask), TOLERANCE)


@given(data=st.data(), dtype=st.sampled_from([np.float64, np.float32, np.int64, np.uint64, np.int8]))
@settings(max_examples=60, deadline=None)
def test_any_values_and_their_neighbours(data: st.DataObject, dtype: type) -> None:
    """Values over the whole range of the type and the next larger one of each, in any order, with ties."""
    elements = from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False)
    drawn = np.array(data.draw(st.lists(elements | st.just(0), min_size=1, max_size=5)), dtype=dtype)
    last = np.finfo(dtype).max if drawn.dtype.kind == "f" else np.iinfo(dtype).max
    below = drawn[drawn < last]
    above = np.nextafter(below, last) if drawn.dtype.kind == "f" else below + dtype(1)
    rungs = np.unique(np.concatenate([drawn, above]))
    codes = data.draw(arrays(np.int64, (data.draw(st.integers(3, 25)), 3), elements=st.integers(0, len(rungs) - 1)))
    X, members = with_signed_zeros(rungs[codes]), np.arange(len(codes))[None]
    mask = as_mask(members, len(codes))
    expected, defined = reference.spearman_matrix(codes, mask), reference.defined_mask(codes, mask)
    for given_X in (X, with_stored_zeros(X)):
        assert_is(correlate(given_X, members), expected, defined, TOLERANCE)


@pytest.mark.parametrize("n", [5, 12, 40, 500])
@pytest.mark.parametrize("values", ["continuous", "counts", "two values"])
def test_fdr_keeps_what_statsmodels_keeps_of_all_pairs(values: str, n: int) -> None:
    """Disjoint localities: of noise, with planted correlations from weak to perfect, and with one gene or none defined."""
    strengths = [0, 0, 0.3, 0.6, 1, 3, 10, 1, 1]
    rng = np.random.default_rng([n, len(values)])
    X = rng.normal(size=(len(strengths), n, 24))
    for strength, locality in zip(strengths, X, strict=True):
        for k, program in enumerate(rng.normal(size=(2, n, 1))):
            locality[:, k::3] += strength * program
    X = {"continuous": X, "counts": np.maximum(np.rint(X), 0), "two values": (X > 0).astype(float)}[values]
    X[-2] = 0
    X[-1, :, 1:] = 3
    X, members = X.reshape(-1, 24), np.arange(len(strengths) * n).reshape(-1, n)
    n_kept = set()
    for level in (0, 1e-6, 0.01, 0.05, 0.5, 1):
        found = correlate(sparse.csr_matrix(X), members, fdr=level)
        for rows, C in zip(members, found.C.toarray(), strict=True):
            rho, pvalues, columns = pvalues_of_all_pairs(X, rows)
            rejected = multipletests(pvalues, level, method="fdr_bh")[0] if pvalues.size else np.empty(0, dtype=bool)
            kept = rejected & (rho != 0)
            np.testing.assert_array_equal(np.flatnonzero(C), columns[kept], err_msg=f"{level=}")
            np.testing.assert_allclose(C[columns[kept]], rho[kept], rtol=0, atol=TOLERANCE)
            n_kept.add(kept.sum() / max(kept.size, 1))
    assert min(n_kept) == 0
    assert max(n_kept) > 0.9
    assert len(n_kept) > 10 or n == 5


@given(data=st.data(), n=st.integers(3, 6), ranked=st.booleans())
@settings(max_examples=12, deadline=None)
def test_variance_over_all_orders_is_exact(data: st.DataObject, n: int, ranked: bool) -> None:
    """One feature against another in all n! orders."""
    x, y = data.draw(arrays(np.int64, (2, n), elements=st.integers(-2, 3), fill=st.nothing()))
    assume(reference.is_defined(x) and reference.is_defined(y))
    X = np.column_stack([x, y[np.array(list(permutations(range(n))))].T])
    rho = correlate(X, np.arange(n)[None], ranked=ranked).C[0].toarray()[0, : X.shape[1] - 1]
    np.testing.assert_allclose([rho.mean(), np.mean(rho**2)], [0, 1 / (n - 1)], rtol=0, atol=TOLERANCE)


SHAPES = {
    "no ties": np.arange,
    "75 % on one value": lambda n: np.maximum(np.arange(n) - 3 * n // 4 + 1, 0),
    "75 % on the largest": lambda n: np.minimum(np.arange(n), n - 3 * n // 4),
    "two values": lambda n: np.arange(n) < n // 2,
    "counts": lambda n: stats.poisson.ppf((np.arange(n) + 0.5) / n, 1.0),
    "ties at both ends": lambda n: np.clip(np.arange(n) - n // 2, -n // 5, n // 5),
}


@pytest.mark.parametrize("n", [4, 12, 40, 150, 1500])
@pytest.mark.parametrize("shapes", [*([name] for name in SHAPES), list(SHAPES)], ids=[*SHAPES, "all sorts"])
def test_variance_under_shuffling(shapes: list[str], n: int) -> None:
    """Shuffled features, all pairs: mean 0 and variance 1/(n - 1) within 5 standard errors.

    Given the order of one feature the other is still uniform over all orders, so the squares of any two pairs are
    uncorrelated, even if the pairs share a feature, and the standard errors are those of independent draws.
    """
    n_features, n_localities = 420, 8 if n <= 40 else 2
    rng = np.random.default_rng(n)
    one = np.stack([SHAPES[shapes[k % len(shapes)]](n).astype(float) for k in range(n_features)], axis=1)
    X = np.concatenate([rng.permuted(one, axis=0) for _ in range(n_localities)])
    found = correlate(sparse.csr_matrix(X), np.arange(len(X)).reshape(-1, n))
    assert found.defined.all()
    n_draws, rho = found.n_defined_pairs.sum(), found.C.data.astype(np.float64)
    variance, fourth = (rho**2).sum() / n_draws, (rho**4).sum() / n_draws
    error = np.sqrt(max(fourth - variance**2, 0) / n_draws)
    assert abs(rho.sum() / n_draws) < 5 * np.sqrt(variance / n_draws)
    assert abs(variance - 1 / (n - 1)) <= 5 * error + 1e-9
    assert abs(variance - 1 / n) > 5 * error or n > 40
