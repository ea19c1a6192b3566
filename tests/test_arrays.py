"""The same numbers from the same values, however these are kept; files are read a few times only and never changed."""

from __future__ import annotations

import importlib.util
import os
import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse
from tests.helpers import GENE_SETS, assert_same, toy

import lava_sc as lava
from lava_sc.io import backends, sources
from lava_sc.stored import inputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

MISSING = {name for name in ("dask", "xarray") if importlib.util.find_spec(name) is None}
needs_dask = pytest.mark.skipif("dask" in MISSING, reason="Dask is not installed")
needs_xarray = pytest.mark.skipif(bool(MISSING), reason="Dask or xarray is not installed")

IN_MEMORY: dict[str, Callable[[np.ndarray], Any]] = {
    "dense": np.asarray,
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
}
FORMS = {name: IN_MEMORY[f"{name}_matrix"] for name in ("csr", "csc")} | {"dense": np.asarray}


def with_values(adata: AnnData, X: Any) -> AnnData:
    adata = adata.copy()
    adata.X = X
    return adata


def in_memory(adata: AnnData, folder: Path, form: str) -> AnnData:
    return with_values(adata, IN_MEMORY[form](values_of(adata)))


def view(adata: AnnData, folder: Path, form: str) -> AnnData:
    larger = ad.concat([adata, adata[:7]], uns_merge="first", merge="first", index_unique="-")
    found = with_values(larger, IN_MEMORY[form](values_of(larger)))[: adata.n_obs]
    assert found.is_view
    return found


def h5ad(adata: AnnData, folder: Path, form: str) -> Path:
    path = folder / "a.h5ad"
    with_values(adata, FORMS[form](values_of(adata))).write_h5ad(path, compression="gzip")
    return path


def zarr_store(adata: AnnData, folder: Path, form: str) -> Path:
    path = folder / "a.zarr"
    with_values(adata, FORMS[form](values_of(adata))).write_zarr(path)
    return path


def backed(adata: AnnData, folder: Path, form: str) -> AnnData:
    return ad.read_h5ad(h5ad(adata, folder, form), backed="r")


def lazy_h5ad(adata: AnnData, folder: Path, form: str) -> AnnData:
    return ad.experimental.read_lazy(h5ad(adata, folder, form))


def lazy_zarr(adata: AnnData, folder: Path, form: str) -> AnnData:
    return ad.experimental.read_lazy(zarr_store(adata, folder, form))


def matrix_in_zarr(adata: AnnData, folder: Path, form: str) -> AnnData:
    stored = zarr.open(zarr_store(adata, folder, form), mode="r")["X"]
    return with_values(adata, stored if form == "dense" else ad.io.sparse_dataset(stored))


def dask(adata: AnnData, folder: Path, form: str, chunks: tuple[int, int] = (70, 17)) -> AnnData:
    import dask.array as da

    return with_values(adata, da.from_array(values_of(adata), chunks=chunks).map_blocks(IN_MEMORY[form]))


def dask_by_rows(adata: AnnData, folder: Path, form: str) -> AnnData:
    return dask(adata, folder, form, (50, adata.n_vars))


KINDS: dict[str, tuple[Callable[..., AnnData], str]] = {
    **{form: (in_memory, form) for form in IN_MEMORY},
    **{f"view of {form}": (view, form) for form in ("dense", "csr_matrix", "csc_matrix")},
    **{f"backed {form}": (backed, form) for form in FORMS},
    **{f"lazy h5ad {form}": (lazy_h5ad, form) for form in FORMS},
    **{f"lazy zarr {form}": (lazy_zarr, form) for form in FORMS},
    **{f"zarr {form}": (matrix_in_zarr, form) for form in FORMS},
    **{f"dask {form}": (dask, form) for form in IN_MEMORY},
    **{f"dask rows {form}": (dask_by_rows, form) for form in ("dense", "csr_matrix")},
}
LARGE = [
    "backed csr",
    "backed csc",
    "backed dense",
    "lazy h5ad csr",
    "lazy zarr csr",
    "zarr csr",
    "dask dense",
    "dask csr_matrix",
]


def opened(name: str, adata: AnnData, folder: Path) -> AnnData:
    kind, form = KINDS[name]
    needed = (
        {"dask", "xarray"} if kind in {lazy_h5ad, lazy_zarr} else {"dask"} if kind in {dask, dask_by_rows} else set()
    )
    if needed & MISSING:
        pytest.skip(f"{' and '.join(needed & MISSING)} is not installed")
    return kind(adata, folder, form)


