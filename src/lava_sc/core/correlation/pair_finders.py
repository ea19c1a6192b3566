"""Finders of strong pairs, by the device that takes the products of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lava_sc.core.correlation.unbatched import pairs_of_at_least
from lava_sc.parallel.device import resolve_device

if TYPE_CHECKING:
    from lava_sc.core.correlation.unbatched import PairFinder


def pair_finder(device: str) -> PairFinder:
    """Choose the finder of a device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is some.

    Raises
    ------
    ValueError, ImportError
        See :func:`lava_sc.parallel.device.resolve_device`.
    """
    if resolve_device(device) != "cuda":  # Apple's devices have no double precision
        return pairs_of_at_least
    from lava_sc.core.correlation.torch_pairs import DevicePairs

    return DevicePairs("cuda")
