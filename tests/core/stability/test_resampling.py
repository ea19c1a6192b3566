from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from lava_sc.core.correlation.locality import CorrelationOptions
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.problem import make_problem
from lava_sc.core.factorise.protocol import RunPlan
from lava_sc.core.interpret.similarity import cosines
from lava_sc.core.nulls.null_data import NullData
from lava_sc.core.stability.analysis import Analysis
from lava_sc.core.stability.reruns import repeat_placements, repeat_runs, repeat_samples
from lava_sc.core.stability.resampling import (
    average_module,
    draw_groups,
    draw_samples,
    matched_cosines,
    mean_absolute,
    members_among,
    scaled_size,
)
from lava_sc.io.blocks import InMemory


def modules(n: int, seed: int, n_pairs: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((n, n_pairs)) * (rng.random((n, n_pairs)) < 0.3)


def test_average_module() -> None:
    P, M = modules(7, 0, 3), modules(3, 1)
    expected = np.zeros(30)
    for j in range(30):
        for m in range(3):
            expected[j] += sum(P[i, m] for i in range(7)) * M[m, j]
    np.testing.assert_allclose(average_module(P, M), expected / P.sum(), rtol=1e-12)


def test_average_of_absent_modules() -> None:
    np.testing.assert_array_equal(average_module(np.zeros((4, 2)), np.ones((2, 5))), np.zeros(5))


def test_mean_of_absolute_correlations() -> None:
    C = modules(6, 0) * np.random.default_rng(2).choice([-1, 1], (6, 30))
    found = mean_absolute(sparse.csr_matrix(C, dtype=np.float32))
    assert found.shape == (1, 30)
    assert found.nnz == (C != 0).any(axis=0).sum() < 30
    np.testing.assert_allclose(found.toarray()[0], np.abs(C).mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(("n", "k"), [(4, 4), (4, 2), (3, 5), (1, 1)])
def test_partners_are_those_of_the_best_permutation(n: int, k: int) -> None:
    for seed in range(5):
        A, B = modules(n, seed), modules(k, 100 + seed)
        between = cosine_similarity(A, B)
        np.testing.assert_allclose(cosines(sparse.csr_matrix(A), sparse.csr_matrix(B)), between, atol=1e-12)
        padded = np.hstack([between, np.zeros((n, n))])  # nobody's partner
        best = max(permutations(range(k + n), n), key=lambda order: sum(padded[range(n), order]))
        found = matched_cosines(sparse.csr_matrix(A), sparse.csr_matrix(B))
        np.testing.assert_allclose(found, padded[range(n), best], atol=1e-12)


def test_one_partner_serves_one_module_only() -> None:
    """Two modules alike, of which the other run found one."""
    same = sparse.csr_matrix([[1.0, 1, 0], [1, 1, 0]])
    np.testing.assert_allclose(np.sort(matched_cosines(same, sparse.csr_matrix([[1.0, 1, 0], [0, 0, 1]]))), [0, 1])
    np.testing.assert_array_equal(matched_cosines(same, sparse.csr_matrix((1, 3))), [0, 0])


def test_cells_drawn_from_each_section() -> None:
    strata = np.repeat([0, 1, 2], [100, 10, 1])
    drawn = [draw_samples(strata, np.random.default_rng(seed)) for seed in range(200)]
    for cells in drawn:
        assert (np.diff(cells) > 0).all()
        assert np.bincount(strata[cells]).tolist() == [64, 7, 1]  # 63.2 %, rounded up
    often = np.bincount(np.concatenate(drawn), minlength=111)[:100] / 200
    assert abs(often.mean() - 0.64) < 1e-9
    assert 0.4 < often.min() < often.max() < 0.85


def test_donors_are_drawn_whole() -> None:
    groups = np.random.default_rng(0).choice([2, 5, 6, 9, 11], 60)
    shares = []
    for seed in range(300):
        cells = draw_groups(groups, np.random.default_rng(seed))
        assert set(groups[cells]).isdisjoint(np.delete(groups, cells))
        assert (np.diff(cells) > 0).all()
        shares.append(len(np.unique(groups[cells])) / 5)
    assert np.mean(shares) == pytest.approx(1 - 0.8**5, abs=0.03)


def test_size_of_localities_among_fewer_cells() -> None:
    assert [scaled_size(n, 0.5) for n in (100, 3, 11)] == [50, 3, 6]


@pytest.mark.parametrize("sectioned", [False, True])
def test_members_are_the_nearest_of_those_drawn(sectioned: bool) -> None:
    rng = np.random.default_rng(0)
    Z, probes = rng.normal(size=(120, 2)), rng.normal(size=(9, 2))
    of_cell, of_probe = np.arange(120) % 3, np.repeat([0, 1, 2], 3)
    drawn = np.flatnonzero((rng.random(120) < 0.6) & (of_cell != 2) | (np.arange(120) < 12))  # 4 cells of the last one
    found = members_among(Z, drawn, probes, 10, (of_cell, of_probe) if sectioned else None, 1)
    expected = []
    for probe, section in zip(probes, of_probe, strict=True):
        own = drawn[of_cell[drawn] == section] if sectioned else drawn
        if len(own) >= 10:
            nearest = NearestNeighbors(n_neighbors=10).fit(Z[own]).kneighbors([probe], return_distance=False)[0]
            expected.append(np.sort(own[nearest]))
    assert len(expected) == (6 if sectioned else 9)
    np.testing.assert_array_equal(found, expected)


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(
        ValueError, match="Found 2 cells in a resample, expected at least 5 in one place; leave donor_key"
    ):
        members_among(np.eye(4), np.array([0, 2]), np.eye(4)[:1], 5, None, 1)


def an_analysis(n_modules: int = 2) -> Analysis:
    """120 samples with 12 features, of which the first six share a factor."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 12))
    X[:, :6] += 1.5 * rng.normal(size=(120, 1))
    members = np.array([np.sort(rng.choice(120, 30, replace=False)) for _ in range(8)])
    null = NullData(InMemory(X), members, np.full(8, np.inf), CorrelationOptions(fdr=None), n_jobs=1)
    M = sparse.csr_matrix(modules(n_modules, 0, 66), dtype=np.float32)
    plan = RunPlan(FitOptions(), "nmf", 1)
    C = Analysis(null, M, make_problem(M), M, 2.0, n_modules, 1, plan, []).correlations(members)
    return Analysis(null, C, make_problem(C), M, 2.0, n_modules, 1, plan, [4, 5, 6])


def mean_rho(X: np.ndarray, members: np.ndarray) -> np.ndarray:
    upper = np.triu_indices(X.shape[1], 1)
    return np.mean([np.abs(spearmanr(X[rows]).statistic[upper]) for rows in members], axis=0)


def test_placements_against_loops() -> None:
    analysis = an_analysis()
    rng = np.random.default_rng(1)
    some, more = (
        [np.array([np.sort(rng.choice(120, 30, replace=False)) for _ in range(k)]) for _ in range(3)] for k in (4, 8)
    )
    _, references = repeat_runs(analysis, [1, 2])
    found = repeat_placements(analysis, {1.0: some, 2.0: more}, references, [[1, 2], [3, 4], [5, 6]])
    for overlap, placements in ((1.0, some), (2.0, more)):
        means = [mean_rho(analysis.null.source.X, members) for members in placements]
        ours = [one for one in found if one.overlap == overlap and one.part == "placement"]
        pairs = [(one.first, one.second) for one in ours if not one.null]
        assert sorted(pairs) == [(0, 1), (0, 2), (1, 2)]
        for one in ours:
            if not one.null:
                expected = cosine_similarity([means[one.first]], [means[one.second]])[0, 0]
                assert one.cosine == pytest.approx(expected, abs=1e-6)
        assert sorted((one.first, one.second) for one in ours if one.null) == [(0, 1), (0, 2), (1, 2)]
    ends = [one for one in found if one.part == "end_to_end"]
    best = {}
    for key, members, seeds in (
        (0, more[0], [1, 2]),
        (1, more[1], [3, 4]),
        (2, more[2], [5, 6]),
        ("some", some[0], [1, 2]),
    ):
        problem = analysis.problem(analysis.correlations(members))
        best[key] = min(analysis.fit([(problem, seed) for seed in seeds]), key=lambda run: run.loss)
    across = [one for one in ends if one.overlap == 1 and not one.null]
    assert [(one.first, one.second) for one in across if one.module < 0] == [(0, 0), (1, 0), (2, 0)]
    assert [one.module for one in across if one.module >= 0] == [0, 1]
    assert sum(one.null and one.module < 0 and one.overlap == 1 for one in ends) > 0
    for one in ends:
        other = best[one.second if one.overlap == 2 else "some"]
        if not one.null and one.module < 0:
            expected = cosine_similarity(best[one.first].average, other.average)[0, 0]
        elif not one.null:
            expected = matched_cosines(analysis.modules, other.modules)[one.module]
        else:
            continue
        assert one.cosine == pytest.approx(expected, abs=1e-9)


def test_null_repetitions_are_of_the_same_shuffled_data() -> None:
    """A resample of all cells in the stored localities is the stored analysis, so a null that is shuffled once is reproduced."""
    analysis = an_analysis()
    found, references = repeat_runs(analysis, [1, 2])
    assert len(references) == 3
    assert {one.part for one in found} == {"runs"}
    again = repeat_samples(analysis, [analysis.null.members] * 3, references, [1, 1, 1])
    nulls = [one for one in again if one.null]
    assert {one.second for one in nulls} == {0, 1, 2}
    shuffled = [analysis.null_correlations(analysis.null.members, analysis.C, k) for k in range(3)]
    for one in nulls:
        fit = analysis.fit([(analysis.problem(shuffled[one.second]), 1)])[0]
        expected = matched_cosines(references[one.second].modules, fit.modules)[one.module]
        assert one.cosine == pytest.approx(expected, abs=1e-9)
    apart = cosine_similarity(mean_absolute(shuffled[0]), mean_absolute(shuffled[1]))[0, 0]
    assert apart < 1 - 1e-4


def test_more_modules_than_localities_and_no_correlation_at_all() -> None:
    analysis = an_analysis(n_modules=3)
    C = sparse.csr_matrix((4, 66), dtype=np.float32)
    (nothing,) = analysis.fit([(analysis.problem(C), 1)])
    np.testing.assert_array_equal(matched_cosines(analysis.modules, nothing.modules), [0, 0, 0])
    assert nothing.average.nnz == 0
    (few,) = analysis.fit([(analysis.problem(analysis.C[:2]), 1)])
    assert few.modules.shape[0] <= 2
