from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from lava_sc.core.interpret import association as core
from lava_sc.core.nulls import donor_permutation as donors
from lava_sc.core.nulls.moran import fitted_waves, overlap_pvalues


def donors_and_localities(n_donors: int, n_localities: int = 25, seed: int = 0) -> tuple[Any, Any, Any]:
    """Presences of two modules, which count, and cells of each donor in each locality."""
    rng = np.random.default_rng(seed)
    P = rng.random((n_localities, 2))
    counts = rng.multinomial(40, rng.dirichlet(np.ones(n_donors)), n_localities).astype(float)
    return P, P > 0.2, counts


def pearson(x: Any, y: Any) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(y) > 1e-12 else 0.0


def spearman(x: Any, y: Any) -> float:
    return pearson(stats.rankdata(x), stats.rankdata(np.round(y, 10)))


@pytest.mark.parametrize("n", [3, 4, 30])
def test_correlations_and_plain_p_values_are_those_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    x, F = rng.random(n), np.column_stack([rng.random(n), rng.permutation(n) // 2 / n, np.full(n, 1 / 3)])
    r, p = core.correlations(x, F)
    for k in range(2):
        for row, test in enumerate((stats.pearsonr, stats.spearmanr)):
            expected = test(x, F[:, k])
            np.testing.assert_allclose((r[row, k], p[row, k]), (expected.statistic, expected.pvalue), atol=1e-10)
    assert np.isnan(r[:, 2]).all()
    assert np.isnan(p[:, 2]).all()


def test_too_few_localities_or_a_constant_presence_have_no_correlation() -> None:
    for x in (np.array([0.1, 0.2]), np.full(9, 0.1)):
        F = np.random.default_rng(0).random((len(x), 2))
        assert np.isnan(core.correlations(x, F)).all()
        assert np.isnan(overlap_pvalues(x, F, F, n_permutations=9, rng=np.random.default_rng(0))).all()


def test_fractions_are_means_over_cells_and_ties_are_exact() -> None:
    counts = np.array([[1, 2, 0], [0, 0, 0], [2, 4, 0], [1, 1, 7]])
    found = core.fractions(counts.astype(float), np.array([[1, 0.1], [0, 0.7], [1, 0.3]]))
    for i in (0, 2, 3):
        cells = np.repeat([0.1, 0.7, 0.3], counts[i])
        np.testing.assert_allclose(found[i], [(cells != 0.7).mean(), cells.mean()], rtol=1e-11)
    assert np.isnan(found[1]).all()
    assert (found[0] == found[2]).all()


@pytest.mark.parametrize("values", [[1, 1, 0, 0, 0], [1, 2, 3, 4, 2], [0, 0, 0, 0, 0]])
@pytest.mark.parametrize("strata", [[0, 0, 0, 0, 0], [0, 1, 0, 1, 1]])
def test_all_assignments_are_the_distinct_permutations(values: list[float], strata: list[int]) -> None:
    expected = {
        tuple(float(values[i]) for i in order)
        for order in permutations(range(5))
        if all(strata[i] == strata[j] for j, i in enumerate(order))
    }
    found, exact = donors.assignments(
        np.array(values, float), np.array(strata), len(expected), np.random.default_rng(0)
    )
    assert exact
    assert len(found) == len(expected)
    assert set(map(tuple, found.tolist())) == expected
    if len(expected) > 1:
        drawn, exact = donors.assignments(
            np.array(values, float), np.array(strata), len(expected) - 1, np.random.default_rng(0)
        )
        assert not exact
        assert len(drawn) == len(expected) - 1
        assert set(map(tuple, drawn.tolist())) <= expected


@pytest.mark.parametrize("strata", [[0] * 6, [0, 0, 0, 0, 1, 1]])
@pytest.mark.parametrize("values", [[1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 0, 1], [3.5, 1, 2, 2, 8, 9]])
def test_exact_p_values_of_donors_against_a_plain_loop(values: list[float], strata: list[int]) -> None:
    P, present, counts = donors_and_localities(6)
    labels, groups = np.array(values, float), np.array(strata)
    others, exact = donors.assignments(labels, groups, 1000, np.random.default_rng(0))
    assert exact
    found = donors.donor_pvalues(P, present, counts, np.vstack([labels, others]), exact=True)
    shares = counts / counts.sum(axis=1, keepdims=True)
    orders = [list(order) for order in permutations(range(6)) if (groups[list(order)] == groups).all()]
    for m, (row, correlation) in product(range(2), enumerate((pearson, spearman))):
        rows = present[:, m]
        null = np.array([correlation(P[rows, m], shares[rows] @ labels[order]) for order in orders])
        true = correlation(P[rows, m], shares[rows] @ labels)
        tails = (null >= true - 1e-9).mean(), (null <= true + 1e-9).mean()
        assert found[row, m] == pytest.approx(min(1, 2 * min(tails)))


def test_drawn_p_values_are_near_the_exact_ones_and_never_0() -> None:
    P, present, counts = donors_and_localities(8, seed=3)
    labels, strata = np.array([1, 1, 1, 1, 0, 0, 0, 0.0]), np.zeros(8, int)
    P[:, 0] = core.fractions(counts, labels[:, None])[:, 0]
    exact, drawn = (
        donors.donor_pvalues(
            P, present, counts, np.vstack([labels, donors.assignments(labels, strata, n, rng)[0]]), exact=n == 100
        )
        for n, rng in ((100, np.random.default_rng(0)), (69, np.random.default_rng(1)))
    )
    np.testing.assert_allclose(exact[:, 0], 2 / 70)
    assert (drawn >= 2 / 70).all()
    assert (np.abs(drawn - exact) < 4 * np.sqrt(exact / 70) + 2 / 70).all()


def test_parts_of_the_permutations_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    P, present, counts = donors_and_localities(6)
    labels = np.vstack([np.eye(6)[0], np.random.default_rng(0).permuted(np.tile(np.eye(6)[0], (50, 1)), axis=1)])
    whole = donors.donor_pvalues(P, present, counts, labels, exact=False)
    monkeypatch.setattr(donors, "ENTRIES", 7 * len(P))
    np.testing.assert_array_equal(donors.donor_pvalues(P, present, counts, labels, exact=False), whole)


@pytest.mark.parametrize(
    ("values", "strata", "is_number", "expected"),
    [
        ([1, 1, 1, 0, 0], [0, 0, 0, 0, 0], False, 2),
        ([1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1], False, 2),
        ([1, 1, 0, 0], [0, 0, 1, 1], False, 0),
        ([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0], True, 3),
        ([1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 4], True, 1),
        ([7, 7, 7, 7, 7, 7], [0, 0, 0, 0, 0, 0], True, 0),
    ],
)
def test_only_donors_that_can_be_exchanged_count(
    values: list[float], strata: list[int], is_number: bool, expected: int
) -> None:
    assert donors.smaller_arm(np.array(values, float), np.array(strata), is_number=is_number) == expected


def test_waves_are_an_orthonormal_basis_of_what_has_no_mean() -> None:
    rng = np.random.default_rng(0)
    probes, x = rng.normal(size=(30, 2)), rng.random(30)
    waves = fitted_waves(x, cdist(probes, probes))
    np.testing.assert_allclose(waves.T @ waves, np.eye(29), atol=1e-10)
    np.testing.assert_allclose(waves.sum(axis=0), 0, atol=1e-10)


def test_surrogates_against_all_signs() -> None:
    """Few enough localities that every sign of every wave can be tried."""
    rng = np.random.default_rng(1)
    probes, x = rng.normal(size=(9, 2)), rng.random(9)
    F = np.column_stack([x + rng.normal(size=9) * 0.3, rng.random(9)])
    n = 20_000
    found = overlap_pvalues(x, F, probes, n_permutations=n, rng=rng)
    waves = fitted_waves(x, cdist(probes, probes))
    signs = np.array(list(product([-1, 1], repeat=8)))
    for row, (a, B) in enumerate(((x, F), (stats.rankdata(x), stats.rankdata(F, axis=0)))):
        for k in range(2):
            surrogates = (signs * (waves.T @ B[:, k])) @ waves.T
            null = np.array([pearson(a, surrogate) for surrogate in surrogates])
            true = pearson(a, B[:, k])
            expected = min(1, 2 * min((null >= true - 1e-9).mean(), (null <= true + 1e-9).mean()))
            assert found[row, k] == pytest.approx(expected, abs=5 * np.sqrt(2 * expected / n) + 2 / n)


def test_units_and_distances_between_sections_mean_nothing() -> None:
    rng = np.random.default_rng(2)
    probes, sections = rng.normal(size=(24, 2)), np.repeat([0, 1], 12)
    x, F = rng.random(24), rng.random((24, 3))

    def p(probes: Any, sections: Any = None) -> Any:
        return overlap_pvalues(x, F, probes, n_permutations=200, rng=np.random.default_rng(0), sections=sections)

    np.testing.assert_allclose(p(probes * 1000), p(probes), atol=0.011)
    apart = probes + 50 * sections[:, None]
    np.testing.assert_allclose(p(apart, sections), p(probes, sections), atol=0.011)
    assert not np.array_equal(p(apart), p(probes))


def test_localities_in_one_place_still_get_a_p_value() -> None:
    rng = np.random.default_rng(0)
    found = overlap_pvalues(rng.random(6), rng.random((6, 1)), np.ones((6, 2)), n_permutations=99, rng=rng)
    assert ((found > 0) & (found <= 1)).all()


def test_many_localities_are_drawn_from() -> None:
    """As if there were no others; what there is to be found in them still is."""
    rng = np.random.default_rng(3)
    probes, sections = rng.normal(size=(3000, 2)), np.arange(3000) % 2
    x = smooth(probes, rng) + rng.normal(size=3000)
    F = np.column_stack([x + rng.normal(size=3000), smooth(probes, rng)])
    drawn = np.sort(np.random.default_rng(5).choice(3000, 90, replace=False))
    own_rng = np.random.default_rng(5)
    found = overlap_pvalues(x, F, probes, n_permutations=99, rng=own_rng, sections=sections, most=90)
    assert found[:, 0].max() <= 0.05
    again = np.random.default_rng(5)
    again.choice(3000, 90, replace=False)
    parts = {"n_permutations": 99, "sections": sections[drawn], "rng": again}
    np.testing.assert_array_equal(found, overlap_pvalues(x[drawn], F[drawn], probes[drawn], **parts))


def smooth(places: Any, rng: np.random.Generator) -> Any:
    waves = rng.normal(size=(2, 50)) / 2
    return np.cos(places @ waves + rng.uniform(0, 2 * np.pi, 50)) @ rng.normal(size=50) / 5


def simulated(rng: np.random.Generator, n_donors: int) -> tuple[Any, ...]:
    """Presences, which count, cells of donors or of two categories, labels and probes; nothing has to do with anything."""
    Z = rng.uniform(0, 8, (1200, 2))
    probes = KMeans(36, n_init=1, random_state=int(rng.integers(2**31))).fit(Z).cluster_centers_
    members = np.argsort(cdist(probes, Z), axis=1)[:, :100]
    P = np.clip(smooth(probes, rng) + 0.5, 0, 1)[:, None]
    if n_donors:
        liking = np.array([2 * smooth(Z, rng) for _ in range(n_donors)])
        group = (liking + rng.gumbel(size=liking.shape)).argmax(axis=0)
        labels = rng.permutation(np.arange(n_donors) % 2).astype(float)
    else:
        group, labels = (smooth(Z, rng) + 0.7 * rng.normal(size=len(Z)) > 0).astype(int), np.array([0.0, 1.0])
    counts = np.array([np.bincount(group[cells], minlength=len(labels)) for cells in members], float)
    return P, P > 0.01, counts, labels, probes


@pytest.mark.slow
@pytest.mark.parametrize("n_donors", [0, 10])
def test_the_level_is_held_where_the_plain_test_does_not(n_donors: int) -> None:
    n, rejected = 200, np.zeros((2, 2))
    for seed in range(n):
        rng = np.random.default_rng(seed)
        P, present, counts, labels, probes = simulated(rng, n_donors)
        rows, F = present[:, 0], core.fractions(counts, labels[:, None])
        rejected[0] += core.correlations(P[rows, 0], F[rows])[1][:, 0] <= 0.05
        if n_donors:
            others, exact = donors.assignments(labels, np.zeros(n_donors, int), 300, rng)
            p = donors.donor_pvalues(P, present, counts, np.vstack([labels, others]), exact=exact)
        else:
            p = overlap_pvalues(P[rows, 0], F[rows], probes[rows], n_permutations=299, rng=rng)
        rejected[1] += p[:, 0] <= 0.05
    low, high = stats.binom.ppf([0.005, 0.995], n, 0.05)
    assert (rejected[0] > 2 * high).all()
    assert (rejected[1] >= low).all()
    assert (rejected[1] <= high).all()
