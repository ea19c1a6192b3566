from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from tests import helpers
from tests.helpers import assert_same, assert_unchanged, contents, names, run_steps, stored
from tests.reference import amf_numpy as reference

import lava_sc as lava
from lava_sc.stored import fields as fields_module
from lava_sc.stored import registry as steps_module

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData


def finetuned(adata: AnnData, tau: float = 0.1, **kwargs: Any) -> AnnData:
    return lava.tl.finetune_presences(adata, tau, n_jobs=1, copy=True, **kwargs)


def ratios(adata: AnnData, presences: str = "presences") -> np.ndarray:
    """Overestimation ratio of each locality, from everything that is stored, dense."""
    results = adata.uns["lava"]
    C, M = np.abs(results["C"].toarray().astype(np.float64)), results["modules"].toarray().astype(np.float64)
    chat = reference.reconstruct(results[presences].astype(np.float64), M)
    return np.array([reference.overestimation_ratio(C[[i]], chat[[i]]) if C[i].any() else 0 for i in range(len(C))])


@pytest.mark.parametrize("tau", [0.02, 0.1, 0.3, 0.5])
def test_every_locality_has_the_ratio(explained: AnnData, tau: float) -> None:
    """Correlations are kept unfiltered, so that modules have something in common with every locality."""
    adata = explained.copy()
    lava.tl.locality_corr(adata, fdr=None)
    lava.tl.amf(adata, 3, n_runs=1, patience=20, n_jobs=1)
    former = ratios(adata)
    assert np.ptp(former) > 0.02
    found = finetuned(adata, tau)
    np.testing.assert_allclose(ratios(found), tau, atol=1e-3)
    table = found.uns["lava"]["finetuning"]
    np.testing.assert_allclose(table["overestimation"], ratios(found), rtol=1e-6)
    np.testing.assert_allclose(table["overestimation_amf"], former, rtol=1e-6)


def test_localities_that_keep_a_smaller_ratio_are_logged(
    stages: Mapping[str, AnnData], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="lava_sc"):
        found = finetuned(stages["amf"])
    after = ratios(found)
    below, empty = (after < 0.1 - 1e-3).sum(), (stages["amf"].uns["lava"]["evidence"]["n_kept_pairs"] == 0).sum()
    assert 0 < empty <= below < len(after) / 2
    assert (after < 0.1 + 1e-3).all()
    assert f"{below} of 15 localities keep an overestimation ratio below tau=0.1" in caplog.text
    assert f"({empty} have no correlations)" in caplog.text
    assert len(caplog.records) == 1
    assert not found.uns["lava"]["presences"][ratios(found, "presences_amf") == 0].any()


def test_fields_have_the_documented_shapes_and_dtypes(stages: Mapping[str, AnnData]) -> None:
    adata, before = finetuned(stages["amf"]), stages["amf"]
    results, former = adata.uns["lava"], before.uns["lava"]
    assert results["presences"].shape == former["presences"].shape
    assert results["presences"].dtype == np.float32
    assert not np.array_equal(results["presences"], former["presences"])
    assert_same(results["presences_amf"], former["presences"])
    table = results["finetuning"]
    assert table.columns.tolist() == ["overestimation_amf", "overestimation", "error_amf", "error"]
    assert (table.dtypes == np.float64).all()
    assert_same(table.index, former["evidence"].index)
    assert results["params"]["finetune_presences"] == {"tau": 0.1}
    added = names(["finetune_presences"], "uns")
    assert set(results) - set(former) == added
    changed = {"presences", "params", *added}
    assert_same({name: results[name] for name in set(results) - changed}, {n: former[n] for n in set(former) - changed})
    mine = {"lava_presences"}
    for container in ("obs", "obsm", "varm"):
        found, kept = dict(getattr(adata, container)), dict(getattr(before, container))
        assert set(found) == set(kept)
        assert_same({n: found[n] for n in set(found) - mine}, {n: kept[n] for n in set(kept) - mine})


def test_errors_in_the_table_are_those_of_what_is_stored(stages: Mapping[str, AnnData]) -> None:
    results = finetuned(stages["amf"]).uns["lava"]
    C, M = np.abs(results["C"].toarray().astype(np.float64)), results["modules"].toarray().astype(np.float64)
    for column, presences in (("error", "presences"), ("error_amf", "presences_amf")):
        chat = reference.reconstruct(results[presences].astype(np.float64), M)
        np.testing.assert_allclose(results["finetuning"][column], np.abs(C - chat).sum(axis=1), rtol=1e-6)


def test_presence_of_a_cell_is_the_mean_over_its_localities(stages: Mapping[str, AnnData]) -> None:
    adata = finetuned(stages["amf"])
    membership, P = adata.obsm["lava_localities"].toarray(), adata.uns["lava"]["presences"].astype(np.float64)
    expected = [P[around].mean(axis=0) if around.any() else np.full(2, np.nan) for around in membership]
    np.testing.assert_allclose(adata.obsm["lava_presences"], expected, rtol=1e-12, equal_nan=True)
    np.testing.assert_array_equal(lava.get.presences(adata), adata.obsm["lava_presences"])
    np.testing.assert_array_equal(lava.get.localities(adata).obsm["presences"], adata.uns["lava"]["presences"])


def test_modules_and_their_genes_are_kept(stages: Mapping[str, AnnData]) -> None:
    steps = ["localities", "locality_corr", "module_genes", "ora"]
    assert_same(stored(finetuned(stages["ora"]), steps), stored(stages["ora"], steps))
    first, second = finetuned(stages["ora"]), run_steps(finetuned(stages["amf"]), "module_genes", "ora")
    assert_same(contents(second), contents(first))


