from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, hypergeom
from tests.helpers import GENE_SETS, assert_same, assert_unchanged

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from anndata import AnnData

COLUMNS = ["module", "gene_set", "n_hits", "set_size", "expected", "pvalue", "pvalue_adj", "genes"]


def write_gmt(path: Path, sets: Mapping[str, Iterable[str]]) -> Path:
    lines = ["\t".join([name, "source", *genes]) for name, genes in sets.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def result(adata: AnnData) -> pd.DataFrame:
    return adata.uns["lava"]["ora"]


def test_fields_have_the_documented_shapes_and_dtypes(stages: Mapping[str, AnnData]) -> None:
    table = result(stages["ora"])
    assert table.columns.tolist() == COLUMNS
    assert table.index.tolist() == [str(i) for i in range(len(table))]
    assert [table[name].dtype.kind for name in ("module", "n_hits", "set_size")] == ["i"] * 3
    assert [table[name].dtype for name in ("expected", "pvalue", "pvalue_adj")] == [np.float64] * 3
    assert stages["ora"].uns["lava"]["params"]["ora"] == {"background": "selected", "min_size": 5}


@pytest.mark.parametrize("background", ["selected", "measured", "list"])
def test_hypergeometric_tail_by_hand(stages: Mapping[str, AnnData], background: str) -> None:
    adata = stages["module_genes"].copy()
    given = [*adata.var_names[:30], "elsewhere", "nowhere"]
    lava.tl.ora(adata, GENE_SETS, background=given if background == "list" else background, min_size=6)
    universe = {"selected": set(adata.uns["lava"]["genes"]), "measured": set(adata.var_names), "list": set(given)}
    universe = universe[background]
    listed = adata.uns["lava"]["module_genes"]
    table = result(adata)
    n_tested = 0
    for m in range(2):
        query = set(listed.loc[listed["module"] == m, "gene"]) & universe
        tested = {name: set(genes) & universe for name, genes in GENE_SETS.items() if len(set(genes) & universe) >= 6}
        pvalues = {
            name: hypergeom(len(universe), len(genes), len(query)).sf(len(genes & query) - 1)
            for name, genes in tested.items()
        }
        adjusted = dict(zip(pvalues, false_discovery_control(list(pvalues.values())), strict=True))
        rows = table[table["module"] == m].set_index("gene_set")
        assert set(rows.index) == set(tested)
        assert rows["pvalue"].is_monotonic_increasing
        for name, genes in tested.items():
            row = rows.loc[name]
            assert (row["n_hits"], row["set_size"]) == (len(genes & query), len(genes))
            assert row["expected"] == pytest.approx(len(genes) * len(query) / len(universe))
            assert row["pvalue"] == pytest.approx(pvalues[name])
            assert row["pvalue_adj"] == pytest.approx(adjusted[name])
            assert [g for g in row["genes"].split(";") if g] == sorted(genes & query)
        n_tested += len(tested)
    assert table["module"].is_monotonic_increasing
    assert len(table) == n_tested
    assert adata.uns["lava"]["params"]["ora"]["background"] == background


def test_planted_sets_are_found(stages: Mapping[str, AnnData]) -> None:
    first = result(stages["ora"]).groupby("module").head(1)
    assert set(first["gene_set"]) == {"first", "second"}
    assert (first["pvalue_adj"] < 1e-4).all()


def test_files_mappings_and_lists_of_them(stages: Mapping[str, AnnData], tmp_path: Path) -> None:
    path = write_gmt(tmp_path / "sets.gmt", GENE_SETS)
    halves = [dict(list(GENE_SETS.items())[:1]), write_gmt(tmp_path / "b.GMT", dict(list(GENE_SETS.items())[1:]))]
    as_sets = {name: frozenset(genes) for name, genes in GENE_SETS.items()}
    for gene_sets in (path, str(path), [path], halves, tuple(halves), as_sets):
        adata = stages["module_genes"].copy()
        lava.tl.ora(adata, gene_sets)
        assert_same(result(adata), result(stages["ora"]))


def test_a_name_given_twice_is_logged(stages: Mapping[str, AnnData], caplog: pytest.LogCaptureFixture) -> None:
    adata = stages["module_genes"].copy()
    other = {"first": GENE_SETS["second"]}
    with caplog.at_level(logging.WARNING, logger="lava_sc"):
        lava.tl.ora(adata, [GENE_SETS, other])
    assert "1 gene sets have a name given before" in caplog.text
    assert set(result(adata)["gene_set"]) == set(GENE_SETS)


@pytest.mark.parametrize("gene_symbols", [None, "feature_name", "symbol"])
def test_symbols(stages: Mapping[str, AnnData], gene_symbols: str | None) -> None:
    adata = stages["start"].copy()
    names = adata.var_names.copy()
    adata.var[gene_symbols or "feature_name"] = pd.Categorical(names)
    adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
    adata.obsm["lava_localities"] = stages["localities"].obsm["lava_localities"]
    adata.uns["lava"] = stages["localities"].copy().uns["lava"]
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 2, n_runs=2, patience=30, n_jobs=1)
    lava.tl.module_genes(adata)
    lava.tl.ora(adata, GENE_SETS, gene_symbols=gene_symbols)
    assert_same(result(adata), result(stages["ora"]))
    assert adata.uns["lava"]["module_genes"]["gene"].str.startswith("ENSG").all()


def test_copy_and_views(stages: Mapping[str, AnnData]) -> None:
    adata = stages["module_genes"].copy()
    found = lava.tl.ora(adata, GENE_SETS, copy=True)
    assert_unchanged(adata, stages["module_genes"])
    view = adata[:, :]
    assert lava.tl.ora(view, GENE_SETS) is None
    assert_unchanged(adata, stages["module_genes"])
    assert_unchanged(view, found)
    assert_unchanged(found, stages["ora"])
