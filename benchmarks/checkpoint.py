"""What a checkpoint costs, and what a store of correlations saves: ``python benchmarks/checkpoint.py``.

    python benchmarks/checkpoint.py --cells 20000 --genes 600 --n-jobs 1
    sudo python benchmarks/checkpoint.py --genes 1000 --n-jobs 2 --ways store --memory 1   # C is larger than memory

AMF on every correlation (``fdr=None``) of simulated cells: with C in memory, with a checkpoint, with C in a store, and with
both, each in a process of its own; and with C in memory and in a store where a worker of a Dask cluster, a process on the same
machine, makes the runs. Memory is the largest that the process, and that the worker, held and that no file holds too (Linux only),
above what they held before the correlations. Compiled code is warm. With ``--memory`` the process and the files that it maps together get no more
than that (by a control group of Linux, which root can make): what does not fit is read from the disk again and again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peaks import measured, resident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

WAYS = ("memory", "checkpoint", "store", "store, checkpoint", "memory, worker", "store, worker")


def taken(work: Callable[[], object], before: tuple[float, float]) -> tuple[float, float, float]:
    """Seconds, and the peaks of memory that is in no file, here and at workers, above what there was before."""
    seconds, here, there = measured(work, held, held_below, every=0.01)
    return seconds, here - before[0], there - before[1]


def held() -> float:
    """Memory that is in no file, in 10⁹ bytes."""
    return resident("RssAnon")


def held_below() -> float:
    """That of the processes that this one has started."""
    import multiprocessing

    found = 0.0
    for child in multiprocessing.active_children():
        with suppress(OSError, StopIteration):  # it has ended
            found += resident("RssAnon", child.pid or "self")
    return found


@contextmanager
def confined(gigabytes: float) -> Iterator[None]:
    """This process in a control group with so much memory, in which pages of files count as well; in that of before at the end.

    Tried with version 1 of control groups only.
    """
    version_1 = Path("/sys/fs/cgroup/memory")
    base, name = (version_1, "memory.limit_in_bytes") if version_1.is_dir() else (version_1.parent, "memory.max")
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()]
    before = next(path for _, kinds, path in lines if kinds == ("memory" if base == version_1 else ""))
    group = base / f"lava_sc_{os.getpid()}"
    group.mkdir()
    try:
        (group / name).write_text(str(int(gigabytes * 1e9)), encoding="ascii")
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        (base / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        group.rmdir()


def run(adata: AnnData, way: str, folder: Path, before: tuple[float, float], **amf: Any) -> dict[str, Any]:
    import lava_sc as lava

    store = folder / "C.zarr" if "store" in way else None
    checkpoint = folder / "checkpoint" if "checkpoint" in way else None
    n_jobs = amf["n_jobs"]
    correlating = taken(lambda: lava.tl.locality_corr(adata, fdr=None, store=store, n_jobs=n_jobs), before)
    fitting = taken(lambda: lava.tl.amf(adata, checkpoint=checkpoint, **amf), before)
    evidence, runs = adata.uns["lava"]["evidence"], adata.uns["lava"]["runs"]
    return {
        "n_kept": int(evidence["n_kept_pairs"].sum()),
        "correlating": correlating,
        "fitting": fitting,
        "epochs": int(runs["n_epochs"].sum()),
        "loss": float(runs["loss"].min()),
    }


def one(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import lava_sc as lava

    warnings.simplefilter("ignore")
    adata = lava.datasets.planted(n_cells=arguments.cells, n_genes=arguments.genes, n_modules=4)
    lava.tl.localities(adata, n_neighbors=100, max_evals=1, n_jobs=arguments.n_jobs)
    toy = lava.datasets.planted(n_cells=300)
    lava.tl.localities(toy, n_neighbors=60, max_evals=1)
    how: dict[str, Any] = {"n_jobs": arguments.n_jobs}
    with ExitStack() as stack:
        if arguments.memory is not None:
            stack.enter_context(confined(arguments.memory))
        if "worker" in arguments.way:
            from distributed import Client, LocalCluster

            cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", memory_limit=0)
            how["client"] = stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))
        run(toy, arguments.way, folder, (0.0, 0.0), n_modules=2, n_runs=1, **how)
        before, sizes = (held(), held_below()), {"n_modules": arguments.n_modules, "n_runs": arguments.n_runs}
        return run(adata, arguments.way, folder, before, **sizes, **how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=600)
    parser.add_argument("--n-modules", type=int, default=4)
    parser.add_argument("--n-runs", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--memory", type=float, help="GB that there are for the process and the files it maps")
    parser.add_argument("--folder", type=Path, help="where stores go; by default where temporary files do")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way is not None:
        print(json.dumps(one(arguments, arguments.folder)))
        return
    for way in arguments.ways:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        if way == arguments.ways[0]:
            print(f"{found['n_kept']:,} correlations, {8 * found['n_kept'] / 1e9:.2f} GB")
            print(f"{'C and runs in':20} {'locality_corr':>20} {'amf':>20} {'at worker':>11}   epochs       loss")
        steps = found["correlating"], found["fitting"]
        parts = [f"{seconds:9.1f} s {here:5.2f} GB" for seconds, here, _ in steps]
        there = f"{steps[1][2]:.2f} GB" if "worker" in way else ""
        print(
            f"{way:20} {parts[0]:>20} {parts[1]:>20} {there:>11} {found['epochs']:8} {found['loss']:10.6f}", flush=True
        )


if __name__ == "__main__":
    main()
