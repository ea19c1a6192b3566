"""Epochs of AMF in plain PyTorch, in lean PyTorch and in this package, in one run; and whole fits.

    python benchmarks/amf.py               # both tables
    python benchmarks/amf.py --case mnist  # one case
    python benchmarks/amf.py --quick       # two batches of plain PyTorch, fewer epochs and runs

First table: all sides go from the same uniform start through the same batches. "plain PyTorch" is the paper's formulation:
autograd over the (64, M, J) tensor, all pairs, C dense. "lean PyTorch" does without autograd and that tensor, on the
non-empty pairs only: reconstruction and winner by a running maximum over the modules, C made dense for the batch. Both
have as many threads as there are cores, and torch's Adam. In pairs without any correlation plain PyTorch starts from 0,
where its gradient is 0, so that all sides are to see the same losses; the last column is the largest relative difference
of a batch's loss from plain PyTorch's. From a uniform start all modules are present everywhere, later epochs are faster.

Times are those of the fastest epoch, "CPU s" of all threads together. Memory is the largest resident size above what it was
with C loaded (Linux only; on CUDA the largest size of torch's memory there), beside the size of C, its rows sparse, and
of M. The column after these is (C + memory) / (C + M). Each side runs in a process of its own, compiled code warm.

Second table: ``tl.amf``'s runs as they are by default, and with the paper's settings (uniform start, smaller steps, no
refits), all on all cores; the columns are those of ``starts.py``.

MNIST is read from the folder LAVA_SC_DATA and left out without it, the atlas is that of ``correlation.py``. "filled" has
values up to 0.1 in 7.6 % of the localities for all pairs that are empty in MNIST, so that none is left out; "dense" has
them wherever C is 0. C is computed once, into a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from correlation import CASES as CORRELATED
from correlation import data_folder, mnist, n_cores, simulated
from peaks import resident
from scipy import sparse

from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.loss import batch_loss
from lava_sc.core.factorise.engines.accelerator import accelerator_engines
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import make_problem
from lava_sc.parallel.device import resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.problem import Problem

    Step = Callable[[np.ndarray], float]
    Side = Callable[[sparse.csr_matrix, np.ndarray, np.ndarray], Step]

N_MODULES = 9
N_PLAIN_BATCHES = 2
SMALL = 0.1
ROW_DENSITY = 0.076
OPTIONS = FitOptions()


@dataclass(frozen=True)
class Case:
    title: str
    source: str
    fdr: float | None = None
    filled: float = 0.0
    fitted: bool = True


CASES = {
    "mnist": Case("MNIST", "mnist"),
    "filled": Case("MNIST, filled", "mnist", filled=ROW_DENSITY, fitted=False),
    "dense": Case("MNIST, dense", "mnist", filled=1.0, fitted=False),
    "atlas": Case("atlas, fdr=0.05", "atlas", fdr=0.05),
    "atlas-all": Case("atlas, fdr=None", "atlas"),
}


def correlations(case: Case) -> sparse.csr_matrix:
    from anndata import AnnData

    import lava_sc as lava

    how = CORRELATED[case.source]
    X, Z = mnist(how.n_cells) if case.source == "mnist" else simulated(how.n_cells, how.n_genes)
    adata = AnnData(X, obsm={"X_umap": Z})
    lava.tl.localities(adata, n_neighbors=how.n, overlap=how.overlap)
    lava.tl.locality_corr(adata, fdr=case.fdr)
    return adata.uns["lava"]["C"]


def filled(C: sparse.csr_matrix, density: float) -> sparse.csr_matrix:
    """Small values wherever C is 0 or, below a density of 1, in that share of the localities for the empty pairs."""
    rng = np.random.default_rng(0)
    if density == 1:
        values = C.toarray()
        values[values == 0] = SMALL * (1 - rng.random(np.count_nonzero(values == 0), dtype=np.float32))
        return sparse.csr_matrix(values)
    empty = np.setdiff1d(np.arange(C.shape[1]), C.indices)
    added = sparse.random(C.shape[0], len(empty), density, format="coo", dtype=np.float32, rng=rng)
    moved = sparse.csr_matrix((SMALL * added.data, (added.row, empty[added.col])), shape=C.shape)
    return (C + moved).astype(np.float32)


def prepare(name: str, folder: Path, *, quick: bool) -> dict[str, Any]:
    del quick
    case, stem = CASES[name], folder / name
    same = next(other for other, one in CASES.items() if (one.source, one.fdr) == (case.source, case.fdr))
    C = loaded(folder / same) if (folder / f"{same}-data.npy").exists() else correlations(case)
    C = filled(C, case.filled) if case.filled else C
    for part in ("data", "indices", "indptr", "shape"):
        np.save(f"{stem}-{part}.npy", getattr(C, part))
    return {"localities": C.shape[0], "pairs": C.shape[1], "columns": len(np.unique(C.indices)), "non-zeros": C.nnz}


def loaded(stem: Path) -> sparse.csr_matrix:
    data, indices, indptr, shape = (np.load(f"{stem}-{part}.npy") for part in ("data", "indices", "indptr", "shape"))
    return sparse.csr_matrix((data, indices, indptr), shape=tuple(shape))


def in_pytorch(formulation: str) -> Side:
    def side(C: sparse.csr_matrix, P: np.ndarray, M: np.ndarray) -> Step:
        import amf_pytorch
        import torch

        torch.set_num_threads(n_cores())
        return getattr(amf_pytorch, formulation)(C, P, M, OPTIONS)

    return side


def ours(engines: Callable[[Problem], EngineFactory]) -> Side:
    def side(C: sparse.csr_matrix, P: np.ndarray, M: np.ndarray) -> Step:
        problem = make_problem(C)
        engine = engines(problem)(P, M)
        mae_slope, how = OPTIONS.gamma / problem.n_pairs, {"n_pairs": problem.n_pairs, "gamma": OPTIONS.gamma}

        def step(rows: np.ndarray) -> float:
            batch = batch_loss(engine.row_sums(rows, OPTIONS.nu), problem.locality_weights[rows], **how)
            rate = OPTIONS.learning_rate
            engine.descend(rows, batch.slopes, nu=OPTIONS.nu, mae_slope=mae_slope, learning_rate=rate)
            return batch.loss

        return step

    return side


#: A side, and its epochs.
SIDES: dict[str, tuple[Side, int]] = {
    "plain PyTorch": (in_pytorch("plain"), 2),
    "lean PyTorch": (in_pytorch("lean"), 3),
    "this, 1 thread": (ours(lambda problem: cpu_engines(problem, 1)), 10),
    "this, all cores": (ours(lambda problem: cpu_engines(problem, n_cores())), 10),
    "this, accelerator": (ours(lambda problem: accelerator_engines(problem, resolve_device("auto"))), 50),
}

FITS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper's settings": {"init": "random", "n_refits": 0, "learning_rate": 1e-3},
    "default, accelerator": {},
}


def batches_of(n_localities: int, n_epochs: int, *, first: int | None) -> list[list[np.ndarray]]:
    """The localities of each batch of each epoch, or of the first batches of each."""
    rng = np.random.default_rng(1)
    orders = [rng.permutation(n_localities) for _ in range(n_epochs)]
    size = OPTIONS.batch_size
    return [[order[k : k + size] for k in range(0, n_localities, size)][:first] for order in orders]


def start(C: sparse.csr_matrix, n_columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    shapes = (C.shape[0], N_MODULES), (N_MODULES, n_columns)
    return rng.random(shapes[0], dtype=np.float32), rng.random(shapes[1], dtype=np.float32)


def small() -> sparse.csr_matrix:
    return sparse.random(70, 3_000, 0.3, format="csr", dtype=np.float32, rng=np.random.default_rng(0))


def epochs(side: str, name: str, folder: Path, *, quick: bool) -> dict[str, Any]:
    make, n_epochs = SIDES[side]
    toy = small()
    warm = make(toy, *start(toy, len(np.unique(toy.indices))))
    for rows in batches_of(70, 1, first=None)[0]:
        warm(rows)

    C = loaded(folder / name)
    P, M = start(C, n_columns := len(np.unique(C.indices)))
    held = resident("VmRSS") - (P.nbytes + M.nbytes) / 1e9
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
    step, losses, times = make(C, P, M), [], []
    few = N_PLAIN_BATCHES if quick and side == "plain PyTorch" else None
    for batches in batches_of(C.shape[0], min(n_epochs, 3) if quick else n_epochs, first=few):
        began = np.array(clocks())
        losses += [step(rows) for rows in batches]
        n_rows = sum(map(len, batches))
        times.append((clocks() - began) * C.shape[0] / n_rows)
    seconds, cpu_seconds = min(times, key=lambda both: both[0])
    peak = cuda_memory() if "accelerator" in side else resident("VmHWM") - held
    sizes = {"C": (C.data.nbytes + C.indices.nbytes + C.indptr.nbytes) / 1e9, "M": 4 * N_MODULES * n_columns / 1e9}
    taken = {"seconds": seconds, "CPU seconds": cpu_seconds, "scaled": n_rows < C.shape[0]}
    return sizes | taken | {"peak": peak, "losses": losses}


def clocks() -> tuple[float, float]:
    """Of the wall, and of all threads of this process."""
    return time.perf_counter(), time.process_time()


def cuda_memory() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else float("nan")


def fits(side: str, name: str, folder: Path, *, quick: bool) -> dict[str, Any]:
    from starts import DEFAULT_START, figures, runs_of

    how, problem = {"init": DEFAULT_START} | FITS[side], make_problem(loaded(folder / name))
    engines = accelerator_engines(problem, resolve_device("auto")) if "accelerator" in side else None
    n_runs = 2 if quick else 10 if how["init"] == DEFAULT_START else 4
    runs_of(make_problem(small()), 2, 1, **how)  # compiles
    began = time.perf_counter()
    found = runs_of(problem, N_MODULES, n_runs, engines=engines, **how)
    return {"runs": n_runs, "line": figures(found, time.perf_counter() - began)}


def in_own_process(side: str, name: str, folder: str, *, quick: bool) -> dict[str, Any]:
    if "accelerator" in side and resolve_device("auto") == "cpu":
        return {"error": "torch finds none"}
    command = [sys.executable, __file__, "--side", side, "--case", name, "--folder", folder, *["--quick"][: int(quick)]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def table_of_epochs(names: list[str], folder: str, *, quick: bool) -> None:
    print(
        f"{'case':16} {'side':18} {'s an epoch':>10}  {'CPU s':>7} {'times as fast':>13} {'memory MB':>9} {'C MB':>7} {'M MB':>5} "
        f"{'of C + M':>8} {'difference':>10}"
    )
    for name in names:
        reference: dict[str, Any] = {}
        for side in SIDES:
            row = in_own_process(side, name, folder, quick=quick)
            if "error" in row:
                print(f"{CASES[name].title:16} {side:18} left out: {row['error']}", flush=True)
                continue
            reference = reference or row
            print(f"{CASES[name].title:16} {side:18} {line(row, reference)}", flush=True)
    print(f"* scaled from {N_PLAIN_BATCHES} batches; {n_cores()} cores, load {os.getloadavg()[1]:.1f}, M = {N_MODULES}")


def line(row: dict[str, Any], reference: dict[str, Any]) -> str:
    pairs = zip(reference["losses"], row["losses"], strict=False)  # the first batches are the same
    difference = max(abs(theirs - own) / theirs for theirs, own in pairs)
    whole = (row["C"] + row["peak"]) / (row["C"] + row["M"])
    return (
        f"{row['seconds']:10.3f}{'*' if row['scaled'] else ' '} {row['CPU seconds']:7.3f} {reference['seconds'] / row['seconds']:13.1f} "
        f"{row['peak'] * 1000:9.0f} {row['C'] * 1000:7.0f} {row['M'] * 1000:5.0f} {whole:8.2f} {difference:10.0e}"
    )


def table_of_fits(names: list[str], folder: str, *, quick: bool) -> None:
    from starts import FIGURES

    print(f"{'case':16} {'fit':20} {'runs':>4} {FIGURES}")
    for name in names:
        for side in FITS:
            row = in_own_process(side, name, folder, quick=quick)
            text = f"left out: {row['error']}" if "error" in row else f"{row['runs']:4d} {row['line']}"
            print(f"{CASES[name].title:16} {side:20} {text}", flush=True)
    print(f"{n_cores()} cores, load {os.getloadavg()[1]:.1f}, M = {N_MODULES}")


def tables(names: list[str], *, quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ready = []
        for name in names:
            if CASES[name].source == "mnist" and not (data_folder() / "mnist").is_dir():
                print(f"{CASES[name].title}: left out, no MNIST in {data_folder().name}")
                continue
            sizes = in_own_process("prepare", name, folder, quick=quick)
            print(f"{CASES[name].title}: " + ", ".join(f"{count} {what}" for what, count in sizes.items()), flush=True)
            ready += [name] if "error" not in sizes else []
        print()
        table_of_epochs(ready, folder, quick=quick)
        print()
        table_of_fits([name for name in ready if CASES[name].fitted], folder, quick=quick)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="only this, may be repeated")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--side", choices=["prepare", *SIDES, *FITS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is None:
        tables(arguments.case or list(CASES), quick=arguments.quick)
        return
    warnings.simplefilter("ignore")
    work = {"prepare": lambda _, *where, **how: prepare(*where, **how)}.get(
        arguments.side, fits if arguments.side in FITS else epochs
    )
    print(json.dumps(work(arguments.side, arguments.case[0], arguments.folder, quick=arguments.quick)))


if __name__ == "__main__":
    main()
