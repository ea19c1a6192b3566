"""Row sums, gradients and Adam steps over chunks of columns in torch, for any device it knows.

The same numbers as :mod:`lava_sc.core.factorise.engines.cpu_kernels`, written for devices that work on large arrays at once: a chunk of
columns has its |C| and Ĉ dense, (B, columns), and modules are taken one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
import torch

from lava_sc.core.factorise.engines.protocol import BETA1, BETA2, EPSILON
from lava_sc.core.factorise.problem import BLOCK

if TYPE_CHECKING:
    from lava_sc._types import IntArray

# Per entry of (B, columns). The arrays of a chunk take 28 at the most, where the positions of entries are worked out; the
# rest is room for what torch takes inside of an operation.
_BYTES_PER_ENTRY: Final = 40
_BYTES_PER_MODULE_ENTRY: Final = 8


@dataclass(frozen=True)
class DeviceProblem:
    """A problem on a device.

    Attributes
    ----------
    data, indices
        (nnz,) float32 absolute correlations and int32 columns, on the device.
    block_starts
        (ℓ, n_blocks + 1) int64 on the host, where each block of columns starts in ``data``.
    n_columns
        J′. Arrays on the device are padded to whole blocks: columns in which C and M are zero change nothing.
    """

    data: torch.Tensor
    indices: torch.Tensor
    block_starts: IntArray
    n_columns: int

    @property
    def n_blocks(self) -> int:
        """Number of blocks of columns."""
        return self.block_starts.shape[1] - 1


class Moving(NamedTuple):
    """Parameters and the moments of their gradient."""

    values: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor


class Rows(NamedTuple):
    """(B,) int64 localities of a batch, on the host and on the device."""

    host: IntArray
    device: torch.Tensor


class AdamStep(NamedTuple):
    """A step of Adam along the gradient of a batch's loss, see :meth:`lava_sc.core.factorise.engines.protocol.Engine.descend`.

    Attributes
    ----------
    slopes
        (B, 2) float32.
    nu2, mae_slope
        ν² and the weight of the absolute errors.
    size, correction
        Learning rate over 1 − β₁ᵗ, and √(1 − β₂ᵗ).
    """

    slopes: torch.Tensor
    nu2: float
    mae_slope: float
    size: float
    correction: float


class Kernels(Protocol):
    """Kernels for a chunk, blocks ``first`` to ``last`` of columns. P is (ℓ, M), M (M, columns), padded."""

    def bytes_per_column(self, n_rows: int, n_modules: int) -> int:
        """Temporary memory that a chunk takes for each of its columns."""

    def sums(self, rows: Rows, first: int, last: int, P: torch.Tensor, M: torch.Tensor, nu2: float) -> torch.Tensor:
        """Row sums of the chunk, (B, 5) float64."""

    def descend(self, rows: Rows, first: int, last: int, P: torch.Tensor, M: Moving, step: AdamStep) -> torch.Tensor:
        """One step of Adam on the chunk of M; returns its part of the gradient of the batch's presences, (B, M) float64.

        If it runs out of memory, nothing has changed.
        """


class PlainKernels:
    """:class:`Kernels` by operations of torch."""

    def __init__(self, problem: DeviceProblem) -> None:
        self._problem = problem

    def bytes_per_column(self, n_rows: int, n_modules: int) -> int:
        """See :class:`Kernels`."""
        return _BYTES_PER_ENTRY * n_rows + _BYTES_PER_MODULE_ENTRY * n_modules

    def sums(self, rows: Rows, first: int, last: int, P: torch.Tensor, M: torch.Tensor, nu2: float) -> torch.Tensor:
        """See :class:`Kernels`."""
        c = _dense_rows(self._problem, rows, first, last)
        hat = _reconstruct(P[rows.device], M[:, first * BLOCK : last * BLOCK])
        error = hat - c
        w2 = _mask(error, nu2)
        parts = [_by_block(w2 * c * c), _by_block(w2 * c * hat), _by_block(w2 * hat * hat)]
        parts += [_by_block(error.abs()), _by_block(error.clamp_(min=0))]
        return total(torch.stack(parts, dim=1), dim=2)

    def descend(self, rows: Rows, first: int, last: int, P: torch.Tensor, M: Moving, step: AdamStep) -> torch.Tensor:
        """See :class:`Kernels`."""
        chunk = Moving(*(array[:, first * BLOCK : last * BLOCK] for array in M))
        presences, modules = P[rows.device], chunk.values
        hat = _reconstruct(presences, modules)
        g = _slope(_dense_rows(self._problem, rows, first, last), hat, step)
        product, own = torch.empty_like(hat), torch.empty_like(hat)
        g_M = torch.empty(modules.shape, dtype=modules.dtype, device=modules.device)
        parts = torch.empty((len(g), len(modules), last - first), dtype=hat.dtype, device=hat.device)
        # Modules come in rising order and take the slopes that they win away: ties go to the lowest, and where nothing
        # is reconstructed to module 0
        for m in range(len(modules)):
            presence = presences[:, m, None]
            lost = torch.mul(presence, modules[m], out=product) != hat
            own.copy_(g).masked_fill_(lost, 0)
            g -= own
            g_M[m] = torch.mul(own, presence, out=product).sum(dim=0)
            parts[:, m] = _by_block(torch.mul(own, modules[m], out=product))
        g_P = total(parts, dim=2)
        adam(chunk, g_M, step)
        return g_P


def adam(moving: Moving, gradient: torch.Tensor, step: AdamStep) -> None:
    """One step of Adam in place, then clamping to [0, 1].

    Takes no memory but the gradient's, which is overwritten: so it cannot stop half-way for want of it.
    """
    values, first, second = moving
    first.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
    second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    torch.sqrt(second, out=gradient).div_(step.correction).add_(EPSILON)
    values.addcdiv_(first, gradient, value=-step.size).clamp_(0, 1)


def sums_device(device: torch.device) -> torch.device:
    """Device for sums in float64: the host in place of Apple's devices, which have no such numbers."""
    return torch.device("cpu") if device.type == "mps" else device


