"""Localities are placed, or drawn as they will be, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from tests import helpers

import lava_sc as lava
from lava_sc.core import placement_rehearsal as rehearsal

Members = np.ndarray


def blobs(n_samples: int = 3000, dimension: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    group = rng.integers(4, size=n_samples)
    return rng.normal(size=(4, dimension))[group] * 20 + rng.normal(size=(n_samples, dimension))


def sample(Z: np.ndarray, sections: Members | None = None, *, seed: int = 0, n_sampled: int = 20) -> Members:
    rng = np.random.default_rng(seed)
    found = rehearsal.sample_placement(Z, sections, 50, 180, n_sampled, rng, 1)
    assert 0 < found.seconds < np.inf
    return found.members


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every map for one that is too large to be placed."""
    monkeypatch.setattr(rehearsal, "_PLACED", 0)


def test_a_small_map_is_placed_as_by_the_step_itself() -> None:
    adata = helpers.toy()
    lava.tl.localities(adata, n_neighbors=60)
    placed = adata.obsm["lava_localities"].T.toarray()
    Z = np.asarray(adata.obsm["X_umap"], dtype=np.float64)
    members = rehearsal.sample_placement(Z, None, 60, len(placed), len(placed), np.random.default_rng(0), 1).members
    assert set(map(tuple, members)) == {tuple(np.flatnonzero(row)) for row in placed}


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("dimension", [1, 2, 10])
def test_localities_of_a_large_map_are_drawn_like_its_samples(dimension: int) -> None:
    Z = blobs(dimension=dimension)
    members = sample(Z, n_sampled=64)
    assert members.shape == (64, 50)
    tree = cKDTree(Z)
    for rows in members:
        assert (np.diff(rows) > 0).all()
        centres = [i for i in rows if set(tree.query(Z[i], 50)[1]) == set(rows)]
        assert centres, "the neighbourhood of none of its samples"
    group = np.round(Z / 20).astype(int)
    _, which = np.unique(group[:, 0], return_inverse=True)
    drawn = np.bincount(which[members].ravel(), minlength=which.max() + 1) / members.size
    np.testing.assert_allclose(drawn, np.bincount(which) / len(Z), atol=0.06)


@pytest.mark.parametrize("placed", [2e7, 0], ids=["placed", "drawn"])
def test_sections_are_not_mixed_and_samples_can_be_drawn_again(placed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_PLACED", placed)
    Z, sections = blobs(), np.arange(3000) % 3
    members = sample(Z, sections)
    assert (sections[members] == sections[members[:, :1]]).all()
    assert set(sections[members[:, 0]]) == {0, 1, 2}
    np.testing.assert_array_equal(sample(Z, sections), members)
    assert not np.array_equal(sample(Z, sections, seed=1), members)
