"""The CPU engine: blocks of columns over threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_sc.core.factorise.amf.batches import Batches
from lava_sc.core.factorise.engines.cpu_kernels import adam, descend_blocks, sum_blocks
from lava_sc.core.factorise.engines.protocol import BETA1, BETA2, FACTORS, N_STEPS, N_SUMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.amf.batches import Layout
    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.problem import Problem

    OverBlocks = Callable[[Callable[[int, int], None]], None]


def cpu_engines(problem: Problem, n_threads: int = 1) -> EngineFactory:
    """Engines that factorise a problem on the CPU.

    Parameters
    ----------
    problem
        What to factorise.
    n_threads
        Threads of each engine; changes no number.
    """
    n_threads = max(1, min(n_threads, problem.n_blocks))
    return lambda P, M: _CpuEngine(problem, P, M, n_threads)


def row_sums(
    problem: Problem, rows: IntArray, P: FloatArray, M: FloatArray, nu: float, *, batches: Batches | None = None
) -> FloatArray:
    """As :meth:`lava_sc.core.factorise.engines.protocol.Engine.row_sums`, for any P and M (float32, C-contiguous).

    ``batches`` are those of the problem, for calls with the same rows in succession.
    """
    batches = Batches(problem) if batches is None else batches
    return _row_sums(batches.layout(rows), rows, P, M, nu, lambda work: work(0, problem.n_blocks))


def _row_sums(
    layout: Layout, rows: IntArray, P: FloatArray, M: FloatArray, nu: float, over_blocks: OverBlocks
) -> FloatArray:
    parts = np.empty((layout[-1].shape[1] - 1, len(rows), N_SUMS))
    over_blocks(lambda first, last: sum_blocks(*layout, rows, P, M, nu, first, last, parts))
    return np.asarray(parts.sum(axis=0))


class _CpuEngine:
    """See :class:`lava_sc.core.factorise.engines.protocol.Engine`."""

    def __init__(self, problem: Problem, P: FloatArray, M: FloatArray, n_threads: int) -> None:
        self._problem, self._batches = problem, Batches(problem)
        self._P, self._M = (np.array(start, dtype=np.float32, order="C") for start in (P, M))
        self._kept = self._P.copy(), self._M.copy()
        self._moments_P = np.zeros_like(self._P), np.zeros_like(self._P)
        self._moments_M = np.zeros_like(self._M), np.zeros_like(self._M)
        self._n_steps = 0
        edges = np.linspace(0, problem.n_blocks, n_threads + 1).round().astype(int)
        self._ranges = list(pairwise(edges))
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None

    def row_sums(self, rows: IntArray, nu: float) -> FloatArray:
        return _row_sums(self._batches.layout(rows), rows, self._P, self._M, nu, self._over_blocks)

    def descend(self, rows: IntArray, slopes: FloatArray, *, nu: float, mae_slope: float, learning_rate: float) -> None:
        self._n_steps += 1
        corrections = 1 - BETA1**self._n_steps, np.sqrt(1 - BETA2**self._n_steps)
        steps = np.array([learning_rate / corrections[0], corrections[1]], dtype=np.float32)
        parts = np.empty((self._problem.n_blocks, len(rows), self._P.shape[1]))
        layout = self._batches.layout(rows)
        state = self._P, self._M, *self._moments_M, nu, np.float32(mae_slope), steps
        self._over_blocks(lambda first, last: descend_blocks(*layout, rows, slopes, *state, first, last, parts))
        gradient = np.zeros_like(self._P)
        gradient[rows] = parts.sum(axis=0)
        first, second = self._moments_P
        adam(self._P.reshape(-1), gradient.reshape(-1), first.reshape(-1), second.reshape(-1), steps)

    def keep(self) -> None:
        np.copyto(self._kept[0], self._P)
        np.copyto(self._kept[1], self._M)

    def kept(self) -> tuple[FloatArray, FloatArray]:
        return self._kept

    def state(self) -> dict[str, NDArray[Any]]:
        return self._arrays() | {N_STEPS: np.array(self._n_steps)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        for name, array in self._arrays().items():
            np.copyto(array, state[name])
        self._n_steps = int(state[N_STEPS])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        moments = zip(self._moments_P, self._moments_M, strict=True)
        pairs = ((self._P, self._M), self._kept, *moments)
        return dict(zip(FACTORS, (array for pair in pairs for array in pair), strict=True))

    def _over_blocks(self, work: Callable[[int, int], None]) -> None:
        if self._pool is None:
            work(0, self._problem.n_blocks)
        else:
            list(self._pool.map(lambda span: work(*span), self._ranges))
