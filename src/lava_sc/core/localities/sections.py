"""Placement within sections that lie over one another in the same coordinates, such as slices of tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lava_sc.core.localities.placement import Placement, place_probes, placement_loss

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.localities.placement import PlacementOptions


def allocate(n_probes: int, sizes: IntArray) -> IntArray:
    """Probes for each section, in proportion to its samples by largest remainders, at least one."""
    total = int(sizes.sum())
    counts = np.maximum(n_probes * sizes // total, 1)
    owed = n_probes * sizes - counts * total  # in whole numbers: equal remainders have to tie
    counts[np.argsort(-owed, kind="stable")[: max(n_probes - counts.sum(), 0)]] += 1
    while counts.sum() > max(n_probes, len(counts)):  # the sections that had to get one take it from those with most
        owed = n_probes * sizes - counts * total
        counts[np.argmin(np.where(counts > 1, owed, np.iinfo(np.int64).max))] -= 1
    return counts


@dataclass(frozen=True)
class SectionedPlacement:
    """Placements of all sections as one.

    Attributes
    ----------
    whole
        All probes, with indices of all samples; α and β are those of the first section.
    exponents
        (sections, 2) α and β of each.
    section_of_probe
        (ℓ,) codes.
    """

    whole: Placement
    exponents: FloatArray
    section_of_probe: IntArray


def place_in_sections(
    Z: FloatArray, sections: IntArray, n: int, n_probes: int, options: PlacementOptions, rng: np.random.Generator
) -> SectionedPlacement:
    """Place probes such that no locality mixes sections; the samples' neighbourhoods, too, are those within a section.

    Parameters
    ----------
    Z
        (E, D_L) embedding.
    sections
        (E,) codes from 0; each has at least n samples.
    n
        Locality size.
    n_probes
        Number of localities of all sections together; more if there are more sections.
    options
        How to place them.
    rng
        Each section gets a child of it.
    """
    samples = [np.flatnonzero(sections == code) for code in range(sections.max() + 1)]
    counts = allocate(n_probes, np.array([len(own) for own in samples]))
    parts = [
        place_probes(Z[own], n, int(count), options, child)
        for own, count, child in zip(samples, counts, rng.spawn(len(samples)), strict=True)
    ]
    in_degree = np.empty(len(Z))
    for own, part in zip(samples, parts, strict=True):
        in_degree[own] = part.in_degree * len(own) / len(Z)
    members = np.vstack([own[part.members] for own, part in zip(samples, parts, strict=True)])
    whole = Placement(
        probes=np.vstack([part.probes for part in parts]),
        members=members,
        in_degree=in_degree,
        alpha=parts[0].alpha,
        beta=parts[0].beta,
        loss=placement_loss(in_degree, members),
        n_evals=sum(part.n_evals for part in parts),
    )
    exponents = np.array([(part.alpha, part.beta) for part in parts])
    return SectionedPlacement(whole, exponents, np.repeat(np.arange(len(samples)), counts))
