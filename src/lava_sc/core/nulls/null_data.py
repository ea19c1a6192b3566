"""Null data sets for given data, see :mod:`lava_sc.core.nulls.shuffled_genes`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lava_sc.core.correlation.locality import locality_correlations
from lava_sc.core.nulls.shuffled_genes import Null, Shuffle, least_kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.io.blocks import Source


@dataclass(frozen=True)
class NullData:
    """Where null correlations come from.

    Attributes
    ----------
    source, members
        Arguments of :func:`~lava_sc.core.correlation.locality.locality_correlations` of the data.
    floors
        (ℓ,) see :class:`~lava_sc.core.nulls.shuffled_genes.Null`.
    options
        The other arguments.
    depth
        (E,) or ``None``, see :class:`~lava_sc.core.nulls.shuffled_genes.Shuffle`.
    """

    source: Source
    members: IntArray
    floors: FloatArray
    options: Mapping[str, Any] = field(default_factory=dict)
    depth: FloatArray | None = None

    def real(self, members: IntArray) -> sparse.csr_matrix:
        """Correlations of the data in other localities (ℓ′, n′), CSR float32."""
        return locality_correlations(self.source, members, **self.options).C

    def moved(self, members: IntArray, C: sparse.csr_matrix) -> NullData:
        """The same in other localities, of which ``C`` are the correlations of the data."""
        return replace(self, members=members, floors=least_kept(C))

    def correlations(self, seed: int) -> sparse.csr_matrix:
        """Correlations of shuffled features, (ℓ, D(D−1)/2) CSR float32."""
        null = Null(Shuffle(seed, self.depth), self.floors)
        return locality_correlations(self.source, self.members, null=null, **self.options).C
