"""Modules of one object in another: found where they are, whatever genes are called and in whatever order they are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import false_discovery_control
from tests import helpers
from tests.helpers import assert_same, assert_unchanged, names

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from anndata import AnnData

FEW: dict[str, Any] = {"n_permutations": 39}
FIGURES = ["cosine", "cosine_reference", "cosine_null", "z", "p_value", "p_adj"]


def placed(adata: AnnData, **kwargs: Any) -> AnnData:
    helpers.localities(adata, **kwargs)
    return adata


@pytest.fixture(scope="module")
def reference(stages: Mapping[str, AnnData]) -> AnnData:
    """The small toy with modules, lists and names. Shared: copy before changing anything."""
    adata = stages["module_genes"].copy()
    lava.tl.name_modules(adata, n_genes=2)
    return adata


@pytest.fixture(scope="module")
def new() -> AnnData:
    """Another toy of the same design, with localities. Shared: copy before changing anything."""
    return placed(helpers.toy(rng=7))


@pytest.fixture(scope="module")
def projected(new: AnnData, reference: AnnData) -> AnnData:
    """With the reference's modules. Shared: copy before changing anything."""
    adata = new.copy()
    lava.tl.project(adata, reference, n_permutations=199)
    return adata


def table_of(adata: AnnData) -> pd.DataFrame:
    return adata.uns["lava"]["preservation"]


def assert_close(found: AnnData, expected: AnnData) -> None:
    """The same projection, up to the last digits of sums."""
    pd.testing.assert_frame_equal(table_of(found), table_of(expected), rtol=1e-6)
    pd.testing.assert_frame_equal(
        found.uns["lava"]["preservation_localities"], expected.uns["lava"]["preservation_localities"], rtol=1e-6
    )
    np.testing.assert_array_equal(found.uns["lava"]["presences"], expected.uns["lava"]["presences"])


def test_fields_are_as_documented(new: AnnData, projected: AnnData, reference: AnnData) -> None:
    done = ["locality_corr", "amf", "project", "module_genes", "name_modules"]
    for container in ("obs", "var", "obsm", "varm", "layers"):
        assert set(getattr(projected, container)) - set(getattr(new, container)) == names(done, container)
    assert set(projected.uns["lava"]) - set(new.uns["lava"]) == names(done, "uns")
    params = projected.uns["lava"]["params"]
    assert list(params) == ["localities", *done]
    same = dict.fromkeys(["method", "covariates", "batch_key", "max_tie_fraction", "fdr", "nu"], "same")
    counts = {"n_matched": 35, "n_permutations": 199}
    assert params["project"] == {"reference_key": "lava", "use_raw": False, "rng": 0, **counts, **same}
    arguments = dict(params["locality_corr"])
    assert set(arguments.pop("mask_var")) == set(reference.uns["lava"]["genes"])
    assert arguments == reference.uns["lava"]["params"]["locality_corr"]
    assert params["amf"]["projected"]
    assert params["amf"]["n_modules"] == 2
    runs = projected.uns["lava"]["runs"]
    assert runs.columns.tolist() == reference.uns["lava"]["runs"].columns.tolist()
    assert runs["best"].tolist() == [True]
    assert_same(projected.uns["lava"]["modules"], reference.uns["lava"]["modules"])
    assert_same(projected.uns["lava"]["module_names"], reference.uns["lava"]["module_names"])


def test_modules_are_present_where_they_act(projected: AnnData, reference: AnnData) -> None:
    """And in no other region; each is the planted one that its strongest gene belongs to."""
    table = table_of(projected)
    np.testing.assert_allclose(table[["weight_matched", "weight_defined"]], 1, rtol=1e-6)
    assert (table["p_value"] == 1 / 200).all()
    assert (table["cosine"] > 0.6).all()
    assert (table["cosine"] <= table["cosine_reference"] + 0.05).all()
    assert (table["cosine_null"] < 0.3).all()
    assert (table["explained"] > 10 * table["explained_null"]).all()
    mean = lava.get.presences(projected).groupby(projected.obs["region"], observed=True).mean()
    for m in range(2):
        planted = lava.get.module(reference, m).sum().idxmax()[1]
        assert mean[m].idxmax() == f"R{planted}"
        assert mean[m][f"R{planted}"] > 0.3
        assert mean[m].drop(f"R{planted}").max() < 0.1
        found = projected.uns["lava"]["preservation_localities"].query("module == @m and p_adj <= 0.05")["locality"]
        assert table["n_alike"].iloc[m] == len(found)
        present = np.flatnonzero(projected.uns["lava"]["presences"][:, m] > 0.01)
        assert table["n_present"].iloc[m] == len(present)
        assert set(present) <= set(found)


