"""What `tl.score_gene_sets` finds in random sets and in Hallmark sets, and how long it takes.

    python benchmarks/gene_sets.py                  # all, some minutes
    python benchmarks/gene_sets.py --table level --sets 2000

level: random sets, drawn evenly from the correlated genes of the data; share of sets, and of sets and localities, with p ≤ 0.05
and p ≤ 0.01, in per cent. The localities are also told apart by whether as many of a set's genes are defined there as in the
median of all sets, fewer or more: without scaling sums by their spread, those with fewer would be found too often.
real: Hallmark sets in PBMC 3k, the control and the stimulated cells of Kang.
time: 50 sets of 20 of 1,000 genes, 1,000 random sets each, 300 localities of PBMC 3k.

Real data are read from the folder LAVA_SC_DATA, and left out without it, but for the bundled cells.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData

DATA = Path(os.environ["LAVA_SC_DATA"]) if "LAVA_SC_DATA" in os.environ else None
HALLMARK = "genesets/h.all.v7.5.1.symbols.gmt"
SIZES = (8, 20, 50)


def correlated(name: str) -> AnnData:
    if name == "planted":
        adata, n, covariates = lava.datasets.planted(n_genes=400), 100, None
    elif name == "pbmc68k":
        adata, n, covariates = lava.datasets.pbmc68k(), None, "n_counts"
    elif name == "pbmc3k":
        adata, n, covariates = ad.read_h5ad(DATA / "pbmc3k/pbmc3k_processed.h5ad"), 150, "total_counts"
    else:
        kang = ad.read_h5ad(DATA / "kang_ifnb/kang_muscat_donors_1556.h5ad")
        adata, n, covariates = kang[kang.obs["condition"] == name].copy(), 100, None
    lava.tl.localities(adata, n_neighbors=n)
    lava.pp.select_genes(adata, localities_key="lava")
    lava.tl.locality_corr(adata, covariates=covariates)
    return adata


def random_sets(adata: AnnData, size: int, n: int, seed: int) -> dict[str, list[str]]:
    genes, rng = np.asarray(adata.uns["lava"]["genes"]), np.random.default_rng(seed)
    return {f"set {k}": rng.choice(genes, size, replace=False).tolist() for k in range(n)}


def level(n_sets: int) -> None:
    print(
        f"{'':9} {'genes':>5}  {'sets':>11}  {'localities':>11}  {'fewer':>11}  {'more':>11}   % with p ≤ 0.05 / 0.01"
    )
    for name in ("planted", "pbmc68k", *(("pbmc3k", "ctrl") if DATA is not None else ())):
        adata = correlated(name)
        for size in SIZES:
            lava.tl.score_gene_sets(adata, random_sets(adata, size, n_sets, seed=size), n_random=299, min_size=size)
            summary, table = (adata.uns["lava"][f"gene_set_{part}"] for part in ("summary", "scores"))
            beside = np.sign(table["n_genes"] - table.groupby("locality")["n_genes"].transform("median"))
            columns = [
                summary["p_value"],
                *(table.loc[kept, "p_value"] for kept in (beside < 2, beside < 0, beside > 0)),
            ]
            cells = [f"{100 * (p <= 0.05).mean():5.1f} / {100 * (p <= 0.01).mean():3.1f}" for p in columns]
            print(f"{name:9} {size:5}  {'  '.join(cells)}", flush=True)


def real() -> None:
    if DATA is None:
        print("LAVA_SC_DATA is not set")
        return
    for name in ("pbmc3k", "ctrl", "stim"):
        adata = correlated(name)
        lava.tl.score_gene_sets(adata, DATA / HALLMARK)
        table = adata.uns["lava"]["gene_set_summary"]
        n = len(adata.uns["lava"]["probes"])
        print(f"{name}: {(table['p_adj'] <= 0.05).sum()} of {len(table)} sets, {n} localities")
        print(table.sort_values(["p_value", "z"], ascending=[True, False]).head(8).round(4).to_string(index=False))


def timing() -> None:
    if DATA is None:
        print("LAVA_SC_DATA is not set")
        return
    adata = ad.read_h5ad(DATA / "pbmc3k/pbmc3k_processed.h5ad")
    lava.tl.localities(adata, n_neighbors=150, overlap=17)
    detected = np.asarray((adata.X > 0).mean(axis=0)).ravel()
    mask = np.zeros(adata.n_vars, dtype=bool)
    mask[np.argsort(-detected)[:1000]] = True
    lava.tl.locality_corr(adata, mask_var=mask, covariates="total_counts")
    sets = random_sets(adata, 20, 50, seed=0)
    lava.tl.score_gene_sets(adata, sets, n_random=1)  # compiles
    began, of_cpu = time.perf_counter(), time.process_time()
    lava.tl.score_gene_sets(adata, sets)
    seconds, of_cpu = time.perf_counter() - began, time.process_time() - of_cpu
    share = adata.uns["lava"]["defined"].mean()
    print(
        f"50 sets of 20 of 1,000 genes ({share:.0%} defined), 1,000 random sets each, {len(adata.uns['lava']['probes'])} "
        f"localities, {len(os.sched_getaffinity(0))} cores: {seconds:.1f} s, {of_cpu:.1f} s of CPU time"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=("level", "real", "time"))
    parser.add_argument("--sets", type=int, default=1000)
    arguments = parser.parse_args()
    pd.set_option("display.width", 200)
    for table in (arguments.table,) if arguments.table else ("level", "real", "time"):
        {"level": lambda: level(arguments.sets), "real": real, "time": timing}[table]()


if __name__ == "__main__":
    main()
