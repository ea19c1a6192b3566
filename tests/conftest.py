from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests import helpers

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


@pytest.fixture(scope="session")
def explained() -> AnnData:
    """Planted toy with the results of every step up to the gene lists. Shared: copy it before changing anything."""
    adata = lava.datasets.planted(n_cells=600, n_genes=80, genes_per_module=10, n_modules=3, markers_per_region=2)
    lava.tl.localities(adata, n_neighbors=80)
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 3, n_runs=2)
    lava.tl.module_genes(adata)
    return adata


@pytest.fixture
def in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of AMF wait after each epoch until the callback has seen it, so that an interrupt in it hits that very epoch."""
    one_by_one = SimpleNamespace(SimpleQueue=helpers.OneByOne, Empty=queue.Empty)
    monkeypatch.setattr("lava_sc.core.factorise.amf.restarts.queue", one_by_one)


@pytest.fixture(scope="session")
def stages() -> Mapping[str, AnnData]:
    """The small toy as it is after each step, "start" before the first. Shared: copy before changing anything."""
    adata = helpers.toy()
    found = {"start": adata.copy()}
    for step in helpers.STEPS:
        helpers.run_steps(adata, step)
        found[step] = adata.copy()
    return found
