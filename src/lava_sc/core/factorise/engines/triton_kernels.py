"""Row sums, gradients and Adam steps as fused kernels on CUDA, by Triton, for :mod:`lava_sc.core.factorise.engines.torch_engine`.

A program holds a tile of M, all modules by a few columns, in registers and goes through the rows of the batch: nothing of
(rows × columns) is ever formed. Rows of C are read as they are stored, by a binary search for all columns of the tile.
Nothing is added atomically, so that results do not depend on the order in which programs run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
import triton
import triton.language as tl

from lava_sc.core.factorise.engines.protocol import BETA1, BETA2, EPSILON, N_SUMS
from lava_sc.core.factorise.engines.torch_kernels import total
from lava_sc.core.factorise.problem import BLOCK

if TYPE_CHECKING:
    from lava_sc.core.factorise.engines.torch_kernels import AdamStep, DeviceProblem, Moving, Rows

# As many programs as registers allow, a tile no larger than they hold (ptxas: about 100 a thread, none spilled)
_TILE_ENTRIES: Final = 1024
_ENTRIES_PER_WARP: Final = 256
_MIN_COLUMNS, _MAX_COLUMNS = 16, 256
_ROWS_PER_PROGRAM: Final = 16


class TritonKernels:
    """:class:`lava_sc.core.factorise.engines.torch_kernels.Kernels` for CUDA."""

    def __init__(self, problem: DeviceProblem) -> None:
        self._data, self._indices = problem.data, problem.indices
        self._starts = torch.tensor(problem.block_starts, device=problem.data.device)

    def bytes_per_column(self, n_rows: int, n_modules: int) -> int:
        """See :class:`lava_sc.core.factorise.engines.torch_kernels.Kernels`."""
        # Sums of each tile in float32, and half as much for what torch takes to add them up
        return 6 * n_rows * max(n_modules, N_SUMS) // _shape(n_modules)["COLUMNS"] + 1

    def sums(self, rows: Rows, first: int, last: int, P: torch.Tensor, M: torch.Tensor, nu2: float) -> torch.Tensor:
        """See :class:`lava_sc.core.factorise.engines.torch_kernels.Kernels`."""
        n_rows, shape = len(rows.device), _shape(len(M))
        n_tiles = (last - first) * BLOCK // shape["COLUMNS"]
        parts = torch.empty((n_tiles, n_rows, N_SUMS), dtype=torch.float32, device=M.device)
        groups = triton.cdiv(n_rows, _ROWS_PER_PROGRAM)
        _sum_tile[n_tiles, groups](
            *(self._data, self._indices, self._starts, self._starts.shape[1], rows.device, n_rows),
            *(P, M, len(M), M.shape[1], nu2, first * BLOCK // shape["COLUMNS"], parts),
            **(shape | {"ROWS": _ROWS_PER_PROGRAM}),
        )
        return total(parts, dim=0)

    def descend(self, rows: Rows, first: int, last: int, P: torch.Tensor, M: Moving, step: AdamStep) -> torch.Tensor:
        """See :class:`lava_sc.core.factorise.engines.torch_kernels.Kernels`."""
        n_rows, n_modules, shape = len(rows.device), len(M.values), _shape(len(M.values))
        n_tiles = (last - first) * BLOCK // shape["COLUMNS"]
        parts = torch.empty((n_tiles, n_rows, n_modules), dtype=torch.float32, device=P.device)
        # Rehearsed, so that torch has the memory at hand: once M has changed, this must not fail
        total(parts, dim=0)
        _descend_tile[(n_tiles,)](
            *(self._data, self._indices, self._starts, self._starts.shape[1], rows.device, n_rows, step.slopes),
            *(P, *M, n_modules, M.values.shape[1], step.nu2, step.mae_slope, step.size, step.correction),
            *(first * BLOCK // shape["COLUMNS"], parts),
            **(shape | {"BETA1": BETA1, "BETA2": BETA2, "EPSILON": EPSILON}),
        )
        return total(parts, dim=0)


def _shape(n_modules: int) -> dict[str, int | bool]:
    """Size of a program and how to compile it.

    Sizes are powers of two, with columns enough for memory to be read in whole sectors. A product and a sum stay two
    operations: fused, Ĉ − C would have another sign than Ĉ > C where they are equal.
    """
    modules = triton.next_power_of_2(n_modules)
    columns = min(max(_TILE_ENTRIES // modules, _MIN_COLUMNS), _MAX_COLUMNS)
    n_warps = min(max(modules * columns // _ENTRIES_PER_WARP, 4), 32)
    sizes = {"MODULES": modules, "COLUMNS": columns, "BLOCK": BLOCK}
    return sizes | {"num_warps": n_warps, "enable_fp_fusion": False}


@triton.jit
def _entries(data, indices, starts, n_starts, row, block, columns):  # type: ignore[no-untyped-def]
    """|C| of one row at some columns of one block: the last entry at or before each column, if it lies in it."""
    start = tl.load(starts + row * n_starts + block)
    stop = tl.load(starts + row * n_starts + block + 1)
    at = columns * 0 + start
    left = stop - start
    while left > 1:
        half = left // 2
        at = tl.where(tl.load(indices + at + half) <= columns, at + half, at)
        left -= half
    found = (at < stop) & (tl.load(indices + at, mask=at < stop, other=-1) == columns)
    return tl.load(data + at, mask=found, other=0.0)


@triton.jit(do_not_specialize=["n_rows", "first_tile"])
def _sum_tile(  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    data,
    indices,
    starts,
    n_starts,
    rows,
    n_rows,
    P,
    M,
    n_modules,
    n_columns,
    nu2,
    first_tile,
    parts,
    MODULES: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Row sums of one tile and one group of rows, into ``parts`` (tiles, B, 5)."""
    tile = tl.program_id(0).to(tl.int64)
    first_column = (first_tile + tile) * COLUMNS
    columns = first_column + tl.arange(0, COLUMNS)
    m = tl.arange(0, MODULES)
    is_module = m < n_modules
    modules = tl.load(M + m[:, None] * n_columns.to(tl.int64) + columns[None, :], mask=is_module[:, None], other=0.0)
    first_row = tl.program_id(1) * ROWS
    for r in range(first_row, min(first_row + ROWS, n_rows)):
        row = tl.load(rows + r)
        c = _entries(data, indices, starts, n_starts, row, first_column // BLOCK, columns)
        presences = tl.load(P + row * n_modules + m, mask=is_module, other=0.0)
        hat = tl.max(presences[:, None] * modules, axis=0)
        error = hat - c
        w2 = tl.where(error > 0, nu2, 1.0)
        into = parts + (tile * n_rows + r) * 5
        tl.store(into, tl.sum(w2 * c * c, axis=0))
        tl.store(into + 1, tl.sum(w2 * c * hat, axis=0))
        tl.store(into + 2, tl.sum(w2 * hat * hat, axis=0))
        tl.store(into + 3, tl.sum(tl.abs(error), axis=0))
        tl.store(into + 4, tl.sum(tl.maximum(error, 0.0), axis=0))


@triton.jit(do_not_specialize=["n_rows", "first_tile"])
def _descend_tile(  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917
    data,
    indices,
    starts,
    n_starts,
    rows,
    n_rows,
    slopes,
    P,
    M,
    first_M,
    second_M,
    n_modules,
    n_columns,
    nu2,
    mae_slope,
    size,
    correction,
    first_tile,
    parts,
    MODULES: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
    BETA1: tl.constexpr,
    BETA2: tl.constexpr,
    EPSILON: tl.constexpr,
):
    """Gradient by one tile of M and a step of Adam on it; what it adds to that by P into ``parts`` (tiles, B, M)."""
    tile = tl.program_id(0).to(tl.int64)
    first_column = (first_tile + tile) * COLUMNS
    columns = first_column + tl.arange(0, COLUMNS)
    m = tl.arange(0, MODULES)
    is_module = m < n_modules
    at = m[:, None] * n_columns.to(tl.int64) + columns[None, :]
    modules = tl.load(M + at, mask=is_module[:, None], other=0.0)
    gradient = tl.zeros((MODULES, COLUMNS), dtype=tl.float32)
    for r in range(n_rows):
        row = tl.load(rows + r)
        c = _entries(data, indices, starts, n_starts, row, first_column // BLOCK, columns)
        presences = tl.load(P + row * n_modules + m, mask=is_module, other=0.0)
        products = presences[:, None] * modules
        hat = tl.max(products, axis=0)
        # The lowest of those that tie; where nothing is reconstructed, all do
        winner = tl.min(tl.where(products == hat[None, :], m[:, None], MODULES), axis=0)
        error = hat - c
        a, b = tl.load(slopes + 2 * r), tl.load(slopes + 2 * r + 1)
        side = tl.where(error > 0, mae_slope, tl.where(error < 0, -mae_slope, 0.0))
        slope = tl.where(error > 0, nu2, 1.0) * (b * hat - a * c) + side
        own = tl.where(m[:, None] == winner[None, :], slope[None, :], 0.0)
        gradient += own * presences[:, None]
        tl.store(parts + (tile * n_rows + r) * n_modules + m, tl.sum(own * modules, axis=1), mask=is_module)
    first = BETA1 * tl.load(first_M + at, mask=is_module[:, None], other=0.0) + (1 - BETA1) * gradient
    second = BETA2 * tl.load(second_M + at, mask=is_module[:, None], other=0.0) + (1 - BETA2) * gradient * gradient
    modules -= size * first / (tl.sqrt(second) / correction + EPSILON)
    tl.store(first_M + at, first, mask=is_module[:, None])
    tl.store(second_M + at, second, mask=is_module[:, None])
    tl.store(M + at, tl.minimum(tl.maximum(modules, 0.0), 1.0), mask=is_module[:, None])
