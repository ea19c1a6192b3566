"""The start from factorisations: on matrices that are the model, with modules that overlap."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from tests.reference.amf_numpy import batch_loss, co_presence_entropy, reconstruct

from lava_sc.core.factorise.amf import successive_halving
from lava_sc.core.factorise.amf.fit import FitOptions, fit
from lava_sc.core.factorise.amf.presences import sample_pairs
from lava_sc.core.factorise.amf.starts import STARTS
from lava_sc.core.factorise.amf.successive_halving import factorised, nmf_start
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import make_problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]  # float32 or float64

OPTIONS = FitOptions()


def planted(seed: int, n_localities: int = 60, n_modules: int = 4) -> tuple[Floats, Floats, Floats]:
    """C, P and M of Equation 3 with noise: each module shares a third of its genes, one to three are present at a time."""
    rng = np.random.default_rng(seed)
    n_genes = 8 * n_modules + 4
    first, second = np.triu_indices(n_genes, 1)
    M = np.zeros((n_modules, len(first)))
    for m in range(n_modules):
        genes = np.zeros(n_genes)
        genes[8 * m : 8 * m + 12] = rng.uniform(0.6, 1, 12)
        M[m] = genes[first] * genes[second]
    P = np.zeros((n_localities, n_modules))
    for presences in P:
        present = rng.choice(n_modules, rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]), replace=False)
        presences[present] = rng.uniform(0.3, 1, len(present))
    C = np.clip(reconstruct(P, M) + rng.normal(0, 0.05, (n_localities, len(first))), 0, 1)
    C[C < 0.15] = 0
    return C * rng.choice([-1, 1], C.shape), P, M


def started(name: str, C: Floats, n_modules: int, seed: int) -> tuple[Floats, Floats]:
    """P and M, over all pairs."""
    problem = make_problem(sparse.csr_matrix(C.astype(np.float32)))
    P, compact = STARTS[name](problem, n_modules, OPTIONS, np.random.default_rng(seed))
    M = np.zeros((n_modules, C.shape[1]))
    M[:, problem.columns] = compact
    return P.astype(np.float64), M


def loss(C: Floats, P: Floats, M: Floats) -> float:
    return batch_loss(np.abs(C), P, M, np.arange(len(C)), nu=OPTIONS.nu, gamma=OPTIONS.gamma)


def matched(found: Floats, true: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Which found module is each true one, and their cosines."""
    units = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (true, found))
    cosines = np.matmul(next(units), next(units).T)
    rows, columns = linear_sum_assignment(-cosines)
    return columns, cosines[rows, columns]


@pytest.mark.parametrize("seed", range(3))
def test_lower_than_fits_from_other_starts(seed: int) -> None:
    """As it is, also than what the others come to in as many epochs as all its pilots had together."""
    C, P, M = planted(seed)
    nmf = loss(C, *started("nmf", C, 4, seed))
    columns = C.any(axis=0)
    for name in ("kmeans", "random"):
        problem, rng = make_problem(sparse.csr_matrix(C.astype(np.float32))), np.random.default_rng(seed)
        other = STARTS[name](problem, 4, OPTIONS, rng)
        fitted = fit(cpu_engines(problem), problem, *other, replace(OPTIONS, max_epochs=210, patience=211), rng)
        assert nmf < min(loss(C[:, columns], *other), loss(C[:, columns], fitted.P, fitted.M))
    assert nmf < loss(C, P, M)


@pytest.mark.parametrize("seed", range(3))
def test_overlapping_modules_and_their_co_presence(seed: int) -> None:
    C, P, M = planted(seed)
    P_found, M_found = started("nmf", C, 4, seed)
    which, cosines = matched(M_found, M)
    assert cosines.min() > 0.93
    assert np.corrcoef(P_found[:, which].ravel(), P.ravel())[0, 1] > 0.9
    true, found = (np.nanmean(co_presence_entropy(presences)) for presences in (P, P_found))
    assert true > 0.5
    assert abs(found - true) < 0.2


