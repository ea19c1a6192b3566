from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.helpers import amf, assert_same, assert_unchanged, run_steps, stored
from tests.reference import amf_numpy as reference

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

RUNS = [
    "seed",
    "loss",
    "main_term",
    "cosine",
    "overestimation",
    "co_presence",
    "n_modules",
    "n_epochs",
    "converged",
    "seconds",
    "best",
]


def absolute(adata: AnnData) -> np.ndarray:
    return np.abs(adata.uns["lava"]["C"].toarray().astype(np.float64))


def factors(adata: AnnData) -> tuple[np.ndarray, np.ndarray]:
    results = adata.uns["lava"]
    return results["presences"].astype(np.float64), results["modules"].toarray().astype(np.float64)


def best_run(adata: AnnData) -> Any:
    runs = adata.uns["lava"]["runs"]
    assert runs["best"].sum() == 1
    return runs[runs["best"]].iloc[0]


def test_fields_have_the_documented_shapes_and_dtypes(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"]
    results = adata.uns["lava"]
    modules, presences, runs = results["modules"], results["presences"], results["runs"]
    assert modules.shape == (2, results["C"].shape[1])
    assert modules.format == "csr"
    assert modules.dtype == np.float32
    assert modules.has_canonical_format
    assert (modules.data != 0).all()
    assert presences.shape == (15, 2)
    assert presences.dtype == np.float32
    assert runs.columns.tolist() == RUNS
    assert runs.index.tolist() == ["0", "1"]
    assert runs[["best", "converged"]].dtypes.tolist() == [bool, bool]
    assert adata.obsm["lava_presences"].shape == (300, 2)
    assert adata.obsm["lava_presences"].dtype == np.float64
    assert adata.varm["lava_gene_weights"].shape == (40, 2)
    assert adata.varm["lava_gene_weights"].dtype == np.float64
    expected = {
        "n_modules": 2,
        "nu": 9.0,
        "gamma": 1e-4,
        "init": "nmf",
        "n_refits": 1,
        "n_runs": 2,
        "batch_size": 64,
        "learning_rate": 0.01,
        "tol": 0.01,
        "patience": 30,
        "max_epochs": 10_000,
        "min_localities": 1,
        "device": "auto",
        "rng": 0,
    }
    assert results["params"]["amf"] == expected


def test_factors_are_canonical(stages: Mapping[str, AnnData]) -> None:
    P, M = factors(stages["amf"])
    for values in (P, M):
        assert values.min() >= 0
        assert values.max() <= 1
    np.testing.assert_array_equal(M.max(axis=1), 1)
    assert (np.diff(P.sum(axis=0)) <= 0).all()


def test_pairs_that_correlate_nowhere_are_in_no_module(stages: Mapping[str, AnnData]) -> None:
    M = factors(stages["amf"])[1]
    assert not M[:, ~absolute(stages["amf"]).any(axis=0)].any()


@pytest.mark.parametrize(
    "arguments", [{}, {"nu": 3, "gamma": 10.0}, {"init": "random", "n_modules": 3, "batch_size": 4}]
)
def test_figures_of_the_best_run_are_those_of_what_is_stored(
    stages: Mapping[str, AnnData], arguments: dict[str, Any]
) -> None:
    adata = stages["locality_corr"].copy()
    amf(adata, **arguments)
    C, (P, M), run = absolute(adata), factors(adata), best_run(adata)
    every = np.arange(len(C))
    nu, gamma = arguments.get("nu", 9.0), arguments.get("gamma", 1e-4)
    chat = reference.reconstruct(P, M)
    assert run["loss"] == pytest.approx(reference.batch_loss(C, P, M, every, nu=nu, gamma=gamma), rel=1e-5)
    assert run["main_term"] == pytest.approx(reference.batch_loss(C, P, M, every, nu=nu, gamma=0), rel=1e-5)
    assert run["cosine"] == pytest.approx(reference.mean_cosine(C, chat), rel=1e-5)
    assert run["overestimation"] == pytest.approx(reference.overestimation_ratio(C, chat), rel=1e-4, abs=1e-7)
    assert run["n_modules"] == P.shape[1]
    assert run["loss"] == adata.uns["lava"]["runs"]["loss"].min()


def test_presence_of_a_cell_is_the_mean_over_its_localities(stages: Mapping[str, AnnData]) -> None:
    adata = stages["start"].copy()
    lava.tl.localities(adata, n_neighbors=60, overlap=1.4, max_evals=1)  # leaves some cells out
    run_steps(adata, "locality_corr", "amf")
    membership, P = adata.obsm["lava_localities"].toarray(), adata.uns["lava"]["presences"]
    expected = np.full((adata.n_obs, P.shape[1]), np.nan)
    for cell in range(adata.n_obs):
        around = [P[i] for i in range(len(P)) if membership[cell, i]]
        if around:
            expected[cell] = np.mean(np.array(around, dtype=np.float64), axis=0)
    assert 0 < np.isnan(expected[:, 0]).sum() < adata.n_obs
    np.testing.assert_allclose(adata.obsm["lava_presences"], expected, rtol=1e-12, equal_nan=True)


def test_weight_of_a_gene_is_the_sum_over_its_pairs(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"]
    genes, M = adata.uns["lava"]["genes"], factors(adata)[1]
    expected = {name: np.full(2, np.nan) for name in adata.var_names}
    for name in genes:
        expected[name] = np.zeros(2)
    column = 0
    for a in range(len(genes)):
        for b in range(a + 1, len(genes)):
            expected[genes[a]] += M[:, column]
            expected[genes[b]] += M[:, column]
            column += 1
    weights = adata.varm["lava_gene_weights"]
    np.testing.assert_allclose(weights, [expected[name] for name in adata.var_names], rtol=1e-12, equal_nan=True)
    np.testing.assert_array_equal(np.isnan(weights).any(axis=1), ~adata.var["lava_genes"])


@pytest.mark.parametrize("init", ["nmf", "kmeans", "random"])
def test_same_seed_same_result_whatever_the_number_of_workers(stages: Mapping[str, AnnData], init: str) -> None:
    found = []
    for arguments in (dict(), dict(n_jobs=2), dict(rng=np.random.SeedSequence(0))):
        adata = stages["locality_corr"].copy()
        amf(adata, init=init, **arguments)
        adata.uns["lava"]["params"]["amf"].pop("rng", None)
        found.append(adata)
    assert_unchanged(found[1], found[0])
    assert_unchanged(found[2], found[0])


def test_many_blocks_of_columns_and_batches(explained: AnnData) -> None:
    adata = explained.copy()
    lava.tl.locality_corr(adata, fdr=None)
    assert len(np.unique(adata.uns["lava"]["C"].indices)) > 2 * 1024
    found = [
        lava.tl.amf(adata, 3, n_runs=2, batch_size=7, max_epochs=150, patience=20, n_jobs=n_jobs, copy=True)
        for n_jobs in (1, 2)
    ]
    assert_unchanged(found[1], found[0])
    C, (P, M) = absolute(found[0]), factors(found[0])
    loss = reference.batch_loss(C, P, M, np.arange(len(C)), nu=9, gamma=1e-4)
    assert best_run(found[0])["loss"] == pytest.approx(loss, rel=1e-5)


def test_seeds_and_generators(stages: Mapping[str, AnnData]) -> None:
    def presences(rng: object) -> np.ndarray:
        adata = stages["locality_corr"].copy()
        amf(adata, init="random", rng=rng)
        return adata.uns["lava"]["presences"]

    first = presences(0)
    np.testing.assert_array_equal(presences(np.random.default_rng(0)), first)
    assert not np.array_equal(presences(1), first)


def test_runs_are_the_same_however_many_follow(stages: Mapping[str, AnnData]) -> None:
    """Each run has a seed of its own."""
    adata = stages["locality_corr"].copy()
    few = lava.tl.amf(adata, 2, n_runs=2, patience=30, n_jobs=1, copy=True).uns["lava"]["runs"]
    many = lava.tl.amf(adata, 2, n_runs=4, patience=30, n_jobs=1, copy=True).uns["lava"]["runs"]
    columns = ["loss", "n_epochs"]
    assert_same(many.iloc[:2][columns], few[columns])


@pytest.mark.parametrize("n_modules", [1, 15])
def test_fewest_and_most_modules(stages: Mapping[str, AnnData], n_modules: int) -> None:
    adata = stages["locality_corr"].copy()
    amf(adata, n_modules=n_modules)
    stored_modules = adata.uns["lava"]["presences"].shape[1]
    assert 1 <= stored_modules <= n_modules
    assert adata.obsm["lava_presences"].shape[1] == stored_modules


def test_modules_that_nothing_calls_for_are_left_out_and_logged(
    stages: Mapping[str, AnnData], caplog: pytest.LogCaptureFixture
) -> None:
    adata = stages["locality_corr"].copy()
    C = adata.uns["lava"]["C"].tolil()
    correlated = np.flatnonzero(adata.uns["lava"]["evidence"]["n_kept_pairs"])
    C[correlated[2:]] = 0
    adata.uns["lava"]["C"] = C.tocsr()
    with caplog.at_level(logging.WARNING, logger="lava_sc"):
        amf(adata, n_modules=4, init="kmeans", n_refits=0)  # refitted presences may find a use for them
    alive = adata.uns["lava"]["presences"].shape[1]
    assert alive <= 2
    assert f"{4 - alive} of 4 modules died: {alive} are stored" in caplog.text
    assert adata.uns["lava"]["modules"].shape[0] == adata.varm["lava_gene_weights"].shape[1] == alive
    assert adata.uns["lava"]["params"]["amf"]["n_modules"] == 4
    assert np.isfinite(adata.uns["lava"]["presences"]).all()
    assert not adata.uns["lava"]["presences"][np.setdiff1d(np.arange(15), correlated[:2])].any()


def test_localities_that_are_all_the_same(stages: Mapping[str, AnnData]) -> None:
    """No warning of the library that starts are computed with gets through to users, who can do nothing about it."""
    adata = stages["start"].copy()
    lava.tl.localities(adata, n_neighbors=adata.n_obs, max_evals=1)
    run_steps(adata, "locality_corr", "amf")
    presences = adata.uns["lava"]["presences"]
    np.testing.assert_allclose(presences, np.broadcast_to(presences[0], presences.shape), rtol=0, atol=0.03)


def test_unconverged_runs_warn_at_the_caller(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    with pytest.warns(UserWarning, match="2 of 2 runs stopped at max_epochs=3.*raise max_epochs") as caught:
        lava.tl.amf(adata, 2, n_runs=2, max_epochs=3, n_jobs=1)
    assert caught[0].filename == __file__
    assert adata.uns["lava"]["runs"]["n_epochs"].tolist() == [3, 3]
    assert not adata.uns["lava"]["runs"]["converged"].any()


def test_copy_and_views(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    found = lava.tl.amf(adata, 2, n_runs=2, patience=30, n_jobs=1, copy=True)
    assert_unchanged(adata, stages["locality_corr"])
    view = adata[:, :]
    assert amf(view) is None
    assert not view.is_view
    assert_unchanged(adata, stages["locality_corr"])
    assert_unchanged(view, found)
    assert_same(stored(found, ["amf"]), stored(stages["amf"], ["amf"]))


def test_the_correlations_are_not_touched(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    C = adata.uns["lava"]["C"]
    for part in (C.data, C.indices, C.indptr):
        part.flags.writeable = False
    amf(adata)
    assert_same(adata.uns["lava"]["C"], stages["locality_corr"].uns["lava"]["C"])


def test_gamma_is_raised_until_overestimation_is_as_nu_implies(stages: Mapping[str, AnnData]) -> None:
    """With nu=1 half of the error may be overestimation, which the smallest weight gives; with nu=999 none does."""
    adata = stages["locality_corr"].copy()
    amf(adata, gamma="auto", nu=1)
    sweep = adata.uns["lava"]["gamma_sweep"]
    assert sweep["chosen"].tolist() == [False] * (len(sweep) - 1) + [True]
    assert (sweep["overestimation"] <= 0.5).tolist() == sweep["chosen"].tolist()
    np.testing.assert_allclose(sweep["gamma"], 10 ** np.linspace(-4, 2, 13)[: len(sweep)], rtol=0.02)
    assert adata.uns["lava"]["params"]["amf"]["gamma"] == "auto"
    C, (P, M), run = absolute(adata), factors(adata), best_run(adata)
    expected = reference.batch_loss(C, P, M, np.arange(len(C)), nu=1.0, gamma=sweep["gamma"].iloc[-1])
    assert run["loss"] == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_no_gamma_that_does_is_said(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    with pytest.warns(
        UserWarning, match=r"With no gamma up to 100 does overestimation make up less than 0\.001"
    ) as caught:
        lava.tl.amf(adata, 1, gamma="auto", nu=999, n_runs=1, patience=5, n_jobs=1)
    assert caught[0].filename == __file__
    sweep = adata.uns["lava"]["gamma_sweep"]
    assert len(sweep) == 13
    assert sweep["chosen"].sum() == 1
    assert sweep["overestimation"][sweep["chosen"]].item() == sweep["overestimation"].min() > 0.001


def test_a_sweep_does_not_outlive_its_fit(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    amf(adata, gamma="auto", nu=1)
    amf(adata)
    assert "gamma_sweep" not in adata.uns["lava"]
    assert_same(stored(adata, ["amf"]), stored(stages["amf"], ["amf"]))


@pytest.mark.parametrize("least", [2, 4])
def test_pairs_of_few_localities_are_left_out_when_asked_for(stages: Mapping[str, AnnData], least: int) -> None:
    adata, cut = stages["locality_corr"].copy(), stages["locality_corr"].copy()
    rare = (absolute(adata) != 0).sum(axis=0) < least
    assert 0 < rare.sum() < len(rare)
    C = cut.uns["lava"]["C"].copy()
    C.data[rare[C.indices]] = 0
    C.eliminate_zeros()
    cut.uns["lava"]["C"] = C
    amf(adata, min_localities=least)
    amf(cut)
    assert not factors(adata)[1][:, rare].any()
    assert_same(adata.uns["lava"]["presences"], cut.uns["lava"]["presences"])
    assert_same(adata.uns["lava"]["modules"], cut.uns["lava"]["modules"])


@pytest.mark.usefixtures("in_step")
def test_callback_and_interrupt(stages: Mapping[str, AnnData]) -> None:
    """What there is by then is stored, and said at the caller."""
    adata, seen = stages["locality_corr"].copy(), []

    def callback(run: int, epoch: int, loss: float) -> None:
        seen.append((run, epoch, loss))
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.warns(
        UserWarning, match=r"Interrupted: kept the best of 1 of 5 runs, 1 of them not converged"
    ) as caught:
        lava.tl.amf(adata, 2, n_runs=5, tol=0, patience=10**6, n_jobs=1, callback=callback)
    assert caught[0].filename == __file__
    assert [call[:2] for call in seen] == [(0, k) for k in range(4)]
    runs = adata.uns["lava"]["runs"]
    assert runs["n_epochs"].tolist() == [4]
    assert runs["best"].tolist() == [True]
    assert np.isfinite(adata.uns["lava"]["presences"]).all()


def test_an_interrupted_search_for_gamma_stores_nothing(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()

    def callback(*_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lava.tl.amf(adata, 2, gamma="auto", n_runs=2, max_epochs=5, n_jobs=1, callback=callback)
    assert_unchanged(adata, stages["locality_corr"])
