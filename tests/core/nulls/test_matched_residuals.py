"""Correlations beyond those of pairs measured as well, against plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from tests.reference.excess import groups_by_level, scaled_excess

from lava_sc.core.nulls.matched_residuals import Excess


def locality(seed: int, n_features: int = 70, share: float = 0.3, undefined: float = 0.2) -> tuple[Excess, dict, dict]:
    """A locality, and |ρ| and group of its pairs and features as the reference takes them."""
    rng = np.random.default_rng(seed)
    defined, order = rng.random(n_features) >= undefined, rng.permutation(n_features)
    a, b = np.triu_indices(n_features, 1)
    kept = np.flatnonzero(defined[a] & defined[b] & (rng.random(len(a)) < share))
    rho = rng.uniform(-1, 1, len(kept)).astype(np.float32)
    size = {(int(a[k]), int(b[k])): abs(float(value)) for k, value in zip(kept, rho, strict=True)}
    return Excess.of(kept, rho, defined, order), size, groups_by_level(defined, order)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 1.0])
@pytest.mark.parametrize("n_features", [2, 30, 120])
def test_weighted_pairs_by_loops(n_features: int, share: float) -> None:
    found, size, groups = locality(n_features, n_features, share)
    rng = np.random.default_rng(0)
    all_pairs = list(combinations(range(n_features), 2))
    patterns = [[all_pairs[k] for k in rng.permutation(len(all_pairs))[:n]] for n in (0, 1, 40)]
    weights = [rng.random(len(pairs)) for pairs in patterns]
    a, b = np.array([pair for pairs in patterns for pair in pairs]).T
    starts = np.cumsum([0, *map(len, patterns)])
    labels = np.array([np.arange(n_features), rng.permutation(n_features)])
    scaled, absolute = found.of_weighted_pairs(a, b, np.concatenate(weights), starts, labels)
    for n, new in enumerate(labels):
        for m, (pairs, own) in enumerate(zip(patterns, weights, strict=True)):
            moved = [((new[i], new[j]), weight) for (i, j), weight in zip(pairs, own, strict=True)]
            expected = scaled_excess(size, groups, moved)
            assert scaled[n, m] == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
            assert absolute[n, m] == pytest.approx(expected[1], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_sets_by_loops(share: float) -> None:
    found, size, groups = locality(3, share=share)
    rng = np.random.default_rng(1)
    sets = np.array([rng.permutation(70)[:6] for _ in range(40)])
    scaled = found.of_sets(sets)
    for members, value in zip(sets, scaled, strict=True):
        if sum(feature in groups for feature in members) < 3:
            assert np.isnan(value)
            continue
        expected = scaled_excess(size, groups, [(pair, 1.0) for pair in combinations(sorted(members), 2)])
        assert value == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
    assert np.isfinite(scaled).sum() > 30
    undefined = [feature for feature in range(70) if feature not in groups]
    assert np.isnan(found.of_sets(np.array([[*undefined[:4], *list(groups)[:2]]]))).all()


def test_sums_of_a_set_by_loops() -> None:
    found, size, groups = locality(5)
    members = np.array(sorted(groups)[::5])
    absolute, signed, expected = found.sums(members)
    _, by_loops, by_groups = scaled_excess(size, groups, [(pair, 1.0) for pair in combinations(members, 2)])
    assert absolute == pytest.approx(by_loops, rel=1e-5)
    assert expected == pytest.approx(by_groups, rel=1e-6)
    of_pair = dict(zip(found.columns, found.rho, strict=True))
    start = {a: sum(70 - 1 - row for row in range(a)) - a - 1 for a in range(70)}
    values = [float(of_pair.get(start[a] + b, 0)) for a, b in combinations(members.tolist(), 2)]
    assert signed == pytest.approx(sum(values), rel=1e-5)
    assert absolute == pytest.approx(sum(map(abs, values)), rel=1e-5)


@pytest.mark.parametrize("n_defined", [0, 1])
def test_a_locality_in_which_nothing_can_be_correlated(n_defined: int) -> None:
    found = Excess.of(np.empty(0, int), np.empty(0, np.float32), np.arange(5) < n_defined, np.arange(5))
    nothing = found.of_weighted_pairs(np.array([0]), np.array([1]), np.ones(1), np.array([0, 1]), np.arange(5)[None])
    np.testing.assert_array_equal(nothing, np.zeros((2, 1, 1)))
    assert np.isnan(found.of_sets(np.array([[0, 1, 2]]))).all()
    assert found.sums(np.arange(n_defined)) == (0, 0, 0)


def test_random_sets_of_any_size_have_the_same_spread() -> None:
    """Mean 0 and variance 1 in a locality of independent features, however few of a set are defined."""
    rng, n_features = np.random.default_rng(0), 200
    ranks = rng.permuted(np.tile(np.arange(100.0), (n_features, 1)), axis=1)
    a, b = np.triu_indices(n_features, 1)
    rho = np.corrcoef(ranks)[a, b].astype(np.float32)
    defined = np.arange(n_features) < 150
    kept = np.flatnonzero(defined[a] & defined[b])
    found = Excess.of(kept, rho[kept], defined, rng.permutation(n_features))
    for n_defined in (3, 8, 30):
        sets = np.array([np.r_[rng.permutation(150)[:n_defined], 150 + rng.permutation(50)[:5]] for _ in range(3000)])
        scaled = found.of_sets(sets)
        assert abs(scaled.mean()) < 0.08
        assert scaled.std() == pytest.approx(1, abs=0.08)
