from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests import helpers
from tests.helpers import FIELDS, STEPS, assert_same, assert_unchanged, contents, names, run_steps, stored

import lava_sc as lava
from lava_sc.stored import fields, registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

ORDER = list(STEPS)


def up_to(step: str) -> list[str]:
    return ORDER[: ORDER.index(step) + 1]


@pytest.mark.parametrize("step", ORDER)
def test_each_step_adds_exactly_what_it_documents(stages: Mapping[str, AnnData], step: str) -> None:
    adata, start, done = stages[step], stages["start"], up_to(step)
    for container in ("obs", "var", "obsm", "varm", "layers", "obsp", "varp"):
        before = set(getattr(start, container))
        assert set(getattr(adata, container)) - before == names(done, container), container
        assert before <= set(getattr(adata, container)), container
    assert set(adata.uns) - set(start.uns) == {"lava"}
    assert set(adata.uns["lava"]) == names(done, "uns") | {"params"}
    assert list(adata.uns["lava"]["params"]) == done


def test_no_step_changes_what_was_there(stages: Mapping[str, AnnData]) -> None:
    start, end = contents(stages["start"]), contents(stages["ora"])
    for container, before in start.items():
        if container == "X":
            assert_same(end["X"], before)
            continue
        for name in before:
            assert_same(end[container][name], before[name], f"{container}[{name!r}]")


@pytest.mark.parametrize("step", ORDER)
def test_params_are_plain(stages: Mapping[str, AnnData], step: str) -> None:
    params = stages["ora"].uns["lava"]["params"][step]
    assert params
    for name, value in params.items():
        assert type(value) in {bool, int, float, str, np.ndarray}, name
        assert np.asarray(value).dtype.kind in "biufU", name


@pytest.mark.parametrize("step", ORDER)
def test_running_a_step_again_drops_what_later_ones_stored(stages: Mapping[str, AnnData], step: str) -> None:
    adata = run_steps(stages["ora"].copy(), step)
    assert_unchanged(adata, stages[step])


def test_another_number_of_modules_leaves_no_trace_of_the_first(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"].copy()
    helpers.amf(adata, n_modules=1)
    assert adata.obsm["lava_presences"].shape == (adata.n_obs, 1)
    assert adata.varm["lava_gene_weights"].shape == (adata.n_vars, 1)
    assert adata.uns["lava"]["params"]["amf"]["n_modules"] == 1
    assert {"module_genes", "ora"}.isdisjoint(adata.uns["lava"])


@pytest.mark.parametrize("step", ORDER)
def test_two_keys_do_not_touch_each_other(stages: Mapping[str, AnnData], step: str) -> None:
    adata = stages["ora"].copy()
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(adata.n_obs, 4))
    first = stored(adata, ORDER)
    helpers.localities(adata, use_rep="pca", key_added="pca", n_neighbors=75)
    run_steps(adata, *ORDER[1:], key="pca")
    second = stored(adata, ORDER, key="pca")
    assert second["uns/probes"].shape == (12, 4)
    assert_same(stored(adata, ORDER), first)

    run_steps(adata, step, key="lava")
    assert_same(stored(adata, ORDER, key="pca"), second)
    assert_same(stored(adata, up_to(step)), {name: first[name] for name in stored(adata, up_to(step))})


@pytest.mark.parametrize("key", ["a/b", "/", "", 3, ("a", "b"), None])
def test_keys_that_files_cannot_hold_are_refused(stages: Mapping[str, AnnData], key: object) -> None:
    adata = stages["start"].copy()
    for writer in (lava.tl.locality_size, lava.tl.localities, lava.tl.explain, lava.pp.select_genes):
        with pytest.raises(ValueError, match=re.escape(f"Found key {key!r}, expected a non-empty string without '/'")):
            writer(adata, key_added=key)
    assert_unchanged(adata, stages["start"])


@pytest.mark.parametrize("step", ORDER[1:])
def test_following_the_messages_leads_to_the_result(stages: Mapping[str, AnnData], step: str) -> None:
    adata = stages["start"].copy()
    to_call, called = [step], []
    while to_call:
        before = adata.copy()
        try:
            STEPS[to_call[-1]](adata)
            called.append(to_call.pop())
        except ValueError as error:
            wanted = re.search(r"lava_sc\.tl\.(\w+); call it first, with key 'lava'\.$", str(error))[1]
            if ORDER.index(wanted) >= ORDER.index(to_call[-1]):
                raise
            assert_unchanged(adata, before)
            to_call.append(wanted)
    assert called == up_to(step)
    assert_unchanged(adata, stages[step])


def test_another_key_does_not_serve(stages: Mapping[str, AnnData]) -> None:
    with pytest.raises(ValueError, match=r'uns\["other"\]\["modules"\] is missing.*with key \'other\''):
        lava.get.modules(stages["ora"], key="other")
    with pytest.raises(ValueError, match=r'obsm\["other_presences"\] is missing.*lava_sc\.tl\.amf'):
        lava.get.presences(stages["ora"], key="other")


def test_the_registry_names_what_the_steps_document() -> None:
    assert list(registry.STEPS) == list(FIELDS)
    beside = {"locality_size", "finetune_presences", "co_presence", "stability", "factorisations"}
    beside |= {"choose_n_modules", "module_evidence", "name_modules", "presence_association"}
    beside |= {"gene_set_scores", "project"}
    assert [step for step in FIELDS if step not in beside] == ORDER
    slots = fields.Slots("{key}")
    for step, spec in registry.STEPS.items():
        found: dict[str, list[str]] = {}
        for name, container in ((name, spec.fields[name]) for name in spec.fields if name not in spec.optional):
            found.setdefault(container, []).append(slots.name(name))
        assert {c: sorted(n) for c, n in found.items()} == {c: sorted(n) for c, n in FIELDS[step].items()}
        assert callable(getattr(lava.tl, spec.function.removeprefix("lava_sc.tl.")))


def test_a_failing_block_leaves_nothing_behind(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()

    def fail() -> None:
        with fields.all_or_nothing(adata):
            adata.var["lava_genes"] = ~adata.var["lava_genes"]
            adata.uns["lava"]["params"]["localities"]["overlap"] = 3.0
            helpers.localities(adata, n_neighbors=50)
            run_steps(adata, "locality_corr", key="lava")
            helpers.localities(adata, key_added="new")
            adata.obs["more"] = 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert_unchanged(adata, stages["amf"])


def test_a_block_that_succeeds_keeps_its_results(stages: Mapping[str, AnnData]) -> None:
    adata = stages["start"].copy()
    with fields.all_or_nothing(adata):
        run_steps(adata, "localities")
    assert_unchanged(adata, stages["localities"])


def test_objects_that_share_results_do_not_share_changes(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"].copy()
    other = stages["start"].copy()
    other.uns["lava"] = adata.uns["lava"]  # as concat(uns_merge=...) leaves it
    helpers.localities(other)
    assert_unchanged(adata, stages["ora"])


def test_nothing_is_said_unless_asked_for(
    stages: Mapping[str, AnnData], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lava.tl.localities(stages["start"].copy(), n_neighbors=60)
    assert capsys.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        lava.tl.localities(stages["start"].copy(), n_neighbors=60)
    assert any("X_umap" in record.getMessage() for record in caplog.records)
    assert {record.name for record in caplog.records} == {"lava_sc"}
