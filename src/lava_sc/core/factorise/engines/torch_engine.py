"""The engine of an accelerator: chunks of columns, as many at once as a bound of memory allows."""

from __future__ import annotations

import importlib.util
import math
import subprocess
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from lava_sc._logging import logger
from lava_sc.core.factorise.engines.protocol import BETA1, BETA2, FACTORS, N_STEPS, N_SUMS
from lava_sc.core.factorise.engines.torch_kernels import (
    AdamStep,
    DeviceProblem,
    Moving,
    PlainKernels,
    Rows,
    adam,
    sums_device,
)
from lava_sc.core.factorise.problem import BLOCK
from lava_sc.parallel.device_memory import is_out_of_memory, memory_bound, memory_error, too_little_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.engines.torch_kernels import Kernels
    from lava_sc.core.factorise.problem import Problem

    Work = Callable[[Kernels, int, int], torch.Tensor]

_REMEDY: Final = "pass device='cpu', a smaller batch_size, or fewer modules"


def torch_engines(problem: Problem, device: str, *, memory: int | None = None) -> EngineFactory:
    """See :func:`lava_sc.core.factorise.engines.accelerator.accelerator_engines`."""
    with too_little_memory(device, _REMEDY, "the correlations"):
        chunks = _Chunks(problem, torch.device(device), memory)

    def engine(P: FloatArray, M: FloatArray) -> _TorchEngine:
        with too_little_memory(device, _REMEDY, "the modules and the moments of their optimiser"):
            return _TorchEngine(chunks, P, M)

    return engine


