"""Initial values: ranges, shapes, and clusters that anybody can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse, stats

from lava_sc.core.amf.starts import STARTS, kmeans_start, random_start
from lava_sc.core.amf.target import make_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]


def clustered(n_clusters: int = 3, size: int = 8, *, n_zero: int = 0) -> tuple[Floats, NDArray[np.intp]]:
    """Localities of which each cluster has thirty pairs of its own, in a random order, then empty ones; labels, −1 if empty."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([rng.permutation(np.repeat(np.arange(n_clusters), size)), np.full(n_zero, -1)])
    pairs = np.repeat(np.arange(n_clusters), 30)
    C = np.where(labels[:, None] == pairs, rng.uniform(0.4, 0.9, (len(labels), len(pairs))), 0)
    return C.astype(np.float32) * rng.choice([-1, 1], C.shape).astype(np.float32), labels


@pytest.mark.parametrize("n_modules", [1, 2, 3, 9])
@pytest.mark.parametrize("init", STARTS)
def test_values_and_shapes(init: str, n_modules: int) -> None:
    """Also with more modules than there are clusters, and with empty localities."""
    C, _ = clustered(n_zero=4)
    target = make_target(sparse.csr_matrix(C))
    P, M = STARTS[init](target, n_modules, np.random.default_rng(1))
    assert (P.shape, M.shape) == ((28, n_modules), (n_modules, 90))
    for values in (P, M):
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert 0 <= values.min() <= values.max() <= 1
    assert not np.array_equal(M, STARTS[init](target, n_modules, np.random.default_rng(2))[1]) or n_modules in {1, 3}
    for same in zip((P, M), STARTS[init](target, n_modules, np.random.default_rng(1)), strict=True):
        np.testing.assert_array_equal(*same)


def test_random_start_is_uniform() -> None:
    target = make_target(sparse.csr_matrix(np.ones((200, 300), dtype=np.float32)))
    P, M = random_start(target, 5, np.random.default_rng(0))
    for values in (P, M):
        assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_start_finds_obvious_clusters(seed: int) -> None:
    """A module for each cluster: its mean; present in its own localities most, and in no other."""
    C, labels = clustered(n_zero=3)
    P, M = kmeans_start(make_target(sparse.csr_matrix(C)), 3, np.random.default_rng(seed))
    means = np.stack([np.abs(C[labels == k]).mean(axis=0) for k in range(3)])
    module = np.array([np.abs(M - mean).sum(axis=1).argmin() for mean in means])
    assert set(module) == {0, 1, 2}
    np.testing.assert_allclose(M[module], means, rtol=1e-5)
    own = labels[:, None] == np.arange(3)
    assert P[:, module][own].min() > 0.8
    np.testing.assert_allclose(P[:, module][~own], 0, atol=1e-6)


def test_kmeans_goes_by_direction_not_by_size() -> None:
    """Two patterns, each strong in some localities and weak in others."""
    rng = np.random.default_rng(0)
    patterns = np.repeat(np.eye(2), 20, axis=1) + 0.2
    labels, sizes = np.repeat([0, 1], 10), np.tile([0.05, 0.8], 10)
    C = (patterns[labels] * sizes[:, None] * rng.uniform(0.9, 1, (20, 40))).astype(np.float32)
    P, _ = kmeans_start(make_target(sparse.csr_matrix(C)), 2, np.random.default_rng(0))
    found = P.argmax(axis=1)
    assert len(set(found[labels == 0])) == len(set(found[labels == 1])) == 1
    assert found[0] != found[-1]
    overlap = (P[labels == 0] * (np.arange(2) != found[0])).max()
    assert 0 < overlap < 0.5  # room for the other pattern, less than for the own


@pytest.mark.parametrize("n_correlated", [0, 1, 2])
def test_fewer_correlated_localities_than_modules(n_correlated: int) -> None:
    C = np.zeros((6, 50), dtype=np.float32)
    C[:n_correlated] = np.random.default_rng(0).random((n_correlated, 50))
    P, M = kmeans_start(make_target(sparse.csr_matrix(C)), 4, np.random.default_rng(0))
    assert P.shape == (6, 4)
    assert len(M) == 4
    for values in (P, M):
        assert np.isfinite(values).all()
        assert 0 <= values.min(initial=0) <= values.max(initial=1) <= 1
    for i in range(n_correlated):
        assert P[i].max() > 0.8
        np.testing.assert_allclose(M[P[i].argmax()], C[i], rtol=1e-6)


def test_identical_localities_give_one_module_and_no_warning() -> None:
    """Fewer different localities than modules is no fault of the user."""
    C = np.tile(np.random.default_rng(0).random((1, 30)), (8, 1)).astype(np.float32)
    P, M = kmeans_start(make_target(sparse.csr_matrix(C)), 3, np.random.default_rng(0))
    assert np.isfinite(P).all()
    assert (P.max(axis=1) > 0.8).all()
    np.testing.assert_allclose(M[P[0].argmax()], C[0], rtol=1e-5)
