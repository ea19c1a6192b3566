from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from tests import helpers
from tests.helpers import assert_same, assert_unchanged, contents, run_steps

import lava_sc as lava
from lava_sc.core.factorise.amf.loss import quality
from lava_sc.core.factorise.amf.run import canonical
from lava_sc.core.factorise.factorisations import FACTORISATIONS
from lava_sc.core.factorise.protocol import Factors
from lava_sc.core.interpret.summary import co_presence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.core.factorise.protocol import RunPlan

COLUMNS = ["cosine", "overestimation", "loss", "main_term", "co_presence", "module_entropy", "silhouette", "seconds"]


def compared(adata: AnnData, *args: Any, **kwargs: Any) -> AnnData:
    return lava.tl.compare_factorisations(adata, *args, **(dict(n_runs=2, n_jobs=1) | kwargs), copy=True)


def table(adata: AnnData, key: str = "lava") -> pd.DataFrame:
    return adata.uns[key]["factorisations"]


def test_the_table(stages: Mapping[str, AnnData]) -> None:
    found = table(compared(stages["amf"]))
    assert found.index.tolist() == ["AMF", "NMF"]
    assert found.columns.tolist() == COLUMNS
    assert (found.dtypes == np.float64).all()
    assert np.isfinite(found.to_numpy()).all()
    assert found.loc["NMF", "overestimation"] == pytest.approx(0.5, abs=5e-3)
    assert found.loc["AMF", "overestimation"] < 0.4
    assert found.loc["AMF", "loss"] < found.loc["NMF", "loss"]
    assert (found["silhouette"].abs() <= 1).all()
    assert found["co_presence"].between(0, 1).all()  # two modules


def test_runs_of_amf_are_those_of_amf(stages: Mapping[str, AnnData]) -> None:
    """With its arguments, seed and number of runs; medians over these."""
    given = dict(
        n_modules=2, nu=3.0, gamma=0.01, init="kmeans", n_refits=0, patience=5, learning_rate=0.03, batch_size=4
    )
    adata = stages["locality_corr"].copy()
    lava.tl.amf(adata, **given, n_runs=3, rng=7, n_jobs=1)
    runs = adata.uns["lava"]["runs"]
    found = compared(adata, n_runs=3, rng=7)
    for name in ("cosine", "overestimation", "loss", "main_term", "co_presence"):
        assert table(found).loc["AMF", name] == runs[name].median(), name
    params = found.uns["lava"]["params"]["factorisations"]
    assert {name: params[name] for name in given} == given
    assert table(compared(adata, 3)).loc["AMF", "loss"] < runs["loss"].median()


def test_arguments_of_amf_from_a_file(stages: Mapping[str, AnnData], tmp_path: Path) -> None:
    stages["amf"].write_h5ad(tmp_path / "file.h5ad")
    assert_same(table(compared(ad.read_h5ad(tmp_path / "file.h5ad"))), table(compared(stages["amf"])))