def total(parts: torch.Tensor, dim: int) -> torch.Tensor:
    """Sum in float64."""
    return parts.to(sums_device(parts.device)).sum(dim=dim, dtype=torch.float64)


def _dense_rows(problem: DeviceProblem, rows: Rows, first: int, last: int) -> torch.Tensor:
    """|C| of some localities in a chunk of columns, (B, columns)."""
    width, device = (last - first) * BLOCK, problem.data.device
    starts = problem.block_starts[rows.host, first]
    lengths = problem.block_starts[rows.host, last] - starts
    # From the position of an entry among those of the chunk to its position in the data
    shifts = starts - (np.cumsum(lengths) - lengths)
    repeats, shift = torch.tensor(np.stack([lengths, shifts]), device=device)
    # The size is known here, so the device need not be waited for
    row = torch.repeat_interleave(repeats, output_size=int(lengths.sum()))
    entry = shift[row].add_(torch.arange(len(row), device=device))
    position = row.mul_(width).add_(problem.indices[entry]).sub_(first * BLOCK)
    c = torch.zeros(len(starts) * width, dtype=torch.float32, device=device)
    c[position] = problem.data[entry]
    return c.view(-1, width)


def _reconstruct(P: torch.Tensor, M: torch.Tensor) -> torch.Tensor:
    """Equation 3, (B, columns)."""
    hat = P[:, 0, None] * M[0]
    product = torch.empty_like(hat)
    for m in range(1, len(M)):
        torch.maximum(hat, torch.mul(P[:, m, None], M[m], out=product), out=hat)
    return hat


def _mask(error: torch.Tensor, nu2: float) -> torch.Tensor:
    """w² of Equation 7."""
    return torch.ones_like(error).masked_fill_(error > 0, nu2)


def _slope(c: torch.Tensor, hat: torch.Tensor, step: AdamStep) -> torch.Tensor:
    """∂loss/∂Ĉ; the mask w is a constant."""
    error = hat - c
    a, b = step.slopes[:, 0, None], step.slopes[:, 1, None]
    slope = (b * hat).sub_(a * c).mul_(_mask(error, step.nu2))
    return slope.add_(error.sign_(), alpha=step.mae_slope)


def _by_block(values: torch.Tensor) -> torch.Tensor:
    """Sums over each block of columns, (B, blocks) float32: short enough to be exact to about 1e-6."""
    return values.view(len(values), -1, BLOCK).sum(dim=2)
