from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests import helpers
from tests.helpers import assert_same, assert_unchanged, contents

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

FEW = dict(n_placements=2, overlaps=[3], n_runs=2, n_resamples=3, n_jobs=1)
PARTS = ["placement", "runs", "end_to_end", "resamples"]


def results(adata: AnnData, **kwargs: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = lava.tl.stability(adata, copy=True, **(FEW | kwargs)).uns["lava"]
    return found["stability"], found["stability_cosines"]


@pytest.fixture(scope="module")
def repeated(quick: AnnData) -> AnnData:
    found: AnnData = lava.tl.stability(quick, copy=True, **FEW)
    return found


def of_modules(table: pd.DataFrame, part: str) -> pd.DataFrame:
    return table[(table["part"] == part) & (table["module"] >= 0)]


@pytest.fixture(scope="module")
def found(stages: Mapping[str, AnnData]) -> tuple[pd.DataFrame, pd.DataFrame]:
    return results(stages["amf"], n_placements=3, n_resamples=6, overlaps=None)


@pytest.fixture(scope="module")
def quick(stages: Mapping[str, AnnData]) -> AnnData:
    """Modules of runs that end at once, for what does not depend on how good they are."""
    adata = stages["locality_corr"].copy()
    helpers.amf(adata, init="kmeans", n_refits=0, tol=0.5, patience=2)
    return adata


def test_planted_modules_recur_and_noise_does_not(found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, _ = found
    assert table["part"].unique().tolist() == PARTS
    for part in PARTS[1:]:
        assert of_modules(table, part)["module"].unique().tolist() == [0, 1]
        assert (of_modules(table, part)["cosine"] > (0.6 if part == "resamples" else 0.9)).all()
    for part in ("end_to_end", "resamples"):  # other starts on the same noise find the same noise
        rows = of_modules(table, part)
        assert (rows["null_cosine"] < 0.5 * rows["cosine"]).all()
    averages = table[(table["module"] < 0) & (table["part"] != "runs")]
    assert (averages["null_cosine"] < averages["cosine"] - 0.1).all()


def test_the_table_sums_up_the_comparisons(found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, cosines = found
    expected_n = {"placement": 3, "runs": 1, "end_to_end": 3, "resamples": 0}  # between overlaps with all three
    expected_n_of_modules = {"runs": 2, "end_to_end": 3, "resamples": 6}
    for _, row in table.iterrows():
        some = cosines[(cosines["part"] == row["part"]) & (cosines["overlap"] == row["overlap"])]
        average = row["module"] < 0
        values = some.loc[~some["null"] & (some["module"] == row["module"]), "cosine"]
        null = some.loc[some["null"] & ((some["module"] < 0) == average), "cosine"]
        across = row["part"] == "end_to_end" and row["overlap"] != 3 and not average
        assert (
            len(values)
            == row["n"]
            == (1 if across else (expected_n if average else expected_n_of_modules)[row["part"]])
        )
        assert len(null) >= 2
        expected = [np.median(values), *np.percentile(values, [2.5, 97.5]), np.median(null), np.percentile(null, 97.5)]
        np.testing.assert_allclose(row[["cosine", "low", "high", "null_cosine", "null_high"]].tolist(), expected)
    assert cosines["cosine"].between(-1e-9, 1 + 1e-9).all()
    assert set(cosines.loc[cosines["module"] >= 0, "first"]) == {-1}


def test_overlaps(quick: AnnData, found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    def of_placements(table: pd.DataFrame) -> list[float]:
        return table.loc[table["part"] == "placement", "overlap"].tolist()

    assert of_placements(found[0]) == [1.5, 3, 6]
    assert of_placements(results(quick, overlaps=[4])[0]) == [3, 4]
    table = found[0]
    assert set(table.loc[table["part"].isin(["runs", "resamples"]), "overlap"]) == {3}
    assert set(table.loc[table["part"] == "end_to_end", "overlap"]) == {1.5, 3, 6}
    across = table[(table["part"] == "end_to_end") & (table["overlap"] != 3)]
    assert (across["cosine"] > 0.9).all()  # planted modules are found with any overlap (Figure S9),
    assert (across["null_cosine"] < 0.7 * across["cosine"]).all()  # noise has others


def noise(**kwargs: Any) -> AnnData:
    adata = helpers.toy()
    values = adata.X.toarray()
    adata.X = np.random.default_rng(7).permuted(values, axis=0)
    helpers.localities(adata)
    lava.tl.locality_corr(adata, fdr=None)
    helpers.amf(adata, n_modules=2, **kwargs)
    return adata


def test_noise_is_no_more_stable_than_its_null() -> None:
    table, cosines = results(noise(init="kmeans", patience=5), n_placements=3, n_resamples=6)
    null = cosines[cosines["null"]]
    for part in ("placement", "end_to_end", "resamples"):
        for average in (True, False):
            own, other = (
                some.loc[(some["part"] == part) & ((some["module"] < 0) == average), "cosine"]
                for some in (cosines[~cosines["null"]], null)
            )
            assert len(own) == len(other) == 0 or abs(own.median() - other.median()) < 0.15, part
    runs = table[table["part"] == "runs"]
    assert (runs["cosine"] < runs["null_high"]).all()
    placements = table[table["part"] == "placement"]
    assert (placements["cosine"] > 0.99).all()  # which says nothing by itself
    assert (placements["null_cosine"] > 0.99).all()


def test_runs_start_elsewhere_than_the_stored_ones(stages: Mapping[str, AnnData]) -> None:
    """With the same seed as the stored runs, repeated ones would be these, and any cosine 1."""
    adata = stages["locality_corr"].copy()
    helpers.amf(adata, init="random", n_runs=2, n_refits=0, rng=0)
    _, cosines = results(adata, rng=0)
    runs = cosines[(cosines["part"] == "runs") & ~cosines["null"]]
    assert (runs["cosine"] < 1 - 1e-7).all()


def test_no_number_depends_on_the_workers(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"].copy()
    helpers.amf(adata, init="kmeans", patience=5)
    assert_same(results(adata, n_jobs=2)[1], results(adata, n_jobs=1)[1])


def test_seeds(quick: AnnData) -> None:
    first, again, other = (results(quick, rng=rng)[1] for rng in (3, np.random.default_rng(3), 4))
    assert_same(first, again)
    assert (first["cosine"] != other["cosine"]).mean() > 0.5


def test_donors(stages: Mapping[str, AnnData]) -> None:
    """A module that one donor alone has comes and goes with this donor; where cells are drawn, some of it is always there."""
    adata = stages["start"].copy()
    donors = np.arange(adata.n_obs) % 4
    own = np.flatnonzero(adata.var_names.str.startswith("M2_"))  # correlated in the cells of donor 0 only
    values = adata.X.toarray()
    rng = np.random.default_rng(0)
    for donor in (1, 2, 3):
        cells = np.flatnonzero(donors == donor)
        values[np.ix_(cells, own)] = rng.permuted(values[np.ix_(cells, own)], axis=0)
    adata.X = values
    adata.obs["donor"] = pd.Categorical(donors.astype(str))
    helpers.run_steps(adata, "localities", "locality_corr")
    helpers.amf(adata, patience=5)
    by_cells, cells = results(adata, n_resamples=8)
    by_donors, single = results(adata, n_resamples=8, donor_key="donor")
    assert by_donors["part"].tolist() == by_cells["part"].tolist()
    rest = cells["part"] != "resamples"
    assert_same(single[rest], cells[rest])
    both = (of_modules(one, "resamples") for one in (by_cells, by_donors))
    spread = [(one["high"] - one["low"]).max() for one in both]
    assert spread[0] < spread[1]


def test_sections(stages: Mapping[str, AnnData]) -> None:
    adata = stages["start"].copy()
    adata.obs["slide"] = np.where(np.arange(adata.n_obs) % 2, "b", "a")
    helpers.localities(adata, library_key="slide")
    helpers.run_steps(adata, "locality_corr")
    helpers.amf(adata, patience=5)
    table, _ = results(adata, n_resamples=6)
    rows = of_modules(table, "resamples")
    assert (rows["cosine"] > 0.3).all()
    assert (rows["null_cosine"] < 0.5 * rows["cosine"]).all()  # not null_high: shuffled, a module may be one pair


def test_gamma_that_was_chosen_is_taken(quick: AnnData) -> None:
    def with_gamma(gamma: float | str) -> pd.DataFrame:
        adata = quick.copy()
        adata.uns["lava"]["params"]["amf"]["gamma"] = gamma
        adata.uns["lava"]["gamma_sweep"] = pd.DataFrame({"gamma": [1e-4, 30.0], "chosen": [False, True]})
        return results(adata)[1]

    assert_same(with_gamma("auto"), with_gamma(30.0))
    assert not with_gamma("auto").equals(with_gamma(1e-4))


def test_fields_and_arguments(quick: AnnData) -> None:
    adata = helpers.run_steps(quick.copy(), "module_genes")
    before = adata.copy()
    assert lava.tl.stability(adata, **FEW) is None
    found, former = adata.uns["lava"], before.uns["lava"]
    assert set(found) - set(former) == {"stability", "stability_cosines"}
    params = found["params"]["stability"]
    assert params.pop("overlaps").tolist() == [3]
    assert params == {"n_placements": 2, "n_runs": 2, "n_resamples": 3, "rng": 0}
    kept = set(former) - {"params"}
    assert_same({name: found[name] for name in kept}, {name: former[name] for name in kept})
    helpers.amf(adata)
    assert "stability" not in adata.uns["lava"]


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files(quick: AnnData, repeated: AnnData, tmp_path: Path, kind: str) -> None:
    getattr(repeated, f"write_{kind}")(tmp_path / "file")
    read = getattr(ad, f"read_{kind}")(tmp_path / "file")
    assert_same(contents(read), contents(repeated), dtypes=False)
    if kind == "h5ad":  # and the arguments of the other steps, read from it, are good for another call
        assert_same(results(read)[1], repeated.uns["lava"]["stability_cosines"])
    assert "stability" not in quick.uns["lava"]


@pytest.mark.parametrize("name", ["repeat_runs", "repeat_samples", "table_of_medians"])
def test_an_interrupt_stores_nothing(quick: AnnData, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    adata = quick.copy()
    monkeypatch.setattr(sys.modules["lava_sc.tl.stability"], name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        lava.tl.stability(adata, **FEW)
    assert_unchanged(adata, quick)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_placements": 1}, "Found n_placements=1, expected a whole number of at least 2; change n_placements."),
        ({"n_runs": 1}, "Found n_runs=1, expected a whole number of at least 2; change n_runs."),
        ({"n_resamples": 0}, "Found n_resamples=0, expected a whole number of at least 1; change n_resamples."),
        ({"overlaps": [0]}, "Found overlaps=0, expected a number of at least"),
        ({"overlaps": [90]}, "Found overlaps=90 with n_neighbors=60, which asks for 450 localities, expected at most"),
        (
            {"donor_key": "pair"},
            "Found 2 donors in adata.obs['pair'], expected at least 3 to draw from; leave donor_key",
        ),
        ({"donor_key": "gap"}, "Found 1 cells without a donor in adata.obs['gap'], expected one for each; drop these"),
        ({"donor_key": "none"}, "Found no column of adata.obs 'none'"),
        ({"depth_key": "none"}, "Found no column of adata.obs 'none'"),
        ({"key": "other"}, "the result of lava_sc.tl.amf; call it first, with key 'other'."),
    ],
)
def test_what_is_wrong_changes_nothing(stages: Mapping[str, AnnData], arguments: dict[str, Any], message: str) -> None:
    adata = stages["amf"].copy()
    adata.obs["pair"] = np.arange(adata.n_obs) % 2
    adata.obs["gap"] = pd.Categorical([None, *(np.arange(adata.n_obs - 1) % 5).astype(str)])
    before = adata.copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        lava.tl.stability(adata, **(FEW | arguments))
    assert_unchanged(adata, before)


def test_cells_or_genes_removed_since(stages: Mapping[str, AnnData]) -> None:
    for cut in (stages["amf"][:200].copy(), stages["amf"][:, 5:].copy()):
        before = cut.copy()
        with pytest.raises(ValueError, match=r"Found .*, expected .*; call|Found .*take the subset after"):
            lava.tl.stability(cut, **FEW)
        assert_unchanged(cut, before)
