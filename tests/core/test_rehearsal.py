"""Samples are of what the steps will work on; what is expected not to fit is refused."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse

from lava_sc.core import rehearsal
from lava_sc.core.correlation.locality import CorrelationOptions, locality_correlations
from lava_sc.io.blocks import InMemory
from lava_sc.parallel import memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from lava_sc.io.blocks import Block

    Members = np.ndarray


def values_and_members(n_features: int = 30) -> tuple[InMemory, Members]:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(600, 1))
    X = np.where(rng.random((600, n_features)) < 0.6, shared + rng.normal(size=(600, n_features)), 0)
    return InMemory(X), np.sort(rng.permuted(np.tile(np.arange(600), (40, 1)), axis=1)[:, :80], axis=1)


@pytest.mark.parametrize("fdr", [0.05, None])
def test_correlations_of_a_sample_are_those_of_its_localities(fdr: float | None) -> None:
    source, members = values_and_members()
    found = rehearsal.sample_correlations(source, members[:10], 40, CorrelationOptions(fdr=fdr), n_jobs=1)
    whole = locality_correlations(source, members, CorrelationOptions(fdr=fdr), n_jobs=1)
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
        assert (
            rehearsal.sample_correlations(source, members, 40, CorrelationOptions(fdr=None), n_jobs=1).C.shape[0]
            == expected
        )


class Unreadable(InMemory):
    def blocks(self, members: Members, most: float = np.inf) -> NoReturn:
        raise AssertionError


def test_nothing_is_read_where_all_pairs_would_fit() -> None:
    source, members = values_and_members()
    for fdr in (0.05, None):
        rehearsal.check_correlations_fit(
            Unreadable(source.X), members, CorrelationOptions(fdr=fdr), remedy="x", n_jobs=1
        )


class Counting(InMemory):
    def blocks(self, members: Members, most: float = np.inf) -> Iterator[Block]:
        sizes.append(len(members))
        return super().blocks(members, most)


sizes: list[int] = []


def test_correlations_that_do_not_fit_are_refused_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    source, members = values_and_members()
    many = np.tile(members, (1000, 1))
    C = locality_correlations(source, members, CorrelationOptions(fdr=None), n_jobs=1).C
    needed = 8 * C.nnz * 1000

    def check(available: float, fdr: float | None) -> None:
        sizes.clear()
        monkeypatch.setattr(memory, "memory_available", lambda: available)
        rehearsal.check_correlations_fit(
            Counting(source.X), many, CorrelationOptions(fdr=fdr), remedy="lower overlap", n_jobs=1
        )

    with pytest.raises(ValueError, match=r"between 30 genes in 40,000 localities would take about .* GB") as caught:
        check(needed * 0.8, None)
    assert str(caught.value).endswith("; lower overlap.")
    assert re.match(r"Found that .*, expected no more than the \S+ GB that are available; ", str(caught.value))
    assert max(sizes) <= 16
    check(needed * 1.5, None)
    check(needed * 0.8, 1e-6)  # few are kept
    assert sizes, "was decided without a look"


def test_an_epoch_takes_time_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    C = locality_correlations(*values_and_members(), CorrelationOptions(fdr=None), n_jobs=1).C
    rng = np.random.default_rng(0)
    assert rehearsal.fit_seconds(sparse.csr_matrix((3, 10), dtype=np.float32), 3, 10, 2, rng) == (0, 0)
    ticks = iter(range(10**6))
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))  # a start and an epoch last a second each
    monkeypatch.setattr(rehearsal, "time", clock)
    n_columns = len(np.unique(C.indices))
    assert rehearsal.fit_seconds(C, 40, n_columns, 2, rng) == (1, 1)
    assert rehearsal.fit_seconds(C, 640, 2 * n_columns, 2, rng) == pytest.approx((20, 20))  # ten batches, twice as wide
    monkeypatch.setattr(rehearsal, "_MOST_COLUMNS", -(-n_columns // 4))
    assert rehearsal.fit_seconds(C, 40, n_columns, 50, rng) == pytest.approx((4, 4), rel=0.1)  # more modules than rows
