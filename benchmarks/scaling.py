"""Time and memory of the steps as cells get more, and as workers do: ``python benchmarks/scaling.py``.

    python benchmarks/scaling.py --cells 10000 100000 1000000
    python benchmarks/scaling.py --cells 1000000 --ways "2 threads" --memory 4   # with a limit on the process's data (Linux)
    python benchmarks/scaling.py --cells 1000000 --ways "2 threads" --memory 4 --format zarr

Simulated cells × 2,000 genes, a tenth of the values not zero, are written piece by piece to an h5ad file or a zarr store in a temporary
folder and opened lazily. Each way of working (threads, one and two worker processes of one thread) is a process of its own. Memory is the largest
resident set while a step ran, of the process itself and of all its workers together, libraries (about 0.5 GB a process) included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from peaks import measured, resident
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata as ad
    import h5py
    import pandas as pd
    import zarr

N_GENES, N_MODULES, GENES_PER_MODULE, PIECE = 2000, 8, 150, 10_000
CHUNK = 1 << 16  # values in a chunk of the file
WAYS = {"2 threads": 0, "1 worker": 1, "2 workers": 2}


class Simulation:
    """Modules that are active around a place of the map each, and genes that are mostly 0."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.centers = rng.uniform(-1, 1, size=(N_MODULES, 2))
        self.thresholds = rng.uniform(0.6, 2.2, size=N_GENES).astype(np.float32)

    def piece(self, Z: np.ndarray, seed: int) -> sparse.csr_matrix:
        rng = np.random.default_rng([1, seed])
        X = rng.standard_normal((len(Z), N_GENES), dtype=np.float32)
        for m, center in enumerate(self.centers):
            active = np.exp(-2 * ((Z - center) ** 2).sum(axis=1)) * rng.standard_normal(len(Z))
            X[:, m * GENES_PER_MODULE : (m + 1) * GENES_PER_MODULE] += 3 * active[:, None].astype(np.float32)
        return sparse.csr_matrix(np.maximum(X - self.thresholds, 0))


def write(path: Path, n_cells: int) -> None:
    """Never more than one piece in memory."""
    import anndata as ad
    import h5py
    import pandas as pd
    import zarr

    simulation, Z = Simulation(), np.random.default_rng(2).uniform(-1, 1, size=(n_cells, 2)).astype(np.float32)
    adata = ad.AnnData(
        obs=pd.DataFrame({"group": _groups(n_cells)}, index=[f"cell_{i}" for i in range(n_cells)]),
        var=pd.DataFrame(index=[f"gene_{j}" for j in range(N_GENES)]),
        obsm={"X_umap": Z},
    )
    with ExitStack() as stack:
        file: h5py.File | zarr.Group
        if path.suffix == ".zarr":
            adata.write_zarr(path)
            file = zarr.open_group(path, mode="r+", use_consolidated=False)
        else:
            adata.write_h5ad(path)
            file = stack.enter_context(h5py.File(path, "r+"))
        for k, start in enumerate(range(0, n_cells, PIECE)):
            append(file, simulation.piece(Z[start : start + PIECE], k), first=k == 0)
    if path.suffix == ".zarr":
        zarr.consolidate_metadata(path)


def _groups(n_cells: int) -> pd.Categorical:
    """Two groups of cells that have nothing to do with the map."""
    import pandas as pd

    return pd.Categorical.from_codes(np.arange(n_cells) % 2, ["a", "b"])


def append(file: h5py.File | zarr.Group, X: sparse.csr_matrix, *, first: bool) -> None:
    import anndata as ad
    import h5py

    if first:
        X.indptr = X.indptr.astype(np.int64)
        ad.io.write_elem(file, "X", X, dataset_kwargs={"chunks": (CHUNK,)})
        del file["X/indptr"]
        how = {"maxshape": (None,)} if isinstance(file, h5py.File) else {}
        create = file["X"].create_dataset if isinstance(file, h5py.File) else file["X"].create_array
        create("indptr", data=X.indptr, chunks=(CHUNK,), **how)
        return
    group = file["X"]
    n_entries, n_rows = group["data"].shape[0], group["indptr"].shape[0] - 1
    for name, new in (("data", X.data), ("indices", X.indices), ("indptr", X.indptr[1:] + n_entries)):
        before = group[name].shape[0]
        group[name].resize((before + len(new),))
        group[name][before:] = new
    group.attrs["shape"] = [n_rows + X.shape[0], X.shape[1]]


