from __future__ import annotations

import logging
import re
from contextlib import nullcontext
from importlib import import_module
from itertools import permutations
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from tests import helpers
from tests.helpers import assert_same, assert_unchanged, contents

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

COLUMNS = ["module", "category", "n_localities", "pearson", "pearson_p_plain", "pearson_p", "pearson_p_adj"]
COLUMNS += ["spearman", "spearman_p_plain", "spearman_p", "spearman_p_adj", "test", "n_tested", "n_permutations"]


@pytest.fixture
def adata(explained: AnnData) -> AnnData:
    """Three modules and eight donors: disease and age of each, and what differs between a donor's cells."""
    adata = explained.copy()
    rng = np.random.default_rng(0)
    side = (adata.obsm["X_umap"][:, 0] > 0).astype(int)
    donor = (rng.integers(8, size=adata.n_obs) + 2 * side) % 8
    adata.obs["donor"] = [f"D{d}" for d in donor]
    adata.obs["disease"] = pd.Categorical(np.array(["CKD", "AKI", "none", "CKD", "CKD", "none", "none", "CKD"])[donor])
    adata.obs["age"] = np.array([31.5, 40, 52, 47, 66, 71, 58, 45])[donor]
    adata.obs["sex"] = np.array(["f", "m", "f", "m", "m", "m", "f", "f"])[donor]
    adata.obs["state"] = rng.choice(["cycling", "resting"], adata.n_obs)
    return adata


def table(adata: AnnData, obs_key: str, **kwargs: Any) -> pd.DataFrame:
    return lava.tl.presence_association(adata, obs_key, copy=True, **kwargs).uns["lava"]["presence_association"]


def fractions(adata: AnnData, values: Any) -> Any:
    """Mean over the cells of each locality, one after the other."""
    members = adata.obsm["lava_localities"].toarray().T
    return np.array([np.asarray(values, float)[cells].mean() for cells in members])


