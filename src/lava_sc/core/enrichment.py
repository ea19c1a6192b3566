"""Over-representation of gene sets among the genes of a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import false_discovery_control, hypergeom

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
    hits = [sorted(query & genes) for genes in tested.values()]
    n_hits = np.array([len(h) for h in hits], dtype=np.int64)
    sizes = np.array([len(genes) for genes in tested.values()], dtype=np.int64)
    pvalues = hypergeom.sf(n_hits - 1, len(background), sizes, len(query))
    return Overrepresentation(
        names=list(tested),
        hits=hits,
        set_sizes=sizes,
        expected=sizes * len(query) / max(len(background), 1),
        pvalues=pvalues,
        adjusted=false_discovery_control(pvalues) if len(pvalues) else pvalues,
    )
