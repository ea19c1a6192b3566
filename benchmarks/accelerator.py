"""Correlations and runs of AMF on CUDA against this machine's cores, in one run.

    python benchmarks/accelerator.py            # both tables
    python benchmarks/accelerator.py --quick    # fewer cells and runs

First table: ``tl.locality_corr`` of simulated data (``correlation.py``) as it is and with its zeros filled by small values, so
that every gene is defined in every locality; 500 cells in a locality. Both sides have all cores, for ranks and p-values.
"equal" says whether C is the same to the bit.

Second table: four runs of AMF with nine modules on these correlations, on all cores and on CUDA; the loss of the best run on
either side. Starts are found on the cores on both.

Compiled code is warm. Without CUDA there is nothing to compare.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from correlation import n_cores, simulated
from starts import DEFAULT_START

import lava_sc as lava
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.restarts import run_many
from lava_sc.core.factorise.engines.accelerator import accelerator_engines
from lava_sc.core.factorise.problem import make_problem
from lava_sc.parallel.device import resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable

N, OVERLAP, N_MODULES, N_RUNS = 500, 3, 9, 4


def placed(n_cells: int, n_genes: int, *, filled: bool) -> AnnData:
    X, Z = simulated(n_cells, n_genes)
    if filled:
        X = X.toarray()
        X[X == 0] = np.random.default_rng(0).random(int((X == 0).sum()), dtype=np.float32) / 100
    adata = AnnData(X, obsm={"X_umap": Z})
    lava.tl.localities(adata, n_neighbors=N, overlap=OVERLAP)
    return adata


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def correlated(adata: AnnData, fdr: float | None, device: str) -> tuple[float, Any]:
    how: dict[str, Any] = {"fdr": fdr, "device": device, "copy": True}
    return timed(lambda: lava.tl.locality_corr(adata, **how).uns["lava"])


def correlations(cases: dict[str, AnnData], sides: list[str]) -> dict[str, Any]:
    """The table; returns C of every row."""
    print(
        f"{'data':28} {'fdr':>5} {'localities':>10} {'defined':>8}"
        + "".join(f"{side:>10}" for side in sides)
        + "   equal"
    )
    kept = {}
    for name, adata in cases.items():
        for fdr in (0.05, None):
            found = [correlated(adata, fdr, side) for side in sides]
            first, last = found[0][1]["C"], found[-1][1]["C"]
            equal = all(np.array_equal(getattr(first, a), getattr(last, a)) for a in ("data", "indices", "indptr"))
            sizes = f"{first.shape[0]:10d} {found[0][1]['defined'].sum(axis=1).mean():8.0f}"
            times = "".join(f"{seconds:10.2f}" for seconds, _ in found)
            print(f"{name:28} {fdr!s:>5} {sizes}{times}   {equal}", flush=True)
            kept[f"{name}, fdr={fdr}"] = first
    return kept


def fits(found: dict[str, Any], sides: list[str], n_runs: int) -> None:
    print(
        f"\n{'correlations':38} {'columns':>9} {'non-zeros':>11} "
        + "".join(f"{side:>10} {'loss':>7}" for side in sides)
    )
    for name, C in found.items():
        problem, texts = make_problem(C), []
        for side in sides:
            engines = None if side == "cpu" else accelerator_engines(problem, side)
            how: dict[str, Any] = {"init": DEFAULT_START, "n_runs": n_runs, "engines": engines}
            seconds, runs = timed(
                partial(run_many, problem, N_MODULES, FitOptions(), rng=np.random.default_rng(0), **how)
            )
            texts.append(f"{seconds:10.2f} {runs.runs[runs.best].quality.loss:7.4f}")
        print(f"{name:38} {problem.n_columns:9d} {C.nnz:11d} " + " ".join(texts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    sides = ["cpu", *(["cuda"] if resolve_device("auto") == "cuda" else [])]
    warm = {f"(warm, {'dense' if filled else 'sparse'})": placed(3_000, 400, filled=filled) for filled in (True, False)}
    fits(correlations(warm, sides), sides, 1)
    print()
    n_cells = 10_000 if quick else 50_000
    cases = {
        f"{n_cells:,} × 2,000": placed(n_cells, 2_000, filled=False),
        f"{n_cells // 10:,} × 2,000, all defined": placed(n_cells // 10, 2_000, filled=True),
    }
    fits(correlations(cases, sides), sides, 1 if quick else N_RUNS)
    print(f"\n{n_cores()} cores, {device_name()}; seconds; {N} cells in a locality, {N_MODULES} modules")


def device_name() -> str:
    if resolve_device("auto") != "cuda":
        return "no CUDA"
    import torch

    return str(torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
