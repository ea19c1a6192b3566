from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from scipy.stats import entropy
from tests import helpers
from tests.helpers import assert_same, assert_unchanged, contents, run_steps
from tests.reference.amf_numpy import co_presence_entropy

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData


def results(adata: AnnData, **kwargs: Any) -> Mapping[str, Any]:
    return lava.tl.co_presence(adata, copy=True, **kwargs).uns["lava"]


def with_presences(adata: AnnData, presences: Any) -> AnnData:
    adata = adata.copy()
    adata.uns["lava"]["presences"] = np.asarray(presences, dtype=np.float32)
    return adata


@pytest.mark.parametrize("bound", [0, 0.3, 0.5, 0.9])
def test_entropy_of_each_locality(explained: AnnData, bound: float) -> None:
    P = np.random.default_rng(0).random((23, 3)) ** 3
    P[0] = 0
    found = results(with_presences(explained, P), min_presence_sum=bound)["co_presence"]
    P = P.astype(np.float32).astype(np.float64)
    kept = (P.sum(axis=1) >= bound) & (P.sum(axis=1) > 0)
    assert 3 < kept.sum() < 23
    assert found.shape == (23,)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(found), ~kept)
    np.testing.assert_allclose(found[kept], entropy(P[kept], base=2, axis=1), atol=1e-12)
    np.testing.assert_allclose(found[kept], co_presence_entropy(P, bound)[kept], atol=1e-12)


def test_the_bounds_of_the_entropy(explained: AnnData) -> None:
    """Nothing shared is 0 bits and all alike log2 M; a sum that is the bound itself is not below it."""
    P = [[1, 0, 0], [0.5, 0.5, 0.5], [0.25, 0, 0.25], [0.25, 0, 0.125]]
    found = results(with_presences(explained, P))["co_presence"]
    np.testing.assert_allclose(found, [0, np.log2(3), 1, np.nan], atol=1e-12)
    assert not np.signbit(found[0])


def test_entropy_of_each_module(explained: AnnData) -> None:
    found = results(explained)["module_entropy"]
    M = explained.uns["lava"]["modules"].toarray().astype(np.float64)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, entropy(M, base=2, axis=1), rtol=1e-9)
    assert (found < np.log2((M > 0).sum(axis=1))).all()


def test_a_module_of_nothing_has_no_entropy(explained: AnnData) -> None:
    adata = explained.copy()
    adata.uns["lava"]["modules"] = adata.uns["lava"]["modules"].multiply([[1], [0], [1]]).tocsr()
    np.testing.assert_array_equal(np.isnan(results(adata)["module_entropy"]), [False, True, False])


def test_those_left_out_are_counted(explained: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    adata = with_presences(explained, [[0.2, 0.2, 0], [0.4, 0.4, 0], [0, 0, 0], [0.6, 0, 0]])
    with caplog.at_level(logging.INFO, logger="lava_sc"):
        results(adata)
    assert "2 of 4 localities are left out" in caplog.text
    assert "mean of the others 0.50 bits" in caplog.text


def test_nothing_but_left_out_is_warned_of(explained: AnnData) -> None:
    adata = with_presences(explained, [[0.2, 0.2, 0], [0, 0, 0.25]])
    message = "none of 2 localities add up to min_presence_sum=0.5 (at most 0.4), so all are left out; lower"
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        found = results(adata)
    assert caught[0].filename == __file__
    assert np.isnan(found["co_presence"]).all()
    assert not np.isnan(found["module_entropy"]).any()


def test_fields_and_arguments(stages: Mapping[str, AnnData]) -> None:
    adata, before = stages["ora"].copy(), stages["ora"]
    assert lava.tl.co_presence(adata, min_presence_sum=0.25) is None
    found, former = adata.uns["lava"], before.uns["lava"]
    assert set(found) - set(former) == {"co_presence", "module_entropy"}
    assert found["params"]["co_presence"] == {"min_presence_sum": 0.25}
    kept = set(former) - {"params"}
    assert_same({name: found[name] for name in kept}, {name: former[name] for name in kept})


@pytest.mark.parametrize("step", ["amf", "finetune_presences"])
def test_other_presences_drop_it(stages: Mapping[str, AnnData], step: str) -> None:
    adata = lava.tl.co_presence(stages["amf"], copy=True)
    if step == "amf":
        run_steps(adata, "amf")
        assert_unchanged(adata, stages["amf"])
    else:
        lava.tl.finetune_presences(adata, 0.3)
        assert_unchanged(adata, lava.tl.finetune_presences(stages["amf"], 0.3, copy=True))


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files(stages: Mapping[str, AnnData], tmp_path: Path, kind: str) -> None:
    adata = lava.tl.co_presence(stages["amf"], copy=True)
    getattr(adata, f"write_{kind}")(tmp_path / "file")
    assert_same(contents(getattr(ad, f"read_{kind}")(tmp_path / "file")), contents(adata), dtypes=False)


def test_copies_views_and_other_keys(stages: Mapping[str, AnnData]) -> None:
    adata = stages["amf"].copy()
    found = lava.tl.co_presence(adata, copy=True)
    assert_unchanged(adata, stages["amf"])
    view = adata[:, :]
    assert lava.tl.co_presence(view) is None
    assert_unchanged(view, found)
    assert_unchanged(adata, stages["amf"])
    helpers.localities(adata, key_added="more", n_neighbors=75)
    run_steps(adata, "locality_corr", "amf", key="more")
    lava.tl.co_presence(adata, key="more")
    assert "co_presence" in adata.uns["more"]
    assert_same(adata.uns["lava"], stages["amf"].uns["lava"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"min_presence_sum": -1},
            "Found min_presence_sum=-1, expected a number of at least 0; change min_presence_sum.",
        ),
        ({"min_presence_sum": float("nan")}, "Found min_presence_sum=nan, expected a number of at least 0"),
        ({"key": "other"}, "the result of lava_sc.tl.amf; call it first, with key 'other'."),
    ],
)
def test_what_is_wrong_changes_nothing(stages: Mapping[str, AnnData], arguments: dict[str, Any], message: str) -> None:
    adata = stages["amf"].copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        lava.tl.co_presence(adata, **arguments)
    assert_unchanged(adata, stages["amf"])
