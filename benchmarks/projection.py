"""How often `tl.project` calls modules preserved at 5 %, where they are not and where they are.

    python benchmarks/projection.py                 # all, about half an hour on two cores
    python benchmarks/projection.py --table level --simulations 50
    python benchmarks/projection.py --table real    # with the folder LAVA_SC_DATA

Modules are those of five planted references (2,000 cells, 300 genes, four modules of 15 genes). The new data are planted as well
(1,000 cells, 30 localities of 100), with other random numbers. Rejections in per cent of all modules, by what is tested
(``p_value``) and, beside it, by the cosine alone, had that been tested against the same exchanges.

level: no module is preserved.
  exchanged    the new data have modules, on genes drawn at random among those detected as often
  noise        independent genes
  elsewhere    the new data have modules, all on genes that are in none of the reference's
  markers      independent genes; the reference's modules are marker genes of a region each, five times as high there
  depth        the same, log1p of counts that were not normalised: depth correlates what is well expressed
  depth, all   the same, ``fdr=None``
power: all modules are preserved, but weaker (strength; 1 in the reference); "two": two of four are, the others elsewhere;
rejections are of the preserved ones, then of the others.
self: how near projected presences are to AMF's own, projected onto the same data.
real: PBMC, what a user gets.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

import lava_sc as lava
from lava_sc.core.interpret.preservation import likeness
from lava_sc.core.nulls.exchanged_genes import detection_stats, exchanges, permutation_test, ranked_by_level
from lava_sc.io.blocks import InMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from lava_sc._types import BoolArray, FloatArray, IntArray

N_REFERENCES, N_GENES, N_MODULES = 5, 300, 4
PERMUTATIONS = 199
LEVEL = ("exchanged", "noise", "elsewhere", "markers", "depth", "depth, all")
POWER = ("0.5", "0.35", "0.3", "0.25", "two")
DATA = Path(os.environ["LAVA_SC_DATA"]) if "LAVA_SC_DATA" in os.environ else None
SHOWN = ["n_matched", "weight_matched", "n_present", "n_alike", "cosine", "cosine_reference", "cosine_null", "p_adj"]


def planted(seed: int, **kwargs: object) -> AnnData:
    return lava.datasets.planted(**({"n_genes": N_GENES, "n_modules": N_MODULES, "rng": seed} | kwargs))


NAMES = planted(0, n_cells=10).var_names


def reference(seed: int) -> AnnData:
    adata = planted(seed)
    lava.tl.localities(adata, n_neighbors=100)
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, N_MODULES, n_runs=2)
    return adata


def of_modules(names: pd.Index) -> list[BoolArray]:
    """Genes of each planted module."""
    return [names.str.startswith(f"M{m}_") for m in range(1, N_MODULES + 1)]


def new_data(case: str, seed: int) -> AnnData:
    """Data in which genes are called as in the reference."""
    rng = np.random.default_rng([seed, 1])
    if case == "exchanged":
        return renamed(planted(seed, n_cells=1000), lambda adata: among_alike(adata, rng))
    if case == "noise":
        return renamed(planted(seed, n_cells=1000, n_modules=0), lambda adata: np.arange(adata.n_vars))
    if case in {"elsewhere", "two"}:
        kept = 2 if case == "two" else 0
        return renamed(planted(seed, n_cells=1000), lambda adata: moved_elsewhere(adata, kept, rng))
    if case in POWER:
        return renamed(planted(seed, n_cells=1000, strength=float(case)), lambda adata: np.arange(adata.n_vars))
    options = {"n_modules": 0, "n_empty_regions": 5, "markers_per_region": 15}
    adata = renamed(planted(seed, n_cells=1000, **options), lambda adata: on_markers(adata, rng))
    if case != "markers":
        adata.X = adata.layers["counts"].astype(np.float32)
        adata.X.data = np.log1p(adata.X.data)
    return adata


def renamed(adata: AnnData, sources: Callable[[AnnData], IntArray]) -> AnnData:
    """The gene at each place of the reference's order, by its place in the new data."""
    adata = adata[:, sources(adata)].copy()
    adata.var_names = NAMES
    return adata


