from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests.helpers import assert_same, assert_unchanged, contents, run_steps

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData


def names_of(adata: AnnData, **arguments: Any) -> list[str]:
    found = lava.tl.name_modules(adata, copy=True, **arguments).uns["lava"]["module_names"]
    assert found.shape == (adata.uns["lava"]["modules"].shape[0],)
    assert all(type(name) is str for name in found)
    assert len(set(found)) == len(found)
    return list(found)


def strongest(adata: AnnData, m: int) -> list[str]:
    return lava.get.module(adata, m).index.tolist()


@pytest.mark.parametrize("n_genes", [1, 3, np.int64(5)])
def test_strongest_genes(stages: Mapping[str, AnnData], n_genes: int) -> None:
    adata = stages["ora"]
    assert names_of(adata, n_genes=n_genes) == [" · ".join(strongest(adata, m)[:n_genes]) for m in range(2)]


def test_modules_with_the_same_genes_get_more_of_them(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"].copy()
    table = pd.DataFrame({"module": [0] * 4 + [1] * 3, "gene": [*"ABCD", *"ABE"]}).astype({"gene": object})
    adata.uns["lava"]["module_genes"] = table
    assert names_of(adata, n_genes=2) == ["A · B · C", "A · B · E"]


def test_a_module_without_genes_has_a_name(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"].copy()
    table = adata.uns["lava"]["module_genes"]
    adata.uns["lava"]["module_genes"] = table[table["module"] == 0]
    assert names_of(adata)[1] == "no genes"


def with_sets(adata: AnnData, rows: list[tuple[int, str, float, float]]) -> AnnData:
    adata = adata.copy()
    adata.uns["lava"]["ora"] = pd.DataFrame(rows, columns=["module", "gene_set", "pvalue", "pvalue_adj"])
    return adata


def test_the_best_significant_set(stages: Mapping[str, AnnData]) -> None:
    rows = [(0, "x", 0.3, 0.6), (0, "HALLMARK_MYC_TARGETS_V1", 1e-9, 1e-8), (0, "y", 1e-3, 1e-2), (1, "z", 0.02, 0.051)]
    adata = with_sets(stages["ora"], rows)
    assert names_of(adata, by="sets") == ["MYC targets V1", " · ".join(strongest(adata, 1)[:3])]


def test_modules_with_the_same_set_are_told_apart_by_genes(stages: Mapping[str, AnnData]) -> None:
    adata = with_sets(stages["ora"], [(m, "HALLMARK_HYPOXIA", 0.001, 0.01) for m in (1, 0)])
    assert names_of(adata, by="sets") == [f"Hypoxia · {strongest(adata, m)[0]}" for m in range(2)]


def test_sets_that_were_tested(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"]
    planted = {m: {"M1": "first", "M2": "second"}[strongest(adata, m)[0][:2]] for m in range(2)}
    assert names_of(adata, by="sets") == [planted[0], planted[1]]


@pytest.mark.parametrize(
    "labels", [["a", "b  c "], ("a", "b c"), {0: "a", np.int64(1): "b c"}, pd.Series(["a", "b c"])]
)
def test_names_of_ones_own(stages: Mapping[str, AnnData], labels: Any) -> None:
    assert names_of(stages["ora"], labels=labels) == ["a", "b c"]
    assert lava.tl.name_modules(stages["ora"], labels=labels, copy=True).uns["lava"]["params"]["name_modules"] == {
        "by": "genes",
        "n_genes": 3,
        "labels": "given",
    }


def test_one_name_of_ones_own(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"]
    by_genes = names_of(adata)
    assert names_of(adata, labels={1: "mine"}) == [by_genes[0], "mine"]
    assert names_of(adata, labels={1: by_genes[0]}) == [" · ".join(strongest(adata, 0)[:4]), by_genes[0]]


def test_symbols_and_ids(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"].copy()
    adata.var["symbol"] = [f"s{name}" for name in adata.var_names]
    assert names_of(adata, gene_symbols="symbol", n_genes=1) == [f"s{strongest(adata, m)[0]}" for m in range(2)]
    kept = adata[:, adata.var_names != strongest(adata, 0)[0]]
    assert names_of(kept, n_genes=1)[0] == strongest(adata, 0)[0]  # genes removed since keep their names


def test_stored_until_the_gene_lists_change(stages: Mapping[str, AnnData]) -> None:
    adata = stages["ora"].copy()
    assert lava.tl.name_modules(adata) is None
    expected = contents(stages["ora"])["uns"]["lava"]
    found = dict(adata.uns["lava"])
    assert found.pop("module_names").dtype == object
    assert found["params"].pop("name_modules") == {"by": "genes", "n_genes": 3}
    assert_same(found, expected)
    lava.tl.name_modules(adata)
    lava.tl.finetune_presences(adata)
    assert "module_names" in adata.uns["lava"]
    assert_unchanged(run_steps(adata, "amf"), stages["amf"])


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files(stages: Mapping[str, AnnData], tmp_path: Path, kind: str) -> None:
    adata = lava.tl.name_modules(stages["ora"], copy=True)
    getattr(adata, f"write_{kind}")(tmp_path / "file")
    found = getattr(ad, f"read_{kind}")(tmp_path / "file")
    assert_same(contents(found), contents(adata), dtypes=False)
    assert_same(contents(lava.tl.name_modules(found, copy=True)), contents(adata), dtypes=False)
