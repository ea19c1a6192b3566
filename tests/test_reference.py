"""The restatements in tests/reference agree with cases done by hand and with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.reference import amf_numpy, correlation, placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Problem = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]

SETTINGS = {"nu": 9.0, "gamma": 0.5, "n_pairs": 20}


@pytest.fixture
def problem() -> Problem:
    """C, P, M and rows with a zero row, a row reconstructed as zero, tied modules and an exact entry."""
    rng = np.random.default_rng(0)
    C = rng.random((7, 12)) * (rng.random((7, 12)) < 0.7)
    P, M = rng.random((7, 3)), rng.random((3, 12))
    C[2] = 0
    P[4] = 0
    M[1, :4], P[:, 1] = M[0, :4], P[:, 0]
    C[0, 5] = amf_numpy.reconstruct(P, M)[0, 5]
    return C, P, M, np.array([5, 2, 4, 0, 3])


def test_neighbourhoods_on_a_line_with_duplicates() -> None:
    """Itself first even among duplicates, then by distance, then by the lower index."""
    Z = np.array([[0.0], [1.0], [2.0], [2.0]])
    neighbours = placement.neighbourhoods(Z, 3)
    np.testing.assert_array_equal(neighbours, [[0, 1, 2], [1, 0, 2], [2, 3, 1], [3, 2, 1]])
    np.testing.assert_allclose(placement.in_degree(neighbours), [2 / 4, 1, 1, 2 / 4])
    np.testing.assert_allclose(placement.mean_distance(Z, neighbours), [1, 2 / 3, 1 / 3, 1 / 3])


def test_membership_breaks_ties_by_index_and_loss_by_hand() -> None:
    Z = np.array([[0.0], [1.0], [2.0], [3.0]])
    members = placement.membership(Z, np.array([[1.0], [1.5]]), 2)
    np.testing.assert_array_equal(members.T, [[1, 1, 0, 0], [0, 1, 1, 0]])
    degree = placement.in_degree(placement.neighbourhoods(Z, 2))
    np.testing.assert_allclose(degree, [2 / 4, 3 / 4, 2 / 4, 1 / 4])
    assert placement.loss(degree, members) == pytest.approx(0 + 1 / 4 + 0 + 1 / 4)


def test_in_degrees_sum_to_n() -> None:
    Z = np.random.default_rng(0).integers(0, 5, (60, 2)).astype(float)
    assert placement.in_degree(placement.neighbourhoods(Z, 9)).sum() == pytest.approx(9)
    assert placement.locality_in_degree(placement.membership(Z, Z[:6] + 0.3, 9)).sum() == pytest.approx(9)


def test_weights_by_hand_and_finite_with_duplicates() -> None:
    degree, distance = np.array([0.5, 1.0, 0.25]), np.array([2.0, 1.0, 4.0])
    w = placement.weights(degree, distance, 2.0, 1.0)
    np.testing.assert_allclose(w, [0.25 / 2, 1.0, 0.0625 / 4])
    assert np.isfinite(placement.log_weights(degree, np.array([0.0, 1.0, 4.0]), -8.0, 8.0)).all()


def test_placement_beats_or_equals_no_weights() -> None:
    Z = np.random.default_rng(1).normal(size=(150, 2))
    found = placement.place(Z, 15, 1.2, max_evals=12)
    assert found.probes.shape == (12, 2)
    # DIRECT's first evaluation is the centre of the square, which is unweighted k-means
    assert found.loss <= placement.loss_at(Z, 15, 12, 0.0, 0.0, 0)
    assert found.loss == placement.loss_at(Z, 15, 12, found.alpha, found.beta, 0)


def test_spearman_of_four_samples_by_hand() -> None:
    """Without ties rho = 1 - 6 sum d^2 / (n (n^2 - 1)); with ties the Pearson of the average ranks."""
    X = np.array([[1, 20, 5], [2, 10, 5], [3, 40, 6], [4, 30, 7]])
    C = correlation.spearman_matrix(X, np.ones((4, 1), dtype=bool))
    tied = 4.5 / np.sqrt(5 * 4.5)  # ranks 1 2 3 4 and 1.5 1.5 3 4
    np.testing.assert_allclose(C, [[1 - 6 * 4 / 60, tied, 3.5 / np.sqrt(5 * 4.5)]])


def test_exactly_three_quarters_is_defined_and_just_over_is_not() -> None:
    assert correlation.is_defined(np.repeat([7, 1, 2], [6, 1, 1]))
    assert not correlation.is_defined(np.repeat([7, 1], [7, 1]))
    assert not correlation.is_defined(np.zeros(8), max_tie_fraction=1.0)
    X = np.column_stack([np.repeat([7, 1], [7, 1]), np.arange(8), np.arange(8)[::-1]])
    C = correlation.spearman_matrix(X, np.ones((8, 1), dtype=bool))
    np.testing.assert_allclose(C, [[0, 0, -1]], atol=1e-12)


def test_partial_correlation_agrees_with_the_textbook_formula() -> None:
    """One covariate: (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2))."""
    rng = np.random.default_rng(2)
    z = rng.poisson(3, 50).astype(float)
    x, y = z + rng.poisson(2, 50), z + rng.poisson(2, 50)
    none = np.empty((50, 0))
    for partial, plain in (
        (correlation.partial_spearman, correlation.spearman),
        (correlation.partial_pearson, correlation.pearson),
    ):
        xy, xz, yz = plain(x, y), plain(x, z), plain(y, z)
        expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
        assert partial(x, y, z[:, None], none) == pytest.approx(expected)
        assert partial(x, y, none, none) == pytest.approx(xy)
        assert partial(x, z, z[:, None], none) == 0


def test_partial_correlation_centres_within_the_groups_of_dummies() -> None:
    groups = np.repeat([0, 1, 2], 20)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=60) + 5 * groups, rng.normal(size=60) + 5 * groups
    centred = [v - (np.bincount(groups, v) / 20)[groups] for v in (x, y)]
    dummies = np.eye(3)[groups]  # one too many: with the intercept they are collinear
    assert correlation.partial_pearson(x, y, np.empty((60, 0)), dummies) == pytest.approx(correlation.pearson(*centred))


def test_loss_by_hand() -> None:
    """Two rows, two pairs, one module; the second entry of the first row is over-estimated."""
    C, P, M = np.array([[3.0, 4.0], [0.6, 0.8]]) / 5, np.array([[1.0], [0.0]]), np.array([[0.6, 1.0]])
    # w * C = (0.6, 2 * 0.8), w * Chat = (0.6, 2 * 1.0); norms 1 and 0.2; row 2 is reconstructed as zero
    cosine = (0.36 + 3.2) / np.sqrt((0.36 + 2.56) * (0.36 + 4.0))
    expected = 5.0 * (1 - cosine) + 0.1 * 0.2 / 10 + 0.2 * 1.0 + 0.1 * 0.28 / 10
    value = amf_numpy.batch_loss(C, P, M, np.array([0, 1]), nu=2.0, gamma=0.1, n_pairs=10)
    assert value == pytest.approx(expected)


def test_quality_figures_by_hand() -> None:
    C, chat = np.array([[0.5, 0.0], [0.0, 0.0]]), np.array([[0.2, 0.1], [0.0, 0.0]])
    assert amf_numpy.overestimation_ratio(C, chat) == pytest.approx(0.1 / 0.4)
    assert amf_numpy.mean_cosine(C, chat) == pytest.approx(0.2 / np.hypot(0.2, 0.1))
    P = np.array([[0.5, 0.5, 0.0], [0.3, 0.0, 0.0], [0.9, 0.0, 0.0], [0.5, 0.25, 0.25]])
    np.testing.assert_allclose(amf_numpy.co_presence_entropy(P), [1, np.nan, 0, 1.5])


def test_torch_and_numpy_agree_on_loss_and_gradients(problem: Problem) -> None:
    pytest.importorskip("torch")
    from tests.reference import amf

    C, P, M, rows = problem
    loss, grad_p, grad_m = amf.loss_and_gradients(C, P, M, rows, **SETTINGS)
    assert loss == pytest.approx(amf_numpy.batch_loss(C, P, M, rows, **SETTINGS), rel=1e-13)
    by_p, by_m = amf_numpy.numerical_gradients(C, P, M, rows, **SETTINGS)
    np.testing.assert_allclose(grad_p, by_p, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(grad_m, by_m, rtol=1e-6, atol=1e-9)
    assert not grad_m[1, :4].any()  # tied with module 0 there


def test_gradient_goes_to_the_lowest_of_tied_modules() -> None:
    C, P, M = np.array([[0.5, 0.2], [0.4, 0.4]]), np.full((2, 3), 0.5), np.full((3, 2), 0.5)
    grad_p, grad_m = amf_numpy.numerical_gradients(C, P, M, np.array([0, 1]), nu=9.0, gamma=1.0)
    assert grad_p[:, 0].all()
    assert grad_m[0].all()
    assert not grad_p[:, 1:].any()
    assert not grad_m[1:].any()


def test_epoch_is_adam_by_hand(problem: Problem) -> None:
    """Adam's update written out, over the whole of P and M, also the rows of P that are not in the batch."""
    pytest.importorskip("torch")
    from tests.reference import amf

    C, P, M, rows = problem
    batches = [rows, np.array([1, 6]), np.array([0, 1])]
    p, m, loss = amf.epoch(C, P, M, batches, learning_rate=0.1, **SETTINGS)
    parameters = [P.copy(), M.copy()]
    moments = [(np.zeros_like(a), np.zeros_like(a)) for a in parameters]
    expected = 0.0
    for t, batch in enumerate(batches, 1):
        value, *gradients = amf.loss_and_gradients(C, *parameters, batch, **SETTINGS)
        expected += value
        moments = [(0.9 * a + 0.1 * g, 0.999 * b + 0.001 * g**2) for (a, b), g in zip(moments, gradients, strict=True)]
        parameters = [
            np.clip(v - 0.1 * (a / (1 - 0.9**t)) / (np.sqrt(b / (1 - 0.999**t)) + 1e-8), 0, 1)
            for v, (a, b) in zip(parameters, moments, strict=True)
        ]
    assert loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(p, parameters[0], atol=1e-12)
    np.testing.assert_allclose(m, parameters[1], atol=1e-12)


