"""What modules of one half of the samples say of the other: against dense formulas, in data with modules and without."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

from lava_sc.core.correlation.locality import CorrelationOptions, locality_correlations
from lava_sc.core.factorise.amf.explained import explained
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.protocol import RunPlan
from lava_sc.core.n_modules.split_half import Direction, Replication, cosines_of, in_other_half
from lava_sc.core.nulls.null_data import NullData
from lava_sc.core.nulls.shuffled_genes import least_kept
from lava_sc.core.stability.resampling import draw_halves
from lava_sc.io.blocks import InMemory


def some(seed: int, density: float = 0.2) -> sparse.csr_matrix:
    C = sparse.random(8, 1500, density, "csr", rng=np.random.default_rng(seed), dtype=np.float32)
    C.data = 2 * C.data - 1
    return C


def test_cosines_are_those_of_the_dense_reconstruction() -> None:
    own, other = some(0), some(1).tolil()
    other[3] = 0
    other = other.tocsr()
    one, rng = Direction.between(own, other), np.random.default_rng(2)
    P = rng.random((8, 3)).astype(np.float32)
    P[5] = 0
    M = rng.random((3, one.problem.n_columns)).astype(np.float32)
    hat = np.zeros((8, 1500))
    hat[:, one.problem.columns] = (P[:, :, None] * M).max(axis=1)
    there = np.abs(other.toarray())
    expected = np.diag(cosine_similarity(hat, there))[np.arange(8) != 3]
    assert expected[4] == 0
    np.testing.assert_allclose(cosines_of(one, P, M), expected, rtol=1e-5)
    # what is explained adds up to the same cosines, weighed by the squares
    squares = (there**2).sum(axis=1)[np.arange(8) != 3]
    assert explained(one.other, P, M).sum() == pytest.approx((expected**2 * squares).sum(), rel=1e-5)


def test_halves_of_each_stratum() -> None:
    strata = np.repeat([3, 1, 7], [20, 31, 2])
    first, second = draw_halves(strata, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(53))
    assert np.unique(strata[first], return_counts=True)[1].tolist() == [15, 10, 1]
    np.testing.assert_array_equal(first, np.sort(first))
    again, _ = draw_halves(strata, np.random.default_rng(1))
    assert not np.array_equal(first, again)


def data(*, modules: bool) -> tuple[NullData, list[tuple[np.ndarray, np.ndarray]]]:
    """600 samples in six places of 100, 24 features: two groups of twelve that vary together in three places each, or none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 24))
    place = np.repeat(np.arange(6), 100)
    if modules:
        factors = rng.normal(size=(600, 2))
        for m in range(2):
            X[:, 12 * m : 12 * m + 12] += 1.5 * (factors[:, [m]] * (place % 2 == m)[:, None])
    members = np.arange(600).reshape(6, 100)
    source, options = InMemory(X), CorrelationOptions(fdr=0.05)
    C = locality_correlations(source, members, options).C
    halves = []
    for seed in range(2):
        one = np.sort(np.random.default_rng(seed).permuted(members, axis=1)[:, :50], axis=1)
        other = np.array([np.setdiff1d(row, half) for row, half in zip(members, one, strict=True)])
        halves.append((one, other))
    return NullData(source, members, least_kept(C), options), halves


def look(null: NullData, halves: list[tuple[np.ndarray, np.ndarray]], n_jobs: int = 1, **how: bool) -> Replication:
    plan = RunPlan(FitOptions(gamma=1.0), "nmf", n_jobs)
    return in_other_half(null, halves, [1, 2, 3], plan, seeds=[5, 6], **how)


def test_modules_recur_in_other_samples() -> None:
    found, chance = (look(*data(modules=True), shuffled=shuffled) for shuffled in (False, True))
    assert found.cosines.shape == (2, 3)
    one, two, three = found.cosines.mean(axis=0)
    assert one < 0.6
    assert two > 0.9
    assert three < two + 0.01
    assert chance.cosines.max() < 0.1
    assert found.n_above(2 * chance.strongest)[1] == 2
    assert len(found.shares[1]) == 4  # either half of either split
    assert all(0.9 > share.max() > 0.3 for share in found.shares[1])


def test_noise_does_not() -> None:
    assert look(*data(modules=False), shuffled=False).cosines.max() < 0.1


def test_any_number_of_workers() -> None:
    one, two = (look(*data(modules=True), shuffled=False, n_jobs=n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one.cosines, two.cosines)


def test_counts_of_modules() -> None:
    shares = [[np.array([0.3, 0.1]), np.array([0.2])], [np.array([0.0, 0.0]), np.array([0.1, 0.2])]]
    found = Replication(np.zeros((1, 2)), shares)
    np.testing.assert_array_equal(found.strongest, [0.3, 0.2])
    np.testing.assert_array_equal(found.n_above(np.array([0.05, 0.0])), [1, 1])  # medians of 2 and 1, of 0 and 2


def test_nothing_to_count_without_splits() -> None:
    found = Replication(np.empty((0, 2)), [[], []])
    np.testing.assert_array_equal(found.strongest, [0, 0])
    np.testing.assert_array_equal(found.n_above(np.zeros(2)), [0, 0])
