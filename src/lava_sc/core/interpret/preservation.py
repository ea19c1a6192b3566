"""Presence of given modules in other localities, beside the same modules on other features.

The null hypothesis is that the correlations in these localities have nothing to do with which features make up a module.
Then it might as well lie on any others that are measured as well, so features are exchanged at random among those of
similar detection (as labels of modules are by Langfelder et al. 2011 for the same question). Shuffling the features' values
instead would only ask whether anything correlates at all, which any set of features would answer alike.

What is tested looks at each module by itself. In a joint fit, one of two modules that are alike gets the localities of both, and
the other would seem to be gone; and a presence, which is fitted to the correlations it is then held against, is above 0 by
chance, too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from lava_sc.core.correlation.pairs import pair_features
from lava_sc.core.correlation.relabel import relabelled
from lava_sc.core.factorise.amf.explained import explained
from lava_sc.core.factorise.amf.loss import quality
from lava_sc.core.factorise.amf.presences import MOST_PAIRS as MOST_PAIRS_OF_PRESENCES
from lava_sc.core.factorise.amf.presences import project_presences, with_pairs_of
from lava_sc.core.interpret.similarity import cosines, row_norms
from lava_sc.core.n_modules.sweep import squares
from lava_sc.core.nulls.matched_residuals import Excess
from lava_sc.parallel.threads import thread_map

if TYPE_CHECKING:
    from lava_sc._types import BoolArray, FloatArray, IntArray
    from lava_sc.core.factorise.amf.loss import Quality
    from lava_sc.core.nulls.exchanged_genes import DetectionStats

#: Pairs of each module, the strongest, that count in the test.
MOST_PAIRS: Final = 20_000
_MOST_PAIRS_OF_NULL: Final = 2000  # that presences of exchanged modules are fitted on


@dataclass(frozen=True)
class Projected:
    """Modules in other localities.

    Attributes
    ----------
    presences
        (ℓ, M) float32.
    quality
        Of the reconstruction.
    explained
        (M,) share of the squared correlations that each module accounts for beside the others.
    seconds
        Wall time of the fit.
    """

    presences: FloatArray
    quality: Quality
    explained: FloatArray
    seconds: float


def project(
    C: sparse.csr_matrix,
    modules: sparse.csr_matrix,
    *,
    seed: int,
    nu: float,
    gamma: float,
    most_pairs: int = MOST_PAIRS_OF_PRESENCES,
    n_jobs: int | None = 1,
) -> Projected:
    """Fit the presences of given modules.

    Parameters
    ----------
    C
        (ℓ, J) signed correlations.
    modules
        (M, J).
    seed
        Draws the pairs that presences are fitted on, where there are many.
    nu, gamma, most_pairs, n_jobs
        See :func:`lava_sc.core.factorise.amf.presences.project_presences`.
    """
    began = time.perf_counter()
    problem, M = with_pairs_of(C, modules)
    rng = np.random.default_rng(seed)
    P = project_presences(problem, M, nu=nu, gamma=gamma, rng=rng, most_pairs=most_pairs, n_jobs=n_jobs)
    seconds = time.perf_counter() - began
    shares = explained(problem, P, M) / max(squares(problem), np.finfo(float).tiny)
    return Projected(P, quality(problem, P, M, nu=nu, gamma=gamma), shares, seconds)


def explained_by_exchanged(
    C: sparse.csr_matrix,
    modules: sparse.csr_matrix,
    labels: IntArray,
    *,
    seed: int,
    nu: float,
    gamma: float,
    n_jobs: int | None,
) -> FloatArray:
    """Shares that modules on exchanged features account for, their presences fitted anew, (n, M).

    Parameters
    ----------
    C, modules, seed, nu, gamma
        See :func:`project`.
    labels
        (n, D) new numbers of the features.
    n_jobs
        Number of threads; changes no number.
    """

    def shares(new: IntArray) -> FloatArray:
        exchanged = relabelled(modules, new, labels.shape[1])
        return project(C, exchanged, seed=seed, nu=nu, gamma=gamma, most_pairs=_MOST_PAIRS_OF_NULL).explained

    return np.array(thread_map(shares, list(labels), n_jobs=n_jobs, desc="presences of exchanged genes"))


@dataclass(frozen=True)
class Likeness:
    """Likeness of localities and modules; the first of n + 1 is that of the features as they are, the others exchanged.

    Attributes
    ----------
    excess
        (n + 1, ℓ, M) what the module's pairs correlate beyond those measured as well, see :class:`Excess`, weighted by the
        module.
    cosines
        (n + 1, ℓ, M) of absolute correlations and module.
    between
        (ℓ, ℓ) cosines of the localities.
    """

    excess: FloatArray
    cosines: FloatArray
    between: FloatArray

    @property
    def pattern(self) -> FloatArray:
        """See :func:`pattern_cosines`, (n + 1, M)."""
        return _patterns(self.cosines, self.between)

    @property
    def totals(self) -> FloatArray:
        """Excess over all localities, (n + 1, M)."""
        return np.asarray(self.excess.sum(axis=1))


def pattern_cosines(C: sparse.csr_matrix, modules: sparse.csr_matrix) -> FloatArray:
    """Cosine of each module and the mean of the localities, weighted by their own cosines with it, (M,).

    Localities count equally, whatever their norm, and the more the more they are like the module; those that are nothing
    like it do not count. 0 where none is.

    Parameters
    ----------
    C
        (ℓ, J) signed correlations.
    modules
        (M, J).
    """
    size = abs(C)
    return _patterns(cosines(size, modules)[None], cosines(size, size))[0]


def _patterns(alike: FloatArray, between: FloatArray) -> FloatArray:
    """Cosines of patterns, from cosines of localities and modules (n, ℓ, M), and of localities (ℓ, ℓ); (n, M)."""
    norms = np.sqrt(np.einsum("nim,ij,njm->nm", alike, between, alike, optimize=True))
    squared = (alike**2).sum(axis=1)
    return np.minimum(np.divide(squared, norms, out=np.zeros_like(norms), where=norms > 0), 1.0)


def likeness(
    C: sparse.csr_matrix,
    defined: BoolArray,
    levels: DetectionStats,
    modules: sparse.csr_matrix,
    labels: IntArray,
    *,
    n_jobs: int | None,
) -> Likeness:
    """Hold localities against modules, and against the same on exchanged features.

    Parameters
    ----------
    C
        (ℓ, J) signed correlations, indices sorted.
    defined
        (ℓ, D) bool.
    levels
        How well features are measured in each locality.
    modules
        (M, J), see :func:`strongest_pairs`.
    labels
        (n + 1, D) numbers of the features, first their own.
    n_jobs
        Number of threads; changes no number.
    """
    names = np.arange(defined.shape[1])
    patterns = *pair_features(modules.indices, len(names)), modules.data.astype(np.float64), modules.indptr
    of_localities, of_modules = row_norms(C), row_norms(modules)

    def of_one(i: int) -> tuple[FloatArray, FloatArray]:
        row = slice(C.indptr[i], C.indptr[i + 1])
        excess = Excess.of(C.indices[row], C.data[row], defined[i], levels.order(i, names))
        scaled, products = excess.of_weighted_pairs(*patterns, labels)
        scale = of_localities[i] * of_modules
        return scaled, np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)

    found = thread_map(of_one, range(C.shape[0]), n_jobs=n_jobs, desc="exchanged genes")
    excess, alike = (np.stack(parts, axis=1) for parts in zip(*found, strict=True))
    return Likeness(excess, alike, cosines(abs(C), abs(C)))


def strongest_pairs(modules: sparse.csr_matrix, n_most: int = MOST_PAIRS) -> sparse.csr_matrix:
    """Modules (M, J) without all but their strongest pairs; ties go to the first."""
    kept = np.ones(len(modules.data), dtype=bool)
    for start, stop in zip(modules.indptr[:-1], modules.indptr[1:], strict=True):
        kept[start + np.argsort(-modules.data[start:stop], kind="stable")[n_most:]] = False
    indptr = np.concatenate([[0], np.cumsum(kept)])[modules.indptr]
    return sparse.csr_matrix((modules.data[kept], modules.indices[kept], indptr), shape=modules.shape)
