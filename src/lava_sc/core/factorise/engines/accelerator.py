"""The engines of an accelerator. torch is imported only when one of these is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.problem import Problem


def accelerator_engines(problem: Problem, device: str, *, memory: int | None = None) -> EngineFactory:
    """Engines that factorise a problem on a device of torch. The problem lies there once for all of them.

    Beside the problem, a run takes four times M on the device, for M, its two moments and the copy that is kept, and room
    to work in.

    Parameters
    ----------
    problem
        What to factorise.
    device
        As :func:`lava_sc.parallel.device.resolve_device` gives it. ``"cpu"`` works too, though :func:`lava_sc.core.factorise.engines.cpu.cpu_engines` is much
        faster there.
    memory
        Bytes of temporary arrays, to which chunks of columns are cut, though to no less than a block. By default 256 MiB,
        and on CUDA no more than a quarter of what is free. Rounding aside it changes no number.

    Raises
    ------
    MemoryError
        If the device has too little memory for the problem, or, when an engine is made or used, for a run.
    """
    from lava_sc.core.factorise.engines.torch_engine import torch_engines

    return torch_engines(problem, device, memory=memory)
