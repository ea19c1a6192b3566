from __future__ import annotations

import re
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.helpers import GENE_SETS, STEPS, assert_same, assert_unchanged, contents, names, stored, toy

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData

FAST: dict[str, Any] = {"n_neighbors": 60, "n_runs": 1, "n_jobs": 1}


@pytest.fixture(scope="module")
def explained_toy() -> AnnData:
    adata = toy()
    lava.tl.explain(adata, 2, gene_sets=GENE_SETS, **FAST)
    return adata


def test_it_is_the_steps_one_after_the_other(explained_toy: AnnData) -> None:
    adata = toy()
    lava.tl.localities(adata, n_neighbors=60)
    lava.pp.select_genes(adata, localities_key="lava")
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 2, n_runs=1)
    lava.tl.module_genes(adata)
    lava.tl.ora(adata, GENE_SETS)
    assert_unchanged(explained_toy, adata)


def test_all_arguments_reach_their_steps() -> None:
    adata = toy()
    adata.layers["other"] = adata.X * 2
    adata.obsm["X_other"] = adata.obsm["X_umap"][:, ::-1].copy()
    adata.var["symbol"] = adata.var_names.str.lower()
    lava.tl.explain(
        adata,
        2,
        use_rep="other",
        overlap=4,
        n_top_genes=20,
        gene_symbols="symbol",
        layer="other",
        covariates="total_counts",
        fdr=None,
        gamma=0.5,
        gene_sets={name: [gene.lower() for gene in genes] for name, genes in GENE_SETS.items()},
        rng=3,
        key_added="mine",
        **FAST,
    )
    params = adata.uns["mine"]["params"]
    places, corr, amf = params["localities"], params["locality_corr"], params["amf"]
    assert (places["use_rep"], places["n_neighbors"], places["overlap"], places["rng"]) == ("X_other", 60, 4.0, 3)
    assert (corr["layer"], list(corr["covariates"]), corr["n_genes"]) == ("other", ["total_counts"], 20)
    assert "fdr" not in corr
    assert (amf["gamma"], amf["n_runs"], amf["rng"]) == (0.5, 1, 3)
    assert params["ora"]["gene_symbols"] == "symbol"
    assert adata.var["lava_genes"].sum() == 20
    assert "lava" not in adata.uns


def test_genes_are_selected_anew_unless_given() -> None:
    adata = toy()
    adata.var["lava_genes"] = False
    adata.var["mine"] = adata.var_names.str.startswith("M")
    before = adata.var["lava_genes"].copy()
    lava.tl.explain(adata, 2, mask_var="mine", **FAST)
    assert set(adata.uns["lava"]["genes"]) == set(adata.var_names[adata.var["mine"]])
    assert_same(adata.var["lava_genes"], before)
    lava.tl.explain(adata, 2, **FAST)
    assert set(adata.uns["lava"]["genes"]) == set(adata.var_names[adata.var["lava_genes"]]) != set()


