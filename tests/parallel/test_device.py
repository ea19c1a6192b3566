"""The choice of a device: what is there, what is said where it is not, and that torch is not imported in vain."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lava_sc
from lava_sc.parallel import device as devices
from lava_sc.parallel.device import resolve_device

SOURCES = str(Path(lava_sc.__file__).resolve().parents[1])


def hint(monkeypatch: pytest.MonkeyPatch, *, torch: bool, hinted: bool, available: list[str] | None) -> None:
    """Whether torch is installed, whether something hints at an accelerator, and what torch then finds."""

    def find() -> list[str]:
        assert available is not None, "torch was imported without need"
        return available

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if torch else None)
    monkeypatch.setattr(devices, "_may_have_accelerator", lambda: hinted)
    monkeypatch.setattr(devices, "_available", find)


@pytest.mark.parametrize(
    ("device", "torch", "hinted", "available", "expected"),
    [
        ("cpu", True, True, None, "cpu"),
        ("cpu", False, False, None, "cpu"),
        ("auto", False, True, None, "cpu"),
        ("auto", True, False, None, "cpu"),
        ("auto", True, True, ["cpu"], "cpu"),
        ("auto", True, True, ["cuda", "cpu"], "cuda"),
        ("auto", True, True, ["mps", "cpu"], "mps"),
        ("cuda", True, False, ["cuda", "cpu"], "cuda"),
        ("mps", True, True, ["mps", "cpu"], "mps"),
    ],
)
def test_device(
    device: str,
    torch: bool,
    hinted: bool,
    available: list[str] | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hint(monkeypatch, torch=torch, hinted=hinted, available=available)
    assert resolve_device(device) == expected


@pytest.mark.parametrize(
    ("device", "torch", "error", "match"),
    [
        ("gpu", True, ValueError, r"^Found device='gpu', expected one of 'auto', 'cpu', 'cuda', 'mps'; "),
        ("cuda", True, ValueError, r"^Found device='cuda', expected .*\(mps, cpu\); "),
        ("cuda", False, ImportError, r"^Found device='cuda' without torch, .*pip install 'lava-sc\[torch\]'"),
    ],
)
def test_device_that_is_not_there(
    device: str, torch: bool, error: type[Exception], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hint(monkeypatch, torch=torch, hinted=True, available=["mps", "cpu"])
    with pytest.raises(error, match=match):
        resolve_device(device)


def test_devices_of_this_machine() -> None:
    torch = pytest.importorskip("torch")
    there = {
        "cpu",
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
    }
    assert {resolve_device(device) for device in ("cpu", "auto")} <= there
    for device in {"cuda", "mps"} - there:
        with pytest.raises(ValueError, match=f"Found device='{device}'"):
            resolve_device(device)


@pytest.mark.parametrize(
    ("system", "machine", "smi", "expected"),
    [
        ("darwin", "arm64", None, True),
        ("darwin", "x86_64", None, False),
        ("linux", "x86_64", "/usr/bin/nvidia-smi", True),
        ("win32", "AMD64", "C:/nvidia-smi.exe", True),
    ],
)
def test_hints_at_an_accelerator(
    system: str, machine: str, smi: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(shutil, "which", lambda _: smi)
    assert devices._may_have_accelerator() == expected


def test_asking_for_a_device_imports_no_torch_where_nothing_hints_at_one() -> None:
    """Seen from outside, in a process that has not loaded anything yet."""
    if devices._may_have_accelerator():
        pytest.skip("there may be an accelerator here")
    code = (
        f"import sys; sys.path.insert(0, {SOURCES!r}); from lava_sc.parallel.device import resolve_device; "
        "print(resolve_device('auto'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]