def test_stopping_rule() -> None:
    """Small steps that together exceed the tolerance do move the reference; a plateau of `patience` epochs stops."""
    pytest.importorskip("torch")
    from tests.reference import amf

    assert not amf.stops_after([1.0, 1.0, 1.0], tol=0.01, patience=3)
    assert amf.stops_after([1.0, 1.0, 1.0, 1.0], tol=0.01, patience=3)
    assert not amf.stops_after([1.0, 0.995, 0.992, 0.989], tol=0.01, patience=3)
    assert amf.stops_after([1.0, 0.995, 0.993, 0.992], tol=0.01, patience=3)


def test_fit_returns_the_best_epoch(problem: Problem) -> None:
    pytest.importorskip("torch")
    from tests.reference import amf

    C, P, M, _ = problem
    schedule = [[np.array([0, 1, 2, 3]), np.array([4, 5, 6])]] * 60
    found = amf.fit(C, P, M, schedule, learning_rate=0.2, patience=10, **SETTINGS)
    assert found.losses[found.best] == min(found.losses)
    assert len(found.losses) < 60
    assert amf.stops_after(found.losses, tol=0.01, patience=10)
    again = amf.fit(C, P, M, schedule[: found.best + 1], learning_rate=0.2, patience=10, **SETTINGS)
    np.testing.assert_array_equal(again.P, found.P)
    np.testing.assert_array_equal(again.M, found.M)
    assert found.losses[: found.best + 1] == again.losses
