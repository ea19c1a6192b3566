"""Initial presences and modules. Where AMF ends depends on them more than on anything else."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lava_sc._types import FloatArray
    from lava_sc.core.amf.target import Target

_OWN_PRESENCE: Final = 0.9
_OTHER_PRESENCE: Final = 0.5  # times the cosine: leaves other clusters' modules room to be co-present


def random_start(target: Target, n_modules: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Uniform in [0, 1), as the paper's behaviour suggests (it does not state its start)."""
    P = rng.random((target.n_localities, n_modules), dtype=np.float32)
    M = rng.random((n_modules, len(target.columns)), dtype=np.float32)
    return P, M


def kmeans_start(target: Target, n_modules: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Spherical k-means of the localities: modules are the cluster means, presences high for the own cluster.

    Localities of other clusters start with half their cosine to the mean, so that modules can end co-present. With
    fewer correlated localities than modules, the modules left over start at random.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import normalize

    correlated = np.flatnonzero(target.locality_weights > 0)
    P, M = random_start(target, n_modules, rng)
    k = min(n_modules, len(correlated))
    if k == 0:
        return P, M
    rows = normalize(target.C[correlated])
    with warnings.catch_warnings():  # fewer distinct localities than modules: the modules left over start at random
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = KMeans(k, n_init=1, random_state=int(rng.integers(2**31))).fit(rows).labels_
    clusters = np.unique(labels)
    for m, cluster in enumerate(clusters):
        M[m] = np.asarray(target.C[correlated[labels == cluster]].mean(axis=0)).ravel()
    means = M[: len(clusters)]
    cosine = rows @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    P[:] = 0
    P[correlated[:, None], np.arange(len(clusters))] = _OTHER_PRESENCE * np.clip(cosine, 0, 1)
    P[correlated, np.searchsorted(clusters, labels)] = _OWN_PRESENCE
    return P, M


STARTS: Final[Mapping[str, Callable[[Target, int, np.random.Generator], tuple[FloatArray, FloatArray]]]] = {
    "kmeans": kmeans_start,
    "random": random_start,
}
