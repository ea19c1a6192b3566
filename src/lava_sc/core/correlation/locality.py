"""C: the correlations between all defined features within every locality (paper, Section 2.2 and A.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from lava_sc.core._parallel import thread_map
from lava_sc.core.correlation.evidence import significant_pairs, tail_moments
from lava_sc.core.correlation.pairs import n_pairs, pair_index
from lava_sc.core.correlation.partial import covariate_basis, residuals
from lava_sc.core.correlation.ranks import centred_ranks, centred_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import BoolArray, DataMatrix, FloatArray, IntArray
    from lava_sc.core.correlation.partial import Covariate

_EXACT_IN_FLOAT32: Final = 2**24
_FIXED_POINT: Final = 2.0**26  # products of such fractions sum exactly in float64
_NO_VARIANCE: Final = 1e-8  # share of a feature's norm below which covariates have explained it away


@dataclass(frozen=True)
class LocalityCorrelations:
    """Correlations of all localities.

    Attributes
    ----------
    C
        (ℓ, D(D−1)/2) CSR float32, signed correlations; a pair that is undefined or not kept has no entry.
    defined
        (ℓ, D) bool, whether the feature can be correlated in the locality.
    n_defined_pairs, n_kept_pairs
        (ℓ,) int64.
    """

    C: sparse.csr_matrix
    defined: BoolArray
    n_defined_pairs: IntArray
    n_kept_pairs: IntArray


@dataclass(frozen=True)
class _Locality:
    features: IntArray
    columns: IntArray
    values: FloatArray


def locality_correlations(
    X: DataMatrix,
    members: IntArray,
    *,
    ranked: bool = True,
    max_tie_fraction: float = 0.75,
    fdr: float | None = 0.05,
    covariates: Sequence[Covariate] = (),
    n_jobs: int | None = None,
) -> LocalityCorrelations:
    """Correlate every pair of defined features within every locality.

    Parameters
    ----------
    X
        (E, D) CSR matrix or dense array, finite.
    members
        (ℓ, n) sample indices of the localities.
    ranked
        Spearman's ρ if true, else Pearson's r.
    max_tie_fraction
        A feature is defined in a locality when no value is shared by more than this fraction of its samples.
    fdr
        Keep the pairs of each locality that pass Benjamini–Hochberg at this level; ``None`` keeps every defined pair.
    covariates
        Taken out of every feature by linear regression within the locality (of the ranks, if ``ranked``).
    n_jobs
        Number of threads; changes no number.
    """

    def one(rows: IntArray) -> _Locality:
        features, scores, n_effective = _scores(X, rows, max_tie_fraction, covariates, ranked=ranked)
        a, b = np.triu_indices(len(features), 1)
        rho = _correlations(scores)[a, b]
        kept = rho != 0
        if fdr is not None:
            kept &= significant_pairs(rho, a, b, tail_moments(scores), n_effective=n_effective, level=fdr)
        columns = pair_index(features[a[kept]], features[b[kept]], X.shape[1])
        return _Locality(features, columns, rho[kept].astype(np.float32))

    found = thread_map(one, list(members), n_jobs=n_jobs, desc="locality correlations")
    defined = np.zeros((len(members), X.shape[1]), dtype=bool)
    for i, locality in enumerate(found):
        defined[i, locality.features] = True
    return LocalityCorrelations(
        C=_stack(found, n_pairs(X.shape[1])),
        defined=defined,
        n_defined_pairs=np.array([n_pairs(len(locality.features)) for locality in found], dtype=np.int64),
        n_kept_pairs=np.array([len(locality.columns) for locality in found], dtype=np.int64),
    )


def _scores(
    X: DataMatrix, rows: IntArray, max_tie_fraction: float, covariates: Sequence[Covariate], *, ranked: bool
) -> tuple[IntArray, FloatArray, int]:
    """Defined features, their centred scores (d, n), and the number of dimensions the scores are free to move in."""
    features, scores = (centred_ranks if ranked else centred_values)(X, rows, max_tie_fraction)
    basis = covariate_basis(covariates, rows, ranked=ranked)
    if not len(basis) and ranked:
        return features, scores, len(rows)
    adjusted = residuals(scores, basis)
    norms = np.sqrt((adjusted**2).sum(axis=1))
    varies = norms > _NO_VARIANCE * np.sqrt((scores**2).sum(axis=1))
    fixed_point = np.rint(adjusted[varies] / norms[varies, None] * _FIXED_POINT)
    return features[varies], fixed_point, len(rows) - len(basis)


def _correlations(scores: FloatArray) -> FloatArray:
    """(d, d) correlations of whole-number scores (d, n).

    The sums are exact, hence independent of the order of cells, genes and threads: doubled ranks have
    Σ|a·b| ≤ n(n² − 1)/3, which float32 holds up to n = 369 and float64 up to n = 300,000.
    """
    bound = (scores**2).sum(axis=1).max(initial=0.0)
    exact: FloatArray = scores.astype(np.float32 if bound <= _EXACT_IN_FLOAT32 else np.float64)
    products: FloatArray = (exact @ exact.T).astype(np.float64)
    norms = products.diagonal()
    return np.clip(products / np.sqrt(norms[:, None] * norms[None, :]), -1.0, 1.0)


def _stack(localities: Sequence[_Locality], n_columns: int) -> sparse.csr_matrix:
    counts = [len(locality.columns) for locality in localities]
    indptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    dtype = np.int32 if max(n_columns, int(indptr[-1])) <= np.iinfo(np.int32).max else np.int64
    indices = np.concatenate([locality.columns.astype(dtype) for locality in localities])
    values = np.concatenate([locality.values for locality in localities])
    return sparse.csr_matrix((values, indices, indptr.astype(dtype)), shape=(len(localities), n_columns))