def test_tables_by_their_definitions(projected: AnnData) -> None:
    table, localities = table_of(projected), projected.uns["lava"]["preservation_localities"]
    np.testing.assert_allclose(table["p_adj"], false_discovery_control(table["p_value"]))
    C, M = (abs(projected.uns["lava"][name]).toarray().astype(float) for name in ("C", "modules"))
    norms = np.linalg.norm(C, axis=1)
    unit = C / np.where(norms > 0, norms, 1)[:, None]
    for m, module in enumerate(M):
        alike = unit @ module / np.linalg.norm(module)
        mean = alike @ unit
        assert table["cosine"].iloc[m] == pytest.approx(mean @ module / np.linalg.norm(mean) / np.linalg.norm(module))
        part = localities[localities["module"] == m]
        np.testing.assert_allclose(part["cosine"], alike, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(part["p_adj"], false_discovery_control(part["p_value"]))


def test_onto_itself_it_finds_its_own_presences() -> None:
    """Within 0.05, and at a loss no higher than AMF's, which does not search to the end."""
    adata = lava.datasets.planted(n_cells=1000)
    lava.tl.localities(adata, n_neighbors=100)
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 4, n_runs=2)
    before = adata.uns["lava"]
    lava.tl.project(adata, adata, **FEW)
    after = adata.uns["lava"]
    assert_same(after["C"], before["C"])
    assert_same(after["modules"], before["modules"])
    assert np.abs(after["presences"] - before["presences"]).max() < 0.05
    assert after["runs"]["loss"].iloc[0] <= before["runs"]["loss"].min() * 1.001
    table = after["preservation"]
    np.testing.assert_allclose(table["cosine"], table["cosine_reference"])
    np.testing.assert_allclose(table["explained"], table["explained_reference"])


def test_modules_that_are_gone_are_not_found(new: AnnData, reference: AnnData) -> None:
    """The genes of one of two modules are shuffled over the cells, in the new data only."""
    adata = new.copy()
    genes = adata.var_names.str.startswith("M2_")
    X = adata.X.toarray()
    X[:, genes] = np.random.default_rng(0).permuted(X[:, genes], axis=0)
    adata.X = X
    lava.tl.project(adata, reference, n_permutations=199)
    table = table_of(adata)
    gone = [lava.get.module(reference, m).sum().idxmax().startswith("M2_") for m in range(2)]
    assert table["p_value"][gone].item() > 0.2
    assert table["n_alike"][gone].item() == 0
    assert table["p_value"][np.invert(gone)].item() == 1 / 200


def test_any_order_of_genes_and_cells_of_either(new: AnnData, reference: AnnData, projected: AnnData) -> None:
    rng = np.random.default_rng(0)
    adata = new[rng.permutation(300)][:, rng.permutation(40)].copy()
    lava.tl.project(adata, reference, n_permutations=199)
    assert_close(adata, projected)
    np.testing.assert_array_equal(adata[new.obs_names].obsm["lava_presences"], projected.obsm["lava_presences"])
    np.testing.assert_allclose(
        adata[:, new.var_names].varm["lava_gene_weights"], projected.varm["lava_gene_weights"], rtol=1e-6
    )
    expected = lava.get.module(projected, 0)
    assert lava.get.module(adata, 0).loc[expected.index, expected.columns].equals(expected)

    other = reference[:, rng.permutation(40)].copy()  # as if it had been explained in that order
    genes = pd.Index(reference.uns["lava"]["genes"])
    moved = other.var_names[other.var_names.isin(genes)]
    for name in ("C", "modules"):
        rows = [reordered(row, genes.get_indexer(moved)) for row in reference.uns["lava"][name].toarray()]
        other.uns["lava"][name] = sparse.csr_matrix(np.array(rows))
    other.uns["lava"]["genes"] = moved.to_numpy(dtype=object)
    again = new.copy()
    lava.tl.project(again, other, n_permutations=199)
    assert_close(again, projected)


def reordered(row: np.ndarray, order: np.ndarray) -> np.ndarray:
    """A row of pairs of genes, these in another order."""
    pairs = np.triu_indices(len(order), 1)
    table = np.zeros((len(order), len(order)), dtype=row.dtype)
    table[pairs] = row
    return (table + table.T)[np.ix_(order, order)][pairs]


