"""Placement of probes against the plain restatement, scikit-learn's k-means and hand-made cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from tests.reference import placement as reference

from lava_sc.core.neighbors import Neighborhoods, neighborhoods
from lava_sc.core.placement import (
    ANALYTIC_WEIGHTS,
    locality_in_degree,
    n_localities,
    place_probes,
    placement_loss,
    sample_weights,
    spread_seeds,
    weighted_kmeans,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc.core.placement import (
        Placement,
    )

    Floats = NDArray[np.float64]


def toy(name: str, n_samples: int = 300) -> Floats:
    rng = np.random.default_rng(5)
    if name == "disc":
        return rng.normal(size=(n_samples, 2))
    if name == "uneven":
        scale = np.where(np.arange(n_samples) < n_samples // 2, 0.15, 1.0)[:, None]
        return rng.normal(size=(n_samples, 2)) * scale + 3 * (scale < 1)
    if name == "line":
        return rng.exponential(size=(n_samples, 1))
    if name == "duplicates":
        return rng.normal(size=(n_samples, 2))[rng.integers(0, n_samples // 12, n_samples)]
    if name == "four dimensions":
        return rng.normal(size=(n_samples, 4)) ** 3
    assert name == "thirteen dimensions"
    return rng.normal(size=(n_samples, 13))


TOYS = ["disc", "uneven", "line", "duplicates", "four dimensions", "thirteen dimensions"]


def place(
    Z: Floats, n: int = 30, n_probes: int = 20, *, max_evals: int = 12, seed: int = 0, n_jobs: int | None = 1
) -> Placement:
    rng = np.random.default_rng(seed)
    stats = neighborhoods(Z, n)
    return place_probes(Z, stats, n, n_probes, max_evals=max_evals, rng=rng, n_jobs=n_jobs)


@pytest.mark.parametrize("name", TOYS)
def test_members_and_loss_follow_from_the_probes(name: str) -> None:
    Z = toy(name)
    found = place(Z)
    assert found.probes.shape == (20, Z.shape[1])
    members = reference.membership(Z, found.probes, 30)
    np.testing.assert_array_equal(found.members, [np.flatnonzero(column) for column in members.T])
    degree = reference.in_degree(reference.neighbourhoods(Z, 30))
    assert found.loss == pytest.approx(reference.loss(degree, members), rel=1e-12)
    assert placement_loss(degree, found.members) == pytest.approx(found.loss, rel=1e-12)
    np.testing.assert_allclose(
        locality_in_degree(found.members, 300), reference.locality_in_degree(members), rtol=1e-15
    )


@pytest.mark.parametrize("name", TOYS)
def test_the_analytic_weights_come_first_and_more_evaluations_never_hurt(name: str) -> None:
    Z = toy(name)
    found = {max_evals: place(Z, max_evals=max_evals) for max_evals in (1, 2, 7, 30)}
    assert (found[1].alpha, found[1].beta) == ANALYTIC_WEIGHTS
    losses = [found[max_evals].loss for max_evals in (1, 2, 7, 30)]
    assert losses == sorted(losses, reverse=True)
    assert [p.n_evals for p in found.values()] == [1, 2, 7, 30]
    limit = 2 * Z.shape[1]
    assert all(abs(p.alpha) <= limit and abs(p.beta) <= limit for p in found.values())


def test_probes_are_the_k_means_at_the_exponents_that_are_returned() -> None:
    """The best of all evaluations: the only weights tried that give these probes are its own."""
    Z = toy("uneven")
    found = place(Z, max_evals=20)
    weights = sample_weights(neighborhoods(Z, 30), found.alpha, found.beta)
    labels = reference.squared_distances(Z, found.probes).argmin(axis=1)
    means = [np.average(Z[labels == k], axis=0, weights=weights[labels == k]) for k in range(20)]
    # Lloyd's algorithm ends when its centres move by less than a share of 1e-4 of the variance (squared)
    assert ((means - found.probes) ** 2).sum() <= 1e-4 * Z.var(axis=0).sum()


@pytest.mark.parametrize("name", ["uneven", "duplicates", "thirteen dimensions"])
def test_same_seed_same_placement_whatever_the_number_of_threads(name: str) -> None:
    Z = toy(name)
    first, again, threads, other = (place(Z, seed=s, n_jobs=j) for s, j in ((3, 1), (3, 1), (3, 2), (4, 1)))
    for same in (again, threads):
        np.testing.assert_array_equal(first.probes, same.probes)
        np.testing.assert_array_equal(first.members, same.members)
        assert (first.alpha, first.beta, first.loss) == (same.alpha, same.beta, same.loss)
    assert not np.array_equal(first.probes, other.probes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["disc", "uneven", "line", "four dimensions"])
def test_as_good_as_direct_with_a_k_means_from_scratch_for_every_evaluation(name: str) -> None:
    """Mean loss over four seeds, for the same number of evaluations, at most 5 % above the plain restatement's.

    One loss varies by about 5 % between seeds, the difference of two such means by 4 %. Over twelve seeds ours is 1 % higher on
    the disc and 16 to 20 % lower on the others.
    """
    Z = toy(name)
    plain = [reference.place(Z, 30, 2.0, max_evals=15, seed=s) for s in range(4)]
    ours = [place(Z, max_evals=p.evaluations, seed=s) for s, p in enumerate(plain)]
    assert np.mean([p.loss for p in ours]) <= 1.05 * np.mean([p.loss for p in plain])


@pytest.mark.parametrize(("n", "n_probes"), [(300, 1), (3, 300), (1, 40), (300, 300)])
def test_extreme_sizes(n: int, n_probes: int) -> None:
    Z = toy("uneven")
    found = place(Z, n, n_probes, max_evals=3)
    assert found.members.shape == (n_probes, n)
    assert np.isfinite(found.probes).all()
    if n == 300:
        assert found.loss == 0


def test_all_samples_at_one_point() -> None:
    found = place(np.full((40, 2), 0.3), 5, 8, max_evals=4)
    np.testing.assert_allclose(found.probes, 0.3)
    assert np.isfinite(found.loss)


def test_read_only_embedding_is_left_alone() -> None:
    Z = toy("disc")
    before = Z.copy()
    Z.flags.writeable = False
    place(Z, max_evals=2)
    np.testing.assert_array_equal(Z, before)


@given(n_samples=st.integers(3, 10**6), n=st.integers(1, 5000), overlap=st.floats(0.01, 100))
def test_number_of_localities_is_the_nearest_integer(n_samples: int, n: int, overlap: float) -> None:
    found = n_localities(n_samples, n, overlap)
    assert found == 1 or abs(found - n_samples * overlap / n) <= 0.5
    assert found >= 1


@pytest.mark.parametrize(
    ("n_samples", "n", "overlap", "expected"),
    [(700, 106, 3, 20), (70_000, 3_000, 12, 280), (100, 100, 0.2, 1), (10, 100, 1, 1)],
)
def test_number_of_localities_by_hand(n_samples: int, n: int, overlap: float, expected: int) -> None:
    assert n_localities(n_samples, n, overlap) == expected == reference.n_localities(n_samples, n, overlap)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.0, 2.0), (1.5, -1.0), (-4.0, 4.0)])
def test_weights_against_equation_1(alpha: float, beta: float) -> None:
    rng = np.random.default_rng(0)
    degree, distance = rng.random(50) + 0.1, rng.random(50) + 0.1
    plain = degree**alpha * (1 / distance) ** beta
    found = sample_weights(Neighborhoods(degree, distance), alpha, beta)
    np.testing.assert_allclose(found, plain / plain.max(), rtol=1e-12)


@pytest.mark.parametrize("exponent", [-60.0, 60.0])
def test_weights_stay_finite_with_duplicated_coordinates_and_large_exponents(exponent: float) -> None:
    Z = toy("duplicates")
    stats = neighborhoods(Z, 4)
    assert (stats.mean_distance == 0).any()
    for alpha, beta in ((0.0, exponent), (exponent, 0.0), (exponent, exponent)):
        found = sample_weights(stats, alpha, beta)
        np.testing.assert_allclose(
            found, reference.weights(stats.in_degree, stats.mean_distance, alpha, beta), rtol=1e-9
        )
        assert found.max() == 1
        assert np.isfinite(found).all()
    np.testing.assert_array_equal(
        sample_weights(Neighborhoods(np.ones(5), np.zeros(5)), exponent, exponent), np.ones(5)
    )


@pytest.mark.parametrize("dimension", [1, 2, 13])
def test_weighted_k_means_against_scikit_learn(dimension: int) -> None:
    """From the same centres: weighted sum of squares at most 1 % above that of scikit-learn run to convergence."""
    rng = np.random.default_rng(2)
    Z, weights = rng.normal(size=(400, dimension)), rng.random(400) ** 3
    start = Z[:12]
    found = weighted_kmeans(Z, weights, start)
    model = KMeans(12, init=start, n_init=1, tol=0, max_iter=1000).fit(Z, sample_weight=weights)
    ours = (weights * reference.squared_distances(Z, found).min(axis=1)).sum()
    begun = (weights * reference.squared_distances(Z, start).min(axis=1)).sum()
    assert ours <= 1.01 * model.inertia_ < begun


def test_a_centre_without_weight_stays_where_it_is() -> None:
    Z = np.array([[0.0], [1.0], [10.0], [11.0]])
    found = weighted_kmeans(Z, np.array([1.0, 3.0, 0.0, 0.0]), np.array([[0.4], [10.4], [99.0]]))
    np.testing.assert_allclose(found, [[0.75], [10.4], [99.0]])


@pytest.mark.parametrize("dimension", [1, 2, 13])
@pytest.mark.parametrize("k", [1, 2, 7, 64, 99, 100])
def test_seeds_are_distinct_samples(dimension: int, k: int) -> None:
    Z = np.random.default_rng(0).normal(size=(100, dimension))
    seeds = spread_seeds(Z, k, np.random.default_rng(1))
    distances = reference.squared_distances(seeds, Z)
    np.testing.assert_array_equal(distances.min(axis=1), 0)
    assert len(np.unique(distances.argmin(axis=1))) == k == len(seeds)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_seeds_are_spread_like_the_samples(seed: int) -> None:
    """Of ten seeds, a far cluster with a fifth of the samples gets two exactly; ten random samples would only do so at 30 %."""
    rng = np.random.default_rng(seed)
    far = rng.permutation(100) < 20
    Z = rng.normal(size=(100, 2)) + 1e3 * far[:, None]
    assert (spread_seeds(Z, 10, rng)[:, 0] > 500).sum() == 2
