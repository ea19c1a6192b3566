"""Measures by name: a new one is registered and gets its correlations, evidence and covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

import lava_sc as lava
from lava_sc.core.correlation.locality import CorrelationOptions, locality_correlations
from lava_sc.core.correlation.measures import MEASURES, Measure
from lava_sc.io.blocks import InMemory
from lava_sc.stored.fields import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lava_sc._types import FloatArray
    from lava_sc.core.correlation.ranks import Ranks


class Quadrant(Measure):
    """The quadrant correlation: signs of the differences from the median."""

    def scores(self, values: NDArray[Any], ranks: Ranks) -> FloatArray:
        signs = np.sign(values - np.median(values, axis=1, keepdims=True))
        return np.asarray(signs - signs.mean(axis=1, keepdims=True))


@pytest.fixture
def quadrant() -> Iterator[Measure]:
    MEASURES["quadrant"] = Quadrant()
    yield MEASURES["quadrant"]
    del MEASURES["quadrant"]


def expected(X: NDArray[Any], batches: NDArray[Any] | None = None) -> float:
    parts = [X] if batches is None else [X[batches == code] for code in np.unique(batches)]
    r = [stats.pearsonr(*np.sign(part - np.median(part, axis=0)).T).statistic for part in parts]
    weights = [len(part) - 3 for part in parts]
    return float(r[0] if len(r) == 1 else np.tanh(np.average(np.arctanh(r), weights=weights)))


@pytest.mark.parametrize("batches", [None, np.arange(101) % 2])
def test_a_registered_measure_is_correlated(quadrant: Measure, batches: NDArray[Any] | None) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(101, 2)) + rng.normal(size=(101, 1))
    options = CorrelationOptions(quadrant, batches=batches)
    found = locality_correlations(InMemory(X), np.arange(101)[None], options)
    assert found.C.toarray()[0, 0] == pytest.approx(expected(X, batches), abs=1e-6)


def test_a_registered_measure_is_a_method(quadrant: Measure) -> None:
    del quadrant
    adata = lava.datasets.planted(n_cells=300, n_genes=100)
    lava.tl.localities(adata, n_neighbors=60)
    lava.tl.locality_corr(adata, method="quadrant", fdr=None)  # type: ignore[arg-type]
    C, cells = adata.uns["lava"]["C"], load(adata, "lava", "localities").tocsc()[:, [0]].nonzero()[0]
    pair = int(C[0].indices[0])
    a, b = (index[pair] for index in np.triu_indices(100, 1))
    X = np.asarray(adata[cells, [a, b]].to_df())
    assert C[0, pair] == pytest.approx(expected(X), abs=1e-6)
    assert adata.uns["lava"]["params"]["locality_corr"]["method"] == "quadrant"
