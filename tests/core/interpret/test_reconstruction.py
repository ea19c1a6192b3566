"""One locality taken apart, against dense tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import sparse
from tests.reference.amf_numpy import mean_cosine, overestimation_ratio, reconstruct

from lava_sc.core.interpret.reconstruction import reconstruct_locality

if TYPE_CHECKING:
    from lava_sc.core.interpret.reconstruction import Reconstruction

D, M = 8, 3
PAIRS = np.triu_indices(D, 1)


def made(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    J = len(PAIRS[0])
    C = rng.uniform(-1, 1, (6, J)) * (rng.random((6, J)) < 0.4)
    modules = rng.random((M, J)) * (rng.random((M, J)) < 0.3)
    P = rng.random((6, M)) * (rng.random((6, M)) < 0.7)
    C[1] = P[2] = 0
    return C.astype(np.float32), P.astype(np.float32), modules.astype(np.float32)


def taken_apart(locality: int, seed: int = 0) -> Reconstruction:
    C, P, modules = made(seed)
    return reconstruct_locality(sparse.csr_matrix(C), P, sparse.csr_matrix(modules), locality, D)


def table(values: np.ndarray) -> np.ndarray:
    """Of all pairs (J,), with NaN on the diagonal."""
    found = np.zeros((D, D))
    found[PAIRS] = values
    found += found.T
    np.fill_diagonal(found, np.nan)
    return found


@pytest.mark.parametrize("locality", range(6))
def test_tables_and_figures(locality: int) -> None:
    C, P, modules = (array.astype(np.float64) for array in made())
    found, every = taken_apart(locality), np.arange(D)
    np.testing.assert_allclose(found.square(found.correlations, every), table(np.abs(C[locality])), rtol=1e-6)
    for m in range(M):
        np.testing.assert_allclose(found.square(found.parts[m], every), table(P[locality, m] * modules[m]), rtol=1e-6)
    hat = reconstruct(P, modules)[[locality]]
    np.testing.assert_allclose(found.square(found.largest, every), table(hat[0]), rtol=1e-6)
    size = np.abs(C[[locality]])
    assert found.overestimation == pytest.approx(overestimation_ratio(size, hat), rel=1e-6)
    if locality == 1:
        assert np.isnan(found.cosine)
    else:
        assert found.cosine == pytest.approx(mean_cosine(size, hat), rel=1e-6)


def test_tables_of_some_genes_in_any_order() -> None:
    found, genes = taken_apart(0), np.array([6, 1, 4])
    whole = found.square(found.correlations, np.arange(D))
    np.testing.assert_array_equal(found.square(found.correlations, genes), whole[np.ix_(genes, genes)])


@pytest.mark.parametrize("n", [1, 3, 5, 100])
@pytest.mark.parametrize("modules", [[], [1], [2, 0, 1]])
def test_genes_are_taken_in_turn(n: int, modules: list[int]) -> None:
    found, every = taken_apart(0), np.arange(D)
    sums = [
        np.nansum(found.square(values, every), axis=0)
        for values in [found.correlations, *(found.parts[m] for m in modules)]
    ]
    expected: list[int] = []
    for _ in range(D):
        for some in sums:
            left = [g for g in sorted(every, key=lambda g, some=some: -some[g]) if some[g] > 0 and g not in expected]
            expected += left[:1]
    assert found.strongest_genes(n, np.array(modules, dtype=int)).tolist() == expected[:n]


@pytest.mark.parametrize("seed", range(5))
def test_genes_are_in_the_order_of_what_wins_most(seed: int) -> None:
    C, P, modules = made(seed)
    found = taken_apart(0, seed)
    products = P[0][:, None] * modules
    hat, winner = products.max(axis=0), products.argmax(axis=0)
    by_presence = np.argsort(-products.max(axis=1))

    def place(gene: int) -> tuple[int, float]:
        own = (PAIRS[0] == gene) | (PAIRS[1] == gene)
        wins = [int((own & (hat > 0) & (winner == m)).sum()) for m in range(M)]
        if not any(wins):
            return M, -np.abs(C[0][own]).sum()
        return by_presence.tolist().index(int(np.argmax(wins))), -hat[own].sum()

    genes = np.array([7, 0, 3, 2, 6])
    assert found.in_order(genes).tolist() == sorted(genes.tolist(), key=place)


def test_a_locality_that_nothing_reconstructs() -> None:
    found = taken_apart(2)
    assert (found.cosine, found.overestimation) == (0, 0)
    sums = np.nansum(found.square(found.correlations, np.arange(D)), axis=0)
    assert np.all(np.diff(sums[found.in_order(np.arange(D))]) <= 1e-12)