def rename_ensembl(adata: AnnData) -> None:
    adata.var["feature_name"] = pd.Categorical(adata.var_names)
    adata.var_names = [f"ENSG{i:011d}" for i in np.random.default_rng(0).permutation(adata.n_vars)]


def rename_appended(adata: AnnData) -> None:
    adata.var_names = [f"{gene}_ENSG{i:011d}" if i % 3 else gene for i, gene in enumerate(adata.var_names)]


def rename_column(adata: AnnData) -> None:
    adata.var["symbol"] = list(adata.var_names)
    adata.var_names = [f"gene {i}" for i in range(adata.n_vars)]


@pytest.mark.parametrize(
    ("rename", "gene_symbols"),
    [(rename_ensembl, None), (rename_appended, None), (rename_column, "symbol")],
    ids=["ensembl", "appended", "column"],
)
def test_genes_by_any_of_their_names(
    new: AnnData,
    reference: AnnData,
    projected: AnnData,
    rename: Callable[[AnnData], None],
    gene_symbols: str | None,
) -> None:
    adata = new.copy()
    rename(adata)
    lava.tl.project(adata, reference, gene_symbols=gene_symbols, n_permutations=199)
    assert_close(adata, projected)
    assert set(adata.uns["lava"]["module_genes"]["gene"]) <= set(adata.var_names)


