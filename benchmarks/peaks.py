"""Largest sizes of memory while something ran, watched from a thread."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def resident(which: str, process: int | str = "self") -> float:
    """A line of a process's status (Linux only), in 10⁹ bytes."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(which)) * 1024 / 1e9


def measured(work: Callable[[], object], *sizes: Callable[[], float], every: float = 0.02) -> tuple[float, ...]:
    """Seconds, and the largest value of each size, looked at every so many seconds."""
    done, peaks = threading.Event(), [0.0] * len(sizes)

    def look() -> None:
        peaks[:] = [max(peak, size()) for peak, size in zip(peaks, sizes, strict=True)]

    def watch() -> None:
        while not done.wait(every):
            look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        work()
        seconds = time.perf_counter() - began
    finally:
        done.set()
        watcher.join()
    look()
    return seconds, *peaks