def here() -> float:
    """Of this process, in GB."""
    return resident("VmRSS")


def below() -> float:
    """Of the processes below it, in GB."""
    import psutil

    found = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += child.memory_info().rss
    return found / 1e9


def limit(gigabytes: float) -> None:
    """From here on the process gets no more; what it asks for beyond that fails."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 1e9),) * 2)


def page(adata: ad.AnnData, path: Path) -> None:
    import lava_sc as lava

    lava.tl.module_genes(adata)
    lava.report(adata, path, groupby="group")


def one(path: Path, n_workers: int, n_genes: int, n_runs: int, numbers: list[int]) -> dict[str, Any]:
    import anndata as ad

    import lava_sc as lava

    warnings.simplefilter("ignore")
    with ExitStack() as stack:
        where: dict[str, Any] = {"n_jobs": 2}
        if n_workers:
            from distributed import Client, LocalCluster

            cluster = LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0)
            where = {"client": stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))}
        toy = lava.datasets.planted(n_cells=600)  # compiles, and lets the workers import
        lava.tl.localities(toy, n_neighbors=60)
        lava.tl.locality_corr(toy, **where)
        lava.tl.amf(toy, 2, n_runs=2, **where)
        adata = ad.experimental.read_lazy(path)
        steps: dict[str, Callable[[], object]] = {
            "pp.select_genes": lambda: lava.pp.select_genes(adata, n_top_genes=n_genes),
            "tl.localities": lambda: lava.tl.localities(adata, n_jobs=2),
            "tl.locality_corr": lambda: lava.tl.locality_corr(adata, **where),
            "tl.amf": lambda: lava.tl.amf(adata, N_MODULES, n_runs=n_runs, **where),
            "tl.presence_association": lambda: lava.tl.presence_association(adata, "group"),
            "report": lambda: page(adata, path.with_name("page.html")),
        }
        if numbers:
            few: dict[str, Any] = {"n_runs": 2, "n_permutations": 2, "n_splits": 1}
            steps["tl.choose_n_modules"] = lambda: lava.tl.choose_n_modules(adata, numbers, **few, **where)
        found = {name: measured(work, here, below) for name, work in steps.items()}
        result = adata.uns["lava"]
        sizes = [*result["presences"].shape, int(result["C"].nnz)]
        return {"steps": found, "sizes": sizes, "loss": float(result["runs"]["loss"].min())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--genes", type=int, default=1000, help="selected ones")
    parser.add_argument("--n-runs", type=int, default=4)
    parser.add_argument(
        "--choose",
        type=int,
        nargs="+",
        default=[],
        help="also tl.choose_n_modules out of these: 2 runs, 2 null data sets, 1 split",
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--format", choices=["h5ad", "zarr"], default="h5ad")
    parser.add_argument("--memory", type=float, help="GB that a process may take, as by `ulimit -d`; none by default")
    parser.add_argument("--quick", action="store_true", help="2,000 cells and 200 genes: whether it runs")
    parser.add_argument("--folder", type=Path, help="where the files go; by default where temporary files do")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.cells, arguments.genes, arguments.n_runs = [2000], 200, 2
    if arguments.one is not None:
        if arguments.memory is not None:
            limit(arguments.memory)
        options = arguments.genes, arguments.n_runs, arguments.choose
        print(json.dumps(one(Path(arguments.one[0]), int(arguments.one[1]), *options)))
        return
    print(f"{'cells':>9}  {'way':10} {'step':23} {'seconds':>8} {'GB here':>8} {'GB at workers':>14}")
    for n_cells in arguments.cells:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            path = Path(folder) / f"cells.{arguments.format}"
            write(path, n_cells)
            for way in arguments.ways:
                command = [sys.executable, __file__, *sys.argv[1:], "--one", str(path), str(WAYS[way])]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                show(n_cells, way, json.loads(done.stdout.splitlines()[-1]))


def show(n_cells: int, way: str, found: dict[str, Any]) -> None:
    for step, (seconds, here, at_workers) in found["steps"].items():
        print(f"{n_cells:9,}  {way:10} {step:23} {seconds:8.1f} {here:8.2f} {at_workers:14.2f}")
    n_localities, n_modules, n_kept = found["sizes"]
    what = f"{n_localities} localities, {n_kept:,} correlations, {n_modules} modules, loss {found['loss']:.9f}"
    print(f"{n_cells:9,}  {way:10} {what}", flush=True)


if __name__ == "__main__":
    main()