def among_alike(adata: AnnData, rng: np.random.Generator) -> IntArray:
    """Genes exchanged at random with others at most 60 places away in the order of the cells that they are detected in."""
    ranked, taken = np.argsort(detected(adata), kind="stable"), np.empty(adata.n_vars, dtype=int)
    taken[ranked] = ranked[np.argsort(np.arange(adata.n_vars) + rng.uniform(-60, 60, adata.n_vars))]
    return taken


def detected(adata: AnnData) -> FloatArray:
    return np.asarray((adata.X > 0).mean(axis=0)).ravel()


def moved_elsewhere(adata: AnnData, n_kept: int, rng: np.random.Generator) -> IntArray:
    """All modules but the first few change places with background genes, the best detected ones."""
    taken = np.arange(adata.n_vars)
    moved = np.flatnonzero(np.any(of_modules(adata.var_names)[n_kept:], axis=0))
    background = np.flatnonzero(adata.var_names.str.startswith("BG_"))
    best = background[np.argsort(-detected(adata)[background])][: len(moved) * 3 // 2]
    chosen = rng.permutation(best)[: len(moved)]
    taken[moved], taken[chosen] = chosen, moved
    return taken


def on_markers(adata: AnnData, rng: np.random.Generator) -> IntArray:
    """The reference's modules on marker genes of a region each, its other genes on the others."""
    taken = np.full(adata.n_vars, -1)
    for m, genes in enumerate(of_modules(NAMES), start=1):
        taken[genes] = np.flatnonzero(adata.var_names.str.startswith(f"MARK{m}_"))
    taken[taken < 0] = rng.permutation(np.setdiff1d(np.arange(adata.n_vars), taken))
    return taken


def pvalues(case: str, seed: int, known: AnnData) -> FloatArray | None:
    """Of the modules, by what is tested and by the cosine, (2, M); None where nothing is correlated at all."""
    adata = new_data(case, seed)
    lava.tl.localities(adata, n_neighbors=100, max_evals=5)
    try:
        lava.tl.project(adata, known, n_permutations=1, fdr=None if case == "depth, all" else "same")
    except ValueError as error:
        if "correlations at fdr" in str(error):
            return None
        raise
    found, names = adata.uns["lava"], np.arange(len(adata.uns["lava"]["genes"]))
    members = adata.obsm["lava_localities"].tocsc().indices.reshape(found["C"].shape[0], -1)
    levels = detection_stats(InMemory(adata[:, found["genes"]].X), members)
    ranked = ranked_by_level(found["defined"], levels, names)
    labels = exchanges(ranked, PERMUTATIONS, np.random.default_rng(seed))
    alike = likeness(found["C"], found["defined"], levels, found["modules"], labels, n_jobs=None)
    return np.array([permutation_test(figures)[1] for figures in (alike.totals, alike.pattern)])


def kept(case: str, known: AnnData) -> BoolArray:
    """Which of the reference's modules are there."""
    if case in LEVEL:
        return np.zeros(N_MODULES, dtype=bool)
    strongest = [lava.get.module(known, m).sum().idxmax() for m in range(N_MODULES)]
    return np.array([case != "two" or name.startswith(("M1_", "M2_")) for name in strongest])


def simulate(cases: Sequence[str], n_simulations: int) -> None:
    known = [reference(seed) for seed in range(N_REFERENCES)]
    print(f"{'':12} {'preserved':>9} {'modules':>8} {'tested':>7} {'cosine':>7}   % with p ≤ 0.05")
    for case in cases:
        rows = []
        for seed in range(n_simulations):
            one = known[seed % N_REFERENCES]
            found = pvalues(case, 1000 + seed, one)
            there = kept(case, one)
            found = np.ones((2, N_MODULES)) if found is None else found
            rows.append(pd.DataFrame({"preserved": there, "tested": found[0], "cosine": found[1]}))
        for preserved, part in pd.concat(rows).groupby("preserved"):
            rates = 100 * (part[["tested", "cosine"]] <= 0.05).mean()
            there = "yes" if preserved else "no"
            print(f"{case:12} {there:>9} {len(part):8} {rates['tested']:7.1f} {rates['cosine']:7.1f}", flush=True)


def onto_itself() -> None:
    """Presences above 0.01 of AMF, and how far those that are projected onto the same data are from them."""
    print(f"{'':10} {'correlation':>20} {'mean':>6} {'projected':>10} {'difference':>11} {'loss':>8} {'projected':>10}")
    for name, adata in explained().items():
        before, runs = adata.uns["lava"]["presences"], adata.uns["lava"]["runs"]
        lava.tl.project(adata, adata, n_permutations=1)
        after = adata.uns["lava"]["presences"]
        alike = [np.corrcoef(before[:, m], after[:, m])[0, 1] for m in range(before.shape[1])]
        there = before > 0.01
        print(
            f"{name:10} {min(alike):9.3f} to {max(alike):.3f} {before[there].mean():9.2f} {after[there].mean():10.2f}"
            f" {np.abs(before - after)[there].mean():11.3f} {runs['loss'].min():8.4f}"
            f" {adata.uns['lava']['runs']['loss'].iloc[0]:10.4f}",
            flush=True,
        )


def explained() -> dict[str, AnnData]:
    """Planted data, the bundled blood cells and, where they are, Kang's control cells and PBMC 3k."""
    found = {"planted": planted(0), "pbmc68k": lava.datasets.pbmc68k()}
    if DATA is not None:
        kang = ad.read_h5ad(DATA / "kang_ifnb/kang_muscat_donors_1556.h5ad")
        found["kang"] = kang[kang.obs["condition"] == "ctrl"].copy()
        found["pbmc3k"] = ad.read_h5ad(DATA / "pbmc3k/pbmc3k_processed.h5ad")
    depth = {"pbmc68k": "n_counts", "pbmc3k": "total_counts"}
    for name, adata in found.items():
        n = {"planted": 100, "kang": 100, "pbmc3k": 150}.get(name)
        covariates = depth.get(name)
        lava.tl.explain(adata, N_MODULES if name == "planted" else 6, n_neighbors=n, covariates=covariates, n_runs=3)
        lava.tl.name_modules(adata)
    return found


def real() -> None:
    found = explained()
    if DATA is None:
        print("LAVA_SC_DATA is not set")
        return
    pd.set_option("display.width", 200, "display.max_columns", 30)
    kang = ad.read_h5ad(DATA / "kang_ifnb/kang_muscat_donors_1556.h5ad")
    stimulated = kang[kang.obs["condition"] == "stim"].copy()
    lava.tl.localities(stimulated, n_neighbors=100)
    cells = lava.datasets.pbmc68k()
    lava.tl.localities(cells)
    for name, adata, known, covariates in (
        ("Kang, control to interferon", stimulated, found["kang"], "same"),
        ("PBMC 3k to PBMC 68k", cells, found["pbmc3k"], "n_counts"),
    ):
        began = time.perf_counter()
        lava.tl.project(adata, known, covariates=covariates)
        print(f"{name}: {time.perf_counter() - began:.1f} s")
        names = [name.replace("_ENSG", " ").split(" · ") for name in adata.uns["lava"]["module_names"]]
        short = ["·".join(gene.split()[0] for gene in genes) for genes in names]
        table = adata.uns["lava"]["preservation"].set_index(pd.Index(short))
        print(table[SHOWN].round(3).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=("level", "power", "self", "real"))
    parser.add_argument("--simulations", type=int, default=100)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # log1p of counts looks like what it is
    for table in (arguments.table,) if arguments.table else ("level", "power", "self", "real"):
        if table in {"level", "power"}:
            simulate({"level": LEVEL, "power": POWER}[table], arguments.simulations)
        else:
            {"self": onto_itself, "real": real}[table]()


if __name__ == "__main__":
    main()
