"""Locality correlations: this package against plain scipy, on the same data in one run.

    python benchmarks/correlation.py                          # the table
    python benchmarks/correlation.py --case atlas --scale 0.1 # one case, a tenth of its cells

Plain scipy ranks the dense values of a locality (``rankdata``), takes ``corrcoef`` of all features and keeps those
that are defined; "zero-filtered" drops the features with more than 75 % zeros before it ranks. Both get a sample of
the localities, a process for each core and one BLAS thread in each; their times are scaled to all localities. The
other sides are ours, with the data in memory or, at the default fdr, in the named storage, which the system has in its
cache. Times are those of ``tl.locality_corr`` alone, with the localities placed before and compiled code warm. Each
side runs in a process of its own, whose peak memory includes Python, the libraries and the data. The last column is
the largest difference from scipy's ρ over all pairs (all kept pairs, with fdr) of five localities. The data are
simulated once, into a temporary folder. MNIST is read from the folder LAVA_SC_DATA (mnist/mnist_70000.npz,
mnist/X_umap.npy), and left out without it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse, stats
from scipy.optimize import brentq

if TYPE_CHECKING:
    from anndata import AnnData

N_GROUPS = 30
N_PROGRAMS = 20
DENSITY = 0.1
CELLS_AT_ONCE = 5_000
FEWEST_NON_ZEROS = 0.25
N_SAMPLED = 60
N_CHECKED = 5
N_WARM = 2_000

IN_MEMORY = ("fdr=0.05 (default)", "fdr=None")
STORED = ("backed h5ad", "lazy zarr", "Dask array")
SCIPY = ("scipy", "scipy, zero-filtered")


@dataclass(frozen=True)
class Case:
    title: str
    n_cells: int
    n_genes: int
    n: int
    overlap: float
    sides: tuple[str, ...]


CASES = {
    "atlas": Case("225,000 cells × 1,000", 225_000, 1_000, 500, 3, (*SCIPY, *IN_MEMORY, *STORED)),
    "mnist": Case("MNIST, 70,000 × 784", 70_000, 784, 3000, 12, (*SCIPY, *IN_MEMORY)),
    "million": Case("1,000,000 cells × 2,000", 1_000_000, 2_000, 500, 3, IN_MEMORY),
}


def simulated(n_cells: int, n_genes: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Log-normalised Poisson counts and an embedding.

    Thirty Gaussian groups of different widths, in each of which about a third of the gene programs vary between cells.
    """
    rng = np.random.default_rng(0)
    centres, widths = rng.normal(size=(N_GROUPS, 2)) * 8, rng.uniform(0.3, 2, size=N_GROUPS)
    group = rng.integers(N_GROUPS, size=n_cells)
    Z = centres[group] + rng.normal(size=(n_cells, 2)) * widths[group, None]
    log_mean = rng.normal(scale=1.5, size=n_genes) + rng.normal(scale=0.5, size=(N_GROUPS, n_genes))
    programs = (rng.random((N_PROGRAMS, n_genes)) < 0.05) * rng.uniform(0.5, 1, size=(N_PROGRAMS, n_genes))
    active = rng.random((N_GROUPS, N_PROGRAMS)) < 0.3

    def rates(cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        activity = rng.normal(size=(len(cells), N_PROGRAMS)) * active[group[cells]]
        depth = rng.normal(scale=0.4, size=(len(cells), 1))
        return np.exp(log_mean[group[cells]] + activity @ programs + depth)

    some = rates(np.arange(min(2_000, n_cells)), rng)
    capture = np.exp(brentq(lambda log: 1 - DENSITY - np.exp(-np.exp(log) * some).mean(), -20, 20))

    def part(cells: np.ndarray, rng: np.random.Generator) -> sparse.csr_matrix:
        counts = sparse.csr_matrix(rng.poisson(capture * rates(cells, rng)))
        depth = np.repeat(np.asarray(counts.sum(axis=1)).ravel(), np.diff(counts.indptr))
        values = np.log1p(counts.data / depth * 10_000).astype(np.float32)
        return sparse.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)

    parts = np.array_split(np.arange(n_cells), max(1, n_cells // CELLS_AT_ONCE))
    with ThreadPoolExecutor(n_cores()) as pool:
        return sparse.vstack(list(pool.map(part, parts, rng.spawn(len(parts)))), format="csr"), Z


def n_cores() -> int:
    return len(os.sched_getaffinity(0))


def data_folder() -> Path:
    return Path(os.environ.get("LAVA_SC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def mnist(n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    folder = data_folder() / "mnist"
    with np.load(folder / "mnist_70000.npz") as archive:
        pixels = archive["X"].reshape(70_000, -1)[:n_cells]
    return pixels.astype(np.float32) / 255, np.load(folder / "X_umap.npy")[:n_cells].astype(np.float64)


def write(name: str, n_cells: int, n: int, stem: Path) -> None:
    """Data with placed localities, as files that the sides open."""
    from anndata import AnnData

    import lava_sc as lava

    case = CASES[name]
    X, Z = mnist(n_cells) if name == "mnist" else simulated(n_cells, case.n_genes)
    adata = AnnData(X, obsm={"X_umap": Z})
    lava.tl.localities(adata, n_neighbors=n, overlap=case.overlap)
    adata.write_h5ad(f"{stem}.h5ad")
    if set(STORED) & set(case.sides):
        adata.write_zarr(f"{stem}.zarr")


def prepare(name: str, folder: Path, scale: float) -> dict[str, float]:
    case = CASES[name]
    write(name, N_WARM, 100, folder / "warm")
    write(name, round(case.n_cells * scale), case.n, folder / "data")
    return {}


def opened(side: str, stem: Path) -> AnnData:
    import anndata

    if side == "backed h5ad":
        return anndata.read_h5ad(f"{stem}.h5ad", backed="r")
    if side == "lazy zarr":
        return anndata.experimental.read_lazy(f"{stem}.zarr")
    if side == "Dask array":
        import zarr

        rest = anndata.read_h5ad(f"{stem}.h5ad", backed="r")
        X = anndata.experimental.read_elem_lazy(zarr.open_group(f"{stem}.zarr", mode="r")["X"])
        return anndata.AnnData(X, rest.obs, rest.var, dict(rest.uns), dict(rest.obsm))
    return anndata.read_h5ad(f"{stem}.h5ad")


def locality_members(adata: AnnData) -> np.ndarray:
    membership = adata.obsm["lava_localities"].tocsc()
    return membership.indices.reshape(membership.shape[1], -1)


def ours(side: str, folder: Path) -> dict[str, float]:
    import lava_sc as lava

    fdr = None if side == "fdr=None" else 0.05
    lava.tl.locality_corr(opened(side, folder / "warm"), fdr=fdr)
    adata = opened(side, folder / "data")
    began = time.perf_counter()
    lava.tl.locality_corr(adata, fdr=fdr)
    seconds, C = time.perf_counter() - began, adata.uns["lava"]["C"]
    row = {"seconds": seconds, "localities": C.shape[0], "non-zeros": C.nnz, "peak": peak_gb()}
    return row | {"difference": difference(C, opened("memory", folder / "data"), every_pair=fdr is None)}


def peak_gb() -> float:
    """Of this process, or of the largest that it started."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20


def difference(C: sparse.csr_matrix, adata: AnnData, *, every_pair: bool) -> float:
    """Largest difference from scipy's ρ over some localities, the tie rule in full; every kept pair must be defined."""
    members, largest = locality_members(adata), 0.0
    for i in np.linspace(0, len(members) - 1, N_CHECKED).astype(int):
        values = dense(adata.X[members[i]])
        ties = np.array([np.unique(column, return_counts=True)[1].max() for column in values.T])
        defined = np.flatnonzero(ties <= (1 - FEWEST_NON_ZEROS) * len(values))
        rho = np.zeros((values.shape[1], values.shape[1]))
        rho[np.ix_(defined, defined)] = np.corrcoef(stats.rankdata(values[:, defined], axis=0), rowvar=False)
        found, expected = C[[i]].toarray().ravel(), rho[np.triu_indices(len(rho), 1)]
        compared = slice(None) if every_pair else found != 0
        largest = max(largest, np.abs(found - expected)[compared].max(initial=0))
    return float(largest)


def dense(X: np.ndarray | sparse.csr_matrix) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.toarray()


def scipy_correlations(X: np.ndarray | sparse.csr_matrix, rows: np.ndarray, *, filtered: bool) -> np.ndarray:
    """Correlations of the features with enough non-zeros, the others left out before or after the work."""
    values = dense(X[rows])
    often = np.count_nonzero(values, axis=0) >= FEWEST_NON_ZEROS * len(rows)
    if filtered:
        values, often = values[:, often], slice(None)
    with np.errstate(invalid="ignore"):  # constant features
        rho = np.corrcoef(stats.rankdata(values, axis=0), rowvar=False)
    rho = rho[often][:, often]
    return rho[np.triu_indices(len(rho), 1)].astype(np.float32)


def reference(side: str, folder: Path) -> dict[str, float]:
    from threadpoolctl import threadpool_limits

    adata = opened(side, folder / "data")
    X, members = adata.X, locality_members(adata)
    filtered = side != "scipy"
    n_sampled, fork = min(N_SAMPLED, len(members)), multiprocessing.get_context("fork")
    sampled = np.random.default_rng(0).choice(len(members), n_sampled, replace=False)
    results = fork.SimpleQueue()

    def work(localities: np.ndarray) -> None:
        results.put(sum(np.count_nonzero(scipy_correlations(X, members[i], filtered=filtered)) for i in localities))

    with threadpool_limits(limits=1, user_api="blas"):
        scipy_correlations(X, members[0], filtered=filtered)
        workers = [fork.Process(target=work, args=(share,)) for share in np.array_split(sampled, n_cores())]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - began
    if any(worker.exitcode for worker in workers):
        msg = f"a process of {side} failed"
        raise RuntimeError(msg)
    scale = len(members) / n_sampled
    non_zeros = sum(results.get() for _ in workers) * scale
    row = {"seconds": seconds * scale, "localities": len(members), "non-zeros": non_zeros, "peak": peak_gb()}
    return row | {"sampled": n_sampled}


def in_own_process(side: str, name: str, folder: str, scale: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--side", side, "--case", name, "--folder", folder, "--scale", str(scale)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def table(names: list[str], scale: float) -> None:
    print(
        f"{'case':24} {'side':21} {'seconds':>8}  {'ms each':>8} {'localities':>10} {'non-zeros':>12} {'peak GB':>8} "
        f"{'times as fast':>13} {'difference':>10}"
    )
    for name in names:
        title = CASES[name].title
        if name == "mnist" and not (data_folder() / "mnist").is_dir():
            print(f"{title:24} left out: no MNIST in {data_folder().name}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            error, plain = in_own_process("prepare", name, folder, scale).get("error"), None
            for side in CASES[name].sides if error is None else ():
                row = in_own_process(side, name, folder, scale)
                plain = row.get("seconds") if side == "scipy" else plain
                print(f"{title:24} {side:21} {line(row, plain)}", flush=True)
        if error is not None:
            print(f"{title:24} left out: {error}", flush=True)
    print(f"* scaled from {N_SAMPLED} localities to all of them; {n_cores()} cores, {scale:g} times the cells")


def line(row: dict[str, Any], plain: float | None) -> str:
    if "error" in row:
        return f"left out: {row['error']}"
    scaled = "*" if row.get("sampled", row["localities"]) < row["localities"] else " "
    ratio = "" if plain is None else f"{plain / row['seconds']:.1f}"
    difference = f"{row['difference']:.0e}" if "difference" in row else ""
    return (
        f"{row['seconds']:8.1f}{scaled} {row['seconds'] / row['localities'] * 1000:8.2f} "
        f"{row['localities']:10d} {row['non-zeros']:12,.0f} {row['peak']:8.2f} {ratio:>13} {difference:>10}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help="only this one")
    parser.add_argument("--scale", type=float, default=1.0, help="take so many times the cells")
    parser.add_argument("--side", choices=["prepare", *SCIPY, *IN_MEMORY, *STORED], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is None:
        table(list(CASES) if arguments.case is None else [arguments.case], arguments.scale)
        return
    if arguments.side == "prepare":
        row = prepare(arguments.case, arguments.folder, arguments.scale)
    else:
        row = (reference if arguments.side in SCIPY else ours)(arguments.side, arguments.folder)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
