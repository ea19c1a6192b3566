"""The paper's MNIST experiment (Section 3; n = 3,000, o = 12, M = 9 on a UMAP of all 70,000 images), its figures beside ours.

    python benchmarks/paper_mnist.py                  # everything
    python benchmarks/paper_mnist.py --runs 3         # fewer runs of each factorisation
    python benchmarks/paper_mnist.py --only placements
    python benchmarks/paper_mnist.py --picture mnist.png

placements: mean |C| of five placements; the smallest cosine between two.
default: ten runs of AMF as lava_sc starts them.
random: runs as in the paper (uniform random starts, learning rate 0.001, patience 100, no refits), and NMF (Kullback-Leibler,
random starts, B.8). These two take long, and are taken on half of the pixels, drawn at random: a quarter of the pairs; AMF with
the default start is run on the same half, so that it compares.

Co-presence is the entropy of a locality's presences scaled to a sum of 1, over localities where their sum is 0.5 at least: mean (sd) over
localities, of the run with the lowest loss. Silhouette of the modules of all runs together. The UMAP is one of umap-learn's defaults with
another seed than the paper's, which is not known.

Data are read from the folder LAVA_SC_DATA.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
from anndata import AnnData
from correlation import mnist

import lava_sc as lava

N, OVERLAP, MODULES = 3_000, 12, 9
AS_PAPER: dict[str, Any] = {"init": "random", "learning_rate": 1e-3, "patience": 100, "n_refits": 0}
ROW = "{:34s} {:>14s} {:>22s}"


def digits() -> AnnData:
    X, Z = mnist(70_000)
    return AnnData(X, obsm={"X_umap": Z})


def correlated(adata: AnnData, seed: int, *, mask_var: list[bool] | None = None) -> float:
    """Localities and all correlations; how long they took, in seconds."""
    began = time.perf_counter()
    lava.tl.localities(adata, n_neighbors=N, overlap=OVERLAP, rng=seed)
    lava.tl.locality_corr(adata, fdr=None, mask_var=mask_var)
    return time.perf_counter() - began


def placements(adata: AnnData) -> None:
    means, seconds = [], []
    for seed in range(5):
        seconds.append(correlated(adata, seed))
        C = adata.uns["lava"]["C"]
        means.append(np.asarray(abs(C).mean(axis=0)).ravel())
    unit = np.array([mean / np.linalg.norm(mean) for mean in means])
    cosines = (unit @ unit.T)[np.triu_indices(5, 1)]
    print(ROW.format("cosine of mean C, 5 placements", "> 0.993", f"{cosines.min():.4f} or more"))
    print(ROW.format("localities and correlations", "several hours", f"{np.median(seconds):.0f} s"), flush=True)


def bits(adata: AnnData) -> str:
    """Co-presence of a run, mean (sd) over localities."""
    lava.tl.co_presence(adata)
    entropy = adata.uns["lava"]["co_presence"]
    return f"{np.nanmean(entropy):.2f} ({np.nanstd(entropy):.2f})"


def runs(adata: AnnData, n_runs: int, **how: Any) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    lava.tl.amf(adata, MODULES, n_runs=n_runs, **how)
    seconds, cpu = (np.array([time.perf_counter() - began, time.process_time() - cpu])) / n_runs
    table = adata.uns["lava"]["runs"]
    low, high = table["overestimation"].min(), table["overestimation"].max()
    print(ROW.format("overestimation", "< 0.15", f"{low:.2f} to {high:.2f}"))
    print(ROW.format("co-presence, bits", "0.68 (0.41)", bits(adata)))
    print(ROW.format("loss", "", f"{table['loss'].min():.3f} to {table['loss'].max():.3f}"))
    print(ROW.format("cosine of reconstruction", "", f"{table['cosine'].median():.2f}"))
    print(ROW.format("one run", "5 to 30 min", f"{seconds:.0f} s, CPU {cpu:.0f} s"), flush=True)


def half(adata: AnnData, n_runs: int, n_random_runs: int) -> None:
    pixels = np.random.default_rng(0).random(adata.n_vars) < 0.5
    correlated(adata, 0, mask_var=pixels.tolist())
    print("half of the pixels, AMF, default start")
    runs(adata, n_runs)
    print("half of the pixels, AMF, the paper's start")
    runs(adata, n_random_runs, **AS_PAPER)
    print("half of the pixels, AMF from the paper's start beside NMF, medians over the runs")
    began = time.perf_counter()
    lava.tl.compare_factorisations(adata, MODULES, n_runs=n_runs)
    table = adata.uns["lava"]["factorisations"]
    for name, figure in (("overestimation", "0.50"), ("cosine", ""), ("co_presence", ""), ("silhouette", "")):
        print(
            ROW.format(f"{name}, AMF and NMF", figure, f"{table.loc['AMF', name]:.2f} and {table.loc['NMF', name]:.2f}")
        )
    print(ROW.format("both factorisations, all runs", "", f"{time.perf_counter() - began:.0f} s"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["placements", "default", "random"], action="append", help="may be repeated")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument(
        "--random-runs", type=int, default=3, help="of the paper's start alone; beside NMF it has all runs"
    )
    parser.add_argument("--picture", help="draw the modules of the default start there")
    arguments = parser.parse_args()
    parts = arguments.only or ["placements", "default", "random"]
    warnings.simplefilter("ignore")
    adata, began = digits(), time.perf_counter()
    print(ROW.format("", "paper", "here"))
    if "placements" in parts:
        placements(adata)
    if "default" in parts:
        correlated(adata, 0)
        print("all pixels, AMF, default start")
        runs(adata, arguments.runs)
        if arguments.picture:
            lava.pl.image_modules(adata, (28, 28), ncols=5, show=False).savefig(arguments.picture, dpi=100)
    if "random" in parts:
        half(adata, arguments.runs, arguments.random_runs)
    print(f"all of it: {(time.perf_counter() - began) / 60:.1f} min")


if __name__ == "__main__":
    main()
