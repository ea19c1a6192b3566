"""Null data sets for given data, see :mod:`lava_sc.core.nulls.shuffled_genes`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lava_sc.core.correlation.locality import DEFAULTS, locality_correlations
from lava_sc.core.nulls.shuffled_genes import NULLS, Null, least_kept

if TYPE_CHECKING:
    from distributed import Client
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.correlation.locality import CorrelationOptions
    from lava_sc.core.nulls.shuffled_genes import FeatureNull
    from lava_sc.io.blocks import Source


@dataclass(frozen=True)
class NullData:
    """Data that null correlations are made from.

    Attributes
    ----------
    source, members
        Arguments of :func:`~lava_sc.core.correlation.locality.locality_correlations` of the data.
    floors
        (ℓ,) see :class:`~lava_sc.core.nulls.shuffled_genes.Null`.
    options
        How the data were correlated.
    depth
        (E,) or ``None``, see :class:`~lava_sc.core.nulls.shuffled_genes.Shuffle`.
    n_jobs
        Number of threads; changes no number.
    client
        Works at the localities instead of threads.
    """

    source: Source
    members: IntArray
    floors: FloatArray
    options: CorrelationOptions = DEFAULTS
    depth: FloatArray | None = None
    n_jobs: int | None = None
    client: Client | None = None

    def real(self, members: IntArray) -> sparse.csr_matrix:
        """Correlations of the data in other localities (ℓ′, n′), CSR float32."""
        return self._correlate(members, None)

    def moved(self, members: IntArray, C: sparse.csr_matrix) -> NullData:
        """Move to other localities, of which ``C`` are the correlations of the data."""
        return replace(self, members=members, floors=least_kept(C))

    def correlations(self, seed: int, kind: str = "shuffled_genes") -> sparse.csr_matrix:
        """Correlations of null features, CSR float32; ``kind`` is one of :data:`~lava_sc.core.nulls.shuffled_genes.NULLS`."""
        return self._correlate(self.members, NULLS[kind](seed, self.depth, self.source.shape[1]))

    def _correlate(self, members: IntArray, features: FeatureNull | None) -> sparse.csr_matrix:
        null = None if features is None else Null(features, self.floors)
        return locality_correlations(
            self.source, members, self.options, null=null, n_jobs=self.n_jobs, client=self.client
        ).C