def test_a_second_call_starts_from_the_presences_of_amf(stages: Mapping[str, AnnData]) -> None:
    once = finetuned(stages["amf"], 0.3)
    assert_unchanged(finetuned(once, 0.3), once)
    assert_unchanged(finetuned(finetuned(stages["amf"], 0.02), 0.3), once)


def test_amf_again_leaves_no_trace(stages: Mapping[str, AnnData]) -> None:
    assert_unchanged(run_steps(finetuned(stages["ora"]), "amf"), stages["amf"])
    assert_unchanged(run_steps(finetuned(stages["ora"]), "localities"), stages["localities"])


def test_what_reads_presences_is_dropped(stages: Mapping[str, AnnData], monkeypatch: pytest.MonkeyPatch) -> None:
    """A step to come, which builds on the fine-tuning so that it need not be run again when that is done."""
    later = steps_module.Step("lava_sc.tl.later", builds_on="finetune_presences", fields={"later": "uns"})
    monkeypatch.setitem(steps_module.STEPS, "later", later)
    monkeypatch.setitem(fields_module._STEP_OF, "later", "later")
    adata = stages["amf"].copy()
    fields_module.store(adata, "lava", "later", {"later": 1}, {"a": 1})
    assert adata.uns["lava"]["later"] == 1
    assert_unchanged(finetuned(adata), finetuned(stages["amf"]))


def test_same_result_whatever_the_number_of_workers(explained: AnnData) -> None:
    found = [lava.tl.finetune_presences(explained, n_jobs=n_jobs, copy=True) for n_jobs in (1, 3, None)]
    assert_unchanged(found[1], found[0])
    assert_unchanged(found[2], found[0])


def test_the_order_of_the_genes_does_not_matter(stages: Mapping[str, AnnData]) -> None:
    """As if the genes had been in another order from the start: pairs change places, and so do their sums' terms."""
    adata, other = stages["amf"].copy(), stages["amf"].copy()
    D = len(adata.uns["lava"]["genes"])
    order = np.random.default_rng(0).permutation(D)
    square = np.zeros((D, D), dtype=np.int64)
    square[np.triu_indices(D, 1)] = np.arange(D * (D - 1) // 2)
    columns = (square + square.T)[order][:, order][np.triu_indices(D, 1)]
    for name in ("C", "modules"):
        other.uns["lava"][name] = adata.uns["lava"][name][:, columns]
    np.testing.assert_allclose(
        finetuned(other).uns["lava"]["presences"], finetuned(adata).uns["lava"]["presences"], atol=1e-5
    )


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files(stages: Mapping[str, AnnData], tmp_path: Path, kind: str) -> None:
    adata = finetuned(stages["ora"])
    getattr(adata, f"write_{kind}")(tmp_path / "file")
    found = getattr(ad, f"read_{kind}")(tmp_path / "file")
    assert_same(contents(found), contents(adata), dtypes=False)
    assert_same(contents(finetuned(found, 0.3)), contents(finetuned(adata, 0.3)), dtypes=False)


def test_a_subset_of_cells(stages: Mapping[str, AnnData]) -> None:
    cells = np.random.default_rng(0).permutation(300)[:100]
    whole = finetuned(stages["amf"])
    subset = finetuned(stages["amf"][cells].copy())
    assert_same(subset.obsm["lava_presences"], whole.obsm["lava_presences"][cells])
    assert_same(subset.uns["lava"], whole.uns["lava"])


def test_another_key_is_left_alone(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()
    helpers.localities(adata, key_added="more", n_neighbors=75)
    run_steps(adata, "locality_corr", "amf", key="more")
    before = stored(adata, ["localities", "locality_corr", "amf"])
    found = finetuned(adata, key="more")
    assert_same(stored(found, ["localities", "locality_corr", "amf"]), before)
    assert "finetuning" in found.uns["more"]


def test_copy_and_views(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()
    found = finetuned(adata)
    assert_unchanged(adata, stages["amf"])
    found.uns["lava"]["presences_amf"][:] = 0
    assert_unchanged(adata, stages["amf"])
    view = adata[:, :]
    assert lava.tl.finetune_presences(view) is None
    assert not view.is_view
    assert_unchanged(adata, stages["amf"])
    assert_unchanged(view, finetuned(adata))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0}, "Found tau=0, expected a number between 0.001 and 0.5; change tau."),
        ({"tau": 0.6}, "Found tau=0.6, expected a number between 0.001 and 0.5; change tau."),
        ({"tau": float("nan")}, "Found tau=nan, expected a number between 0.001 and 0.5; change tau."),
        ({"tau": True}, "Found tau=True, expected a number between 0.001 and 0.5; change tau."),
        ({"n_jobs": 0}, "Found n_jobs=0, expected a whole number of at least 1; change n_jobs."),
        ({"key": "other"}, "the result of lava_sc.tl.amf; call it first, with key 'other'."),
    ],
)
def test_what_is_wrong_changes_nothing(stages: Mapping[str, AnnData], arguments: dict[str, Any], message: str) -> None:
    adata = stages["amf"].copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        lava.tl.finetune_presences(adata, **arguments)
    assert_unchanged(adata, stages["amf"])


def test_modules_come_first(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    with pytest.raises(ValueError, match=r'uns\["lava"\]\["presences"\] is missing.*lava_sc\.tl\.amf; call it first'):
        lava.tl.finetune_presences(adata)
    assert_unchanged(adata, stages["locality_corr"])
