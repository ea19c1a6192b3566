"""Null data: what stays, what goes, and what recurs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from lava_sc.core.correlation.locality import CorrelationOptions, locality_correlations
from lava_sc.core.correlation.measures import SPEARMAN
from lava_sc.core.correlation.pairs import pair_features
from lava_sc.core.correlation.unbatched import locality_scores
from lava_sc.core.nulls.shuffled_genes import Decoys, Null, Shuffle, least_kept
from lava_sc.io.blocks import InMemory

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.correlation.scores import Scores

NO_COVARIATES = np.empty((0, 200))


def counts(n_samples: int = 200, n_features: int = 30, seed: int = 0) -> FloatArray:
    """Independent, with zeros and ties."""
    rng = np.random.default_rng(seed)
    return rng.poisson(np.exp(rng.normal(0.3, 0.8, n_features)), size=(n_samples, n_features)).astype(np.float64)


def scores_of(X: FloatArray, samples: IntArray) -> Scores:
    return locality_scores(X, samples, np.empty((0, len(samples))), 0.75, SPEARMAN)


def null_correlations(X: FloatArray, members: IntArray, shuffle: Shuffle, **options: Any) -> sparse.csr_matrix:
    null = Null(shuffle, options.pop("floors", np.full(len(members), np.inf)))
    return locality_correlations(InMemory(X), members, CorrelationOptions(**({"fdr": None} | options)), null=null).C


def test_values_and_ties_stay() -> None:
    X, samples = counts(), np.arange(0, 200, 2)
    scores = scores_of(X, samples)
    shuffled = Shuffle(3)(scores, samples)
    np.testing.assert_array_equal(np.sort(shuffled.values, axis=1), np.sort(scores.values, axis=1))
    np.testing.assert_array_equal(shuffled.features, scores.features)
    assert shuffled.moments is scores.moments
    moved = (shuffled.values != scores.values).mean(axis=1)
    varied = np.array([len(np.unique(row)) for row in scores.values]) > 2
    assert (moved[varied] > 0.3).all()


def test_samples_get_the_same_whatever_their_order() -> None:
    X, samples = counts(), np.random.default_rng(1).permutation(200)[:90]
    depth = np.random.default_rng(2).random(200)
    for shuffle in (Shuffle(5), Shuffle(5, depth)):
        here = shuffle(scores_of(X, np.sort(samples)), np.sort(samples)).values
        there = shuffle(scores_of(X, samples), samples).values
        np.testing.assert_array_equal(here, there[:, np.argsort(samples)])


def test_seeds_differ_and_repeat() -> None:
    X, samples = counts(), np.arange(100)
    scores = scores_of(X, samples)
    np.testing.assert_array_equal(Shuffle(7)(scores, samples).values, Shuffle(7)(scores, samples).values)
    assert not np.array_equal(Shuffle(7)(scores, samples).values, Shuffle(8)(scores, samples).values)


def test_null_has_the_moments_of_permutations() -> None:
    """ρ of independent permutations has mean 0 and variance exactly 1/(n − 1), ties or not (METHOD); 40 draws of 435 pairs."""
    X, members = counts(60), np.arange(50)[None]
    drawn = np.concatenate([null_correlations(X, members, Shuffle(seed)).toarray().ravel() for seed in range(40)])
    drawn = drawn[drawn != 0]
    assert len(drawn) > 5000
    assert abs(drawn.mean()) < 4 * drawn.std() / np.sqrt(len(drawn))
    assert drawn.var() * 49 == pytest.approx(1, abs=0.06)


def test_correlations_go() -> None:
    shared = np.random.default_rng(0).normal(size=(200, 1))
    X = shared + 0.3 * np.random.default_rng(1).normal(size=(200, 12))
    members = np.arange(200)[None]
    assert np.median(np.abs(locality_correlations(InMemory(X), members, CorrelationOptions(fdr=None)).C.data)) > 0.8
    assert np.median(np.abs(null_correlations(X, members, Shuffle(0)).data)) < 0.1


def test_what_depth_gives_stays() -> None:
    """Genes that follow depth correlate through it by as much in the null as they do, and not when depth is not kept."""
    rng = np.random.default_rng(0)
    depth = rng.normal(size=1000)
    X = 0.8 * depth[:, None] + 0.6 * rng.normal(size=(1000, 12))
    members = np.arange(1000)[None]
    real = locality_correlations(InMemory(X), members, CorrelationOptions(fdr=None)).C.data.mean()
    kept = np.mean([null_correlations(X, members, Shuffle(seed, depth)).data.mean() for seed in range(5)])
    lost = np.mean([null_correlations(X, members, Shuffle(seed)).data.mean() for seed in range(5)])
    assert real > 0.55
    assert kept == pytest.approx(real, abs=0.04)
    assert abs(lost) < 0.03


def test_values_stay_within_depth() -> None:
    """Each of the groups of similar depth keeps the scores it had."""
    X, samples, depth = counts(), np.arange(100), np.random.default_rng(4).random(200)
    scores = scores_of(X, samples)
    shuffled = Shuffle(1, depth)(scores, samples)
    for group in np.array_split(np.argsort(depth[:100]), 5):  # 100 samples, 20 alike
        np.testing.assert_array_equal(np.sort(shuffled.values[:, group]), np.sort(scores.values[:, group]))


def test_batches_keep_their_values() -> None:
    """A batch that is higher in all genes makes no correlation when batches are kept apart, nor does its null."""
    rng = np.random.default_rng(0)
    batches = np.repeat([0, 1], 100)
    X = 5.0 * batches[:, None] + rng.normal(size=(200, 20))
    members = np.arange(200)[None]
    null = null_correlations(X, members, Shuffle(0), batches=batches)
    assert np.abs(null.data).mean() == pytest.approx(np.sqrt(2 / np.pi / 198), rel=0.2)  # METHOD: E|ρ| of noise
    assert np.abs(null_correlations(X, members, Shuffle(0)).data).mean() < 0.1  # the batches are mixed, too


def test_noise_recurs_as_it_does_in_data() -> None:
    """Two localities that share 80 % of their samples: null correlations agree as those of independent data do."""
    X = np.random.default_rng(0).normal(size=(600, 40))
    members = np.stack([np.arange(200), np.arange(40, 240), np.arange(400, 600)])
    real = locality_correlations(InMemory(X), members, CorrelationOptions(fdr=None)).C.toarray()
    null = null_correlations(X, members, Shuffle(2)).toarray()
    for C in (real, null):
        assert np.corrcoef(C[0], C[1])[0, 1] == pytest.approx(0.8, abs=0.05)
        assert abs(np.corrcoef(C[0], C[2])[0, 1]) < 0.12


def test_pairs_from_the_floor_on_are_kept() -> None:
    """Kept: what Benjamini–Hochberg rejects, and what reaches the floor; here by the correlations of all pairs."""
    X, members = counts(120, 40), np.stack([np.arange(100), np.arange(20, 120)])
    floors = np.array([0.2, np.inf])
    everything = null_correlations(X, members, Shuffle(3)).toarray()
    tested = null_correlations(X, members, Shuffle(3), fdr=0.05).toarray()
    kept = null_correlations(X, members, Shuffle(3), fdr=0.05, floors=floors).toarray()
    expected = np.where((np.abs(everything) >= floors[:, None]) | (tested != 0), everything, 0)
    np.testing.assert_array_equal(kept, expected)
    assert 10 < np.count_nonzero(kept[0]) < 200


def test_floors_of_pooled_batches() -> None:
    X, members, batches = counts(120, 40), np.arange(100)[None], np.arange(120) % 2
    floors = np.array([0.2])
    everything = null_correlations(X, members, Shuffle(3), batches=batches).toarray()
    kept = null_correlations(X, members, Shuffle(3), batches=batches, fdr=0.05, floors=floors).toarray()
    np.testing.assert_allclose(kept, np.where(np.abs(everything) >= 0.2, everything, 0), rtol=1e-6)
    assert np.count_nonzero(kept) > 5


def test_least_kept() -> None:
    from scipy import sparse

    C = sparse.csr_matrix(np.array([[0, -0.3, 0.5], [0, 0, 0], [0.2, 0, 0], [0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(least_kept(C), [0.3, np.inf, 0.2, np.inf])


def test_decoys_are_shuffled_copies_beside_the_genes() -> None:
    X, samples = counts(150, 8), np.arange(100)
    depth = np.random.default_rng(0).random(150)
    found = null_correlations(X, samples[None], Decoys(4, depth, n_features=8)).toarray()[0]
    scores = scores_of(X, samples)
    copies = Shuffle(4, depth)(scores, samples)
    columns = np.zeros((16, 100))
    columns[scores.features], columns[8 + scores.features] = scores.values, copies.values
    defined = np.concatenate([scores.features, 8 + scores.features])
    for pair, (a, b) in enumerate(zip(*pair_features(np.arange(120), 16), strict=True)):
        expected = stats.pearsonr(columns[a], columns[b]).statistic if {a, b} <= set(defined.tolist()) else 0
        assert found[pair] == pytest.approx(expected, abs=1e-6)
