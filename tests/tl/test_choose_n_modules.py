"""The number of modules: planted ones, noise, what is stored, and that runs are used again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from anndata import AnnData
from tests.helpers import assert_same

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK: dict[str, Any] = {"n_runs": 2, "n_permutations": 3, "n_splits": 4}
QUICKER = QUICK | {"init": "kmeans", "n_permutations": 2, "n_splits": 2}


def correlated(adata: AnnData, **kwargs: Any) -> AnnData:
    lava.tl.localities(adata, **({"n_neighbors": 100} | kwargs))
    lava.tl.locality_corr(adata)
    return adata


def planted(n_modules: int, **kwargs: Any) -> AnnData:
    return correlated(lava.datasets.planted(n_modules=n_modules, **({"n_cells": 1200, "n_genes": 150} | kwargs)))


@pytest.fixture(scope="module")
def three() -> AnnData:
    adata = planted(3)
    lava.tl.choose_n_modules(adata, range(2, 7), **QUICK)
    return adata


@pytest.mark.parametrize("n_modules", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_planted_modules_are_counted(n_modules: int, caplog: pytest.LogCaptureFixture) -> None:
    adata = planted(n_modules, rng=n_modules)
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        lava.tl.choose_n_modules(adata, range(n_modules - 1, n_modules + 3), **QUICK)
    choice = adata.uns["lava"]["n_modules_choice"]
    assert (choice["n_modules"], choice["clear"]) == (n_modules, True)
    assert choice["reason"] in caplog.text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Number of modules")
def test_weak_modules_are_never_miscounted_as_clear() -> None:
    adata = planted(4, strength=0.4)
    lava.tl.choose_n_modules(adata, range(2, 7), **QUICK)
    choice = adata.uns["lava"]["n_modules_choice"]
    assert choice["n_modules"] in (0, 4) or not choice["clear"]


def uniform(rng: np.random.Generator) -> AnnData:
    return AnnData(rng.uniform(size=(700, 80)).astype(np.float32), obsm={"X_pca": rng.normal(size=(700, 2))})


def poisson(rng: np.random.Generator) -> AnnData:
    depth = np.exp(rng.normal(0, 0.6, 700))
    counts = rng.poisson(np.exp(rng.normal(0.5, 1, 80)) * depth[:, None])
    total = counts.sum(axis=1) + rng.poisson(500 * depth)
    adata = AnnData(
        np.log1p(counts / total[:, None] * 1e4).astype(np.float32), obsm={"X_pca": rng.normal(size=(700, 2))}
    )
    adata.obs["total_counts"] = total
    return adata


@pytest.mark.slow
@pytest.mark.parametrize("make", [uniform, poisson])
def test_noise_has_no_modules(make: Callable[[np.random.Generator], AnnData]) -> None:
    """Of the seeds with any correlation that passes, none has a module; benchmarks/n_modules.py tries more."""
    answers = []
    for seed in range(2):
        adata = make(np.random.default_rng(seed))
        lava.tl.localities(adata, n_neighbors=100, overlap=4)
        try:
            lava.tl.locality_corr(adata, fdr=0.2)
        except ValueError:
            continue
        with pytest.warns(UserWarning, match="no module exceeds chance"):
            lava.tl.choose_n_modules(adata, [2], **(QUICK | {"n_permutations": 10}))
        assert "n_modules_runs" not in adata.uns["lava"]
        with pytest.raises(ValueError, match=r"Found 0 as the number of modules .* pass n_modules"):
            lava.tl.amf(adata)
        answers.append(adata.uns["lava"]["n_modules_choice"]["n_modules"])
    assert answers
    assert set(answers) == {0}


def test_table(three: AnnData) -> None:
    table = three.uns["lava"]["n_modules"]
    assert table["n_modules"].tolist() == [1, 2, 3, 4, 5, 6]  # the one before the smallest shows the bend
    assert (np.diff(table["loss"]) < 1e-3).all()
    assert table["explained"].between(0, 1).all()
    assert (table["weakest"] <= table["explained"]).all()
    assert (table["n_beyond_null"] <= table["n_modules"]).all()
    three_modules = table.loc["3"]
    assert three_modules["cosine"] > three_modules["cosine_null"] + 0.3
    assert three_modules["held_out"] > 0.8
    assert table.loc["2", "held_out"] < 0.75
    assert three_modules["null_best"] < three_modules["weakest"] / 2
    assert three_modules["n_replicated"] == 3
    assert three_modules["other_cells"] > table.loc["2", "other_cells"] + 0.1
    assert (table["other_cells_null"] < 0.1).all()
    assert three_modules["most_alike"] < 0.5
    assert table.loc["6", "most_alike"] > 0.8  # more modules than there are: one comes twice


def test_without_splits_the_elbow_decides(three: AnnData) -> None:
    found = lava.tl.choose_n_modules(three, [2, 3, 4, 5], **(QUICK | {"n_splits": 0}), copy=True).uns["lava"]
    assert found["n_modules"][["other_cells", "other_cells_se", "other_cells_null"]].isna().all(axis=None)
    assert (found["n_modules"]["n_replicated"] == 0).all()
    choice = found["n_modules_choice"]
    assert choice["n_modules"] == choice["elbow"] == 3
    assert "up to this number the loss falls by" in choice["reason"]


def test_splits_within_sections() -> None:
    """Each section gives half of its cells, so that both halves have the same probes."""
    adata = lava.datasets.planted(n_modules=2, n_cells=1201, n_genes=120)
    adata.obs["section"] = np.where(np.arange(1201) % 2, "odd", "even")
    correlated(adata, library_key="section")
    lava.tl.choose_n_modules(adata, [1, 2, 3], **QUICK)
    assert adata.uns["lava"]["n_modules_choice"]["n_modules"] == 2


def test_runs_are_used_again(three: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    """Those of tl.amf with the same arguments are the same to the bit, so they need not be fitted again."""
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        again = lava.tl.amf(three, n_runs=2, copy=True)
        assert "took the runs" in caplog.text
        caplog.clear()
        anew = lava.tl.amf(three, 3, n_runs=2, copy=True, callback=lambda *_: None)
        lava.tl.amf(three, 3, n_runs=2, rng=1, copy=True)
        lava.tl.amf(three, 3, n_runs=2, tol=0.02, copy=True)
        lava.tl.amf(three, 2, n_runs=2, copy=True)
        lava.tl.amf(three, 3, n_runs=2, rng=np.random.default_rng(0), copy=True)
        assert "took the runs" not in caplog.text
    assert again is not None
    assert anew is not None
    for field in ("modules", "presences", "runs"):
        assert_same(again.uns["lava"][field], anew.uns["lava"][field])
    assert_same(again.obsm["lava_presences"], anew.obsm["lava_presences"])
    assert again.uns["lava"]["params"]["amf"] == anew.uns["lava"]["params"]["amf"]


@pytest.mark.filterwarnings("ignore:Number of modules. Unclear")
def test_any_number_of_workers(three: AnnData) -> None:
    one, two = (
        lava.tl.choose_n_modules(three, [2, 3], **QUICKER, n_jobs=n_jobs, copy=True).uns["lava"] for n_jobs in (1, 2)
    )
    assert_same(one["n_modules"], two["n_modules"])
    assert_same(one["n_modules_choice"], two["n_modules_choice"])


@pytest.mark.filterwarnings("ignore:Number of modules. Unclear")
def test_null_keeps_depth() -> None:
    """Genes that correlate through depth alone are no module when depth is known, and are taken for one when it is not."""
    rng = np.random.default_rng(0)
    depth = rng.normal(size=900)
    X = rng.normal(size=(900, 60)) + 10  # nothing negative, which would be taken for scaled data
    X[:, :20] += 0.9 * depth[:, None]
    adata = AnnData(X.astype(np.float32), obsm={"X_pca": rng.normal(size=(900, 2))})
    correlated(adata, n_neighbors=150)
    unknown = lava.tl.choose_n_modules(adata, [1, 2], **QUICKER, copy=True)
    adata.obs["depth"] = depth
    with (
        pytest.warns(UserWarning, match="Number of modules: 0: no module exceeds chance"),
        pytest.warns(UserWarning, match=r"nothing but sequencing depth keep \d+% .*; take depth out with covariates="),
    ):
        lava.tl.choose_n_modules(adata, [1, 2], depth_key="depth", **QUICKER)
    assert unknown is not None
    assert unknown.uns["lava"]["n_modules_choice"]["n_modules"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda adata: adata[:, ::-1].copy(), r"correlated genes in adata.var_names in their order"),
        (lambda adata: adata[:, :50].copy(), r"Found 50 of the 150 correlated genes"),
        (lambda adata: adata[:500].copy(), r"cells missing"),
    ],
)
def test_changed_objects_are_refused(three: AnnData, change: Callable[[AnnData], AnnData], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lava.tl.choose_n_modules(change(three), [2], **QUICK)


@pytest.mark.filterwarnings("ignore:Number of modules")
@pytest.mark.parametrize("sizes", [(103,), (103, 300)], ids=["all cells", "a section"])
def test_a_locality_that_takes_every_cell_there_is(sizes: tuple[int, ...]) -> None:
    """Halves of 103 cells have 51 and 52: a locality of 51.5, rounded, does not fit into both."""
    adata = lava.datasets.planted(n_modules=2, n_cells=sum(sizes), n_genes=60)
    adata.obs["section"] = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
    correlated(adata, n_neighbors=103, library_key="section")
    lava.tl.choose_n_modules(adata, range(1, 3), n_runs=2, n_permutations=1, n_splits=2, init="kmeans")
    assert np.isfinite(adata.uns["lava"]["n_modules"]["other_cells"]).all()
