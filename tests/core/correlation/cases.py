"""Data, localities and comparisons that the tests of C share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
from tests.reference import correlation as reference

import lava_sc as lava
from lava_sc.core.correlation.locality import locality_correlations
from lava_sc.core.correlation.partial import Covariate

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

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
    return locality_correlations(X, members, **{"fdr": None, "n_jobs": 1, **kwargs})


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


def assert_is(found: LocalityCorrelations, expected: Floats, defined: NDArray[np.bool_]) -> None:
    assert found.C.dtype == np.float32
    assert found.C.shape == expected.shape
    assert found.C.has_canonical_format
    np.testing.assert_allclose(found.C.toarray(), expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(found.defined, defined)
    n_defined = defined.sum(axis=1)
    np.testing.assert_array_equal(found.n_defined_pairs, n_defined * (n_defined - 1) // 2)
    np.testing.assert_array_equal(found.n_kept_pairs, np.diff(found.C.indptr))


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
