"""What is stored survives files, copies, views, subsets and concatenation, and can still be worked with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests import helpers
from tests.helpers import STEPS, assert_same, assert_unchanged, contents, run_steps, stored

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from anndata import AnnData

ORDER = list(STEPS)
FILES: dict[str, tuple[Callable[[AnnData, Path], None], Callable[[Path], AnnData]]] = {
    "h5ad": (lambda adata, path: adata.write_h5ad(path), ad.read_h5ad),
    "zarr": (lambda adata, path: adata.write_zarr(path), ad.read_zarr),
}


def read_all(adata: AnnData) -> dict[str, Any]:
    """Everything that the getters return."""
    localities = lava.get.localities(adata)
    return {
        "modules": lava.get.modules(adata),
        "presences": lava.get.presences(adata),
        "module": {str(m): lava.get.module(adata, m) for m in range(2)},
        "localities": {"X": localities.X, "obs": localities.obs, "var": localities.var, "obsm": dict(localities.obsm)},
    }


@pytest.fixture(scope="module", params=list(FILES))
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    return *FILES[request.param], tmp_path_factory.mktemp(request.param)


def test_every_step_goes_on_from_a_file(stages: Mapping[str, AnnData], files: tuple[Any, Any, Path]) -> None:
    write, read, folder = files
    adata = stages["start"].copy()
    for step in ORDER:
        run_steps(adata, step)
        write(adata, folder / step)
        assert_same(contents(adata), contents(stages[step]), dtypes=False)
        adata = read(folder / step)
        assert_same(contents(adata), contents(stages[step]), dtypes=False)
    assert_same(read_all(adata), read_all(stages["ora"]), dtypes=False)
    run_steps(adata, *ORDER)
    assert_same(contents(adata), contents(stages["ora"]), dtypes=False)


def test_arguments_of_every_kind_survive(stages: Mapping[str, AnnData], files: tuple[Any, Any, Path]) -> None:
    write, read, folder = files
    adata = stages["start"].copy()
    adata.layers["same"] = adata.X.copy()
    lava.tl.localities(adata, rng=np.random.default_rng(3), max_evals=1)
    lava.tl.locality_corr(
        adata, mask_var=np.ones(40, dtype=bool), layer="same", covariates=["total_counts"], fdr=None, method="pearson"
    )
    lava.tl.amf(adata, np.int64(2), rng=[1, 2], n_runs=np.int32(1), gamma=np.float32(1), patience=5, n_jobs=1)
    lava.tl.module_genes(adata, threshold=1)
    lava.tl.ora(adata, helpers.GENE_SETS, background=adata.var_names.tolist())
    write(adata, folder / "arguments")
    params = read(folder / "arguments").uns["lava"]["params"]
    assert_same(params, adata.uns["lava"]["params"], dtypes=False)
    assert json.loads(params["localities"]["rng"]) == np.random.default_rng(3).bit_generator.state
    np.testing.assert_array_equal(params["amf"]["rng"], [1, 2])


def test_modules_of_one_pair_and_one_module_survive(
    stages: Mapping[str, AnnData], files: tuple[Any, Any, Path]
) -> None:
    write, read, folder = files
    adata = stages["localities"].copy()
    lava.tl.locality_corr(adata, mask_var=adata.var_names.isin(["M1_01", "M1_02"]))
    helpers.amf(adata, n_modules=1)
    lava.tl.module_genes(adata)
    write(adata, folder / "one pair")
    found = read(folder / "one pair")
    assert_same(contents(found), contents(adata), dtypes=False)
    assert lava.get.module(found, 0).shape == (2, 2)
    assert len(lava.get.modules(found)) == 1


@pytest.mark.parametrize("step", ORDER)
def test_copies_are_complete_and_independent(stages: Mapping[str, AnnData], step: str) -> None:
    adata = stages[step].copy()
    assert_unchanged(adata, stages[step])
    run_steps(adata, *ORDER)
    helpers.localities(adata, n_neighbors=40)
    assert adata.uns["lava"]["params"]["localities"]["n_neighbors"] == 40
    assert stages[step].uns["lava"]["params"]["localities"]["n_neighbors"] == 60


@pytest.mark.parametrize("step", ORDER)
def test_copy_is_the_same_as_in_place_and_leaves_the_original_alone(stages: Mapping[str, AnnData], step: str) -> None:
    before = stages["start" if step == ORDER[0] else ORDER[ORDER.index(step) - 1]]
    for original in (before, stages["ora"]):
        adata = original.copy()
        found = STEPS[step](adata, copy=True)
        assert_unchanged(adata, original)
        assert STEPS[step](adata) is None
        assert_unchanged(found, adata)
        run_steps(found, *ORDER[: ORDER.index(step)])  # nothing is shared with the copy
        helpers.localities(found, n_neighbors=40)
        assert_unchanged(adata, stages[step])


@pytest.mark.parametrize("step", ORDER)
def test_views_become_objects_of_their_own(stages: Mapping[str, AnnData], step: str) -> None:
    before = stages["start" if step == ORDER[0] else ORDER[ORDER.index(step) - 1]]
    for original in (before, stages["ora"]):
        adata = original.copy()
        view = adata[:, :]
        assert view.is_view
        assert STEPS[step](view) is None
        assert not view.is_view
        assert_unchanged(view, stages[step])
        assert_unchanged(adata, original)


def some_cells(adata: AnnData) -> np.ndarray:
    return np.random.default_rng(0).permutation(adata.n_obs)[: adata.n_obs // 3]


@pytest.mark.parametrize("step", ORDER)
@pytest.mark.parametrize("make", [lambda a, c: a[c].copy(), lambda a, c: a[a.obs_names[c]]], ids=["copy", "view"])
def test_a_subset_of_cells_keeps_what_is_known_of_them(
    stages: Mapping[str, AnnData], step: str, make: Callable[[AnnData, np.ndarray], AnnData]
) -> None:
    adata = stages[step].copy()
    cells = some_cells(adata)
    subset = make(adata, cells)
    done = ORDER[: ORDER.index(step) + 1]
    found, whole = stored(subset, done), stored(adata, done)
    for name, value in whole.items():
        per_cell = name.startswith("obs")
        assert_same(found[name], value.iloc[cells] if name.startswith("obs/") else value[cells] if per_cell else value)
    assert_unchanged(adata, stages[step])


@pytest.mark.parametrize("after", ["locality_corr", "amf", "module_genes"])
def test_presences_of_a_subset_are_those_of_its_cells(stages: Mapping[str, AnnData], after: str) -> None:
    """Whichever the step after which cells are dropped, the steps that follow say the same of those that are left."""
    cells = some_cells(stages["ora"])
    subset = stages[after][cells].copy()
    run_steps(subset, *ORDER[ORDER.index(after) + 1 :])
    pd.testing.assert_frame_equal(
        lava.get.presences(subset), lava.get.presences(stages["ora"]).iloc[cells], check_exact=True
    )
    for field in ("modules", "presences", "module_genes", "ora"):
        assert_same(subset.uns["lava"][field], stages["ora"].uns["lava"][field])
    again = run_steps(stages["ora"][cells].copy(), "amf")
    assert_same(again.obsm["lava_presences"], stages["ora"].obsm["lava_presences"][cells])


@pytest.mark.parametrize("stage", ["localities", "ora"])
def test_a_step_that_needs_all_cells_says_so(stages: Mapping[str, AnnData], stage: str) -> None:
    for subset in (stages[stage][1:].copy(), stages[stage][::2].copy(), stages[stage][::2]):
        before = subset.copy()
        incomplete = int(
            (stages[stage].obsm["lava_localities"].sum(axis=0) > subset.obsm["lava_localities"].sum(0)).sum()
        )
        message = (
            rf'missing from {incomplete} of 15 localities in adata\.obsm\["lava_localities"\], expected all 60 cells of '
            r"each; .*call lava_sc\.tl\.localities again\."
        )
        with pytest.raises(ValueError, match=message):
            lava.tl.locality_corr(subset)
        with pytest.raises(ValueError, match=message):
            lava.pp.select_genes(subset, localities_key="lava")
        assert_unchanged(subset, before)
    run_steps(subset, "localities", "locality_corr")


def test_cells_that_are_in_no_locality_can_be_dropped(stages: Mapping[str, AnnData]) -> None:
    adata = stages["start"].copy()
    lava.tl.localities(adata, n_neighbors=60, overlap=1, max_evals=1)
    covered = adata.obs["lava_locality_in_degree"].to_numpy() > 0
    assert not covered.all()
    subset = adata[covered].copy()
    for found in (adata, subset):
        lava.tl.locality_corr(found)
    assert_same(subset.uns["lava"], adata.uns["lava"])


def test_a_subset_of_genes_keeps_the_results(stages: Mapping[str, AnnData]) -> None:
    genes = np.random.default_rng(0).permutation(40)[:20]
    subset = stages["amf"][:, genes].copy()
    assert_same(read_all(subset), read_all(stages["amf"]))
    assert_same(subset.varm["lava_gene_weights"], stages["amf"].varm["lava_gene_weights"][genes])
    run_steps(subset, "module_genes")
    assert_same(subset.uns["lava"]["module_genes"], stages["module_genes"].uns["lava"]["module_genes"])


def test_modules_after_genes_were_dropped(stages: Mapping[str, AnnData]) -> None:
    genes = np.random.default_rng(0).permutation(40)[:20]
    subset = run_steps(stages["locality_corr"][:, genes].copy(), "amf", "module_genes")
    assert_same(read_all(subset), read_all(stages["amf"]))
    assert_same(subset.varm["lava_gene_weights"], stages["amf"].varm["lava_gene_weights"][genes])


def test_gene_sets_after_genes_were_dropped(stages: Mapping[str, AnnData]) -> None:
    """Sets are tested among the selected genes, which are still known, whatever the object still holds."""
    genes = stages["module_genes"].var_names.str.startswith("M1")
    subset = run_steps(stages["module_genes"][:, genes].copy(), "ora")
    found = subset.uns["lava"]["ora"].set_index(["module", "gene_set"])["n_hits"]
    expected = stages["ora"].uns["lava"]["ora"].set_index(["module", "gene_set"])["n_hits"]
    assert found[found > 0].equals(expected[expected > 0].loc[found[found > 0].index])


@pytest.mark.parametrize("uns_merge", ["same", "first", "unique"])
def test_concatenated_pieces_can_be_read(stages: Mapping[str, AnnData], uns_merge: str) -> None:
    adata = stages["ora"]
    pieces = [adata[::2].copy(), adata[1::2].copy()]
    found = ad.concat(pieces, merge="same", uns_merge=uns_merge)
    order = found.obs_names
    assert_same(found.obsm["lava_localities"].toarray(), adata[order].obsm["lava_localities"].toarray())
    assert_same(lava.get.presences(found), lava.get.presences(adata).loc[order])
    assert_same(lava.get.modules(found), lava.get.modules(adata))
    assert_same(lava.get.module(found, 0), lava.get.module(adata, 0))
    assert_same(lava.get.localities(found).X, lava.get.localities(adata).X)
    assert_same(found.varm["lava_gene_weights"], adata.varm["lava_gene_weights"])
    # all cells are there again, so every step can go on, and none of them reaches into the pieces
    run_steps(found, *ORDER[1:])
    assert_same(found.uns["lava"]["C"], adata.uns["lava"]["C"])
    assert_same(found.uns["lava"]["presences"], adata.uns["lava"]["presences"])
    for piece, cells in zip(pieces, (slice(0, None, 2), slice(1, None, 2)), strict=True):
        assert_unchanged(piece, adata[cells].copy())


def test_explained_objects_of_different_data_can_be_concatenated(stages: Mapping[str, AnnData]) -> None:
    other = run_steps(helpers.toy(rng=5))
    found = ad.concat({"a": stages["ora"], "b": other}, index_unique="-", join="outer", uns_merge="first")
    assert lava.get.presences(found).shape == (600, 2)
    with pytest.raises(ValueError, match=r"call lava_sc\.tl\.localities again|missing"):
        lava.tl.locality_corr(found)


def test_an_object_read_backed_can_be_read_out(stages: Mapping[str, AnnData], tmp_path: Path) -> None:
    stages["ora"].write_h5ad(tmp_path / "backed.h5ad")
    backed = ad.read_h5ad(tmp_path / "backed.h5ad", backed="r")
    assert_same(lava.get.presences(backed), lava.get.presences(stages["ora"]), dtypes=False)
    assert_same(lava.get.modules(backed), lava.get.modules(stages["ora"]), dtypes=False)
    backed.file.close()


def test_two_keys_in_one_file(stages: Mapping[str, AnnData], files: tuple[Any, Any, Path]) -> None:
    write, read, folder = files
    adata = stages["ora"].copy()
    helpers.localities(adata, key_added="more", n_neighbors=75)
    run_steps(adata, *ORDER[1:], key="more")
    write(adata, folder / "two")
    found = read(folder / "two")
    for key in ("lava", "more"):
        assert_same(stored(found, ORDER, key), stored(adata, ORDER, key), dtypes=False)
