"""What a checkpoint costs, and what a store of correlations saves: ``python benchmarks/checkpoint.py``.

    python benchmarks/checkpoint.py --cells 20000 --genes 600 --n-jobs 1

AMF on every correlation (``fdr=None``) of simulated cells: with C in memory, with a checkpoint, with C in a store, and with
both, each in a process of its own. Memory is the largest that the process held and that no file holds too (Linux only),
above what it held before the correlations. Compiled code is warm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peaks import measured, resident

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

WAYS = ("memory", "checkpoint", "store", "store, checkpoint")


def taken(work: Callable[[], object], before: float) -> tuple[float, float]:
    """Seconds, and the peak of memory that is in no file above what there was before."""
    seconds, peak = measured(work, held, every=0.01)
    return seconds, peak - before


def held() -> float:
    """Memory that is in no file, in 10⁹ bytes."""
    return resident("RssAnon")


def run(adata: AnnData, way: str, folder: Path, before: float, **amf: Any) -> dict[str, Any]:
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
    run(toy, arguments.way, folder, 0.0, n_modules=2, n_runs=1, n_jobs=arguments.n_jobs)
    amf = {"n_modules": arguments.n_modules, "n_runs": arguments.n_runs, "n_jobs": arguments.n_jobs}
    return run(adata, arguments.way, folder, held(), **amf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=600)
    parser.add_argument("--n-modules", type=int, default=4)
    parser.add_argument("--n-runs", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where stores go; by default where temporary files do")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way is not None:
        print(json.dumps(one(arguments, arguments.folder)))
        return
    for way in WAYS:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        if way == WAYS[0]:
            print(f"{found['n_kept']:,} correlations, {8 * found['n_kept'] / 1e9:.2f} GB")
            print(f"{'C and runs in':20} {'locality_corr':>20} {'amf':>20}   epochs       loss")
        parts = [f"{seconds:9.1f} s {memory:5.2f} GB" for seconds, memory in (found["correlating"], found["fitting"])]
        print(f"{way:20} {parts[0]:>20} {parts[1]:>20} {found['epochs']:8} {found['loss']:10.6f}", flush=True)


if __name__ == "__main__":
    main()