def values_of(adata: AnnData) -> np.ndarray:
    return adata.X if isinstance(adata.X, np.ndarray) else adata.X.toarray()


def run(adata: AnnData, **kwargs: Any) -> dict[str, Any]:
    """The steps that read values, and what they found."""
    lava.tl.localities(adata, n_neighbors=60, max_evals=5, use_rep="umap")
    lava.pp.select_genes(adata, n_top_genes=30, **kwargs)
    lava.pp.select_genes(adata, n_top_genes=15, localities_key="lava", key_added="few", **kwargs)
    lava.pp.select_genes(adata, n_top_genes=15, batch_key="region", key_added="by_batch", **kwargs)
    lava.tl.locality_corr(adata, covariates=["total_counts", "region"], **kwargs)
    lava.tl.score_gene_sets(adata, GENE_SETS, n_random=5, n_jobs=1)
    results = {name: adata.uns["lava"][name] for name in ("genes", "defined", "C", "evidence", "gene_set_scores")}
    return results | {name: np.asarray(adata.var[name]) for name in ("lava_genes", "few", "by_batch")}


@pytest.fixture(scope="module")
def start() -> AnnData:
    adata = toy()
    adata.X = values_of(adata)
    del adata.var["lava_genes"]
    return adata


@pytest.fixture(scope="module")
def expected(start: AnnData) -> dict[str, Any]:
    found = run(start.copy())
    assert 0 < found["few"].sum() < found["lava_genes"].sum() < start.n_vars
    return found


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 100 of the 300 cells fit at once, and a read is 10 kB."""
    monkeypatch.setattr(sources, "memory_available", lambda: 4 * 20_000)
    monkeypatch.setattr(backends, "_READ_AT_ONCE", 10_000)
    monkeypatch.setattr(backends, "_READ_THROUGH", 100)


@pytest.mark.parametrize("name", ["backed csr", "backed dense", "lazy h5ad csr", "dask csr_matrix"])
def test_projection_onto_what_is_stored(start: AnnData, explained: AnnData, tmp_path: Path, name: str) -> None:
    found = []
    for adata in (start.copy(), opened(name, start, tmp_path)):
        lava.tl.localities(adata, n_neighbors=60, max_evals=5, use_rep="umap")
        lava.tl.project(adata, explained, n_permutations=9, n_jobs=1)
        found.append({field: adata.uns["lava"][field] for field in ("C", "modules", "presences", "preservation")})
    assert_same(found[1], found[0])


def freeze(X: Any) -> None:
    for array in [X] if isinstance(X, np.ndarray) else [X.data, X.indices, X.indptr]:
        array.flags.writeable = False


@pytest.mark.parametrize("name", KINDS)
def test_same_numbers(start: AnnData, expected: dict, tmp_path: Path, name: str) -> None:
    adata = opened(name, start, tmp_path)
    if name in IN_MEMORY:
        freeze(adata.X)
    before = contents_of(tmp_path)
    assert_same(run(adata), expected)
    assert contents_of(tmp_path) == before
    assert_same(values_of(adata.to_memory()), values_of(start))


@pytest.mark.parametrize("name", LARGE)
def test_same_numbers_with_little_memory(
    start: AnnData, expected: dict, tmp_path: Path, name: str, little_memory: None
) -> None:
    adata = opened(name, start, tmp_path)
    assert_same(run(adata), expected)
    source = inputs.source(adata, expected["lava_genes"])
    members = inputs.locality_members(adata, "lava")
    blocks = list(source.blocks(members))
    assert 1 < len(blocks) <= len(members)
    assert sorted(np.concatenate([block.localities for block in blocks])) == list(range(len(members)))
    X = values_of(start)[:, expected["lava_genes"]]
    for block in blocks:
        rows = block.X if isinstance(block.X, np.ndarray) else block.X.toarray()
        np.testing.assert_array_equal(rows[block.members], X[members[block.localities]])
    assert len(source.pieces()) > 1


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("kind", [in_memory, backed, pytest.param(dask, marks=needs_dask)])
def test_number_types(start: AnnData, tmp_path: Path, kind: Callable, dtype: Any) -> None:
    """Ranks do not ask for the type; counts are warned about, which is not the point here."""
    counts = np.minimum(start.layers["counts"].toarray(), 1 if dtype is bool else 100)
    found = []
    for name, values in (("expected", counts.astype(np.float64)), ("found", counts.astype(dtype))):
        (tmp_path / name).mkdir()
        adata = kind(with_values(start, values), tmp_path / name, "dense")
        lava.tl.localities(adata, n_neighbors=60, max_evals=5, use_rep="umap")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "adata.X holds whole numbers only")
            lava.tl.locality_corr(adata)
        found.append({name: adata.uns["lava"][name] for name in ("genes", "defined", "C")})
    assert_same(found[1], found[0])


# raw and layers


def with_raw(adata: AnnData, order: slice = slice(None, None, -1)) -> AnnData:
    """Values in raw, in another order and among more genes; in X what is not to be read."""
    more = ad.concat([adata, renamed(adata[:, :5])], axis=1, merge="first")[:, order].copy()
    adata = with_values(adata, np.ones(adata.shape, dtype=np.float32))
    adata.raw = more
    return adata


def renamed(adata: AnnData) -> AnnData:
    adata = adata.copy()
    adata.var_names = [f"other_{i}" for i in range(adata.n_vars)]
    return adata


@pytest.mark.parametrize(
    "kind",
    [
        in_memory,
        view,
        backed,
        pytest.param(lazy_h5ad, marks=needs_xarray),
        pytest.param(lazy_zarr, marks=needs_xarray),
    ],
)
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_raw_is_read_by_name(start: AnnData, expected: dict, tmp_path: Path, kind: Callable, form: str) -> None:
    adata = start.copy()
    adata.X = FORMS[form](adata.X)
    adata = kind(with_raw(adata), tmp_path, "dense") if kind is not view else with_raw(adata)[:]
    assert_same(run(adata, use_raw=True), expected)


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (lambda adata: None, {}, r"Found no adata\.raw, expected .*; set adata\.raw or leave use_raw out\."),
        (
            lambda adata: setattr(adata, "raw", adata[:, 3:].copy()),
            {},
            r"Found 3 of 40 genes missing from adata\.raw\.var_names \(e\.g\. 'M1_01'\), expected .*; select other",
        ),
        (
            lambda adata: setattr(adata, "raw", ad.concat([adata, adata[:, :2]], axis=1)),
            {},
            r"Found 2 of 40 genes more than once in adata\.raw\.var_names \(e\.g\. 'M1_01'\), expected .*; select other",
        ),
        (
            lambda adata: setattr(adata, "raw", adata.copy()),
            {"layer": "counts"},
            r"Found layer='counts' and use_raw=True, expected one of them; leave one out\.",
        ),
    ],
    ids=["none", "missing", "twice", "layer"],
)
def test_bad_raw(start: AnnData, spoil: Callable, arguments: dict, message: str) -> None:
    adata = start.copy()
    lava.tl.localities(adata, n_neighbors=60, max_evals=5, use_rep="umap")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        spoil(adata)
    for call in (lava.pp.select_genes, lava.tl.locality_corr):
        with pytest.raises(ValueError, match=message):
            call(adata, use_raw=True, **arguments)


@pytest.mark.parametrize("kind", [backed, pytest.param(dask, marks=needs_dask)])
def test_layers(start: AnnData, expected: dict, tmp_path: Path, kind: Callable) -> None:
    adata = start.copy()
    adata.layers["logged"] = adata.X if kind is backed else dask(start, tmp_path, "csr_matrix").X
    adata.X = np.ones(adata.shape, dtype=np.float32)
    if kind is backed:
        adata = backed(adata, tmp_path, "dense")
    assert_same(run(adata, layer="logged"), expected)


# what lazily opened and backed objects let one do


@needs_xarray
@pytest.mark.parametrize("kind", [lazy_h5ad, lazy_zarr])
def test_everything_else_may_be_lazy_too(start: AnnData, tmp_path: Path, kind: Callable) -> None:
    """Embeddings, columns and results of former steps are in the file; all steps run, and run again."""
    adata = start.copy()
    adata.obsm["table"] = pd.DataFrame(adata.obsm["X_umap"], index=adata.obs_names, columns=["a", "b"])
    lava.tl.explain(adata, 2, use_rep="umap", n_neighbors=60, n_runs=1, batch_key="region")
    opened = kind(adata, tmp_path, "csr")
    lava.tl.locality_corr(opened, batch_key="region")
    assert_same(opened.uns["lava"]["C"], adata.uns["lava"]["C"])
    for use_rep in ("umap", "table"):
        lava.tl.explain(opened, 2, use_rep=use_rep, n_neighbors=60, n_runs=1, batch_key="region")
        assert_same(opened.uns["lava"]["C"], adata.uns["lava"]["C"])
        assert_same(opened.uns["lava"]["modules"], adata.uns["lava"]["modules"])
    parts = opened[:200], adata[:200]
    for part in parts:
        lava.pp.select_genes(part, n_top_genes=20)
        assert not part.is_view
    np.testing.assert_array_equal(*(np.asarray(part.var["lava_genes"]) for part in parts))
    opened.obs, opened.var = opened.obs.to_memory(), opened.var.to_memory()  # which anndata asks for
    del opened.obsm["table"]
    opened.write_h5ad(tmp_path / "results.h5ad")
    assert_same(ad.read_h5ad(tmp_path / "results.h5ad").uns["lava"]["C"], adata.uns["lava"]["C"])


def test_whole_way_on_a_backed_object(start: AnnData, tmp_path: Path) -> None:
    opened, adata = backed(start, tmp_path, "csr"), start.copy()
    before = contents_of(tmp_path)
    for each in (opened, adata):
        lava.tl.explain(each, 2, use_rep="umap", n_neighbors=60, n_runs=1)
    assert_same(opened.uns["lava"]["modules"], adata.uns["lava"]["modules"])
    assert contents_of(tmp_path) == before


def test_backed_objects_that_cannot_be_written_to(start: AnnData, tmp_path: Path) -> None:
    adata = backed(start, tmp_path, "csr")
    for call in (lava.pp.select_genes, lava.tl.localities, lava.tl.explain):
        with pytest.raises(ValueError, match=r"Found copy=True with a backed AnnData object, .*; leave copy out\."):
            call(adata, copy=True)
        for kwargs in ({}, {"copy": True}):
            with pytest.raises(
                ValueError, match=r"a(?: view of a)? backed AnnData object, .*; call adata = adata\.to_mem"
            ):
                call(adata[:100], **kwargs)
    part = adata[:100].to_memory()
    lava.pp.select_genes(part, n_top_genes=20)
    assert part.var["lava_genes"].sum() == 20


# reading


@needs_dask
@pytest.mark.parametrize("form", ["dense", "csr_matrix"])
def test_each_chunk_is_computed_once_in_a_group(start: AnnData, form: str) -> None:
    import dask.array as da

    computed: list[int] = []

    def note(chunk: np.ndarray, block_id: tuple[int, int]) -> Any:
        computed.append(block_id[0])
        return IN_MEMORY[form](chunk)

    X = da.from_array(values_of(start), chunks=(20, -1))
    meta = IN_MEMORY[form](np.empty((0, 0), dtype=np.float32))
    adata = with_values(start, X.map_blocks(note, dtype=np.float32, meta=meta))
    members = np.array([np.arange(45), np.arange(20, 65), np.arange(200, 245), np.arange(100, 190, 2)])
    genes = np.ones(start.n_vars, dtype=bool)
    source = inputs.source(adata, genes)
    assert len(source.pieces()) == 1  # looks at the first chunk
    assert computed == [0]
    computed.clear()
    assert len(list(source.blocks(members))) == 1
    assert sorted(computed) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    computed.clear()
    tight = inputs.source(adata, genes, memory=int(70 * (160 if form == "dense" else 1.5 * bytes_in_a_row(start))))
    tight.pieces()
    computed.clear()
    groups = [list(block.localities) for block in tight.blocks(members)]
    assert sorted(groups) == [[0, 1], [2], [3]]
    assert sorted(computed) == sorted([0, 1, 2, 3, 10, 11, 12, 5, 6, 7, 8, 9])


def bytes_in_a_row(adata: AnnData) -> float:
    return np.count_nonzero(values_of(adata)) * 8 / adata.n_obs


def test_a_file_is_read_once_for_localities_that_fit(
    start: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_READ_AT_ONCE", 4_000)
    adata = backed(start, tmp_path, "csr")
    read: list[tuple[str, slice]] = []
    original = h5py.Dataset.__getitem__

    def note(dataset: h5py.Dataset, index: Any, **kwargs: Any) -> Any:
        read.append((dataset.name, index))
        return original(dataset, index, **kwargs)

    source = inputs.source(adata, np.arange(start.n_vars) < 10)
    assert len(source.pieces()) == 1  # looks at the first rows
    monkeypatch.setattr(h5py.Dataset, "__getitem__", note)
    list(source.blocks(np.array([np.arange(50, 250), np.arange(60, 260)])))
    monkeypatch.undo()
    indptr = np.asarray(adata.file["X"]["indptr"])
    for name in ("/X/data", "/X/indices"):
        stretches = [index for where, index in read if where == name]
        assert len(stretches) > 5
        places = np.concatenate([np.arange(stretch.start, stretch.stop) for stretch in stretches])
        np.testing.assert_array_equal(places, np.arange(indptr[50], indptr[260]))


@pytest.mark.parametrize("form", FORMS)
def test_nan_in_a_file(start: AnnData, tmp_path: Path, form: str) -> None:
    values = values_of(start).copy()
    values[[3, 70], 1] = np.nan, np.inf
    adata = backed(with_values(start, values), tmp_path, form)
    with pytest.raises(ValueError, match=r"Found 2 NaN or infinite values in adata\.X, expected finite numbers; drop"):
        lava.pp.select_genes(adata)


@pytest.mark.parametrize("form", FORMS)
def test_closed_file_is_opened_again(start: AnnData, expected: dict, tmp_path: Path, form: str) -> None:
    adata = backed(start, tmp_path, form)
    adata.file.close()
    assert_same(run(adata), expected)


@pytest.mark.parametrize("form", FORMS)
def test_unreadable_file(start: AnnData, tmp_path: Path, form: str) -> None:
    adata = backed(start, tmp_path, form)
    os.truncate(adata.filename, adata.filename.stat().st_size // 20)
    with pytest.raises(
        OSError, match=r"Found adata\.X in '.*a\.h5ad' unreadable \(\w+\), expected an intact file; check"
    ):
        lava.pp.select_genes(adata)
    assert "lava_genes" not in adata.var


@needs_xarray
def test_missing_file_of_a_lazily_opened_object(start: AnnData, tmp_path: Path) -> None:
    adata = lazy_h5ad(start, tmp_path, "csr")
    (tmp_path / "a.h5ad").unlink()
    with pytest.raises(
        OSError, match=r"Found adata\.X in '.*a\.h5ad' unreadable \(FileNotFoundError\), expected an intact file; check"
    ):
        lava.pp.select_genes(adata)


@needs_xarray
def test_embedding_of_a_lazily_opened_file_that_was_cut_off(start: AnnData, tmp_path: Path) -> None:
    adata = lazy_h5ad(start, tmp_path, "csr")
    os.truncate(tmp_path / "a.h5ad", 2000)
    with pytest.raises(
        OSError,
        match=r"Found adata\.obsm\['X_umap'\] in '.*a\.h5ad' unreadable \(\w+\), expected an intact file; check",
    ):
        lava.tl.localities(adata, n_neighbors=30)


@pytest.mark.parametrize("form", FORMS)
def test_matrix_in_a_closed_file(start: AnnData, tmp_path: Path, form: str) -> None:
    with h5py.File(h5ad(start, tmp_path, form)) as file:
        X = file["X"] if form == "dense" else ad.io.sparse_dataset(file["X"])
        adata = with_values(start, X)
    with pytest.raises(OSError, match=r"Found adata\.X in a file that has been closed, expected an open one; open it"):
        lava.pp.select_genes(adata)


def test_unknown_kinds(start: AnnData) -> None:
    with pytest.raises(ValueError, match=r"Found list in adata\.X, expected a numpy array, .*; convert it first\."):
        sources.open_source([[1.0]], np.array([0]), "adata.X", None)
    with pytest.raises(
        ValueError, match=r"Found values of dtype complex64 in adata\.X, expected real numbers; convert"
    ):
        sources.open_source(np.ones((3, 2), dtype=np.complex64), np.arange(2), "adata.X", None)


@needs_xarray
@pytest.mark.parametrize("kind", [backed, lazy_h5ad])
def test_locality_size(start: AnnData, tmp_path: Path, kind: Callable) -> None:
    found = []
    for each in (start.copy(), kind(start, tmp_path, "csr")):
        lava.tl.locality_size(each, use_rep="umap", groupby="region")
        found.append(each.uns["lava"]["locality_size"])
    assert_same(found[1], found[0])