def test_pairs_outside_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their values come from the localities alone; 120 of 630 pairs are drawn."""
    C, _, M = planted(5)
    _, whole = started("nmf", C, 4, 0)
    monkeypatch.setattr(successive_halving, "MOST_PAIRS", 120)
    drawn = []

    def spy(*arguments):  # type: ignore[no-untyped-def]
        drawn.append(sample_pairs(*arguments)[0])
        return drawn[0], np.ones(len(drawn[0]), dtype=np.float32)

    monkeypatch.setattr(successive_halving, "sample_pairs", spy)
    P, found = started("nmf", C, 4, 0)
    columns = np.flatnonzero(C.any(axis=0))
    left_out = np.setdiff1d(columns, columns[drawn[0]])
    assert len(drawn[0]) == 120
    assert len(left_out) > 100
    assert matched(found, M)[1].min() > 0.9
    assert matched(found[:, left_out], M[:, left_out])[1].min() > 0.9
    assert found.max() <= 1
    assert not np.array_equal(found, whole)
    strongest = P.argmax(axis=1)
    for m in range(4):
        own = P[strongest == m, m]
        expected = np.minimum(own @ np.abs(C[strongest == m]) / (own @ own), 1)
        np.testing.assert_allclose(found[m, left_out], expected[left_out], rtol=1e-4, atol=1e-6)


def test_options_of_the_fit_are_those_of_the_pilots(monkeypatch: pytest.MonkeyPatch) -> None:
    """ν and γ are, steps and epochs are not."""
    seen = []

    def spy(engines, problem, P, M, options, rng):  # type: ignore[no-untyped-def]
        seen.append(options)
        return fit(engines, problem, P, M, options, rng)

    monkeypatch.setattr(successive_halving, "fit", spy)
    C = planted(0, 20)[0]
    problem = make_problem(sparse.csr_matrix(C.astype(np.float32)))
    options = FitOptions(nu=3, gamma=2, learning_rate=1e-4, tol=0.5, patience=1, max_epochs=7)
    nmf_start(problem, 2, options, np.random.default_rng(0))
    assert {(found.nu, found.gamma) for found in seen} == {(3, 2)}
    assert all(found.patience > found.max_epochs > 7 for found in seen)


def test_as_many_pilots_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them, rounded down, go on each time."""
    fitted = []

    def spy(*arguments):  # type: ignore[no-untyped-def]
        fitted.append(arguments)
        return fit(*arguments)

    monkeypatch.setattr(successive_halving, "fit", spy)
    problem = make_problem(sparse.csr_matrix(planted(0, 20)[0].astype(np.float32)))
    counts = {}
    for n_pilots in (1, 2, 8):
        fitted.clear()
        nmf_start(problem, 2, FitOptions(n_pilots=n_pilots), np.random.default_rng(0))
        counts[n_pilots] = len(fitted)
    assert counts == {1: 0, 2: 2, 8: 8 + 4 + 2}


def test_factorised_finds_factors_that_share_nothing() -> None:
    """In localities of any strength; a presence is at most 1 and a module the locality in which it is the strongest."""
    rng = np.random.default_rng(0)
    M = np.repeat(np.eye(3), 12, axis=1) * rng.uniform(0.3, 1, 36)
    P = np.repeat(np.eye(3), 5, axis=0) * np.geomspace(0.02, 1, 15)[rng.permutation(15)][:, None]
    P /= P.max(axis=0)
    problem = make_problem(sparse.csr_matrix((P @ M).astype(np.float32)))
    found = [factorised(problem, 3, np.random.default_rng(seed)) for seed in range(5)]
    P_found, M_found = min(found, key=lambda factors: np.abs(factors[0] @ factors[1] - P @ M).max())
    which, _ = matched(M_found.astype(np.float64), M)
    np.testing.assert_allclose(P_found[:, which], P, atol=1e-3)
    np.testing.assert_allclose(M_found[which], M, atol=1e-3)
