"""Placement of localities: this package against a plain script, on the same data in one run.

    python benchmarks/localities.py             # the table
    python benchmarks/localities.py --stability # mean-C cosine between five placements of MNIST, as in the paper's Figure 3a

The plain script is what Algorithm S1 says: scikit-learn's NearestNeighbors for the in-degrees, then scikit-learn's KMeans
from scratch and again NearestNeighbors for every evaluation of scipy's DIRECT. On the largest case it gets five
evaluations, the analytic weights first, and its time is scaled to the number that we do; on the others it does as many as
we do. Each side runs in a process of its own, whose peak memory includes Python and the libraries. Compiled code is warm.
MNIST is read from the folder LAVA_SC_DATA (mnist/mnist_70000.npz, mnist/X_umap.npy), and left out without it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

N_EVALS = 30


@dataclass(frozen=True)
class Case:
    title: str
    n: int
    overlap: float
    reference_evals: int


CASES = {
    "atlas": Case("225,000 cells, 2-D", 500, 3, 5),
    "mnist": Case("MNIST UMAP, 70,000, 2-D", 3000, 12, N_EVALS),
    "latent": Case("50,000 cells, 10-D", 500, 3, N_EVALS),
    "million": Case("1,000,000 cells, 2-D", 500, 3, 0),
}


SHAPES = {"atlas": (225_000, 2), "latent": (50_000, 10), "million": (1_000_000, 2)}


def blobs(n_cells: int, dimension: int) -> np.ndarray:
    """Thirty Gaussian groups of different widths."""
    rng = np.random.default_rng(0)
    centres, widths = rng.normal(size=(30, dimension)) * 8, rng.uniform(0.3, 2, size=30)
    group = rng.integers(30, size=n_cells)
    return centres[group] + rng.normal(size=(n_cells, dimension)) * widths[group, None]


def data_folder() -> Path:
    return Path(os.environ.get("LAVA_SC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def embedding(name: str) -> np.ndarray:
    if name == "mnist":
        return np.load(data_folder() / "mnist" / "X_umap.npy").astype(np.float64)
    return blobs(*SHAPES[name])


def ours(name: str, optimizer: str) -> dict[str, float]:
    from anndata import AnnData

    import lava_sc as lava

    case, Z = CASES[name], embedding(name)
    warm = AnnData(obsm={"X_umap": Z[:500]})
    lava.tl.localities(warm, n_neighbors=50, optimizer=optimizer, max_evals=2)
    adata = AnnData(obsm={"X_umap": Z})
    began = time.perf_counter()
    lava.tl.localities(adata, n_neighbors=case.n, overlap=case.overlap, optimizer=optimizer, max_evals=N_EVALS)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "loss": adata.uns["lava"]["placement"]["loss_per_neighbor"], "evals": N_EVALS}


def reference(name: str) -> dict[str, float]:
    from scipy.optimize import direct
    from sklearn.cluster import KMeans
    from sklearn.neighbors import NearestNeighbors

    case, Z = CASES[name], embedding(name)
    n_probes = max(1, round(len(Z) * case.overlap / case.n))
    began = time.perf_counter()
    search = NearestNeighbors(n_neighbors=case.n, n_jobs=-1).fit(Z)
    counts, mean_distance = np.zeros(len(Z)), np.empty(len(Z))
    for block in np.array_split(np.arange(len(Z)), max(1, len(Z) // 5000)):
        distances, indices = search.kneighbors(Z[block])
        counts += np.bincount(indices.ravel(), minlength=len(Z))
        mean_distance[block] = distances.mean(axis=1)
    in_degree = counts / len(Z)
    in_degrees_done = time.perf_counter()
    losses = []

    def evaluate(exponents: tuple[float, float]) -> float:
        if len(losses) == case.reference_evals:
            raise StopIteration
        weights = np.exp(exponents[0] * np.log(in_degree) - exponents[1] * np.log(mean_distance))
        found = KMeans(n_probes, n_init=1, random_state=0).fit(Z, sample_weight=weights / weights.max())
        members = search.kneighbors(found.cluster_centers_, return_distance=False)
        located = np.bincount(members.ravel(), minlength=len(Z)) / n_probes
        losses.append(np.abs(in_degree - located).sum() / case.n)
        return losses[-1]

    limit = 2.0 * Z.shape[1]
    try:
        evaluate((0.0, 2.0))
        direct(evaluate, [(-limit, limit)] * 2, maxfun=case.reference_evals, maxiter=case.reference_evals)
    except StopIteration:
        pass
    per_eval = (time.perf_counter() - in_degrees_done) / len(losses)
    seconds = in_degrees_done - began + per_eval * N_EVALS
    return {"seconds": seconds, "loss": min(losses), "evals": len(losses), "per_eval": per_eval}


def in_own_process(side: str, name: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--side", side, "--case", name], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def table() -> None:
    print(f"{'case':26} {'side':16} {'seconds':>9} {'L/n':>8} {'evaluations':>12} {'peak GB':>8} {'times as fast':>14}")
    for name, case in CASES.items():
        if name == "mnist" and not (data_folder() / "mnist").is_dir():
            print(f"{case.title:26} left out: no MNIST in {data_folder().name}")
            continue
        plain = in_own_process("reference", name) if case.reference_evals else None
        rows = {"moves (default)": in_own_process("moves", name), "direct": in_own_process("direct", name)}
        if plain is not None:
            rows["plain script"] = plain
        for side, row in rows.items():
            scaled = "*" if row["evals"] < N_EVALS else " "
            ratio = f"{plain['seconds'] / row['seconds']:14.0f}" if plain is not None else f"{'':14}"
            print(
                f"{case.title:26} {side:16} {row['seconds']:8.1f}{scaled} {row['loss']:8.4f} {row['evals']:12.0f} "
                f"{row['peak']:8.2f} {ratio}",
                flush=True,
            )
    print(f"* scaled from fewer evaluations to {N_EVALS}")


def stability() -> None:
    """Cosine of the mean |C| between five placements (paper: above 0.993)."""
    from anndata import AnnData

    import lava_sc as lava

    pixels = np.load(data_folder() / "mnist" / "mnist_70000.npz")["X"].reshape(70_000, -1).astype(np.float32) / 255
    adata = AnnData(pixels, obsm={"X_umap": embedding("mnist")})
    for optimizer, fdr in [("moves", None), ("direct", None), ("moves", 0.05)]:
        means, began = [], time.perf_counter()
        for seed in range(5):
            lava.tl.localities(adata, n_neighbors=3000, overlap=12, optimizer=optimizer, rng=seed)
            lava.tl.locality_corr(adata, fdr=fdr)
            means.append(np.asarray(abs(adata.uns["lava"]["C"]).mean(axis=0)).ravel())
        seconds = (time.perf_counter() - began) / len(means)
        unit = np.array([mean / np.linalg.norm(mean) for mean in means])
        cosines = (unit @ unit.T)[np.triu_indices(len(means), 1)]
        print(
            f"MNIST, n=3000, o=12, {optimizer}, fdr={fdr}: cosine of mean |C| between five placements "
            f"{cosines.min():.5f} to {cosines.max():.5f}; {seconds:.0f} s for steps 1 and 2",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stability", action="store_true")
    parser.add_argument("--side", choices=["moves", "direct", "reference"], help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stability:
        stability()
    elif arguments.side is None:
        table()
    else:
        side = arguments.side
        row = reference(arguments.case) if side == "reference" else ours(arguments.case, side)
        row["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(row))


if __name__ == "__main__":
    main()