@pytest.mark.parametrize("bound", [0.01, 0.3])
@pytest.mark.parametrize("donor_key", [None, "donor"])
def test_correlations_over_the_localities_where_the_module_is_present(
    adata: AnnData, bound: float, donor_key: str | None
) -> None:
    with pytest.warns(UserWarning, match="Nothing is tested for 1 of 3") if donor_key else nullcontext():
        found = table(adata, "disease", min_presence=bound, n_permutations=99, donor_key=donor_key)
    assert found.columns.tolist() == COLUMNS
    assert found["module"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found["category"].tolist() == ["AKI", "CKD", "none"] * 3
    for _, row in found.iterrows():
        P = adata.uns["lava"]["presences"][:, row["module"]].astype(np.float64)
        present = bound < P
        y = fractions(adata, adata.obs["disease"] == row["category"])[present]
        assert row["n_localities"] == row["n_tested"] == present.sum()
        for name, test in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            expected = test(P[present], y)
            np.testing.assert_allclose(row[name], expected.statistic, atol=1e-9)
            np.testing.assert_allclose(row[f"{name}_p_plain"], expected.pvalue, atol=1e-9)


@pytest.mark.parametrize("strata_key", [None, "sex"])
def test_donors_against_a_plain_loop(adata: AnnData, strata_key: str | None) -> None:
    adata.obs["sick"] = adata.obs["disease"] == "CKD"
    adata.obs.loc[adata.obs["donor"] == "D1", "sick"] = True
    adata.obs.loc[adata.obs["donor"] == "D4", "sick"] = False
    found = table(adata, "sick", donor_key="donor", strata_key=strata_key)
    of_donor = adata.obs.groupby("donor").first()
    sick, sex = of_donor["sick"].to_numpy(dtype=float), of_donor["sex"].to_numpy()
    orders = np.array([o for o in permutations(range(8)) if strata_key is None or (sex[list(o)] == sex).all()])
    donor = of_donor.index.get_indexer(adata.obs["donor"])
    shares = np.column_stack([fractions(adata, donor == d) for d in range(8)])
    assert set(found["test"]) == {"donors"}
    assert set(found["n_permutations"]) == {len({tuple(sick[o]) for o in orders})}
    orders = orders[np.unique(sick[orders], axis=0, return_index=True)[1]]
    assert len(orders) == found["n_permutations"].iloc[0]
    for _, row in found[found["category"] == "True"].iterrows():
        P = adata.uns["lava"]["presences"][:, row["module"]].astype(np.float64)
        rows = P > 0.01
        null = np.array([stats.pearsonr(P[rows], shares[rows] @ sick[o]).statistic for o in orders])
        tails = (null >= row["pearson"] - 1e-9).mean(), (null <= row["pearson"] + 1e-9).mean()
        assert row["pearson_p"] == pytest.approx(min(1, 2 * min(tails)))
        null = np.array([stats.spearmanr(P[rows], np.round(shares[rows] @ sick[o], 10)).statistic for o in orders])
        tails = (null >= row["spearman"] - 1e-9).mean(), (null <= row["spearman"] + 1e-9).mean()
        assert row["spearman_p"] == pytest.approx(min(1, 2 * min(tails)))


@pytest.mark.parametrize("arguments", [dict(donor_key="donor"), {}])
def test_p_values_are_adjusted_over_all_modules_and_categories(adata: AnnData, arguments: dict[str, Any]) -> None:
    adata.obs["sick"] = np.where(adata.obs["donor"].isin(["D0", "D1", "D2"]), "yes", "no")
    found = table(adata, "sick", n_permutations=99, **arguments)
    for name in ("pearson", "spearman"):
        expected = multipletests(found[f"{name}_p"], method="fdr_bh")[1]
        np.testing.assert_allclose(found[f"{name}_p_adj"], expected)


def test_numbers_are_means_and_with_donors_means_of_donors(adata: AnnData) -> None:
    adata.obs["score"] = np.random.default_rng(0).normal(size=adata.n_obs)
    for values, arguments in (
        (adata.obs["score"], {}),
        (adata.obs.groupby("donor")["score"].transform("mean"), dict(donor_key="donor")),
    ):
        found = table(adata, "score", n_permutations=99, **arguments)
        assert found["category"].tolist() == ["score"] * 3
        P = adata.uns["lava"]["presences"].astype(np.float64)
        for m in range(3):
            rows = P[:, m] > 0.01
            expected = stats.pearsonr(P[rows, m], fractions(adata, values)[rows]).statistic
            assert found["pearson"].iloc[m] == pytest.approx(expected, abs=1e-9)


def test_a_planted_effect_of_donors_is_found_and_one_of_place_alone_is_not(adata: AnnData) -> None:
    """Presence follows the share of donors with the label; then it follows a single one of them."""
    sick = adata.obs["donor"].isin(["D0", "D1", "D2", "D3"])
    adata.obs["sick"] = np.where(sick, "yes", "no")
    adata.uns["lava"]["presences"] = fractions(adata, sick)[:, None].astype(np.float32)
    found = table(adata, "sick", donor_key="donor")
    np.testing.assert_allclose(found["pearson"], [-1, 1], atol=1e-6)
    np.testing.assert_allclose(found["pearson_p"], 2 / 70)
    adata.uns["lava"]["presences"] = fractions(adata, adata.obs["donor"] == "D0")[:, None].astype(np.float32)
    found = table(adata, "sick", donor_key="donor")
    assert (found["pearson_p"] > 0.05).all()


@pytest.mark.parametrize("obs_key", ["disease", "age"])
def test_cells_without_a_value_do_not_count(adata: AnnData, obs_key: str) -> None:
    known = np.random.default_rng(1).random(adata.n_obs) < 0.5
    adata.obs[obs_key] = adata.obs[obs_key].where(known)
    copied = lava.tl.presence_association(adata, obs_key, n_permutations=9, copy=True)
    F = copied.uns["lava"]["locality_fractions"]
    members = adata.obsm["lava_localities"].toarray().T & known
    values = adata.obs[obs_key] if obs_key == "age" else adata.obs[obs_key] == "AKI"
    expected = [np.asarray(values, float)[cells].mean() for cells in members]
    np.testing.assert_allclose(F[:, 0], expected)


def test_too_few_donors_are_not_tested_and_this_is_said(adata: AnnData) -> None:
    with pytest.warns(
        UserWarning, match=r"for 1 of 3 categories .*1 against 7 donors for 'AKI', .*3 in each"
    ) as caught:
        found = table(adata, "disease", donor_key="donor", n_permutations=99)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    refused = (found["category"] == "AKI").to_numpy()
    tested = found[["pearson_p", "pearson_p_adj", "spearman_p", "spearman_p_adj"]].notna()
    assert not tested[refused].any(axis=None)
    assert tested[~refused].all(axis=None)
    assert not found[["pearson", "spearman", "pearson_p_plain", "spearman_p_plain"]].isna().any(axis=None)
    assert (found.loc[refused, "n_permutations"] == 0).all()
    assert set(found["test"]) == {"donors"}
    adata.obs["half"] = (adata.obs["age"] > 50).astype(str)
    with pytest.warns(UserWarning, match=r"found 2 donors in all, expected at least 6 that differ"):
        found = table(adata, "age", donor_key="half")
    assert found["pearson_p"].isna().all()


def test_the_least_p_value_there_can_be_is_said(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    adata.obs["donor"] = adata.obs["donor"].replace({"D6": "D0", "D7": "D1"})
    adata.obs["sick"] = adata.obs["donor"].isin(["D0", "D2", "D4"])
    with caplog.at_level(logging.WARNING, logger="lava_sc"):
        found = table(adata, "sick", donor_key="donor")
    assert "exchanged in 20 ways only, so no p-value can be below 0.1" in caplog.text
    assert found["pearson_p"].min() >= 0.1


def test_the_donor_with_most_cells_of_each_locality(adata: AnnData) -> None:
    found = lava.tl.presence_association(adata, "age", donor_key="donor", n_permutations=9, copy=True)
    members = adata.obsm["lava_localities"].toarray().T
    for donor, cells in zip(found.uns["lava"]["locality_donors"], members, strict=True):
        counts = adata.obs["donor"][cells].value_counts()
        assert counts[donor] == counts.max()


def test_seeds(adata: AnnData) -> None:
    first, again, other = (table(adata, "state", n_permutations=50, rng=seed) for seed in (1, 1, 2))
    assert_same(first, again)
    assert not first["pearson_p"].equals(other["pearson_p"])
    generated = table(adata, "state", n_permutations=50, rng=np.random.default_rng(1))
    assert_same(generated, first)


def test_sections_of_tissue_are_kept_apart(adata: AnnData) -> None:
    """Where a section lies relative to another one changes nothing."""
    side = adata.obsm["X_umap"][:, 0] > 0
    adata.obs["slide"] = np.where(side, "a", "b")
    found = []
    for shift in (0, 1000):
        moved = adata.copy()
        moved.obsm["spatial"] = adata.obsm["X_umap"] + shift * side[:, None]
        lava.tl.localities(moved, use_rep="spatial", n_neighbors=60, library_key="slide", max_evals=1)
        membership = moved.obsm["lava_localities"].toarray().T
        assert {len(set(moved.obs["slide"][cells])) for cells in membership} == {1}
        moved.uns["lava"]["presences"] = np.random.default_rng(0).random((len(membership), 1)).astype(np.float32)
        found.append(table(moved, "state", n_permutations=200)[["pearson", "pearson_p"]])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_of_many_localities_some_are_tested_and_this_is_said(
    explained: AnnData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    adata = explained.copy()
    lava.tl.presence_association(adata, "region", n_permutations=9)
    every = adata.uns["lava"]["presence_association"]
    most = int(every["n_localities"].max()) - 1
    monkeypatch.setattr(import_module("lava_sc.tl.presence_association"), "MOST_LOCALITIES", most)
    with caplog.at_level("INFO", "lava_sc"):
        lava.tl.presence_association(adata, "region", n_permutations=9)
    found = adata.uns["lava"]["presence_association"]
    assert found["n_tested"].tolist() == np.minimum(every["n_localities"], most).tolist()
    pd.testing.assert_series_equal(found["pearson"], every["pearson"])
    assert f"is tested in {most} of its {most + 1} localities" in caplog.text


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files(adata: AnnData, tmp_path: Path, kind: str) -> None:
    adata.obs["disease"] = adata.obs["disease"].cat.rename_categories({"none": "no/none"})
    lava.tl.presence_association(adata, "age", donor_key="donor", strata_key="sex", n_permutations=9)
    getattr(adata, f"write_{kind}")(tmp_path / "donors")
    assert_same(contents(getattr(ad, f"read_{kind}")(tmp_path / "donors")), contents(adata), dtypes=False)
    lava.tl.presence_association(adata, "disease", n_permutations=9)
    assert "locality_donors" not in adata.uns["lava"]
    getattr(adata, f"write_{kind}")(tmp_path / "file")
    found = getattr(ad, f"read_{kind}")(tmp_path / "file")
    assert_same(contents(found), contents(adata), dtypes=False)
    lava.pl.association(found, 0, "no/none", show=False)


def test_fields_arguments_copies_and_what_drops_them(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"].copy()
    assert lava.tl.presence_association(adata, "region", n_permutations=9, min_presence=0.2) is None
    added = set(adata.uns["lava"]) - set(stages["ora"].uns["lava"])
    assert added == {"presence_association", "locality_fractions"}
    expected = {"obs_key": "region", "min_presence": 0.2, "n_permutations": 9, "rng": 0}
    assert adata.uns["lava"]["params"]["presence_association"] == expected
    lava.tl.finetune_presences(adata, 0.3)
    assert added.isdisjoint(adata.uns["lava"])
    copied = lava.tl.presence_association(adata, "region", n_permutations=9, copy=True)
    assert added <= set(copied.uns["lava"])
    assert added.isdisjoint(adata.uns["lava"])
    helpers.amf(copied)
    assert added.isdisjoint(copied.uns["lava"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(obs_key="cell_type"), r"no column of adata\.obs 'cell_type', .*'region'"),
        (
            dict(obs_key="same"),
            r"Found 1 different values in adata\.obs\['same'\], expected at least 2 .*choose another",
        ),
        (dict(obs_key="nothing"), r"Found 0 different values in adata\.obs\['nothing'\]"),
        (dict(obs_key="age", donor_key="patient"), r"no column of adata\.obs 'patient'"),
        (dict(obs_key="age", donor_key="donor", strata_key="batch"), r"no column of adata\.obs 'batch'"),
        (dict(obs_key="age", strata_key="sex"), r"strata_key='sex' without donor_key, .*; pass donor_key"),
        (
            dict(obs_key="state", donor_key="donor"),
            r"several levels of adata\.obs\['state'\] in 8 of 8 donors .*'cycling' and 'resting' in 'D0'.*; leave donor_key",
        ),
        (
            dict(obs_key="age", donor_key="donor", strata_key="state"),
            r"several or missing values of adata\.obs\['state'\] in 8 of 8 donors .*'D0'.*; change strata_key",
        ),
        (dict(obs_key="age", min_presence=2), r"min_presence=2, expected a number between 0 and 1"),
        (dict(obs_key="age", n_permutations=0), r"n_permutations=0, expected a whole number of at least 1"),
        (dict(obs_key="age", key="other"), r"lava_sc\.tl\.amf; call it first, with key 'other'"),
    ],
)
def test_what_is_wrong_changes_nothing(adata: AnnData, arguments: dict[str, Any], message: str) -> None:
    adata.obs["same"], adata.obs["nothing"] = "a", np.nan
    before = adata.copy()
    with pytest.raises(ValueError, match=message):
        lava.tl.presence_association(adata, **arguments)
    assert_unchanged(adata, before)


def test_a_subset_of_the_cells_is_refused(adata: AnnData) -> None:
    part = adata[:300].copy()
    with pytest.raises(ValueError, match=re.escape("Found cells missing from")):
        lava.tl.presence_association(part, "age")
