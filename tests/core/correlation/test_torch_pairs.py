"""Strong pairs on devices of torch: those of the CPU, whatever memory there is."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats
from tests.core.correlation.cases import correlate

from lava_sc.core.correlation.pair_finders import pair_finder
from lava_sc.core.correlation.permutation_null import TailMoments
from lava_sc.core.correlation.ranks import rank_columns
from lava_sc.core.correlation.scores import Scores
from lava_sc.core.correlation.unbatched import pairs_of_at_least
from lava_sc.parallel.device import resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

torch = pytest.importorskip("torch")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def finder(device: str, **options: Any) -> Any:
    from lava_sc.core.correlation.torch_pairs import DevicePairs

    return DevicePairs(device, **({"fewest": 1} | options))


def scores_of(values: NDArray[Any]) -> Scores:
    empty = np.empty(0)
    return Scores(np.arange(len(values)), values, TailMoments(empty, empty, empty), values.shape[1])


def counts(n_features: int = 40, n: int = 60) -> NDArray[Any]:
    rng = np.random.default_rng(n_features)
    return rng.poisson(rng.gamma(2, 1, (n_features, 1)) * rng.gamma(2, 1, n), (n_features, n)).astype(np.float32)


def assert_same_pairs(found: Any, expected: Any, device: str) -> None:
    """To the bit on CUDA; torch's square root on the CPU is off by a bit or two now and then."""
    for some, others in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(some, others)
    np.testing.assert_allclose(found[2], expected[2], rtol=0 if device == "cuda" else 1e-15)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("least", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n", [60, 400])
def test_the_same_pairs_as_the_cpu_to_the_bit(device: str, least: float, n: int) -> None:
    """With 400 samples sums of ranks do not fit into single precision, and ranks come in double."""
    ranks = rank_columns(counts(n=n)).values
    assert ranks.dtype == (np.float32 if n == 60 else np.float64)
    scores = scores_of(np.concatenate([ranks, ranks[:2], -ranks[:1]]))  # perfect correlations
    expected = pairs_of_at_least(scores, least)
    assert len(expected[0])
    for memory in (None, 1, 30_000):
        assert_same_pairs(finder(device, memory=memory)(scores, least), expected, device)


@pytest.mark.parametrize("device", DEVICES)
def test_spearman_of_scipy(device: str) -> None:
    values = counts()
    a, b, rho = finder(device)(scores_of(rank_columns(values).values), 0.0)
    expected = stats.spearmanr(values, axis=1).statistic
    np.testing.assert_allclose(rho, expected[a, b], atol=1e-12)
    everywhere = np.flatnonzero(expected[np.triu_indices(len(values), 1)])
    assert len(rho) == len(everywhere)
    assert (a < b).all()


@pytest.mark.parametrize("device", DEVICES)
def test_coarse_products_of_single_precision_are_not_used(device: str) -> None:
    """What a user may have asked torch for, for neural networks."""
    scores = scores_of(rank_columns(counts()).values)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert_same_pairs(finder(device)(scores, 0.0), pairs_of_at_least(scores, 0.0), device)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "options", [{"fdr": 0.05}, {"fdr": None}, {"ranked": False}, {"batches": np.arange(90) % 2}], ids=str
)
def test_all_localities(device: str, options: dict[str, Any]) -> None:
    X = counts(50, 90).T
    members = np.stack([np.arange(start, start + 45) for start in (0, 10, 45)])
    expected, found = (correlate(X, members, **options, **how) for how in ({}, {"find": finder(device), "n_jobs": 2}))
    for one, other in ((expected.C.data, found.C.data), (expected.C.indices, found.C.indices)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("device", DEVICES)
def test_running_out_of_memory_halves_the_pieces(
    device: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from lava_sc.core.correlation import torch_pairs

    monkeypatch.setattr(torch_pairs, "_strong", refusing_more_rows_than(7, torch_pairs._strong))
    scores = scores_of(rank_columns(counts()).values)
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        assert_same_pairs(finder(device)(scores, 0.2), pairs_of_at_least(scores, 0.2), device)
    assert f"correlations ran out of memory on {device} and go on in pieces of" in caplog.text


def test_too_little_memory_for_a_single_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from lava_sc.core.correlation import torch_pairs

    monkeypatch.setattr(torch_pairs, "_strong", refusing_more_rows_than(0, torch_pairs._strong))
    with pytest.raises(MemoryError, match=r"^Found too little free memory on 'cpu', .* 40 correlations; pass device"):
        finder("cpu")(scores_of(rank_columns(counts()).values), 0.2)


def test_too_little_memory_for_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "from_numpy", refusing_more_rows_than(-1, torch.from_numpy))
    with pytest.raises(MemoryError, match=r"^Found too little free memory on 'cpu', .* 40 correlations; pass device"):
        finder("cpu")(scores_of(rank_columns(counts()).values), 0.2)


def test_at_a_worker_it_finds_the_same() -> None:
    scores = scores_of(rank_columns(counts(400)).values)
    there = pickle.loads(pickle.dumps(finder("cpu", memory=1)))
    assert_same_pairs(there(scores, 0.2), finder("cpu")(scores, 0.2), "cuda")


def refusing_more_rows_than(most: int, strong: Callable[..., Any]) -> Callable[..., Any]:
    def refusing(values: Any, squares: Any = None, first: int = 0, last: int = 0, least: float = 0) -> Any:
        if last - first > most:
            msg = "CUDA out of memory"
            raise RuntimeError(msg)
        return strong(values, squares, first, last, least)

    return refusing


def test_the_finder_of_this_machine() -> None:
    assert pair_finder("cpu") is pairs_of_at_least
    assert (pair_finder("auto") is pairs_of_at_least) == (resolve_device("auto") != "cuda")
