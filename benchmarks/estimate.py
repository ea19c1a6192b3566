"""Estimated against measured time and memory of each step: ``python benchmarks/estimate.py``.

    python benchmarks/estimate.py --case mnist --n-jobs 1

The estimate and the steps run in a process each. The memory of a step is its largest resident size, above what it was
before the first step (Linux only). Two runs of AMF are done, and estimated. Compiled code is warm. Data are read from
the folder LAVA_SC_DATA, and cases without theirs are left out; the atlas is simulated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from correlation import data_folder, mnist, simulated
from peaks import resident

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

N_RUNS = 2
STEPS = ("localities", "select_genes", "locality_corr", "amf")
COUNTED = {"n_nonzero": "non-zeros", "n_columns": "columns"}


def pbmc68k() -> AnnData:
    import lava_sc as lava

    return lava.datasets.pbmc68k()


def stored(name: str) -> AnnData:
    import anndata

    return anndata.read_h5ad(data_folder() / name)


def pixels() -> AnnData:
    from anndata import AnnData

    X, Z = mnist(70_000)
    return AnnData(X, obsm={"X_umap": Z})


def atlas() -> AnnData:
    from anndata import AnnData

    X, Z = simulated(225_000, 1_000)
    return AnnData(X, obsm={"X_umap": Z})


#: Data and arguments.
CASES: dict[str, tuple[Callable[[], AnnData], dict[str, Any]]] = {
    "pbmc68k": (pbmc68k, {}),
    "pbmc3k": (lambda: stored("pbmc3k/pbmc3k_processed.h5ad"), {}),
    "pbmc3k, fdr=None": (lambda: stored("pbmc3k/pbmc3k_processed.h5ad"), {"fdr": None}),
    "xenium": (lambda: stored("xenium_breast/xenium_breast_17k.h5ad"), {}),
    "mnist": (pixels, {"n_neighbors": 3000, "overlap": 12}),
    "atlas": (atlas, {}),
}


def warm(n_jobs: int | None) -> None:
    import lava_sc as lava

    toy = lava.datasets.planted(n_cells=300)
    lava.tl.explain(toy, 2, n_top_genes=50, n_runs=1, n_jobs=n_jobs)


def estimated(name: str, n_jobs: int | None) -> dict[str, Any]:
    from lava_sc.tl.estimate import estimate

    read, arguments = CASES[name]
    adata = read()
    warm(n_jobs)
    began = time.perf_counter()
    table = estimate(adata, n_runs=N_RUNS, n_jobs=n_jobs, **arguments)
    seconds = time.perf_counter() - began
    steps = {step: [row["seconds"], row["memory_gb"]] for step, row in table.iterrows()}
    return {"steps": steps, "seconds": seconds} | {count: table.attrs[count] for count in COUNTED}


def measured(name: str, n_jobs: int | None) -> dict[str, Any]:
    import numpy as np

    import lava_sc as lava

    read, arguments = CASES[name]
    adata = read()
    warm(n_jobs)
    places = {key: arguments[key] for key in ("n_neighbors", "overlap") if key in arguments}
    calls = {
        "localities": lambda: lava.tl.localities(adata, n_jobs=n_jobs, **places),
        "select_genes": lambda: lava.pp.select_genes(adata, localities_key="lava"),
        "locality_corr": lambda: lava.tl.locality_corr(adata, fdr=arguments.get("fdr", 0.05), n_jobs=n_jobs),
        "amf": lambda: lava.tl.amf(adata, 9, n_runs=N_RUNS, n_jobs=n_jobs),
    }
    steps, before = {}, resident("VmRSS")
    for step, call in calls.items():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
        began = time.perf_counter()
        call()
        steps[step] = [time.perf_counter() - began, resident("VmHWM") - before]
    C = adata.uns["lava"]["C"]
    epochs = adata.uns["lava"]["runs"]["n_epochs"].tolist()
    return {"steps": steps, "n_nonzero": C.nnz, "n_columns": len(np.unique(C.indices)), "epochs": epochs}


def in_own_process(side: str, case: str, n_jobs: int | None) -> dict[str, Any]:
    jobs = [] if n_jobs is None else ["--n-jobs", str(n_jobs)]
    command = [sys.executable, __file__, "--side", side, "--case", case, *jobs]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(case: str, n_jobs: int | None) -> None:
    first, second = (in_own_process(side, case, n_jobs) for side in ("estimated", "measured"))
    total = sum(seconds for seconds, _ in second["steps"].values())
    print(f"{case}: {total:.1f} s in all, estimated in {first['seconds']:.1f} s; epochs {second['epochs']}")
    for step in STEPS:
        (seconds, gigabytes), (real_seconds, real_gigabytes) = first["steps"][step], second["steps"][step]
        print(
            f"  {step:14} {seconds:8.2f} s of {real_seconds:8.2f} s: {seconds / real_seconds:5.2f}   "
            f"{gigabytes:7.3f} GB of {real_gigabytes:7.3f} GB: {gigabytes / max(real_gigabytes, 1e-3):5.2f}"
        )
    for count, title in COUNTED.items():
        print(
            f"  {title:14} {first[count]:12,} of {second[count]:12,}: {first[count] / second[count]:5.2f}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--n-jobs", type=int)
    parser.add_argument("--side", choices=["estimated", "measured"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is not None:
        warnings.simplefilter("ignore")
        side = {"estimated": estimated, "measured": measured}[arguments.side]
        print(json.dumps(side(arguments.case, arguments.n_jobs)))
        return
    for case in [arguments.case] if arguments.case else CASES:
        try:
            report(case, arguments.n_jobs)
        except subprocess.CalledProcessError:
            print(f"{case}: left out; its data are not in {data_folder().name}, or it failed")


if __name__ == "__main__":
    main()
