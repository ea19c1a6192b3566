from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse
from tests.helpers import assert_same, contents

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(1.5, size=(50, 12)).astype(np.float32)


def like_cellxgene(counts: np.ndarray) -> AnnData:
    """Counts of all genes in ``raw``, normalised values of some in ``X``."""
    raw = AnnData(sparse.csr_matrix(counts))
    adata = raw[:, :9].copy()
    adata.X = np.log1p(adata.X)
    adata.raw = raw
    return adata


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_array, lambda X: X.astype(np.uint16)])
def test_sums_of_rows(counts: np.ndarray, kind: Callable[[Any], Any]) -> None:
    adata = AnnData(kind(counts))
    lava.pp.total_counts(adata, key_added="depth")
    np.testing.assert_array_equal(adata.obs["depth"], counts.sum(axis=1))
    assert adata.obs["depth"].dtype == np.float64


def test_raw_comes_first_and_a_layer_before_it(counts: np.ndarray) -> None:
    adata = like_cellxgene(counts)
    lava.pp.total_counts(adata)
    np.testing.assert_array_equal(adata.obs["total_counts"], counts.sum(axis=1))  # genes outside of var_names, too
    adata.layers["some"] = sparse.csr_matrix(counts[:, :9])
    lava.pp.total_counts(adata, layer="some")
    np.testing.assert_array_equal(adata.obs["total_counts"], counts[:, :9].sum(axis=1))


def test_backed_piece_by_piece(counts: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lava_sc.io import sources

    like_cellxgene(counts).write_h5ad(tmp_path / "file.h5ad")
    monkeypatch.setattr(sources, "memory_available", lambda: 4 * 1_000)
    adata = ad.read_h5ad(tmp_path / "file.h5ad", backed="r")
    lava.pp.total_counts(adata)
    np.testing.assert_array_equal(adata.obs["total_counts"], counts.sum(axis=1))


def test_copies_and_views(counts: np.ndarray) -> None:
    adata = AnnData(counts)
    copied = lava.pp.total_counts(adata, copy=True)
    assert copied is not None
    assert "total_counts" not in adata.obs
    view = adata[:20]
    lava.pp.total_counts(view)
    np.testing.assert_array_equal(view.obs["total_counts"], counts[:20].sum(axis=1))


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (np.log1p, {}, r"Found values in adata\.X that are no counts, expected whole numbers from 0; pass the layer="),
        (np.negative, {}, r"no counts"),
        (np.asarray, {"use_raw": True}, r"Found no adata\.raw"),
        (np.asarray, {"use_raw": True, "layer": "counts"}, r"Found use_raw=True with layer='counts'"),
        (np.asarray, {"layer": "counts"}, r"Found no layer 'counts'"),
    ],
)
def test_what_is_refused(
    counts: np.ndarray, change: Callable[[np.ndarray], np.ndarray], arguments: dict[str, Any], message: str
) -> None:
    adata = AnnData(change(counts))
    before = contents(adata.copy())
    with pytest.raises(ValueError, match=message) as caught:
        lava.pp.total_counts(adata, **arguments)
    assert len(re.findall(r"\.\s|\.$", str(caught.value))) == 1
    assert_same(contents(adata), before)
