"""Initial presences and modules. Where AMF ends depends on them more than on anything else."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from lava_sc.core.factorise.amf.successive_halving import nmf_start
from lava_sc.parallel.threads import libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.problem import Problem

    #: From a problem, the number of modules M, the options of the fit and a generator to P (ℓ, M) and M (M, J′).
    Start: TypeAlias = Callable[[Problem, int, FitOptions, np.random.Generator], tuple[FloatArray, FloatArray]]

_OWN_PRESENCE: Final = 0.9
_OTHER_PRESENCE: Final = 0.5  # times the cosine: leaves other clusters' modules room to be co-present


def random_start(
    problem: Problem, n_modules: int, options: FitOptions, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Uniform in [0, 1), as the paper's behaviour suggests (it does not state its start)."""
    del options
    P = rng.random((problem.n_localities, n_modules), dtype=np.float32)
    M = rng.random((n_modules, problem.n_columns), dtype=np.float32)
    return P, M


def kmeans_start(
    problem: Problem, n_modules: int, options: FitOptions, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Spherical k-means of the localities: modules are the cluster means, presences high for the own cluster.

    Localities of other clusters start with half their cosine to the mean, so that modules can end co-present. With
    fewer correlated localities than modules, the modules left over start at random.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import normalize

    correlated = np.flatnonzero(problem.locality_weights > 0)
    P, M = random_start(problem, n_modules, options, rng)
    k = min(n_modules, len(correlated))
    if k == 0:
        return P, M
    C = problem.absolute()[correlated]
    rows = normalize(C)
    # With fewer distinct localities than modules, the modules left over start at random
    with warnings.catch_warnings(), libraries().limit(limits=1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = KMeans(k, n_init=1, random_state=int(rng.integers(2**31))).fit(rows).labels_
    clusters = np.unique(labels)
    for m, cluster in enumerate(clusters):
        M[m] = np.asarray(C[labels == cluster].mean(axis=0)).ravel()
    means = M[: len(clusters)]
    cosine = rows @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    P[:] = 0
    P[correlated[:, None], np.arange(len(clusters))] = _OTHER_PRESENCE * np.clip(cosine, 0, 1)
    P[correlated, np.searchsorted(clusters, labels)] = _OWN_PRESENCE
    return P, M


STARTS: Final[Mapping[str, Start]] = {
    "nmf": nmf_start,
    "kmeans": kmeans_start,
    "random": random_start,
}
