"""Correlations beyond those of pairs measured as well, by plain loops over pairs."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Pair = tuple[int, int]


def groups_by_level(
    defined: Sequence[bool], order: Sequence[int], *, fewest: int = 25, most: int = 10
) -> dict[int, int]:
    """Group of each defined feature; ``order`` has the features by how well they are measured."""
    ranked = [feature for feature in order if defined[feature]]
    n_groups = min(max(len(ranked) // fewest, 1), most)
    return {feature: place * n_groups // len(ranked) for place, feature in enumerate(ranked)}


def scaled_excess(
    size: Mapping[Pair, float], groups: Mapping[int, int], weighted: Iterable[tuple[Pair, float]]
) -> tuple[float, float, float]:
    """Scaled excess of some weighted pairs, their Σ w·|ρ|, and what pairs of the same groups give, Σ w·mean.

    ``size`` has |ρ| of pairs (a, b), a < b, that are not 0; pairs with an undefined feature are skipped.
    """
    alike: dict[Pair, list[float]] = {}
    for a, b in combinations(sorted(groups), 2):
        kind = tuple(sorted((groups[a], groups[b])))
        alike.setdefault(kind, []).append(size.get((a, b), 0.0))
    excess = absolute = expected = variance = 0.0
    for (a, b), weight in weighted:
        if a in groups and b in groups:
            own = size.get((min(a, b), max(a, b)), 0.0)
            others = alike[tuple(sorted((groups[a], groups[b])))]
            absolute += weight * own
            expected += weight * np.mean(others)
            excess += weight * (own - np.mean(others))
            variance += weight**2 * np.var(others)
    return (excess / np.sqrt(variance) if variance > 1e-12 else 0.0), absolute, expected
