"""What modules explain, against loops over the definition; and localities held out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from lava_sc.core.factorise.amf.explained import explained
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.held_out import Fold, folds, held_out_cosines
from lava_sc.core.factorise.problem import make_problem, take_localities


def some(n_localities: int = 7, n_pairs: int = 2500, n_modules: int = 4) -> tuple[sparse.csr_matrix, ...]:
    rng = np.random.default_rng(0)
    C = sparse.random(n_localities, n_pairs, 0.3, "csr", rng=rng, dtype=np.float32)
    C.data = C.data * 2 - 1
    P = (rng.random((n_localities, n_modules)) * (rng.random((n_localities, n_modules)) < 0.7)).astype(np.float32)
    P[2] = 0
    M = (rng.random((n_modules, n_pairs)) * (rng.random((n_modules, n_pairs)) < 0.4)).astype(np.float32)
    return C, P, M


def test_parts_of_each_module() -> None:
    C, P, M = some()
    problem = make_problem(C)
    M = np.ascontiguousarray(M[:, problem.columns])
    dense, expected = problem.absolute().toarray().astype(float), np.zeros(len(M))
    for i in range(len(P)):
        products = P[i].astype(float)[:, None] * M
        hat, winner = products.max(axis=0), products.argmax(axis=0)
        if hat.any():
            share = [dense[i, winner == m] @ hat[winner == m] for m in range(len(M))]
            expected += dense[i] @ hat / (hat @ hat) * np.array(share)
    found = explained(problem, P, M)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    cosines = [
        (dense[i] @ h / np.linalg.norm(h)) ** 2 if (h := (P[i][:, None] * M).max(axis=0)).any() else 0
        for i in range(len(P))
    ]
    assert found.sum() == pytest.approx(sum(cosines), rel=1e-5)
    np.testing.assert_allclose(explained(problem, (0.3 * P).astype(np.float32), M), found, rtol=1e-5)


def test_modules_that_are_the_data_explain_all() -> None:
    C, _, _ = some(3)
    problem = make_problem(C)
    found = explained(problem, np.eye(3, dtype=np.float32), problem.absolute().toarray())
    np.testing.assert_allclose(found, np.asarray(C.multiply(C).sum(axis=1)).ravel(), rtol=1e-5)


def test_taken_localities_are_as_if_there_were_no_others() -> None:
    C, _, _ = some()
    whole, rows = make_problem(C), np.array([1, 4, 5])
    part, alone = take_localities(whole, rows), make_problem(C[rows])
    np.testing.assert_array_equal(part.absolute().toarray(), whole.absolute().toarray()[rows])
    np.testing.assert_allclose(part.locality_weights, alone.locality_weights)
    np.testing.assert_array_equal(part.columns, whole.columns)


def test_folds_hold_every_locality_out_once() -> None:
    parts = folds(23, 5, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate([part.held_out for part in parts])), np.arange(23))
    for part in parts:
        np.testing.assert_array_equal(np.sort(np.concatenate([part.held_out, part.fitted])), np.arange(23))
    assert folds(9, 5, np.random.default_rng(0)) == []


def test_held_out_localities() -> None:
    """Three patterns that recur are recovered from other localities; a locality with a pattern of its own is not."""
    rng = np.random.default_rng(0)
    patterns = np.zeros((4, 90), dtype=np.float32)
    for m in range(4):
        patterns[m, m * 20 : m * 20 + 30 if m < 3 else None] = rng.uniform(0.4, 1, 30)
    kind = np.append(np.arange(30) % 3, 3)
    C = sparse.csr_matrix(patterns[kind] * rng.uniform(0.5, 1, (31, 1)).astype(np.float32))
    fold = Fold(np.arange(6, 30), np.array([*range(6), 30]))
    cosines = held_out_cosines(make_problem(C), fold, 3, FitOptions(max_epochs=200), init="nmf", seed=0)
    assert cosines.shape == (7,)
    assert (cosines[:6] > 0.97).all()
    assert cosines[6] < 0.6
