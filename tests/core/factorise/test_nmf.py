"""Figures of a reconstruction by a sum, dense; NMF by itself; AMF's as its own module states them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import entropy
from sklearn.decomposition import NMF
from tests.reference.amf_numpy import mean_cosine, overestimation_ratio, row_weights

from lava_sc.core.factorise import factorisations
from lava_sc.core.factorise import nmf as nmf_module
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.loss import quality
from lava_sc.core.factorise.factorisations import FACTORISATIONS
from lava_sc.core.factorise.nmf import quality_of_sum
from lava_sc.core.factorise.problem import make_problem
from lava_sc.core.factorise.protocol import RunPlan

if TYPE_CHECKING:
    from lava_sc.core.factorise.problem import Problem

SHORT = FitOptions(max_epochs=60, patience=10)


def correlations(seed: int = 0, shape: tuple[int, int] = (14, 60)) -> np.ndarray:
    """Some localities and some pairs have none."""
    rng = np.random.default_rng(seed)
    C = rng.uniform(-1, 1, shape) * (rng.random(shape) < 0.4)
    C[3], C[:, ::5] = 0, 0
    return C.astype(np.float32)


def factors(problem: Problem, n_modules: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = (problem.n_localities, n_modules), (n_modules, problem.n_columns)
    W, H = (rng.random(shape, dtype=np.float32) * (rng.random(shape) < 0.7) for shape in shapes)
    return W, H


def dense_loss(C: np.ndarray, hat: np.ndarray, *, nu: float, gamma: float) -> tuple[float, float]:
    """Equation 6 over all localities, from C and its reconstruction over all pairs; and its cosine term."""
    main = 0.0
    for weight, x, y in zip(row_weights(C), C, hat, strict=True):
        if x.any():
            w = np.where(y > x, nu, 1.0)
            lengths = np.linalg.norm(w * x) * np.linalg.norm(w * y)
            main += weight * (1 - ((w * x) @ (w * y) / lengths if lengths else 0.0))
    return main + gamma * np.abs(hat - C).sum() / C.shape[1], main


@pytest.mark.parametrize(("nu", "gamma"), [(9.0, 1e-4), (1.0, 0.0), (3.0, 10.0)])
@pytest.mark.parametrize("at_once", [10**6, 100, 1])
def test_figures_of_a_sum(monkeypatch: pytest.MonkeyPatch, nu: float, gamma: float, at_once: int) -> None:
    monkeypatch.setattr(nmf_module, "_ENTRIES_AT_ONCE", at_once)
    C = correlations()
    problem = make_problem(sparse.csr_matrix(C))
    W, H = factors(problem)
    W[5] = 0  # reconstructed by nothing
    found = quality_of_sum(problem, W, H, nu=nu, gamma=gamma)
    hat = np.zeros(C.shape)
    hat[:, problem.columns] = W.astype(np.float64) @ H.astype(np.float64)
    size = np.abs(C).astype(np.float64)
    assert (found.loss, found.main_term) == pytest.approx(dense_loss(size, hat, nu=nu, gamma=gamma), rel=1e-5)
    assert found.cosine == pytest.approx(mean_cosine(size, hat), rel=1e-5)
    assert found.overestimation == pytest.approx(overestimation_ratio(size, hat), rel=1e-5)


def test_a_sum_of_one_is_its_largest() -> None:
    problem = make_problem(sparse.csr_matrix(correlations()))
    W, H = factors(problem, 1)
    found, expected = (of(problem, W, H, nu=9.0, gamma=1.0) for of in (quality_of_sum, quality))
    for name in ("loss", "main_term", "cosine", "overestimation"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5), name


def nmf(C: np.ndarray) -> Any:
    problem = make_problem(sparse.csr_matrix(C))
    return FACTORISATIONS["NMF"].fit(problem, 4, np.random.default_rng(0), RunPlan(SHORT, "nmf", 1), 3), problem


def test_runs_of_nmf_are_those_of_scikit_learn() -> None:
    C = correlations()
    found, problem = nmf(C)
    size = np.abs(C[:, problem.columns])
    for run, seed in zip(found, np.random.default_rng(0).integers(2**31, size=3), strict=True):
        model = NMF(
            4,
            init="random",
            solver="mu",
            beta_loss="kullback-leibler",
            max_iter=nmf_module.MAX_UPDATES,
            random_state=int(seed),
        )
        W = model.fit_transform(size)
        hat = (W @ model.components_).astype(np.float64)
        assert run.quality.cosine == pytest.approx(mean_cosine(size, hat), rel=1e-3)
        scaled = model.components_ / model.components_.max(axis=1, keepdims=True)
        weights = W * model.components_.max(axis=1)
        order = np.argsort(-weights.sum(axis=0))
        np.testing.assert_allclose(run.modules, scaled[order], atol=1e-2)
        some = weights.max(axis=1) > 0.01
        assert run.co_presence == pytest.approx(entropy(weights[some], base=2, axis=1).mean(), abs=1e-3)
        assert run.module_entropy == pytest.approx(entropy(scaled, base=2, axis=1).mean(), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_half_of_the_error_of_nmf_is_overestimation(seed: int) -> None:
    """On anything: an update makes the reconstruction add up to what the data do."""
    for run in nmf(correlations(seed))[0]:
        assert run.quality.overestimation == pytest.approx(0.5, abs=2e-3)


def test_updates_that_run_out_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(run.converged for run in nmf(correlations())[0])
    monkeypatch.setattr(nmf_module, "MAX_UPDATES", 10)
    assert not any(run.converged for run in nmf(correlations())[0])


def test_nothing_to_factorise() -> None:
    C = np.zeros((5, 10), dtype=np.float32)
    C[0, 1] = 1e-6
    (run, *_), _ = nmf(C)
    assert run.modules.shape[0] == 1
    assert run.co_presence == 0


@pytest.mark.parametrize("method", ["AMF", "NMF"])
def test_threads_change_no_number(method: str) -> None:
    problem = make_problem(sparse.csr_matrix(correlations()))
    one, many = (
        FACTORISATIONS[method].fit(problem, 3, np.random.default_rng(2), RunPlan(SHORT, "nmf", n_jobs), 3)
        for n_jobs in (1, 3)
    )
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a.modules, b.modules)
        assert (a.quality, a.co_presence) == (b.quality, b.co_presence)


def test_an_interrupt_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run_many = factorisations.run_many

    def stopped(*args: Any, **kwargs: Any) -> Any:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        return run_many(*args, **kwargs, callback=stop)

    monkeypatch.setattr(factorisations, "run_many", stopped)
    problem = make_problem(sparse.csr_matrix(correlations()))
    with pytest.raises(KeyboardInterrupt):
        FACTORISATIONS["AMF"].fit(problem, 2, np.random.default_rng(0), RunPlan(SHORT, "nmf", 1), 2)