class _TorchEngine:
    """See :class:`lava_sc.core.factorise.engines.protocol.Engine`."""

    def __init__(self, chunks: _Chunks, P: FloatArray, M: FloatArray) -> None:
        self._chunks, self._n_steps = chunks, 0
        self._P, self._M = (
            Moving(start, torch.zeros_like(start), torch.zeros_like(start))
            for start in (_to_device(P, P.shape[1], chunks.device), _to_device(M, chunks.n_padded, chunks.device))
        )
        self._kept = self._P.values.clone(), self._M.values.clone()

    def row_sums(self, rows: IntArray, nu: float) -> FloatArray:
        batch, P, M = self._chunks.rows(rows), self._P.values, self._M.values
        sums = self._chunks.total(
            lambda kernels, first, last: kernels.sums(batch, first, last, P, M, float(nu * nu)),
            len(rows),
            len(M),
            N_SUMS,
        )
        return np.asarray(sums.cpu().numpy())

    def descend(self, rows: IntArray, slopes: FloatArray, *, nu: float, mae_slope: float, learning_rate: float) -> None:
        self._n_steps += 1
        size, correction = float(learning_rate) / (1 - BETA1**self._n_steps), math.sqrt(1 - BETA2**self._n_steps)
        on_device = torch.tensor(slopes, dtype=torch.float32, device=self._chunks.device)
        step = AdamStep(on_device, float(nu * nu), float(mae_slope), size, correction)
        batch, P, n_modules = self._chunks.rows(rows), self._P.values, len(self._M.values)
        gradient = torch.zeros_like(P)
        g_P = self._chunks.total(
            lambda kernels, first, last: kernels.descend(batch, first, last, P, self._M, step),
            *(len(rows), n_modules, n_modules),
        )
        gradient[batch.device] = g_P.to(torch.float32).to(P.device)
        adam(self._P, gradient, step)

    def keep(self) -> None:
        for kept, moving in zip(self._kept, (self._P, self._M), strict=True):
            kept.copy_(moving.values)

    def kept(self) -> tuple[FloatArray, FloatArray]:
        P, M = (np.array(array.cpu().numpy()) for array in self._kept)
        return P, np.ascontiguousarray(M[:, : self._chunks.n_columns])

    def state(self) -> dict[str, NDArray[Any]]:
        found = {name: array.cpu().numpy()[:, :width] for name, array, width in self._tensors()}
        return found | {N_STEPS: np.array(self._n_steps)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        for name, array, width in self._tensors():
            array[:, :width] = torch.tensor(state[name], dtype=torch.float32, device=array.device)
        self._n_steps = int(state[N_STEPS])

    def _tensors(self) -> list[tuple[str, torch.Tensor, int]]:
        """By name, and how many columns are not padding, which stays 0."""
        (P, *moments_P), (M, *moments_M) = self._P, self._M
        pairs = ((P, M), self._kept, *zip(moments_P, moments_M, strict=True))
        widths = (P.shape[1], self._chunks.n_columns) * len(pairs)
        return list(zip(FACTORS, (array for pair in pairs for array in pair), widths, strict=True))


class _Chunks:
    """The problem on the device, shared by runs, and work on it chunk by chunk."""

    def __init__(self, problem: Problem, device: torch.device, memory: int | None) -> None:
        self.device, self.n_columns = device, problem.n_columns
        data = torch.tensor(problem.data, dtype=torch.float32, device=device).abs_()
        indices = torch.tensor(problem.indices, dtype=torch.int32, device=device)
        on_device = DeviceProblem(data, indices, problem.block_starts, problem.n_columns)
        self._n_blocks, self.n_padded = on_device.n_blocks, on_device.n_blocks * BLOCK
        self._plain: Kernels = PlainKernels(on_device)
        self._kernels = _fused(on_device) or self._plain
        self._memory = memory_bound(device) if memory is None else memory

    def rows(self, rows: IntArray) -> Rows:
        host = np.asarray(rows, dtype=np.int64)
        return Rows(host, torch.tensor(host, device=self.device))

    def total(self, work: Work, n_rows: int, n_modules: int, n_values: int) -> torch.Tensor:
        """Sum over the chunks of what ``work`` makes of them, (B, n_values) float64."""
        found = torch.zeros((n_rows, n_values), dtype=torch.float64, device=sums_device(self.device))
        first = 0
        while first < self._n_blocks:
            block_bytes = BLOCK * self._kernels.bytes_per_column(n_rows, n_modules)
            last = min(first + max(1, self._memory // block_bytes), self._n_blocks)
            part = self._attempt(work, first, last, block_bytes)
            if part is not None:
                found += part
                first = last
        return found

    def _attempt(self, work: Work, first: int, last: int, block_bytes: int) -> torch.Tensor | None:
        """The work's result, or None if it failed in a way that is worth another attempt."""
        try:
            return work(self._kernels, first, last)
        except Exception as error:
            if is_out_of_memory(error):
                if last - first == 1:
                    wanted = f"{block_bytes / 1e6:.0f} MB to work in"
                    raise memory_error(str(self.device), _REMEDY, wanted) from error
                self._memory = (last - first) * block_bytes // 2
                logger.info(
                    "AMF ran out of memory on %s and goes on in chunks of %.0f MB", self.device, self._memory / 1e6
                )
            elif self._kernels is self._plain or not _cannot_be_compiled(error):
                raise
            else:
                _warn_of_slower(self.device, error)
                self._kernels = self._plain
        return None


def _to_device(start: FloatArray, width: int, device: torch.device) -> torch.Tensor:
    """A copy, padded with zeros to some width."""
    found = torch.zeros((len(start), width), dtype=torch.float32, device=device)
    found[:, : start.shape[1]] = torch.tensor(start, dtype=torch.float32, device=device)
    return found


def _fused(problem: DeviceProblem) -> Kernels | None:
    """Fused kernels, where there are any."""
    if not _can_fuse(problem.data.device):
        return None
    try:
        from lava_sc.core.factorise.engines.triton_kernels import TritonKernels
    except ImportError as error:
        _warn_of_slower(problem.data.device, error)
        return None
    return TritonKernels(problem)


def _can_fuse(device: torch.device) -> bool:
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def _cannot_be_compiled(error: Exception) -> bool:
    """Tell whether fused kernels fail for want of a compiler, driver or device, before anything has run, not by a mistake of ours."""
    # Triton's own errors, told by their module, as it need not be there; a missing C compiler and CUDA's errors; a cache that
    # cannot be written; a C compiler that fails; and what it made that cannot be loaded
    expected = RuntimeError, OSError, subprocess.SubprocessError, ImportError
    return isinstance(error, expected) or type(error).__module__.partition(".")[0] == "triton"


def _warn_of_slower(device: torch.device, error: Exception) -> None:
    logger.warning("AMF goes on without fused kernels on %s, which is slower: %s", device, error)
