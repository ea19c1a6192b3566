"""Initial values: ranges, shapes, robustness, and clusters that anybody can see."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse, stats

from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.starts import STARTS, kmeans_start, random_start
from lava_sc.core.factorise.problem import make_problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

OPTIONS = FitOptions()


def clustered(n_clusters: int = 3, size: int = 8, *, n_zero: int = 0) -> tuple[Floats, NDArray[np.intp]]:
    """Localities of which each cluster has thirty pairs of its own, in a random order, then empty ones; labels, −1 if empty."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([rng.permutation(np.repeat(np.arange(n_clusters), size)), np.full(n_zero, -1)])
    pairs = np.repeat(np.arange(n_clusters), 30)
    C = np.where(labels[:, None] == pairs, rng.uniform(0.4, 0.9, (len(labels), len(pairs))), 0)
    return C.astype(np.float32) * rng.choice([-1, 1], C.shape).astype(np.float32), labels


def start(name: str, C: Floats, n_modules: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Presences and modules, checked to be values of such."""
    problem = make_problem(sparse.csr_matrix(C.astype(np.float32)))
    P, M = STARTS[name](problem, n_modules, OPTIONS, np.random.default_rng(seed))
    assert (P.shape, M.shape) == ((len(C), n_modules), (n_modules, C.any(axis=0).sum()))
    for values in (P, M):
        assert values.dtype == np.float32
        assert values.flags.c_contiguous
        assert np.isfinite(values).all()
        assert 0 <= values.min(initial=0) <= values.max(initial=1) <= 1
    return P, M


@pytest.mark.parametrize("n_modules", [1, 2, 3, 9])
@pytest.mark.parametrize("init", STARTS)
def test_values_shapes_and_seeds(init: str, n_modules: int) -> None:
    """Also with more modules than there are clusters, and with empty localities."""
    C, _ = clustered(n_zero=4)
    P, M = start(init, C, n_modules, 1)
    for same in zip((P, M), start(init, C, n_modules, 1), strict=True):
        np.testing.assert_array_equal(*same)
    assert not np.array_equal(M, start(init, C, n_modules, 2)[1]) or (init == "kmeans" and n_modules in {1, 3})


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize(
    "C",
    [
        np.zeros((6, 50)),
        np.vstack([np.zeros((5, 50)), np.linspace(0.1, 1, 50)]),
        np.vstack([np.eye(2, 50), np.zeros((4, 50))]),
        np.linspace(0.1, 1, 30)[None],
        np.tile(np.linspace(0.1, 1, 30), (8, 1)),
        np.eye(6, 2),
        np.ones((5, 1)),
        np.full((3, 4), 1e-6),
    ],
    ids=["all zero", "one", "two", "one locality", "identical", "two pairs", "one pair", "tiny"],
)
@pytest.mark.parametrize("n_modules", [1, 4])
def test_little_to_start_from(init: str, n_modules: int, C: Floats) -> None:
    """No error, no warning (pytest makes these errors), values that a fit can begin with."""
    start(init, C, n_modules)


@pytest.mark.parametrize("init", STARTS)
def test_side_by_side(init: str) -> None:
    """Runs are started in threads: none may change another."""
    C, _ = clustered()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: start(init, C, 3, seed), range(8)))
    for seed, found in enumerate(together):
        for values, alone in zip(found, start(init, C, 3, seed), strict=True):
            np.testing.assert_array_equal(values, alone)


def test_random_start_is_uniform() -> None:
    problem = make_problem(sparse.csr_matrix(np.ones((200, 300), dtype=np.float32)))
    P, M = random_start(problem, 5, OPTIONS, np.random.default_rng(0))
    for values in (P, M):
        assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_start_finds_obvious_clusters(seed: int) -> None:
    """A module for each cluster: its mean; present in its own localities most, and in no other."""
    C, labels = clustered(n_zero=3)
    P, M = start("kmeans", C, 3, seed)
    means = np.stack([np.abs(C[labels == k]).mean(axis=0) for k in range(3)])
    module = np.array([np.abs(M - mean).sum(axis=1).argmin() for mean in means])
    assert set(module) == {0, 1, 2}
    np.testing.assert_allclose(M[module], means, rtol=1e-5, atol=1e-7)
    own = labels[:, None] == np.arange(3)
    assert P[:, module][own].min() > 0.8
    np.testing.assert_allclose(P[:, module][~own], 0, atol=1e-6)


def test_kmeans_goes_by_direction_not_by_size() -> None:
    """Two patterns, each strong in some localities and weak in others."""
    rng = np.random.default_rng(0)
    patterns = np.repeat(np.eye(2), 20, axis=1) + 0.2
    labels, sizes = np.repeat([0, 1], 10), np.tile([0.05, 0.8], 10)
    C = patterns[labels] * sizes[:, None] * rng.uniform(0.9, 1, (20, 40))
    P, _ = start("kmeans", C, 2)
    found = P.argmax(axis=1)
    assert len(set(found[labels == 0])) == len(set(found[labels == 1])) == 1
    assert found[0] != found[-1]
    overlap = (P[labels == 0] * (np.arange(2) != found[0])).max()
    assert 0 < overlap < 0.5  # room for the other pattern, less than for the own


@pytest.mark.parametrize("seed", range(3))
def test_kmeans_ends_where_no_locality_is_nearer_to_another_mean(seed: int) -> None:
    """Modules are the means of those whose presence is high, and by these means' directions each belongs to its own."""
    C = np.random.default_rng(seed).random((40, 25)) ** 2
    P, M = start("kmeans", C, 4, seed)
    labels = P.argmax(axis=1)
    np.testing.assert_array_equal(P[np.arange(40), labels], np.float32(0.9))
    units = C / np.linalg.norm(C, axis=1, keepdims=True)
    centres = np.stack([units[labels == k].sum(axis=0) for k in range(4)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    np.testing.assert_array_equal((units @ centres.T).argmax(axis=1), labels)
    np.testing.assert_allclose(M, [C[labels == k].mean(axis=0) for k in range(4)], rtol=1e-5)
    cosines = units @ (M / np.linalg.norm(M, axis=1, keepdims=True)).T
    others = np.arange(4) != labels[:, None]
    np.testing.assert_allclose(P[others], cosines[others] / 2, rtol=1e-4)


@pytest.mark.parametrize("n_correlated", [1, 2])
def test_kmeans_of_fewer_correlated_localities_than_modules(n_correlated: int) -> None:
    """Each is a module, the others start at random."""
    C = np.zeros((6, 50))
    C[:n_correlated] = np.random.default_rng(0).random((n_correlated, 50))
    P, M = start("kmeans", C, 4)
    for i in range(n_correlated):
        assert P[i].max() > 0.8
        np.testing.assert_allclose(M[P[i].argmax()], C[i], rtol=1e-6)
    assert (M.max(axis=1) > 0.5).all()


def test_kmeans_of_identical_localities_has_one_module() -> None:
    """Fewer different localities than modules is no fault of the user."""
    C = np.tile(np.random.default_rng(0).random((1, 30)), (8, 1))
    P, M = start("kmeans", C, 3)
    assert (P.max(axis=1) > 0.8).all()
    np.testing.assert_allclose(M[P[0].argmax()], C[0], rtol=1e-5)


def test_kmeans_start_takes_a_target() -> None:
    """Of signed correlations, which it leaves as they are."""
    C, _ = clustered()
    problem = make_problem(sparse.csr_matrix(C))
    before = problem.data.copy()
    kmeans_start(problem, 3, OPTIONS, np.random.default_rng(0))
    np.testing.assert_array_equal(problem.data, before)
