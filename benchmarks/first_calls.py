"""What a new user waits for at the first calls: seconds with an empty cache of numba's, and how much of that is its compiler.

    python benchmarks/first_calls.py

Each step on the bundled blood cells, in a process with a cache of its own, and once more in a second process with what the first has left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def watch_compiler() -> list[float]:
    """CPU seconds of each compilation that is no part of another, as they come."""
    from numba.core import event

    class Watch(event.Listener):
        def __init__(self) -> None:
            self.began: list[float] = []
            self.took: list[float] = []

        def on_start(self, event: Any) -> None:  # noqa: ARG002
            self.began.append(time.process_time())

        def on_end(self, event: Any) -> None:  # noqa: ARG002
            began = self.began.pop()
            if not self.began:
                self.took.append(time.process_time() - began)

    watch = Watch()
    event.register("numba:compile", watch)
    return watch.took


def steps() -> None:
    import lava_sc as lava

    warnings.simplefilter("ignore")
    took, adata = watch_compiler(), lava.datasets.pbmc68k()
    few: dict[str, Any] = {"n_modules": range(2, 5), "n_runs": 3, "n_permutations": 3}
    calls: dict[str, Callable[[], object]] = {
        "tl.localities": lambda: lava.tl.localities(adata, use_rep="umap"),
        "tl.locality_corr": lambda: lava.tl.locality_corr(adata),
        "tl.amf": lambda: lava.tl.amf(adata, 5),
        "tl.choose_n_modules": lambda: lava.tl.choose_n_modules(adata, **few),
    }
    for name, call in calls.items():
        before, began = sum(took), time.perf_counter()
        call()
        print(
            f"  {name:20} {time.perf_counter() - began:6.1f} s, compiler {sum(took) - before:6.1f} s of CPU", flush=True
        )


def main() -> None:
    if "--steps" in sys.argv:
        steps()
        return
    with tempfile.TemporaryDirectory() as folder:
        for what in ("first calls", "with what they have left in the cache"):
            print(what, flush=True)
            environment = os.environ | {"NUMBA_CACHE_DIR": folder}
            subprocess.run(
                [sys.executable, __file__, "--steps"], env=environment, stderr=subprocess.DEVNULL, check=True
            )


if __name__ == "__main__":
    main()