def test_genes_that_only_one_of_them_has(new: AnnData, reference: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    genes = [gene for gene in new.var_names if gene not in {"M1_01", "M1_02", "M2_05", "BG_001"}]
    adata = new[:, genes].copy()
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        lava.tl.project(adata, reference, **FEW)
    assert "31 of the 35 correlated genes of the reference are found" in caplog.text
    assert "of 2 modules are preserved" in caplog.text
    table = table_of(adata)
    for m, row in table.iterrows():
        said = (
            f"module {m}: {row['n_matched']:.0f} of {row['n_genes']:.0f} genes and {100 * row['weight_matched']:.0f} %"
        )
        assert said in caplog.text
    for m in range(2):
        pattern = lava.get.module(reference, m)
        rest = pattern.reindex(index=genes, columns=genes).fillna(0)
        weights = pattern.sum()
        listed = weights.index[weights >= 0.05 * weights.max()]
        assert table["n_genes"].iloc[m] == len(listed)
        assert table["n_matched"].iloc[m] == len(listed.intersection(genes))
        assert table["weight_matched"].iloc[m] == pytest.approx(rest.to_numpy().sum() / pattern.to_numpy().sum())
        found = lava.get.module(adata, m).reindex(index=genes, columns=genes).fillna(0)
        np.testing.assert_allclose(found, rest / rest.max(axis=None), rtol=1e-6)
    assert set(adata.uns["lava"]["genes"]) == set(genes) & set(reference.uns["lava"]["genes"])


def test_a_module_without_any_matched_pair(
    new: AnnData, reference: AnnData, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """It cannot be found, which is said; all that follows goes on with the other."""
    other = reference.copy()
    of_second = [lava.get.module(reference, m).sum().idxmax().startswith("M2_") for m in range(2)].index(True)
    modules = other.uns["lava"]["modules"].tolil()
    column = modules[of_second].tocsr().argmax()
    modules[of_second] = 0
    modules[of_second, column] = 1
    other.uns["lava"]["modules"] = modules.tocsr()
    gene = lava.get.module(other, of_second).sum().idxmax()
    adata = new[:, new.var_names != gene].copy()
    with caplog.at_level(logging.WARNING, logger="lava_sc"):
        lava.tl.project(adata, other, **FEW)
    assert f"less than half of the weight of modules {of_second} is between genes" in caplog.text
    row = table_of(adata).iloc[of_second]
    assert row[FIGURES].isna().all()
    assert row["weight_matched"] == row["n_present"] == row["n_alike"] == row["explained"] == 0
    assert table_of(adata)["p_adj"].notna().sum() == 1
    assert set(adata.uns["lava"]["preservation_localities"]["module"]) == {1 - of_second}
    in_none = adata.obs["lava_locality_in_degree"] == 0
    assert lava.get.presences(adata).isna().any(axis=1).equals(in_none)
    lava.pl.modules(adata, show=False)
    lava.report(adata, tmp_path / "page.html")


def test_modules_without_any_matched_pair_are_refused(new: AnnData, reference: AnnData) -> None:
    genes = new.var_names.str.startswith(("BG_", "MARK"))
    other = reference.copy()
    modules = other.uns["lava"]["modules"]
    names = np.asarray(other.uns["lava"]["genes"], dtype=str)
    a, _ = np.triu_indices(len(names), 1)
    of_modules = np.char.startswith(names[a], "M1_") | np.char.startswith(names[a], "M2_")
    other.uns["lava"]["modules"] = sparse.csr_matrix(modules.toarray() * of_modules)
    adata = new[:, genes].copy()
    before = adata.copy()
    with pytest.raises(
        ValueError, match=r"Found \d+ genes of the reference in adata, and no two of them in one module, "
    ):
        lava.tl.project(adata, other)
    assert_unchanged(adata, before)


def test_what_follows_can_follow(projected: AnnData, tmp_path: Path) -> None:
    adata = projected.copy()
    kept = table_of(projected)
    lava.tl.finetune_presences(adata)
    lava.tl.co_presence(adata)
    lava.tl.presence_association(adata, "region", n_permutations=50)
    lava.tl.ora(adata, helpers.GENE_SETS)
    lava.tl.name_modules(adata)
    lava.tl.score_gene_sets(adata, helpers.GENE_SETS, n_random=9)
    assert_same(table_of(adata), kept)
    assert lava.get.localities(adata).obsm["presences"].shape == (15, 2)
    page = lava.report(adata, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "2 of 2 are preserved" in page
    assert "was given, not chosen" not in page
    adata.write_h5ad(tmp_path / "file.h5ad")
    adata.write_zarr(tmp_path / "file.zarr")
    found = ad.read_h5ad(tmp_path / "file.h5ad")
    for results in (found, ad.read_zarr(tmp_path / "file.zarr")):
        assert_same(results.uns["lava"], adata.uns["lava"], dtypes=False)
    again = placed(helpers.toy(rng=8))
    lava.tl.project(again, found, **FEW)  # what was projected can be a reference
    assert (table_of(again)["p_value"] <= 0.05).all()


def test_modules_of_its_own_take_their_place(projected: AnnData) -> None:
    adata = projected.copy()
    helpers.amf(adata)
    left = {"preservation", "preservation_localities", "module_names", "module_genes"}
    assert left.isdisjoint(adata.uns["lava"])
    assert "project" not in adata.uns["lava"]["params"]
    lava.tl.module_evidence(adata, n_permutations=1, n_decoys=1)


@pytest.mark.parametrize("step", ["module_evidence", "stability"])
def test_steps_that_would_fit_modules_again_refuse(projected: AnnData, step: str) -> None:
    adata = projected.copy()
    with pytest.raises(ValueError, match=rf"modules of another object .* which lava_sc\.tl\.{step} would make again"):
        getattr(lava.tl, step)(adata)
    assert_unchanged(adata, projected)


def test_arguments_of_the_reference_unless_others_are_given(new: AnnData, stages: Mapping[str, AnnData]) -> None:
    known = stages["localities"].copy()
    known.obs["half"] = np.arange(300) % 2
    lava.tl.locality_corr(
        known, method="pearson", covariates="total_counts", batch_key="half", max_tie_fraction=0.5, fdr=0.2
    )
    helpers.amf(known)
    adata = new.copy()
    with pytest.raises(
        ValueError, match=r"no column 'half' in adata\.obs, by which the reference's .* \(None for none\)"
    ):
        lava.tl.project(adata, known, **FEW)
    adata.obs["half"] = np.arange(300) % 2
    lava.tl.project(adata, known, **FEW)
    expected = known.uns["lava"]["params"]["locality_corr"]
    arguments = dict(adata.uns["lava"]["params"]["locality_corr"])
    assert set(arguments.pop("mask_var")) == set(known.uns["lava"]["genes"])
    assert_same(arguments, expected)
    given = {"method": "spearman", "covariates": None, "batch_key": None, "max_tie_fraction": 0.75, "fdr": None}
    lava.tl.project(adata, known, **FEW, **given)
    alone = new.copy()
    lava.tl.locality_corr(alone, fdr=None)
    assert_same(adata.uns["lava"]["C"], alone.uns["lava"]["C"])
    arguments = dict(adata.uns["lava"]["params"]["locality_corr"])
    assert arguments.pop("mask_var").tolist() == adata.uns["lava"]["genes"].tolist()
    assert_same(arguments, alone.uns["lava"]["params"]["locality_corr"])


def test_the_weight_of_overestimation_is_that_of_the_fit(new: AnnData, reference: AnnData, projected: AnnData) -> None:
    found = [lava.tl.project(new, reference, nu=nu, **FEW, copy=True) for nu in ("same", 9, 1)]
    assert_same(found[0].uns["lava"]["preservation"], found[1].uns["lava"]["preservation"])
    assert [one.uns["lava"]["params"]["amf"]["nu"] for one in found] == [9.0, 9.0, 1.0]
    assert not np.array_equal(found[1].uns["lava"]["presences"], found[2].uns["lava"]["presences"])
    assert_same(table_of(found[2])[FIGURES], table_of(found[1])[FIGURES])


def test_keys_and_layers(new: AnnData, reference: AnnData, projected: AnnData) -> None:
    other = reference.copy()
    other.uns["healthy"] = other.uns.pop("lava")
    adata = new.copy()
    helpers.run_steps(adata, "locality_corr", "amf")
    own = adata.copy()
    adata.layers["same"], adata.X = adata.X, None
    placed(adata, key_added="of healthy")
    lava.tl.project(adata, other, reference_key="healthy", key="of healthy", layer="same", n_permutations=199)
    assert_same(adata.uns["lava"], own.uns["lava"])
    assert_same(adata.uns["of healthy"]["preservation"], table_of(projected))
    assert_same(adata.obsm["of healthy_presences"], projected.obsm["lava_presences"])


def test_workers_and_copies_change_nothing(new: AnnData, reference: AnnData) -> None:
    adata = new.copy()
    before = reference.copy()
    found = lava.tl.project(adata, reference, **FEW, n_jobs=2, copy=True)
    assert_unchanged(adata, new)
    view = adata[:, :]
    assert lava.tl.project(view, reference, **FEW, n_jobs=1) is None
    assert_unchanged(view, found)
    assert_unchanged(adata, new)
    assert_unchanged(reference, before)


def lower_case(adata: AnnData) -> None:
    adata.var_names = adata.var_names.str.lower()


def hide_in_column(adata: AnnData) -> None:
    adata.var["symbol"] = list(adata.var_names)
    adata.var_names = [f"gene {i}" for i in range(adata.n_vars)]


def strange(adata: AnnData) -> None:
    adata.var_names = [f"gene {i}" for i in range(adata.n_vars)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lower_case, r"Found 0 of the reference's 35 correlated genes .*35 genes differ in upper and lower case only"),
        (hide_in_column, r"expected at least 10; pass gene_symbols='symbol', which names 35 of their genes\.$"),
        (strange, r"\('BG_001', 'BG_002', .*\) among those of adata \('gene 0', .*; pass gene_symbols=, a column of"),
        (lambda adata: adata.obsm.pop("lava_localities"), r"lava_sc\.tl\.localities; call it first, with key 'lava'"),
    ],
    ids=["case", "column", "strangers", "localities"],
)
def test_what_cannot_be_projected(
    new: AnnData, reference: AnnData, spoil: Callable[[AnnData], object], message: str
) -> None:
    adata = new.copy()
    spoil(adata)
    before = adata.copy()
    with pytest.raises(ValueError, match=message):
        lava.tl.project(adata, reference)
    assert_unchanged(adata, before)


def test_references_without_modules(new: AnnData, stages: Mapping[str, AnnData]) -> None:
    adata = new.copy()
    with pytest.raises(ValueError, match=r"no modules under key 'lava' in the reference, .*pass reference_key=\."):
        lava.tl.project(adata, stages["locality_corr"])
    with pytest.raises(TypeError, match=r"Found str as reference, expected an AnnData object"):
        lava.tl.project(adata, "healthy.h5ad")
    assert_unchanged(adata, new)


def test_names_of_several_genes_match_none(new: AnnData, reference: AnnData) -> None:
    adata = new.copy()
    adata.var["symbol"] = ["BG_001" if gene == "BG_002" else gene for gene in adata.var_names]
    lava.tl.project(adata, reference, gene_symbols="symbol", **FEW)
    assert {"BG_001", "BG_002"}.isdisjoint(adata.uns["lava"]["genes"])
    assert adata.uns["lava"]["params"]["project"]["n_matched"] == 33
    with pytest.raises(ValueError, match=r"no column of adata\.var or reference\.var 'other', .*'symbol'"):
        lava.tl.project(adata, reference, gene_symbols="other")
