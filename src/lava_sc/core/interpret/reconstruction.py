"""One locality's correlations, the parts that its modules reconstruct of them, and their maximum (paper, Figure 5c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lava_sc.core.correlation.pairs import pair_features

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray


@dataclass(frozen=True)
class Reconstruction:
    """A locality over the pairs that it or its modules correlate.

    Attributes
    ----------
    pairs
        (k,) columns of C, ascending.
    correlations
        (k,) float64, |C_i|.
    parts
        (M, k) float64, P_im·M_m of each module.
    n_features
        D.
    """

    pairs: IntArray
    correlations: FloatArray
    parts: FloatArray
    n_features: int

    @property
    def largest(self) -> FloatArray:
        """Ĉ_i, (k,)."""
        return np.asarray(self.parts.max(axis=0, initial=0.0))

    @property
    def cosine(self) -> float:
        """Between |C_i| and Ĉ_i over all pairs; 0 where there is no reconstruction, NaN without any correlation."""
        own, hat = np.linalg.norm(self.correlations), np.linalg.norm(self.largest)
        if own == 0:
            return float("nan")
        return float(self.correlations @ self.largest / (own * hat)) if hat > 0 else 0.0

    @property
    def overestimation(self) -> float:
        """Share of the absolute error over all pairs; 0 when there is no error."""
        errors = self.largest - self.correlations
        total = np.abs(errors).sum()
        return float(np.maximum(errors, 0).sum() / total) if total > 0 else 0.0

    def strongest_genes(self, n: int, modules: IntArray) -> IntArray:
        """At most n genes: in turn the next by the sums of its correlations, and by its sums in each of some modules.

        By the correlations alone, modules of few pairs would be out of sight.
        """
        sums = [self._gene_sums(values) for values in (self.correlations, *self.parts[modules])]
        queues = [iter(order[some[order] > 0]) for some in sums for order in [np.argsort(-some, kind="stable")]]
        taken: dict[int, None] = {}
        while queues and len(taken) < n:
            for queue in tuple(queues):
                gene = next((int(gene) for gene in queue if gene not in taken), None)
                if gene is None:
                    queues.remove(queue)
                elif len(taken) < n:
                    taken[gene] = None
        return np.array(list(taken), dtype=np.int64)

    def in_order(self, genes: IntArray) -> IntArray:
        """Genes by the module that wins most pairs of each, the most present module first, then by their weight.

        Those that no module reconstructs come last, by the sums of their correlations.
        """
        winners = np.where(self.largest > 0, self.parts.argmax(axis=0), -1)
        n_modules = len(self.parts)
        wins = np.stack([self._gene_sums((winners == m).astype(np.float64)) for m in range(n_modules)], axis=1)
        rank = np.empty(n_modules, dtype=np.int64)
        rank[np.argsort(-self.parts.max(axis=1, initial=0.0), kind="stable")] = np.arange(n_modules)
        group = np.where(wins.any(axis=1), rank[wins.argmax(axis=1)], n_modules)
        weight = np.where(group < n_modules, self._gene_sums(self.largest), self._gene_sums(self.correlations))
        return genes[np.lexsort((-weight[genes], group[genes]))]

    def square(self, values: FloatArray, genes: IntArray) -> FloatArray:
        """Values of the pairs (k,) as a symmetric table of some genes, (n, n) float64; NaN on the diagonal."""
        at = np.full(self.n_features, -1)
        at[genes] = np.arange(len(genes))
        a, b = (at[features] for features in pair_features(self.pairs, self.n_features))
        there = (a >= 0) & (b >= 0)
        table = np.zeros((len(genes), len(genes)))
        table[a[there], b[there]] = table[b[there], a[there]] = values[there]
        np.fill_diagonal(table, np.nan)
        return table

    def _gene_sums(self, values: FloatArray) -> FloatArray:
        """(D,) sums over the pairs of each gene."""
        a, b = pair_features(self.pairs, self.n_features)
        sums = np.bincount(a, values, self.n_features) + np.bincount(b, values, self.n_features)
        return np.asarray(sums, dtype=np.float64)


def reconstruct_locality(
    C: sparse.csr_matrix, presences: FloatArray, modules: sparse.csr_matrix, locality: int, n_features: int
) -> Reconstruction:
    """Take one locality apart.

    Parameters
    ----------
    C
        (ℓ, J) signed or absolute correlations.
    presences
        (ℓ, M).
    modules
        (M, J).
    locality
        Which one.
    n_features
        D.
    """
    own, presence = C[[locality]], np.asarray(presences[locality], dtype=np.float64)
    weighed = modules[np.flatnonzero(presence > 0)]
    pairs = np.union1d(own.indices, weighed.indices)
    correlations = np.zeros(len(pairs))
    correlations[np.searchsorted(pairs, own.indices)] = np.abs(own.data)
    parts = np.zeros((len(presence), len(pairs)))
    for m in np.flatnonzero(presence > 0):
        row = slice(modules.indptr[m], modules.indptr[m + 1])
        parts[m, np.searchsorted(pairs, modules.indices[row])] = presence[m] * modules.data[row]
    return Reconstruction(pairs, correlations, parts, n_features)
