"""Sections that lie over one another: each placed as if it were alone, then put together."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsTransformer
from tests.reference import placement as reference

from lava_sc.core.localities.placement import OPTIMIZERS, PlacementOptions, n_localities, place_probes
from lava_sc.core.localities.sections import allocate, place_in_sections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc.core.localities.sections import SectionedPlacement

    Floats = NDArray[np.float64]

SIZES = [300, 90, 30]


def slices(dimension: int = 2) -> tuple[Floats, NDArray[np.int64]]:
    """Three sections of 300, 90 and 30 samples over the same ground, mixed in order."""
    rng = np.random.default_rng(3)
    sections = rng.permutation(np.repeat(np.arange(3), SIZES))
    return rng.random((420, dimension)), sections


def place(
    n: int = 25, n_probes: int = 50, *, dimension: int = 2, seed: int = 0, **options: object
) -> SectionedPlacement:
    Z, sections = slices(dimension)
    settings = PlacementOptions(**(dict(max_evals=6, n_jobs=1) | options))
    return place_in_sections(Z, sections, n, n_probes, settings, np.random.default_rng(seed))


def within_sections(Z: Floats, sections: NDArray[np.int64], n: int) -> Floats:
    """In-degrees by neighbourhoods that are searched in the sample's own section only: count / E over all sections."""
    counts = np.zeros(len(Z))
    for code in np.unique(sections):
        own = np.flatnonzero(sections == code)
        np.add.at(counts, own[reference.neighbourhoods(Z[own], n)].ravel(), 1)
    return counts / len(Z)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_probes_and_samples_have_their_own_section_only(dimension: int, optimizer: str) -> None:
    Z, sections = slices(dimension)
    found = place(dimension=dimension, optimizer=optimizer)
    assert found.whole.members.shape == (50, 25)
    for probe, members, code in zip(found.whole.probes, found.whole.members, found.section_of_probe, strict=True):
        assert (sections[members] == code).all()
        own = np.flatnonzero(sections == code)
        inside = reference.membership(Z[own], probe[None], 25)[:, 0]
        np.testing.assert_array_equal(members, own[inside])
    degree = within_sections(Z, sections, 25)
    np.testing.assert_allclose(found.whole.in_degree, degree, rtol=1e-14)
    assert found.whole.in_degree.sum() == pytest.approx(25)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loss_is_that_of_all_sections_together(optimizer: str) -> None:
    Z, sections = slices()
    found = place(optimizer=optimizer).whole
    members = np.zeros((420, 50), dtype=bool)
    members[found.members, np.arange(50)[:, None]] = True
    assert found.loss == pytest.approx(reference.loss(within_sections(Z, sections, 25), members), rel=1e-12)
    assert found.n_evals == 3 * 6


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_section_is_placed_as_if_it_were_alone(optimizer: str) -> None:
    """Same generator, same probes; another section's coordinates do not matter."""
    Z, sections = slices()
    found = place(optimizer=optimizer)
    children = np.random.default_rng(0).spawn(3)
    counts = np.bincount(found.section_of_probe)
    for code, (child, count) in enumerate(zip(children, counts, strict=True)):
        own = np.flatnonzero(sections == code)
        alone = place_probes(Z[own], 25, int(count), PlacementOptions(optimizer, 6, n_jobs=1), child)
        chosen = found.section_of_probe == code
        np.testing.assert_array_equal(found.whole.probes[chosen], alone.probes)
        np.testing.assert_array_equal(found.whole.members[chosen], own[alone.members])
        np.testing.assert_array_equal(found.exponents[code], (alone.alpha, alone.beta))


def test_without_a_second_section_it_is_the_plain_placement() -> None:
    Z, _ = slices()
    options = PlacementOptions(max_evals=4, n_jobs=1)
    found = place_in_sections(Z, np.zeros(420, dtype=int), 25, 50, options, np.random.default_rng(0))
    (child,) = np.random.default_rng(0).spawn(1)
    alone = place_probes(Z, 25, 50, options, child)
    np.testing.assert_array_equal(found.whole.probes, alone.probes)
    np.testing.assert_array_equal(found.whole.in_degree, alone.in_degree)
    assert found.whole.loss == alone.loss


def test_threads_change_nothing_and_seeds_do() -> None:
    first, threads, other = place(), place(n_jobs=2), place(seed=1)
    np.testing.assert_array_equal(first.whole.probes, threads.whole.probes)
    np.testing.assert_array_equal(first.whole.members, threads.whole.members)
    assert not np.array_equal(first.whole.probes, other.whole.probes)


def test_a_search_that_is_exact_changes_nothing() -> None:
    first, searched = place(), place(transformer=KNeighborsTransformer())
    np.testing.assert_array_equal(first.whole.in_degree, searched.whole.in_degree)
    np.testing.assert_array_equal(first.whole.members, searched.whole.members)


def test_a_section_as_small_as_a_locality() -> None:
    """Its one locality is the whole section."""
    _, sections = slices()
    found = place(n=30, n_probes=42)
    last = found.whole.members[found.section_of_probe == 2]
    np.testing.assert_array_equal(last, np.tile(np.flatnonzero(sections == 2), (len(last), 1)))


@pytest.mark.parametrize(
    ("n_probes", "sizes", "expected"),
    [
        (10, [50, 30, 20], [5, 3, 2]),
        (10, [55, 31, 14], [6, 3, 1]),  # 5.5, 3.1, 1.4
        (3, [34, 33, 33], [1, 1, 1]),
        (7, [100], [7]),
        (4, [10, 10], [2, 2]),
        (5, [10, 10], [3, 2]),  # of equal remainders the first
        (10, [980, 10, 10], [8, 1, 1]),  # 9.8, 0.1, 0.1
        (2, [5, 5, 5], [1, 1, 1]),
        (1, [7, 7], [1, 1]),
    ],
)
def test_probes_by_hand(n_probes: int, sizes: list[int], expected: list[int]) -> None:
    np.testing.assert_array_equal(allocate(n_probes, np.array(sizes)), expected)


@given(
    n=st.integers(3, 50),
    surplus=st.lists(st.integers(0, 400), min_size=1, max_size=8),
    overlap=st.floats(1, 20),
)
@example(n=3, surplus=[202, 1, 1], overlap=1.0)  # equal remainders that floats tell apart
def test_probes_are_shared_out_by_largest_remainders(n: int, surplus: list[int], overlap: float) -> None:
    """With sections of at least n samples and an overlap of at least 1: in exact fractions, and all of them given out."""
    sizes = np.array(surplus) + n
    n_probes = n_localities(int(sizes.sum()), n, overlap)
    found = allocate(n_probes, sizes)
    shares = [Fraction(n_probes * int(size), int(sizes.sum())) for size in sizes]
    assert found.sum() == max(n_probes, len(sizes))
    assert (found >= 1).all()
    rounded = [int(share) for share in shares]
    if min(rounded) >= 1:
        remainders = sorted(range(len(sizes)), key=lambda i: (rounded[i] - shares[i], i))
        for i in remainders[: n_probes - sum(rounded)]:
            rounded[i] += 1
        np.testing.assert_array_equal(found, rounded)
