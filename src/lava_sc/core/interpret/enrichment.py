"""Over-representation of gene sets among the genes of a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.stats import false_discovery_control, hypergeom

from lava_sc.core.correlation.fdr import adjusted_pvalues

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from lava_sc._types import FloatArray, IntArray


@dataclass(frozen=True)
class Overrepresentation:
    """One query against many gene sets.

    Attributes
    ----------
    names
        The sets.
    hits
        Genes of each set that are in the query.
    set_sizes
        Genes of each set that are in the background.
    expected
        Hits expected by chance.
    pvalues, adjusted
        Hypergeometric upper tail; Benjamini–Hochberg over all sets, those without any hit included.
    """

    names: list[str]
    hits: list[list[str]]
    set_sizes: IntArray
    expected: FloatArray
    pvalues: FloatArray
    adjusted: FloatArray


def overrepresentation(
    query: AbstractSet[str],
    gene_sets: Mapping[str, AbstractSet[str]],
    background: AbstractSet[str],
    *,
    min_size: int = 1,
) -> Overrepresentation:
    """Hypergeometric test of a query against gene sets (paper, B.9.2).

    Parameters
    ----------
    query
        Genes of interest; those outside of the background do not count.
    gene_sets
        Name → genes; restricted to the background.
    background
        The genes that could have been in the query.
    min_size
        Sets with fewer genes in the background are not tested.
    """
    query = query & background
    tested = {name: genes & background for name, genes in gene_sets.items() if len(genes & background) >= min_size}
    sizes = np.array([len(genes) for genes in tested.values()], dtype=np.int64)
    hits = [sorted(query & genes) for genes in tested.values()]
    pvalues = _upper_tail(np.array([len(genes) for genes in hits], dtype=np.int64), len(background), sizes, len(query))
    return Overrepresentation(
        names=list(tested),
        hits=hits,
        set_sizes=sizes,
        expected=sizes * len(query) / max(len(background), 1),
        pvalues=pvalues,
        adjusted=adjusted_pvalues(pvalues),
    )


def significant_by_chance(
    n_query: int,
    gene_sets: Mapping[str, AbstractSet[str]],
    drawn_from: AbstractSet[str],
    background: AbstractSet[str],
    *,
    min_size: int,
    level: float,
    n_draws: int,
    rng: np.random.Generator,
) -> IntArray:
    """Count the sets that pass for random queries, (n_draws,).

    Parameters
    ----------
    n_query
        Genes of each query.
    gene_sets, background, min_size
        See :func:`overrepresentation`.
    drawn_from
        The genes that queries are drawn from.
    level
        False discovery rate within each query.
    n_draws, rng
        How many queries, and what draws them.
    """
    genes = np.array(sorted(drawn_from & background), dtype=object)
    tested = [members & background for members in gene_sets.values() if len(members & background) >= min_size]
    if not tested or n_query == 0 or n_query > len(genes):
        return np.zeros(n_draws, dtype=np.int64)
    position = {gene: i for i, gene in enumerate(genes)}
    rows = [(k, position[gene]) for k, members in enumerate(tested) for gene in members if gene in position]
    at = np.array(rows, dtype=np.int64).reshape(-1, 2)
    membership = sparse.csr_matrix((np.ones(len(at)), (at[:, 0], at[:, 1])), shape=(len(tested), len(genes)))
    draws = np.zeros((len(genes), n_draws))
    for k in range(n_draws):
        draws[rng.choice(len(genes), n_query, replace=False), k] = 1
    n_hits = np.rint(membership @ draws).astype(np.int64)
    sizes = np.array([len(members) for members in tested])[:, None]
    pvalues = _upper_tail(n_hits, len(background), sizes, n_query)
    adjusted = false_discovery_control(pvalues, axis=0)
    return np.asarray((adjusted <= level).sum(axis=0))


def _upper_tail(n_hits: IntArray, n_background: int, sizes: IntArray, n_query: int) -> FloatArray:
    """P(at least so many hits) when a query is drawn from the background."""
    return np.asarray(hypergeom.sf(n_hits - 1, n_background, sizes, n_query), dtype=np.float64)
