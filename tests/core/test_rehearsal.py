"""Samples are of what the steps will work on, the same for the same seed; what is expected not to fit is refused."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial import cKDTree
from tests import helpers

import lava_sc as lava
from lava_sc.core import rehearsal, resources
from lava_sc.core.blocks import InMemory
from lava_sc.core.correlation.locality import locality_correlations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from lava_sc.core.blocks import Block

    Members = np.ndarray


def blobs(n_samples: int = 3000, dimension: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    group = rng.integers(4, size=n_samples)
    return rng.normal(size=(4, dimension))[group] * 20 + rng.normal(size=(n_samples, dimension))


def sample(Z: np.ndarray, sections: Members | None = None, *, seed: int = 0, n_sampled: int = 20) -> Members:
    rng = np.random.default_rng(seed)
    found = rehearsal.sample_placement(Z, sections, 50, 180, n_sampled, rng, 1)
    assert 0 < found.seconds < np.inf
    return found.members


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every map for one that is too large to be placed."""
    monkeypatch.setattr(rehearsal, "_PLACED", 0)


def test_a_small_map_is_placed_as_by_the_step_itself() -> None:
    adata = helpers.toy()
    lava.tl.localities(adata, n_neighbors=60)
    placed = adata.obsm["lava_localities"].T.toarray()
    Z = np.asarray(adata.obsm["X_umap"], dtype=np.float64)
    members = rehearsal.sample_placement(Z, None, 60, len(placed), len(placed), np.random.default_rng(0), 1).members
    assert set(map(tuple, members)) == {tuple(np.flatnonzero(row)) for row in placed}


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("dimension", [1, 2, 10])
def test_localities_of_a_large_map_are_drawn_like_its_samples(dimension: int) -> None:
    Z = blobs(dimension=dimension)
    members = sample(Z, n_sampled=64)
    assert members.shape == (64, 50)
    tree = cKDTree(Z)
    for rows in members:
        assert (np.diff(rows) > 0).all()
        centres = [i for i in rows if set(tree.query(Z[i], 50)[1]) == set(rows)]
        assert centres, "the neighbourhood of none of its samples"
    group = np.round(Z / 20).astype(int)
    _, which = np.unique(group[:, 0], return_inverse=True)
    drawn = np.bincount(which[members].ravel(), minlength=which.max() + 1) / members.size
    np.testing.assert_allclose(drawn, np.bincount(which) / len(Z), atol=0.06)


@pytest.mark.parametrize("placed", [2e7, 0], ids=["placed", "drawn"])
def test_sections_are_not_mixed_and_samples_can_be_drawn_again(placed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_PLACED", placed)
    Z, sections = blobs(), np.arange(3000) % 3
    members = sample(Z, sections)
    assert (sections[members] == sections[members[:, :1]]).all()
    assert set(sections[members[:, 0]]) == {0, 1, 2}
    np.testing.assert_array_equal(sample(Z, sections), members)
    assert not np.array_equal(sample(Z, sections, seed=1), members)


def values_and_members(n_features: int = 30) -> tuple[InMemory, Members]:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(600, 1))
    X = np.where(rng.random((600, n_features)) < 0.6, shared + rng.normal(size=(600, n_features)), 0)
    return InMemory(X), np.sort(rng.permuted(np.tile(np.arange(600), (40, 1)), axis=1)[:, :80], axis=1)


@pytest.mark.parametrize("fdr", [0.05, None])
def test_correlations_of_a_sample_are_those_of_its_localities(fdr: float | None) -> None:
    source, members = values_and_members()
    found = rehearsal.sample_correlations(source, members[:10], 40, fdr=fdr, n_jobs=1)
    whole = locality_correlations(source, members, fdr=fdr, n_jobs=1)
    assert abs(found.C - whole.C[:10]).nnz == 0
    assert found.n_defined == whole.defined[:10].sum(axis=1).max()
    assert found.growth.n_nonzero(10) == (whole.C[:10].nnz, 0)
    assert found.growth.n_nonzero(40)[0] == pytest.approx(whole.C.nnz, rel=0.2)
    assert found.growth.n_columns(40) == pytest.approx(len(np.unique(whole.C.indices)), rel=0.1)
    assert 0 < found.seconds < np.inf


@pytest.mark.parametrize("limit", ["_MOST_PRODUCTS", "_MOST_KEPT"])
def test_few_localities_are_correlated_where_each_is_much_work(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, members = values_and_members()
    cost = {"_MOST_PRODUCTS": 80 * 30**2, "_MOST_KEPT": 30 * 29 / 2}[limit]
    for factor, expected in ((0.1, 2), (4.5, 4), (1000, 40)):
        monkeypatch.setattr(rehearsal, limit, factor * cost)
        assert rehearsal.sample_correlations(source, members, 40, fdr=None, n_jobs=1).C.shape[0] == expected


class Unreadable(InMemory):
    def blocks(self, members: Members) -> NoReturn:
        raise AssertionError


def test_nothing_is_read_where_all_pairs_would_fit() -> None:
    source, members = values_and_members()
    for fdr in (0.05, None):
        rehearsal.check_correlations_fit(Unreadable(source.X), members, remedy="x", fdr=fdr, n_jobs=1)


class Counting(InMemory):
    def blocks(self, members: Members) -> Iterator[Block]:
        sizes.append(len(members))
        return super().blocks(members)


sizes: list[int] = []


def test_correlations_that_do_not_fit_are_refused_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    source, members = values_and_members()
    many = np.tile(members, (1000, 1))
    C = locality_correlations(source, members, fdr=None, n_jobs=1).C
    needed = 8 * C.nnz * 1000

    def check(available: float, fdr: float | None) -> None:
        sizes.clear()
        monkeypatch.setattr(resources, "memory_available", lambda: available)
        rehearsal.check_correlations_fit(Counting(source.X), many, remedy="lower overlap", fdr=fdr, n_jobs=1)

    with pytest.raises(ValueError, match=r"between 30 genes in 40,000 localities would take about .* GB") as caught:
        check(needed * 0.8, None)
    assert str(caught.value).endswith("; lower overlap.")
    assert re.match(r"Found that .*, expected no more than the \S+ GB that are available; ", str(caught.value))
    assert max(sizes) <= 16
    check(needed * 1.5, None)
    check(needed * 0.8, 1e-6)  # few are kept
    assert sizes, "was decided without a look"


def test_an_epoch_takes_time_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    C = locality_correlations(*values_and_members(), fdr=None, n_jobs=1).C
    rng = np.random.default_rng(0)
    assert rehearsal.epoch_seconds(sparse.csr_matrix((3, 10), dtype=np.float32), 3, 10, 2, rng, 1) == 0
    ticks = iter(range(10**6))
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))  # an epoch lasts a second
    monkeypatch.setattr(rehearsal, "time", clock)
    n_columns = len(np.unique(C.indices))
    assert rehearsal.epoch_seconds(C, 40, n_columns, 2, rng, 1) == 1
    assert rehearsal.epoch_seconds(C, 640, 2 * n_columns, 2, rng, 1) == pytest.approx(20)  # ten batches, twice as wide
    monkeypatch.setattr(rehearsal, "_MOST_COLUMNS", -(-n_columns // 4))
    assert rehearsal.epoch_seconds(C, 40, n_columns, 50, rng, 1) == pytest.approx(4, rel=0.1)  # more modules than rows
