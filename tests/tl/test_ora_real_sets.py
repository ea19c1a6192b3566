"""`tl.ora` on real gene sets, against scipy's hypergeometric distribution and statsmodels' Benjamini–Hochberg."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from statsmodels.stats.multitest import multipletests
from tests import helpers

import lava_sc as lava

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

FILES = {"hallmark": "h.all.v7.5.1.symbols.gmt", "reactome": "ReactomePathways.gmt"}
SOURCES = ("HALLMARK_INTERFERON_ALPHA_RESPONSE", "HALLMARK_MYC_TARGETS_V1")


def gmt(name: str) -> Path:
    return helpers.data(f"genesets/{FILES[name]}")


def sets_in(path: Path) -> dict[str, set[str]]:
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: {gene for gene in genes if gene} for name, _, *genes in lines}


@pytest.fixture(scope="module")
def adata() -> AnnData:
    """Two planted modules whose genes are mostly those of a Hallmark set, the other genes any of Hallmark; not all are selected."""
    sets = sets_in(gmt("hallmark"))
    adata = lava.datasets.planted(n_cells=300, n_genes=600, n_modules=2, genes_per_module=40, markers_per_region=2)
    rng, used, names = np.random.default_rng(0), set(), list(adata.var_names)
    anywhere = sorted(set().union(*sets.values()))
    for i, name in enumerate(names):
        own = name.startswith("M") and name[1] in "12" and rng.random() < 0.8
        pool = sorted(sets[SOURCES[int(name[1]) - 1]] - used) if own else [g for g in anywhere if g not in used]
        names[i] = str(rng.choice(pool))
        used.add(names[i])
    adata.var_names = names
    helpers.localities(adata)
    modules_first = np.arange(600) < 400
    lava.tl.locality_corr(adata, mask_var=modules_first)
    helpers.amf(adata, patience=5)
    lava.tl.module_genes(adata)
    return adata


@pytest.mark.parametrize("background", ["selected", "measured"])
@pytest.mark.parametrize(("name", "min_size"), [("hallmark", 5), ("reactome", 15)])
def test_scipy_and_statsmodels_agree(adata: AnnData, name: str, min_size: int, background: str) -> None:
    found = lava.tl.ora(adata, gmt(name), background=background, min_size=min_size, n_random=0, copy=True).uns["lava"]
    table, listed = found["ora"], found["module_genes"]
    universe = set(found["genes"] if background == "selected" else adata.var_names)
    sets = {name: genes & universe for name, genes in sets_in(gmt(name)).items()}
    tested = {name: genes for name, genes in sets.items() if len(genes) >= min_size}
    assert len(tested) < len(sets)
    assert set(table["gene_set"]) == set(tested)
    assert len(table) == 2 * len(tested)
    for m in (0, 1):
        rows = table[table["module"] == m].set_index("gene_set")
        query = set(listed.loc[listed["module"] == m, "gene"])
        assert query <= universe
        for term, genes in tested.items():
            n_hits = len(query & genes)
            assert rows.loc[term, ["n_hits", "set_size"]].tolist() == [n_hits, len(genes)]
            assert set(rows.loc[term, "genes"].split(";")) - {""} == query & genes
            expected = hypergeom.sf(n_hits - 1, len(universe), len(genes), len(query))
            np.testing.assert_allclose(rows.loc[term, "pvalue"], expected, rtol=1e-9)
        np.testing.assert_allclose(rows["pvalue_adj"], multipletests(rows["pvalue"], method="fdr_bh")[1], rtol=1e-9)
    np.testing.assert_allclose(table["pvalue_adj_all"], multipletests(table["pvalue"], method="fdr_bh")[1], rtol=1e-9)


def test_planted_sets_come_first(adata: AnnData) -> None:
    found = lava.tl.ora(adata, gmt("hallmark"), copy=True).uns["lava"]["ora"]
    first = found[found["pvalue_adj_all"] < 1e-6].groupby("module")["gene_set"].first()
    assert set(first) == set(SOURCES)


def test_genes_that_are_named_twice_count_once(adata: AnnData, tmp_path: Path) -> None:
    twice = tmp_path / "twice.gmt"
    lines = gmt("hallmark").read_text(encoding="utf-8").splitlines()
    twice.write_text("\n".join("\t".join([line, *line.split("\t")[2:5]]) for line in lines), encoding="utf-8")
    tables = [lava.tl.ora(adata, path, n_random=0, copy=True).uns["lava"]["ora"] for path in (gmt("hallmark"), twice)]
    pd.testing.assert_frame_equal(*tables)


def test_symbols_of_another_case_are_not_matched_but_said(adata: AnnData, tmp_path: Path) -> None:
    mouse = tmp_path / "mouse.gmt"
    lines = [line.split("\t") for line in gmt("hallmark").read_text(encoding="utf-8").splitlines()]
    capital = ["\t".join([name, source, *(gene.capitalize() for gene in genes)]) for name, source, *genes in lines]
    mouse.write_text("\n".join(capital), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"Found no gene set with at least 5 of the \d+ background genes .* upper and lower case only"
    ):
        lava.tl.ora(adata, mouse)
