"""Null data by name: a new null is registered and gets its correlations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from lava_sc.core.correlation.locality import CorrelationOptions
from lava_sc.core.nulls.null_data import NullData
from lava_sc.core.nulls.shuffled_genes import NULLS
from lava_sc.io.blocks import InMemory

if TYPE_CHECKING:
    import pytest

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.correlation.scores import Scores


@dataclass(frozen=True)
class Rolled:
    """A toy: feature f is moved on by f samples."""

    seed: int
    depth: FloatArray | None
    n_features: int

    def __call__(self, scores: Scores, samples: IntArray) -> Scores:
        del samples
        pairs = zip(scores.values, scores.features, strict=True)
        return replace(scores, values=np.array([np.roll(row, int(f)) for row, f in pairs]))

    def features_of(self, n_features: int) -> int:
        return n_features


def test_a_registered_null_is_correlated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NULLS, "rolled", Rolled)
    X = np.random.default_rng(0).normal(size=(50, 4)) + np.random.default_rng(1).normal(size=(50, 1))
    members = np.arange(50)[None]
    null = NullData(InMemory(X), members, np.full(1, np.inf), CorrelationOptions(fdr=None), n_jobs=1)
    rolled = np.column_stack([np.roll(X[:, f], f) for f in range(4)])
    expected = spearmanr(rolled).statistic[np.triu_indices(4, 1)]
    np.testing.assert_allclose(null.correlations(0, "rolled").toarray()[0], expected, atol=1e-6)
    assert null.correlations(0, "decoy_genes").shape == (1, 28)