def test_number_of_modules_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the arguments that explain takes, and none when none exceeds chance."""
    from importlib import import_module

    asked = {}

    def choose(adata: AnnData, *, key: str, **arguments: Any) -> None:
        asked.update(arguments)
        lava.tl.choose_n_modules(adata, [2], n_runs=2, n_permutations=1, n_splits=0, init="kmeans", key=key)
        adata.uns[key]["n_modules_choice"]["n_modules"] = answer

    monkeypatch.setattr(import_module("lava_sc.tl.explain"), "choose_n_modules", choose)
    for answer in (3, 0):
        adata = toy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lava.tl.explain(adata, **(FAST | {"n_runs": 3}), gamma=0.5, rng=4)
        assert (asked["n_runs"], asked["gamma"], asked["rng"]) == (3, 0.5, 4)
        assert ("modules" in adata.uns["lava"]) == (answer > 0)
        assert "module_genes" in adata.uns["lava"] if answer else "C" in adata.uns["lava"]
        if answer:
            assert adata.uns["lava"]["params"]["amf"]["n_modules"] == answer


def test_without_gene_sets_nothing_is_tested_and_nothing_stale_is_left(explained_toy: AnnData) -> None:
    adata = explained_toy.copy()
    lava.tl.explain(adata, 2, **FAST)
    assert set(adata.uns["lava"]) == names([step for step in STEPS if step != "ora"], "uns") | {"params"}
    assert "ora" not in adata.uns["lava"]["params"]


def test_copy(explained_toy: AnnData) -> None:
    adata = toy()
    before = adata.copy()
    found = lava.tl.explain(adata, 2, gene_sets=GENE_SETS, copy=True, **FAST)
    assert_unchanged(adata, before)
    assert_unchanged(found, explained_toy)


def test_a_view_becomes_an_object_of_its_own(explained_toy: AnnData) -> None:
    adata = toy()
    before = adata.copy()
    view = adata[:, :]
    assert lava.tl.explain(view, 2, gene_sets=GENE_SETS, **FAST) is None
    assert not view.is_view
    assert_unchanged(adata, before)
    assert_unchanged(view, explained_toy)


def test_seeds_workers_and_generators(explained_toy: AnnData) -> None:
    adata = toy()
    lava.tl.explain(adata, 2, gene_sets=GENE_SETS, n_neighbors=60, n_runs=1, n_jobs=2)
    assert_unchanged(adata, explained_toy)
    drawn = []
    for _ in range(2):
        lava.tl.explain(adata, 2, rng=np.random.default_rng(5), **FAST)
        drawn.append(stored(adata, list(STEPS)[:4]))
    assert_same(*drawn)
    assert not np.array_equal(drawn[0]["uns/probes"], explained_toy.uns["lava"]["probes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"use_rep": "nothing"}, r"expected 'nothing'"),
        ({"n_neighbors": 2}, r"n_neighbors=2"),
        ({"layer": "nothing"}, r"no layer 'nothing'"),
        ({"n_top_genes": 1}, r"n_top_genes=1"),
        ({"covariates": "nothing"}, r"column of adata\.obs 'nothing'"),
        ({"mask_var": "nothing"}, r"column of adata\.var 'nothing'"),
        ({"fdr": 2}, r"fdr=2"),
        ({"n_modules": 16}, r"n_modules=16, expected a whole number between 1 and 15"),
        ({"n_modules": 0}, r"n_modules=0"),
        ({"gamma": -1}, r"gamma=-1"),
        ({"n_runs": 0}, r"n_runs=0"),
        ({"gene_sets": "missing.gmt"}, r"no GMT file at 'missing\.gmt'"),
        ({"gene_sets": {"few": ["M1_01"]}}, r"no gene set with at least 5"),
        ({"gene_sets": GENE_SETS, "gene_symbols": "nothing"}, r"column of adata\.var 'nothing'"),
    ],
)
@pytest.mark.parametrize("before", ["nothing yet", "results"])
def test_a_step_that_fails_leaves_everything_as_it_was(
    explained_toy: AnnData, arguments: dict[str, Any], message: str, before: str
) -> None:
    adata = toy() if before == "nothing yet" else explained_toy.copy()
    untouched = adata.copy()
    with pytest.raises(ValueError, match=message):
        lava.tl.explain(adata, **({"n_modules": 2} | FAST | {"n_neighbors": 60} | arguments))
    assert_unchanged(adata, untouched)
    assert list(contents(adata)["obs"].columns) == list(untouched.obs.columns)
    assert list(adata.obsm) == list(untouched.obsm)


def test_an_interrupt_leaves_everything_as_it_was(explained_toy: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["lava_sc.tl.explain"], "module_genes", interrupted)
    adata = explained_toy.copy()
    with pytest.raises(KeyboardInterrupt):
        lava.tl.explain(adata, 1, n_neighbors=80, n_runs=1, n_jobs=1)
    assert_unchanged(adata, explained_toy)


def test_warnings_point_at_the_caller() -> None:
    adata = toy()
    with pytest.warns(UserWarning, match=r"adata\.layers\['counts'\] .*raw counts") as caught:
        lava.tl.explain(adata, 2, layer="counts", **FAST)
    assert {warning.filename for warning in caught} == {__file__}
    assert all(re.search(r"counts", str(warning.message)) for warning in caught)


def test_threads_reach_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gene selection among them, whose threads could not be set before."""
    from lava_sc.parallel import threads

    asked = set[int | None]()
    resolve = threads.resolve_n_jobs

    def noting(n_jobs: int | None) -> int:
        asked.add(n_jobs)
        return resolve(n_jobs)

    monkeypatch.setattr(threads, "resolve_n_jobs", noting)
    adata = lava.datasets.planted(n_cells=300, n_genes=100)
    lava.tl.explain(adata, 2, n_neighbors=60, n_runs=1, n_jobs=1)
    assert asked == {1}
