"""Prints a hash of every stored field after every step, to compare two versions of the package.

PYTHONPATH=src python tools/fingerprints.py [pbmc] [kang] [planted]   (default: all; kang needs LAVA_SC_DATA)
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import lava_sc as lava

DATA = Path(os.environ.get("LAVA_SC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
WALL_TIMES, PLACES = {"seconds"}, {"id", "store"}


def fingerprint(value: Any) -> str:
    """Hash of the numbers and texts in a value; dtypes of numbers and wall times do not count."""
    digest = hashlib.blake2b(digest_size=8)

    def add(part: Any) -> None:
        if isinstance(part, sparse.sparray | sparse.spmatrix):
            part = part.tocsr()
            for array in (part.data, part.indices, part.indptr):
                add(array)
        elif isinstance(part, pd.DataFrame):
            for column in part.columns.difference(WALL_TIMES, sort=False):
                digest.update(str(column).encode())
                add(part[column].to_numpy())
        elif isinstance(part, dict):
            for name in sorted(set(part) - WALL_TIMES - PLACES):
                digest.update(name.encode())
                add(part[name])
        elif isinstance(part, np.ndarray) and part.dtype.kind in "biuf":
            digest.update(str(part.shape).encode() + np.ascontiguousarray(part, dtype=np.float64).tobytes())
        elif isinstance(part, np.ndarray):
            digest.update(repr([str(one) for one in part.ravel().tolist()]).encode())
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.hexdigest()


def show(name: str, adata: ad.AnnData) -> None:
    """Print all of the package's fields."""
    for container in ("obs", "var", "obsm", "varm"):
        there = getattr(adata, container)
        for field in [field for field in there if field.startswith("lava")]:
            value = there[field]
            print(name, container, field, fingerprint(value.to_numpy() if isinstance(value, pd.Series) else value))
    for key in [key for key in adata.uns if key.startswith("lava")]:
        for field, value in adata.uns[key].items():
            if field != "params":
                print(name, "uns", key, field, fingerprint(value), flush=True)


def without_results(adata: ad.AnnData) -> ad.AnnData:
    """Copy without the package's fields."""
    adata = adata.copy()
    for container in (adata.obsm, adata.varm, adata.uns):
        for field in [field for field in container if field.startswith("lava")]:
            del container[field]
    adata.obs = adata.obs[[column for column in adata.obs if not column.startswith("lava")]]
    return adata


def pbmc() -> None:
    """Every step, and every way to correlate."""
    adata = lava.datasets.pbmc68k()
    lava.tl.locality_size(adata)
    lava.tl.localities(adata, use_rep="umap")
    lava.pp.select_genes(adata, localities_key="lava")
    lava.tl.locality_corr(adata, covariates="n_counts")
    show("pbmc corr", adata)
    sets = {f"s{i}": [str(gene) for gene in adata.var_names[i * 15 : i * 15 + 30]] for i in range(12)}
    lava.tl.score_gene_sets(adata, sets, n_random=200)
    lava.tl.choose_n_modules(adata, range(2, 5), n_runs=2, n_permutations=3, n_splits=2)
    show("pbmc choose", adata)
    lava.tl.amf(adata, n_modules=4, n_runs=3)
    show("pbmc amf", adata)
    lava.tl.module_genes(adata)
    lava.tl.ora(adata, sets, min_size=2)
    lava.tl.name_modules(adata)
    lava.tl.co_presence(adata)
    lava.tl.presence_association(adata, "bulk_labels")
    lava.tl.compare_factorisations(adata, n_runs=2)
    lava.tl.module_evidence(adata, n_permutations=3)
    lava.tl.stability(adata, n_placements=2, n_runs=2, n_resamples=2)
    show("pbmc all", adata)
    lava.tl.finetune_presences(adata, tau=0.2)
    show("pbmc fine", adata)
    ways: list[dict[str, Any]] = [
        {"method": "pearson"},
        {"fdr": None},
        {"batch_key": "phase"},
        {"batch_key": "phase", "covariates": ["n_counts"], "method": "pearson"},
        {"max_tie_fraction": 0.5},
    ]
    for way in ways:
        adata = lava.datasets.pbmc68k()
        lava.tl.localities(adata, use_rep="umap", n_neighbors=120)
        lava.pp.select_genes(adata, n_top_genes=150)
        lava.tl.locality_corr(adata, **way)
        gamma: Any = "auto" if "method" in way else 1e-4
        lava.tl.amf(adata, n_modules=3, n_runs=2, init="kmeans" if "fdr" in way else "nmf", gamma=gamma)
        show(f"pbmc {way}", adata)


def kang() -> None:
    """Donors, and a projection."""
    adata = ad.read_h5ad(DATA / "kang_ifnb" / "kang_muscat_donors_1556.h5ad")
    lava.tl.localities(adata, n_neighbors=150)
    lava.pp.select_genes(adata, n_top_genes=400, localities_key="lava")
    lava.tl.locality_corr(adata, batch_key="donor_id")
    lava.tl.amf(adata, n_modules=5, n_runs=2)
    lava.tl.presence_association(adata, "condition")
    show("kang", adata)
    condition = adata.obs["condition"]
    some = without_results(adata[condition == condition.unique()[0]])
    lava.tl.localities(some, n_neighbors=100)
    lava.tl.project(some, adata, n_permutations=20)
    show("kang projected", some)


def planted() -> None:
    """Sections, random starts, and all in one call."""
    adata = lava.datasets.planted(n_cells=1500, n_modules=3, n_genes=150)
    adata.obs["section"] = np.repeat(["a", "b"], 750)
    lava.tl.localities(adata, n_neighbors=90, library_key="section")
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, n_modules=3, n_runs=2, init="random", n_refits=0)
    show("planted", adata)
    lava.tl.explain(adata, n_neighbors=110, n_runs=2, key_added="lava2", n_modules=3)
    show("planted explained", adata)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for data in sys.argv[1:] or ["pbmc", "kang", "planted"]:
        {"pbmc": pbmc, "kang": kang, "planted": planted}[data]()
