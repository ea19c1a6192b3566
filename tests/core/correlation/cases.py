"""Data, localities and comparisons that the tests of C share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
from scipy import sparse, stats
from tests.reference import correlation as reference

import lava_sc as lava
from lava_sc.core.correlation.locality import CorrelationOptions, locality_correlations
from lava_sc.core.correlation.measures import PEARSON, SPEARMAN
from lava_sc.core.correlation.partial import Covariate
from lava_sc.core.correlation.permutation_null import correlation_pvalues, tail_moments
from lava_sc.io.blocks import InMemory

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from lava_sc.core.correlation.locality import LocalityCorrelations

    Floats = NDArray[np.float64]
    Data = NDArray[np.number]
    Members = NDArray[np.intp]

TOLERANCE = 1e-5
PLAIN = {"spearman": reference.spearman_matrix, "pearson": reference.pearson_matrix}


def data(kind: str, n_samples: int, n_features: int = 9, seed: int = 0) -> Floats:
    rng = np.random.default_rng([n_samples, seed])
    shared = rng.normal(size=(n_samples, 1))
    counts = rng.poisson(np.exp(0.7 * shared + rng.uniform(-2.5, 2, n_features)), (n_samples, n_features)).astype(float)
    continuous = rng.normal(size=(n_samples, n_features)) + shared * rng.normal(size=n_features)
    mostly_tied = np.where(rng.random((n_samples, n_features)) < rng.uniform(0.5, 0.9, n_features), 0, continuous)
    return {
        "counts": counts,
        "log counts": np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)),
        "continuous": continuous,
        "heavy ties": mostly_tied,
        "ties other than zero": mostly_tied + 2.5,
        "negative": -counts,
        "one constant": np.where(np.arange(n_features) == 2, 4.0, continuous),
        "all constant": np.full((n_samples, n_features), 3.0),
    }[kind]


KINDS = [
    "counts",
    "log counts",
    "continuous",
    "heavy ties",
    "ties other than zero",
    "negative",
    "one constant",
    "all constant",
]


def with_programs(kind: str, n_samples: int, n_features: int) -> Floats:
    """Two programs of a third of the features each, so that there is something to keep."""
    rng = np.random.default_rng(8)
    latent = rng.normal(size=(n_samples, n_features))
    for k, program in enumerate(rng.normal(size=(2, n_samples, 1))):
        latent[:, k::3] += program
    counts = rng.poisson(np.exp(latent))
    return {
        "continuous": latent,
        "log counts": np.log1p(counts),
        "heavy ties": np.maximum(latent - np.linspace(0, 1, n_features), 0),
    }[kind]


def some_members(n_samples: int, n: int, n_localities: int = 3) -> Members:
    rng = np.random.default_rng(n)
    return np.stack([np.sort(rng.permutation(n_samples)[:n]) for _ in range(n_localities)])


def as_mask(members: Members, n_samples: int) -> NDArray[np.bool_]:
    mask = np.zeros((n_samples, len(members)), dtype=bool)
    mask[members, np.arange(len(members))[:, None]] = True
    return mask


def correlate(X: object, members: Members, **kwargs: object) -> LocalityCorrelations:
    """All correlations by default; ``ranked`` chooses between Spearman's and Pearson's."""
    measure = SPEARMAN if kwargs.pop("ranked", True) else PEARSON
    own = {name: kwargs.pop(name) for name in ("max_tie_fraction", "covariates", "batches") if name in kwargs}
    options = CorrelationOptions(measure=measure, fdr=kwargs.pop("fdr", None), **own)
    return locality_correlations(InMemory(X), members, options, **{"n_jobs": 1, **kwargs})


def as_squares(C: sparse.csr_matrix, n_features: int) -> Floats:
    """(ℓ, D, D), zeros on the diagonal."""
    upper = np.zeros((C.shape[0], n_features, n_features), dtype=C.dtype)
    upper[:, *np.triu_indices(n_features, 1)] = C.toarray()
    return upper + upper.transpose(0, 2, 1)


def assert_same_bits(first: LocalityCorrelations, second: LocalityCorrelations) -> None:
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(first.C, name), getattr(second.C, name))
    np.testing.assert_array_equal(first.defined, second.defined)
    np.testing.assert_array_equal(first.n_defined_pairs, second.n_defined_pairs)
    np.testing.assert_array_equal(first.n_kept_pairs, second.n_kept_pairs)


def assert_is(
    found: LocalityCorrelations, expected: Floats, defined: NDArray[np.bool_], tolerance: float = TOLERANCE
) -> None:
    assert found.C.dtype == np.float32
    assert found.C.shape == expected.shape
    assert found.C.has_canonical_format
    np.testing.assert_allclose(found.C.toarray(), expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found.defined, defined)
    n_defined = defined.sum(axis=1)
    np.testing.assert_array_equal(found.n_defined_pairs, n_defined * (n_defined - 1) // 2)
    np.testing.assert_array_equal(found.n_kept_pairs, np.diff(found.C.indptr))


def of_all_sizes(dtype: type, size: int) -> Floats:
    """Floats from the most negative to the largest, evenly spaced in their bits, with 0 and the smallest denormals."""
    bits = {2: np.int16, 4: np.int32, 8: np.int64}[np.dtype(dtype).itemsize]
    largest, steps = int(np.finfo(dtype).max.view(bits)), size // 2 - 1
    positive = np.array([1 + (largest - 1) * i // steps for i in range(steps + 1)], dtype=bits).view(dtype)
    return np.concatenate([-positive[::-1], np.zeros(1, dtype), positive])


def ladders(size: int = 4097) -> dict[str, Data]:
    """Different values in ascending order, as many as asked for if the type has them."""
    k = np.arange(size) - size // 2
    share, int64 = np.abs(k) / (size // 2), np.iinfo(np.int64)
    return {
        "float64 a last digit apart": 1 + k * 2.0**-52,
        "float64 in runs that float32 merges": k // 16 + k % 16 * 2.0**-40,
        "float64 beyond float32's largest": np.sign(k) * 10.0 ** (39 + 269 * share),
        "float64 denormals": k * 5e-324,
        "float64 of all sizes": of_all_sizes(np.float64, size),
        "float32 a last digit apart": (k + np.float32(1.5).view(np.int32)).astype(np.int32).view(np.float32),
        "float32 denormals": np.copysign(np.abs(k).astype(np.int32).view(np.float32), k.astype(np.float32)),
        "float32 of all sizes": of_all_sizes(np.float32, size),
        "float16 of all sizes": of_all_sizes(np.float16, size),
        "int64 around 2**53": 2**53 + k,
        "int64 at both ends": np.where(k < 0, int64.min + (k - k[0]), int64.max - (k[-1] - k)),
        "uint64 around 2**63": k.astype(np.uint64) + np.uint64(2**63),
        "uint64 at both ends": np.where(k < 0, k - k[0], k - k[-1] - 1).astype(np.uint64),
        "int32 around 2**24": (2**24 + k).astype(np.int32),
        "int32 of all sizes": np.linspace(-(2**31), 2**31 - 1, size).astype(np.int32),
        "int8": np.arange(-128, 128).astype(np.int8),
        "bool": np.array([False, True]),
    }


LADDERS = ladders()
EVEN_LADDERS = [
    "float64 a last digit apart",
    "float64 denormals",
    "float32 a last digit apart",
    "float32 denormals",
    "int32 around 2**24",
    "int8",
]


def tie_patterns(n: int, n_levels: int, usual: int) -> Members:
    """(n, 14) places on a ladder: distinct, tied here and there, three quarters on one step, one more than that, all."""
    rng = np.random.default_rng([n, n_levels])
    shared, top, quarters = rng.normal(size=n), n_levels - 1, 3 * n // 4

    def over(low: int, high: int, values: Floats) -> Members:  # with ties if there are fewer steps than samples
        return low + np.argsort(np.argsort(values)) * (high - low) // len(values)

    def tied(step: int, n_tied: int) -> Members:
        elsewhere = np.delete(np.arange(n_levels), step)
        codes = elsewhere[over(0, top, shared + rng.normal(size=n))]
        codes[rng.permutation(n)[:n_tied]] = step
        return codes

    start = max(0, usual - 4)
    return np.column_stack(
        [
            over(0, n_levels, shared),
            over(0, n_levels, shared + rng.normal(size=n)),
            over(0, n_levels, np.arange(n)),
            over(0, n_levels, -np.arange(n)),
            over(start, min(start + 9, n_levels), shared - rng.normal(size=n)),
            np.sort(rng.integers(0, n_levels, 5))[rng.integers(0, 5, n)],
            np.where(shared > 0, usual, max(0, usual - 1)),
            tied(usual, n // 2),
            *(tied(step, n_tied) for step in (usual, top) for n_tied in (quarters, quarters + 1)),
            np.full(n, usual),
            np.full(n, top),
        ]
    )


def on_ladder(kind: str, n: int) -> tuple[Data, Members, Members]:
    """Values, the places on the ladder that they stand for, and a locality of ``n`` samples strewn among others."""
    rungs = LADDERS[kind]
    zero = np.flatnonzero(rungs == 0)
    patterns = tie_patterns(n, len(rungs), int(zero[0]) if zero.size else len(rungs) // 2)
    rng = np.random.default_rng(n)
    codes = rng.integers(0, len(rungs), (n + 10, patterns.shape[1]))
    members = np.sort(rng.permutation(n + 10)[:n])
    codes[members] = patterns
    return rungs[codes], codes, members[None]


def with_signed_zeros(X: Data) -> Data:
    """Every other 0.0 becomes -0.0, in types that have it."""
    minus = (X == 0) & (np.random.default_rng(0).random(X.shape) < 0.5)
    return np.where(minus, np.float64(-0.0).astype(X.dtype), X)


def with_stored_zeros(X: Data) -> sparse.csr_matrix:
    """CSR in which every other zero is an entry."""
    stored = (X != 0) | (np.random.default_rng(1).random(X.shape) < 0.5)
    indptr = np.concatenate([[0], stored.sum(axis=1).cumsum()])
    return sparse.csr_matrix((X[stored], np.nonzero(stored)[1], indptr), shape=X.shape)


def pvalues_of_all_pairs(X: Data, rows: Members) -> tuple[Floats, Floats, Members]:
    """ρ, p-value and column of C of every pair of features that are defined over some rows."""
    features = np.array([f for f in range(X.shape[1]) if reference.is_defined(X[rows, f])], dtype=int)
    ranks = 2 * stats.rankdata(X[np.ix_(rows, features)], axis=0).T - len(rows) - 1
    a, b = np.triu_indices(len(features), 1)
    products = ranks @ ranks.T  # of whole numbers
    rho = products[a, b] / np.sqrt(products[a, a] * products[b, b])
    moments = tail_moments(ranks)
    columns = {pair: column for column, pair in enumerate(zip(*np.triu_indices(X.shape[1], 1), strict=True))}
    return (
        rho,
        correlation_pvalues(rho, moments.take(a), moments.take(b), n_effective=len(rows)),
        np.array([columns[pair] for pair in zip(features[a], features[b], strict=True)], dtype=int),
    )


COVARIATES = {
    "numeric": lambda rng, n: [Covariate(rng.lognormal(8, 0.5, n), False)],
    "two collinear": lambda rng, n: [Covariate(v, False) for v in (np.arange(n) % 17.0, 3 * (np.arange(n) % 17.0) - 1)],
    "constant": lambda rng, n: [Covariate(np.full(n, 0.1), False)],
    "categorical": lambda rng, n: [Covariate(rng.integers(0, 4, n), True)],
    "all sorts": lambda rng, n: [
        Covariate(rng.normal(size=n), False),
        Covariate(rng.integers(0, 3, n), True),
        Covariate(rng.integers(0, 5, n).astype(float), False),
        Covariate(np.zeros(n, dtype=int), True),
    ],
}


def columns_of(covariates: list[Covariate]) -> tuple[Floats, Floats]:
    """Numeric covariates and indicators as the reference takes them."""
    n = len(covariates[0].values)
    numeric = [c.values for c in covariates if not c.categorical]
    dummies = [np.eye(c.values.max() + 1)[c.values] for c in covariates if c.categorical]
    return np.column_stack([np.empty((n, 0)), *numeric]), np.column_stack([np.empty((n, 0)), *dummies])


def embedded(X: object, **obs: object) -> AnnData:
    """Cells on a two-dimensional embedding that has nothing to do with their genes, with six localities of a third each."""
    adata = ad.AnnData(X, obsm={"X_umap": np.random.default_rng(0).normal(size=(X.shape[0], 2))})
    for name, values in obs.items():
        adata.obs[name] = values
    lava.tl.localities(adata, n_neighbors=X.shape[0] // 3, overlap=2, max_evals=1, n_jobs=1)
    return adata


def membership_of(adata: AnnData) -> NDArray[np.bool_]:
    return adata.obsm["lava_localities"].toarray()