@pytest.mark.filterwarnings("ignore:With no gamma up to")
def test_the_chosen_gamma_is_taken(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    lava.tl.amf(adata, 2, gamma="auto", n_runs=1, n_jobs=1)
    sweep = adata.uns["lava"]["gamma_sweep"]
    params = compared(adata).uns["lava"]["params"]["factorisations"]
    assert params["gamma"] == sweep.loc[sweep["chosen"], "gamma"].item() != 1e-4


def test_rare_pairs_are_left_out_as_in_amf(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    lava.tl.amf(adata, 2, n_runs=2, min_localities=3, n_jobs=1)
    found = table(compared(adata))
    assert found.loc["AMF", "loss"] == adata.uns["lava"]["runs"]["loss"].median()
    assert found.loc["NMF", "module_entropy"] < table(compared(stages["amf"])).loc["NMF", "module_entropy"]


def test_without_amf_the_defaults_are_taken(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    found = compared(adata, 2)
    lava.tl.amf(adata, 2, n_runs=2, n_jobs=1)
    assert table(found).loc["AMF", "loss"] == adata.uns["lava"]["runs"]["loss"].median()
    assert "runs" not in found.uns["lava"]


def test_a_single_run_has_no_silhouette(stages: Mapping[str, AnnData]) -> None:
    found = table(compared(stages["amf"], n_runs=1))
    assert found["silhouette"].isna().all()
    assert found.drop(columns="silhouette").notna().all(axis=None)


def test_same_numbers_whatever_the_number_of_workers(stages: Mapping[str, AnnData]) -> None:
    found = [compared(stages["amf"], rng=3, n_jobs=n_jobs) for n_jobs in (1, 3)]
    assert_unchanged(found[1], found[0])
    assert not np.array_equal(table(found[0])["loss"], table(compared(stages["amf"], rng=4))["loss"])


def test_modules_stay_and_new_correlations_drop_it(stages: Mapping[str, AnnData]) -> None:
    adata = compared(stages["ora"])
    kept = {name: value for name, value in adata.uns["lava"].items() if name not in ("factorisations", "params")}
    assert_same(kept, {name: stages["ora"].uns["lava"][name] for name in kept})
    assert "factorisations" in run_steps(adata.copy(), "amf").uns["lava"]
    assert_unchanged(run_steps(adata, "locality_corr"), stages["locality_corr"])


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files(stages: Mapping[str, AnnData], tmp_path: Path, kind: str) -> None:
    adata = compared(stages["amf"])
    getattr(adata, f"write_{kind}")(tmp_path / "file")
    assert_same(contents(getattr(ad, f"read_{kind}")(tmp_path / "file")), contents(adata), dtypes=False)


def test_copies_views_and_other_keys(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()
    view = adata[:, :]
    assert lava.tl.compare_factorisations(view, n_runs=2, n_jobs=1) is None
    assert_unchanged(view, compared(adata))
    assert_unchanged(adata, stages["amf"])
    helpers.localities(adata, key_added="more", n_neighbors=75)
    run_steps(adata, "locality_corr", key="more")
    found = compared(adata, 2, key="more")
    assert table(found, "more").shape == (2, 8)
    assert_same(found.uns["lava"], stages["amf"].uns["lava"])


def test_runs_that_do_not_converge_are_warned_of(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    with pytest.warns(UserWarning, match="max_epochs=5"):
        lava.tl.amf(adata, 2, n_runs=2, max_epochs=5, n_jobs=1)
    with pytest.warns(UserWarning, match=r"2 of 2 runs of AMF stopped after 5 passes before they converged") as caught:
        compared(adata)
    assert [warning.filename for warning in caught] == [__file__]


def test_what_does_not_fit_is_refused(stages: Mapping[str, AnnData], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lava_sc.parallel.memory.memory_available", lambda: 1000)
    adata = stages["amf"].copy()
    with pytest.raises(
        ValueError, match=r"Found that 2 runs of each method, .* GB that are available; lower n_modules"
    ):
        lava.tl.compare_factorisations(adata, n_runs=2)
    assert_unchanged(adata, stages["amf"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            "Found no n_modules and no modules of lava_sc.tl.amf with key 'lava', expected one of them; pass n_modules.",
        ),
        ({"n_modules": 16}, "Found n_modules=16, expected a whole number between 1 and 15; change n_modules."),
        ({"n_modules": 2, "n_runs": 0}, "Found n_runs=0, expected a whole number of at least 1; change n_runs."),
        ({"n_modules": 2, "n_jobs": 0}, "Found n_jobs=0, expected a whole number of at least 1; change n_jobs."),
        ({"key": "other"}, "the result of lava_sc.tl.locality_corr; call it first, with key 'other'."),
    ],
)
def test_what_is_wrong_changes_nothing(stages: Mapping[str, AnnData], arguments: dict[str, Any], message: str) -> None:
    adata = stages["locality_corr"].copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        lava.tl.compare_factorisations(adata, **arguments)
    assert_unchanged(adata, stages["locality_corr"])


class MeanCorrelations:
    """A toy: every run is one module, the mean of the absolute correlations, present everywhere."""

    def fit(
        self, problem: Problem, n_modules: int, rng: np.random.Generator, plan: RunPlan, n_runs: int
    ) -> list[Factors]:
        del n_modules, rng
        M = np.asarray(problem.absolute().mean(axis=0), dtype=np.float32)
        P, M = canonical(np.ones((problem.n_localities, 1), dtype=np.float32), M.reshape(1, -1))
        figures = quality(problem, P, M, nu=plan.options.nu, gamma=plan.options.gamma)
        return [Factors(M, figures, co_presence(P), 0.0, converged=True)] * n_runs

    def most_passes(self, options: FitOptions) -> int:
        del options
        return 1


def test_a_registered_factorisation_is_compared(stages: Mapping[str, AnnData], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FACTORISATIONS, "mean", MeanCorrelations())
    found = table(compared(stages["amf"]))
    assert found.index.tolist() == ["AMF", "NMF", "mean"]
    assert found.loc["mean", "co_presence"] == 0
    assert found.loc["mean", "silhouette"] != found.loc["mean", "silhouette"]  # one cluster has none
    assert found.loc["AMF", "loss"] < found.loc["mean", "loss"]
    C = abs(stages["amf"].uns["lava"]["C"])
    C = C[np.diff(C.indptr) > 0]
    mean = np.asarray(abs(stages["amf"].uns["lava"]["C"]).mean(axis=0)).ravel()
    norms = np.sqrt(np.asarray(C.multiply(C).sum(axis=1)).ravel())
    cosines = (C @ mean) / (norms * np.linalg.norm(mean))
    assert found.loc["mean", "cosine"] == pytest.approx(cosines.mean(), rel=1e-4)
