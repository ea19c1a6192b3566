"""False discoveries by counting, and decoys in fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lava_sc as lava
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.protocol import RunPlan
from lava_sc.core.nulls.decoy_genes import false_discoveries, weights_with_decoys
from lava_sc.stored.null_data import null_data


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_false_discoveries_by_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, decoys = rng.integers(0, 6, 12).astype(float), rng.integers(0, 4, 12).astype(float)
    share = {t: (decoys >= t).sum() / (weights >= t).sum() for t in weights}
    expected = [min(1, *(share[t] for t in weights if t <= w)) if w > 0 else 1 for w in weights]
    np.testing.assert_allclose(false_discoveries(weights, decoys), expected)


def test_module_genes_and_copies() -> None:
    """The copies of module genes weigh nothing next to the genes, and modules are matched to those that are given."""
    adata = lava.datasets.planted(n_cells=800, n_modules=2, n_genes=80)
    lava.tl.localities(adata, n_neighbors=100)
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 2, n_runs=2, n_jobs=1)
    null = null_data(adata, "lava", None, 1)
    modules = adata.uns["lava"]["modules"]
    for order in ([0, 1], [1, 0]):
        genes, copies = weights_with_decoys(null, modules[order], RunPlan(FitOptions(), "nmf", 1), n_runs=1, seed=0)
        own = adata.varm["lava_gene_weights"][:, order]
        for m in range(2):
            assert np.corrcoef(own[:, m], genes[:, m])[0, 1] > 0.95
            assert np.median(genes[own[:, m] > 0.5 * own[:, m].max(), m]) > 10 * copies[:, m].max()


def test_same_with_any_number_of_workers() -> None:
    adata = lava.datasets.planted(n_cells=400, n_modules=2, n_genes=80)
    lava.tl.localities(adata, n_neighbors=100)
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 2, n_runs=1, n_jobs=1)
    found = [
        weights_with_decoys(
            null_data(adata, "lava", None, n_jobs),
            adata.uns["lava"]["modules"],
            RunPlan(FitOptions(max_epochs=40), "kmeans", n_jobs),
            n_runs=2,
            seed=0,
        )
        for n_jobs in (1, 2)
    ]
    for one, two in zip(*found, strict=True):
        assert one == pytest.approx(two, abs=0)
