"""Products of the scores of all pairs on a device of torch, and the strong ones among them.

The same numbers as on the CPU, to the bit: sums of whole numbers are exact in any order, and quotients and roots in double
precision are rounded alike everywhere.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from lava_sc._logging import logger
from lava_sc.core.correlation.unbatched import pairs_of_at_least
from lava_sc.parallel.device_memory import is_out_of_memory, memory_bound, too_little_memory

if TYPE_CHECKING:
    from lava_sc.core.correlation.scores import Scores
    from lava_sc.core.correlation.unbatched import StrongPairs

#: Below so many features the CPU is done before a device has begun.
_FEWEST: Final = 300
_BYTES_PER_PAIR: Final = 48  # product, ρ, its size, what is asked of them, and positions of all pairs if all are strong
_AT_ONCE: Final = 2  # threads: one sends while the other computes


class DevicePairs:
    """A :data:`lava_sc.core.correlation.unbatched.PairFinder` for CUDA; torch's CPU works too, but is slower than that one.

    Rows of products are taken as many at once as memory allows; where it runs out, half as many, down to one.

    Parameters
    ----------
    device
        Of torch, with numbers in double precision.
    memory
        Bytes of temporary arrays. By default 256 MiB, and no more than a quarter of what is free.
    fewest
        With fewer features the CPU takes them.
    """

    def __init__(self, device: str, *, memory: int | None = None, fewest: int = _FEWEST) -> None:
        self._device = torch.device(device)
        self._memory = memory_bound(self._device) if memory is None else memory
        self._fewest = fewest
        self._turns = threading.Semaphore(_AT_ONCE)

    def __reduce__(self) -> tuple[type[DevicePairs], tuple[str]]:
        """Another process has memory of its own, and turns."""
        return DevicePairs, (str(self._device),)

    def __call__(self, scores: Scores, least: float) -> StrongPairs:
        """Positions of the pairs, and their correlations."""
        n_features = len(scores.features)
        if n_features < max(self._fewest, 1):
            return pairs_of_at_least(scores, least)
        wanted = f"{n_features} correlations"  # of one row
        with self._turns, too_little_memory(str(self._device), "pass device='cpu'", wanted):
            values = self._on_device(scores)
            squares = values.square().sum(dim=1).double()
            parts, first = [], 0
            while first < n_features:
                last = min(first + self._rows_at_once(n_features - first), n_features)
                part = self._attempt(values, squares, first, last, least)
                if part is not None:
                    parts.append(part)
                    first = last
        a, b, rho = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return a, b, rho

    def _on_device(self, scores: Scores) -> torch.Tensor:
        """(d, n) scores in a precision in which the device adds products up exactly."""
        values = torch.from_numpy(np.ascontiguousarray(scores.values)).to(self._device)
        # Otherwise products of single precision may be rounded to ten bits
        return values if torch.get_float32_matmul_precision() == "highest" else values.double()

    def _rows_at_once(self, n_columns: int) -> int:
        return max(self._memory // (_BYTES_PER_PAIR * n_columns), 1)

    def _attempt(
        self, values: torch.Tensor, squares: torch.Tensor, first: int, last: int, least: float
    ) -> StrongPairs | None:
        """Pairs of some rows, or None if there was too little memory for so many."""
        try:
            return _strong(values, squares, first, last, least)
        except RuntimeError as error:
            if not is_out_of_memory(error) or last - first == 1:
                raise
            self._memory = (last - first) * _BYTES_PER_PAIR * (len(values) - first) // 2
            logger.info(
                "correlations ran out of memory on %s and go on in pieces of %.0f MB", self._device, self._memory / 1e6
            )
            return None


def _strong(values: torch.Tensor, squares: torch.Tensor, first: int, last: int, least: float) -> StrongPairs:
    """Pairs a < b with a from ``first`` to ``last``."""
    rho = (values[first:last] @ values[first:].T).double()
    rho /= torch.sqrt(squares[first:last, None] * squares[None, first:])
    rho.clamp_(-1, 1)
    strong = ((rho.abs() >= least) & (rho != 0)).triu_(1)
    a, b = torch.nonzero(strong, as_tuple=True)
    found = rho[a, b].cpu().numpy()
    return (a + first).cpu().numpy(), (b + first).cpu().numpy(), found
