"""The device that work is done on: what was asked for, and what is there. torch is imported only where there may be one."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from pathlib import Path
from typing import Final

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


def _may_have_accelerator() -> bool:
    """Look for accelerators without importing torch, which takes seconds."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    devices = (*Path("/dev").glob("nvidia*"), *(path for path in map(Path, _DRIVERS) if path.exists()))
    return bool(devices) or shutil.which("nvidia-smi") is not None


def _available() -> list[str]:
    """Devices that torch can use, the one to prefer first."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_there in there.items() if is_there]
