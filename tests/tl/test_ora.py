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

COLUMNS = ["module", "gene_set", "n_hits", "set_size", "expected", "pvalue", "pvalue_adj", "pvalue_adj_all", "genes"]


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
    assert stages["ora"].uns["lava"]["params"]["ora"] == {
        "background": "selected",
        "min_size": 5,
        "n_random": 100,
        "network": False,
        "rng": 0,
    }


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


def test_adjusted_over_all_modules(stages: Mapping[str, AnnData]) -> None:
    from statsmodels.stats.multitest import multipletests

    table = result(stages["ora"])
    np.testing.assert_allclose(table["pvalue_adj_all"], multipletests(table["pvalue"], method="fdr_bh")[1])


@pytest.mark.parametrize("columns", [("source", "target"), ("gene_set", "gene")])
def test_tables_of_gene_sets(stages: Mapping[str, AnnData], columns: tuple[str, str]) -> None:
    rows = [(name, gene) for name, genes in GENE_SETS.items() for gene in genes]
    adata = stages["module_genes"].copy()
    lava.tl.ora(adata, pd.DataFrame(rows, columns=list(columns)).assign(weight=1.0))
    assert_same(result(adata), result(stages["ora"]))


def test_symbols_with_ids_appended(stages: Mapping[str, AnnData], caplog: pytest.LogCaptureFixture) -> None:
    """As in some files of the muscat package: the ids are taken off, and this is said."""
    adata = stages["module_genes"].copy()
    new = {gene: f"{gene}_ENSG{i:011d}" for i, gene in enumerate(adata.var_names)}
    adata.var_names = list(new.values())
    adata.uns["lava"]["genes"] = np.array([new[gene] for gene in adata.uns["lava"]["genes"]], dtype=object)
    listed = adata.uns["lava"]["module_genes"]
    adata.uns["lava"]["module_genes"] = listed.assign(gene=[new[gene] for gene in listed["gene"]])
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        lava.tl.ora(adata, GENE_SETS)
    assert "matched to gene sets as" in caplog.text
    assert_same(result(adata), result(stages["ora"]))


def test_errors_say_what_would_match(stages: Mapping[str, AnnData]) -> None:
    adata = stages["module_genes"].copy()
    adata.var["ids"] = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
    ids = {"some": adata.var["ids"].tolist()[:20]}
    with pytest.raises(ValueError, match=r"pass gene_symbols='ids', which names 20 of their genes"):
        lava.tl.ora(adata, ids)
    with pytest.raises(ValueError, match=r"genes differ in upper and lower case only"):
        lava.tl.ora(adata, {name: [gene.lower() for gene in genes] for name, genes in GENE_SETS.items()})


def test_malformed_lines_are_named(stages: Mapping[str, AnnData], tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text("good\tsource\ta\tb\n\nbad no tabs\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 fields in line 3 of .*sets\.gmt', expected a name"):
        lava.tl.ora(stages["module_genes"].copy(), path)


def test_libraries_only_when_the_network_may_be_used(
    stages: Mapping[str, AnnData], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gseapy

    monkeypatch.setattr(gseapy, "get_library", lambda name: GENE_SETS if name == "Ours_2026" else 1 / 0)
    adata = stages["module_genes"].copy()
    with pytest.raises(ValueError, match=r"network=True"):
        lava.tl.ora(adata, "Ours_2026")
    with pytest.raises(ValueError, match=r"no way to download the Enrichr library 'Theirs'"):
        lava.tl.ora(adata, "Theirs", network=True)
    lava.tl.ora(adata, "Ours_2026", network=True)
    assert_same(result(adata), result(stages["ora"]))


def test_random_modules(stages: Mapping[str, AnnData]) -> None:
    """Random modules pass next to no set against the genes they are drawn from, and many against all genes if sets are
    those that are selected; the number of a large sample agrees with one that was drawn here."""
    adata = stages["module_genes"].copy()
    lava.tl.ora(adata, GENE_SETS, n_random=200)
    control = adata.uns["lava"]["ora_control"]
    listed = adata.uns["lava"]["module_genes"]
    assert control["n_genes"].tolist() == listed.groupby("module").size().tolist()
    passing = result(adata).query("pvalue_adj <= 0.05").groupby("module").size()
    assert control["n_significant"].tolist() == [passing.get(m, 0) for m in range(2)]
    assert (control["random_mean"] < 0.2).all()
    selected = list(adata.uns["lava"]["genes"])
    common = {f"common {k}": selected for k in range(3)} | {"rare": [f"g{i}" for i in range(9)]}
    everything = [*adata.var_names, *(f"g{i}" for i in range(500))]
    lava.tl.ora(adata, common, background=everything, n_random=50)
    assert (adata.uns["lava"]["ora_control"]["random_mean"] == 3).all()
    lava.tl.ora(adata, GENE_SETS, n_random=0)
    assert adata.uns["lava"]["ora_control"]["random_mean"].isna().all()
