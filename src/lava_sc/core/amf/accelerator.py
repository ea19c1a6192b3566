"""The device of a fit, and the engines of an accelerator. torch is imported only when one of these is asked for."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lava_sc.core.amf.engine import EngineFactory
    from lava_sc.core.amf.target import Target

DEVICES: Final = ("auto", "cpu", "cuda", "mps")

#: Kernel interfaces of NVIDIA's driver, of AMD's and of Windows' Linux.
_DRIVERS: Final = ("/proc/driver/nvidia", "/dev/kfd", "/dev/dxg")


def resolve_device(device: str) -> str:
    """The device to use.

    Parameters
    ----------
    device
        ``"cuda"`` or ``"mps"``, which have to be there; ``"cpu"``; or ``"auto"``, an accelerator where torch finds one
        and else the CPU. torch is not imported to learn that a machine has no accelerator.

    Raises
    ------
    ValueError
        If the device is unknown or not there.
    ImportError
        If an accelerator is asked for and torch is not installed.
    """
    if device not in DEVICES:
        msg = f"Found device={device!r}, expected one of {', '.join(map(repr, DEVICES))}; pass one of these."
        raise ValueError(msg)
    installed = importlib.util.find_spec("torch") is not None
    if device == "cpu" or (device == "auto" and not (installed and _may_have_accelerator())):
        return "cpu"
    if not installed:
        msg = f"Found device={device!r} without torch, expected torch to be installed; pip install 'lava-sc[torch]'."
        raise ImportError(msg)
    available = _available()
    if device == "auto":
        return available[0]
    if device not in available:
        msg = f"Found device={device!r}, expected one that torch can use here ({', '.join(available)}); pass one of these."
        raise ValueError(msg)
    return device


def accelerator_engines(target: Target, device: str, *, memory: int | None = None) -> EngineFactory:
    """Engines that factorise a target on a device of torch. The target lies there once for all of them.

    Beside the target, a run takes four times M on the device, for M, its two moments and the copy that is kept, and room
    to work in.

    Parameters
    ----------
    target
        What to factorise.
    device
        As :func:`resolve_device` gives it. ``"cpu"`` works too, though :func:`lava_sc.core.amf.cpu.cpu_engines` is much
        faster there.
    memory
        Bytes of temporary arrays, to which chunks of columns are cut, though to no less than a block. By default 256 MiB,
        and on CUDA no more than a quarter of what is free. Rounding aside it changes no number.

    Raises
    ------
    MemoryError
        If the device has too little memory for the target, or, when an engine is made or used, for a run.
    """
    from lava_sc.core.amf.torch_engine import torch_engines

    return torch_engines(target, device, memory=memory)


def _may_have_accelerator() -> bool:
    """What can be seen without importing torch, which takes seconds."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    devices = (*Path("/dev").glob("nvidia*"), *(path for path in map(Path, _DRIVERS) if path.exists()))
    return bool(devices) or shutil.which("nvidia-smi") is not None


def _available() -> list[str]:
    """Devices that torch can use, the one to prefer first."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_there in there.items() if is_there]
