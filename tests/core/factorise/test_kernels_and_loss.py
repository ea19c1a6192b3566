"""Problem, reconstruction, loss and gradients of AMF against float64 restatements, with torch's autograd and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tests.reference import amf_numpy as reference

from lava_sc.core.factorise.amf.loss import batch_loss, quality
from lava_sc.core.factorise.engines.cpu import row_sums
from lava_sc.core.factorise.engines.cpu_kernels import adam, descend_blocks
from lava_sc.core.factorise.engines.protocol import ABSOLUTE, CC, CH, HH, OVER
from lava_sc.core.factorise.problem import BLOCK, make_problem, restrict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lava_sc.core.factorise.amf.loss import BatchLoss
    from lava_sc.core.factorise.problem import Problem

    Floats = NDArray[np.floating]

TOLERANCE = 1e-5


class Example(NamedTuple):
    """Signed C (ℓ, J), P (ℓ, M), M (M, J) with zeros in the empty columns of C, and the rows of a batch."""

    C: Floats
    P: Floats
    M: Floats
    rows: NDArray[np.intp]


def example(
    n_localities: int = 12, n_pairs: int = 40, n_modules: int = 3, *, density: float = 0.6, seed: int = 0
) -> Example:
    """With all-zero rows and columns, presences of exactly 0 and 1, a row reconstructed as zero, and tied modules."""
    rng = np.random.default_rng([seed, n_pairs])
    C = rng.uniform(-1, 1, (n_localities, n_pairs)) * (rng.random((n_localities, n_pairs)) < density)
    C[:, rng.random(n_pairs) < 0.2] = 0
    C[2] = 0
    P, M = rng.random((n_localities, n_modules)), rng.random((n_modules, n_pairs)) * (C != 0).any(axis=0)
    P[0], P[1], P[3] = np.arange(n_modules) == 0, 1, 0
    P[4, 0] = 0
    P[5, -1], M[-1, : n_pairs // 2] = P[5, 0], M[0, : n_pairs // 2]
    C, P, M = (a.astype(np.float32) for a in (C, P, M))
    return Example(C, P, M, rng.permutation(n_localities)[: max(n_localities - 3, 1)])


PROBLEMS = {
    "small": dict(),
    "one module": dict(n_modules=1),
    "more modules than localities": dict(n_localities=6, n_modules=9),
    "a block exactly": dict(n_pairs=BLOCK, density=1.0),
    "three blocks": dict(n_pairs=1500, n_modules=4),
    "sparse": dict(n_localities=30, n_pairs=2500, density=0.02, n_modules=5),
}


@pytest.fixture(params=PROBLEMS)
def case(request: pytest.FixtureRequest) -> Example:
    return example(**PROBLEMS[request.param])


def problem_of(C: Floats) -> Problem:
    return make_problem(sparse.csr_matrix(C))


def compact(case: Example, problem: Problem) -> Floats:
    return np.ascontiguousarray(case.M[:, problem.columns])


def doubles(case: Example) -> tuple[Floats, Floats, Floats]:
    return np.abs(case.C.astype(np.float64)), case.P.astype(np.float64), case.M.astype(np.float64)


def loss_of(case: Example, rows: NDArray[np.intp], *, nu: float, gamma: float) -> BatchLoss:
    problem = problem_of(case.C)
    sums = row_sums(problem, rows, case.P, compact(case, problem), nu)
    return batch_loss(sums, problem.locality_weights[rows], n_pairs=problem.n_pairs, gamma=gamma)


def ours(case: Example, *, nu: float, gamma: float) -> tuple[float, Floats, Floats]:
    """Loss and gradients over all localities and all pairs, zero where the engine has none.

    The gradient of M is a tenth of its first moment after a first step of Adam, here one of size 0.
    """
    problem = problem_of(case.C)
    M = compact(case, problem)
    batch = loss_of(case, case.rows, nu=nu, gamma=gamma)
    first, second, g_P = np.zeros_like(M), np.zeros_like(M), np.zeros(case.P.shape)
    parts = np.full((problem.n_blocks, len(case.rows), len(M)), np.nan)
    layout = problem.data, problem.indices, problem.block_starts, case.rows, batch.slopes
    mae_slope, no_step = np.float32(gamma / problem.n_pairs), np.float32([0, 1])
    state = case.P, M.copy(), first, second
    for b in range(problem.n_blocks):  # one block after the other, as several threads would
        descend_blocks(*layout, *state, nu, mae_slope, no_step, b, b + 1, parts)
    np.testing.assert_array_equal(state[1], M)
    g_P[case.rows] = parts.sum(axis=0)
    everywhere = np.zeros(case.M.shape)
    everywhere[:, problem.columns] = first / np.float32(0.1)
    return batch.loss, g_P, everywhere


def assert_relative(found: Floats, expected: Floats, scale: float = 0.0) -> None:
    """To 1e-5 of the largest (or of what cancels), since the smallest entries are differences of large ones."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * max(np.abs(expected).max(), scale))


SETTINGS = [(9.0, 1e-4), (1.0, 0.0), (9.0, 10.0), (1.0, 1.0), (1000.0, 1e-4), (1.5, 1e5)]


@pytest.mark.parametrize(("nu", "gamma"), SETTINGS)
def test_loss_and_gradients_against_autograd(case: Example, nu: float, gamma: float) -> None:
    pytest.importorskip("torch")
    from tests.reference import amf

    C, P, M = doubles(case)
    loss, grad_p, grad_m = amf.loss_and_gradients(C, P, M, case.rows, nu=nu, gamma=gamma)
    kept = (C != 0).any(axis=0)  # the engine knows that elsewhere M = 0 is best
    found, g_P, g_M = ours(case, nu=nu, gamma=gamma)
    assert found == pytest.approx(loss, rel=TOLERANCE)
    # a cosine does not see the size of the only module, so that its presences have slopes that cancel
    assert_relative(g_P, grad_p, np.abs(grad_m).sum() if len(M) == 1 else 0)
    assert_relative(g_M[:, kept], grad_m[:, kept])


@pytest.mark.parametrize(("nu", "gamma"), SETTINGS)
def test_loss_and_gradients_along_random_directions(case: Example, nu: float, gamma: float) -> None:
    """Without torch: central differences of the loss with arg-max and mask held as they are."""
    C, P, M = doubles(case)
    found, g_P, g_M = ours(case, nu=nu, gamma=gamma)
    assert found == pytest.approx(reference.batch_loss(C, P, M, case.rows, nu=nu, gamma=gamma), rel=TOLERANCE)
    frozen = reference.freeze(C, P, M, case.rows, nu)
    rng = np.random.default_rng(0)
    for scale_p, scale_m in ((1, 0), (0, 1), (1, 1)):
        d_P = scale_p * rng.normal(size=P.shape)
        d_M = scale_m * rng.normal(size=M.shape) * (C != 0).any(axis=0)
        h = 1e-6
        above, below = (
            reference.frozen_loss(C, P + s * h * d_P, M + s * h * d_M, case.rows, frozen, gamma) for s in (1, -1)
        )
        slope = (g_P * d_P).sum() + (g_M * d_M).sum()
        size = np.sqrt((g_P**2).sum() * (d_P**2).sum()) + np.sqrt((g_M**2).sum() * (d_M**2).sum())
        assert slope == pytest.approx((above - below) / (2 * h), abs=TOLERANCE * size + 1e-9 * abs(found) / h)


@pytest.mark.parametrize(("nu", "gamma"), SETTINGS)
def test_every_entry_of_the_gradients_without_torch(nu: float, gamma: float) -> None:
    case = example(8, 20, 3)
    C, P, M = doubles(case)
    _, g_P, g_M = ours(case, nu=nu, gamma=gamma)
    by_p, by_m = reference.numerical_gradients(C, P, M, case.rows, nu=nu, gamma=gamma)
    assert_relative(g_P, by_p)
    kept = (C != 0).any(axis=0)
    assert_relative(g_M[:, kept], by_m[:, kept])


def test_gradient_flows_through_the_lowest_of_tied_modules_only() -> None:
    C = np.full((2, 3), 0.5, dtype=np.float32)
    case = Example(C, np.full((2, 3), 0.6, dtype=np.float32), np.full((3, 3), 0.7, dtype=np.float32), np.array([1, 0]))
    _, g_P, g_M = ours(case, nu=9.0, gamma=1.0)
    assert g_P[:, 0].all()
    assert g_M[0].all()
    assert not g_P[:, 1:].any()
    assert not g_M[1:].any()


def test_exact_reconstruction_has_no_loss_and_no_gradient() -> None:
    """Ĉ = C is neither over- nor underestimated; |C − Ĉ| has slope 0 there, as sign has."""
    C = np.float32([[0.25, 0.5, 0.0], [0.5, 1.0, 0.0], [0.125, 0.25, 0.0]])
    case = Example(C, np.float32([[0.5], [1.0], [0.25]]), np.float32([[0.5, 1.0, 0.0]]), np.arange(3))
    loss, g_P, g_M = ours(case, nu=9.0, gamma=10.0)
    assert loss == pytest.approx(0, abs=1e-7)
    np.testing.assert_allclose(g_P, 0, atol=1e-7)
    np.testing.assert_allclose(g_M, 0, atol=1e-7)


def test_sums_of_a_row_by_hand(case: Example) -> None:
    nu = 3.0
    problem = problem_of(case.C)
    C, P, M = doubles(case)
    chat = reference.reconstruct(P, M)[case.rows]
    C = C[case.rows]
    w2 = np.where(chat > C, nu, 1) ** 2
    found = row_sums(problem, case.rows, case.P, compact(case, problem), nu)
    columns = {
        CC: w2 * C * C,
        CH: w2 * C * chat,
        HH: w2 * chat * chat,
        ABSOLUTE: abs(C - chat),
        OVER: np.maximum(chat - C, 0),
    }
    for column, terms in columns.items():
        np.testing.assert_allclose(found[:, column], terms.sum(axis=1), rtol=TOLERANCE, atol=1e-12)


def test_order_of_the_rows_of_a_batch_does_not_matter(case: Example) -> None:
    loss, g_P, g_M = ours(case, nu=9.0, gamma=1.0)
    again = ours(case._replace(rows=case.rows[::-1].copy()), nu=9.0, gamma=1.0)
    assert again[0] == pytest.approx(loss, rel=1e-12)
    assert_relative(again[1], g_P)
    assert_relative(again[2], g_M)


def test_batches_add_up(case: Example) -> None:
    """The norms of Equation 6 run over all localities, whatever the batch."""
    everything, *parts = (
        loss_of(case, rows, nu=9.0, gamma=0.5).loss
        for rows in (np.arange(len(case.C)), *np.array_split(np.arange(len(case.C)), 3))
    )
    assert everything == pytest.approx(sum(parts), rel=1e-12)


def test_rows_without_correlations_have_no_cosine_term() -> None:
    case = example()
    batch = loss_of(case, np.array([2]), nu=9.0, gamma=2.0)
    assert not case.C[2].any()
    chat = reference.reconstruct(*doubles(case)[1:])[2]
    assert batch.main_term == 0
    assert batch.loss == pytest.approx(2.0 * chat.sum() / 40, rel=TOLERANCE)


def test_no_module_present_costs_the_whole_cosine_term() -> None:
    case = example()
    batch = loss_of(case, np.array([3]), nu=9.0, gamma=0.0)
    assert not case.P[3].any()
    assert batch.loss == pytest.approx(reference.row_weights(np.abs(case.C.astype(np.float64)))[3], rel=TOLERANCE)


@given(seed=st.integers(0, 2**32 - 1), nu=st.floats(1, 100), gamma=st.floats(0, 100), n_modules=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_any_small_problem(seed: int, nu: float, gamma: float, n_modules: int) -> None:
    """Multiples of 1/8 make ties of modules and entries that are exactly right frequent, and both exact in float32."""
    rng = np.random.default_rng(seed)
    C, P, M = (
        rng.integers(low, 9, shape) / 8 for low, shape in ((-8, (4, 6)), (0, (4, n_modules)), (0, (n_modules, 6)))
    )
    C *= rng.random((4, 6)) < rng.random()
    case = Example(*(a.astype(np.float32) for a in (C, P, M * (C != 0).any(axis=0))), rng.permutation(4)[:3])
    C, P, M = doubles(case)
    loss, g_P, g_M = ours(case, nu=nu, gamma=gamma)
    expected = reference.batch_loss(C, P, M, case.rows, nu=nu, gamma=gamma)
    assert loss == pytest.approx(expected, rel=TOLERANCE, abs=1e-6)
    by_p, by_m = reference.numerical_gradients(C, P, M, case.rows, nu=nu, gamma=gamma, step=1e-6)
    kept = (C != 0).any(axis=0)
    # a cancellation leaves the rounding of what cancels: of the terms of size gamma and of those of size 1
    np.testing.assert_allclose(g_P, by_p, rtol=TOLERANCE, atol=TOLERANCE * (1 + gamma))
    np.testing.assert_allclose(g_M[:, kept], by_m[:, kept], rtol=TOLERANCE, atol=TOLERANCE * (1 + gamma))


def test_quality_figures() -> None:
    case = example(20, 60, 3)
    problem = problem_of(case.C)
    C, P, M = doubles(case)
    chat = reference.reconstruct(P, M)
    found = quality(problem, case.P, compact(case, problem), nu=9.0, gamma=0.5)
    assert found.loss == pytest.approx(reference.batch_loss(C, P, M, np.arange(20), nu=9.0, gamma=0.5), rel=TOLERANCE)
    main_term = reference.batch_loss(C, P, M, np.arange(20), nu=9.0, gamma=0.0)
    assert found.main_term == pytest.approx(main_term, rel=TOLERANCE)
    assert found.cosine == pytest.approx(reference.mean_cosine(C, chat), rel=TOLERANCE)
    assert found.overestimation == pytest.approx(reference.overestimation_ratio(C, chat), rel=TOLERANCE)


def test_target_drops_empty_columns_and_takes_absolute_values() -> None:
    case = example(n_pairs=1500)
    signed = sparse.csr_matrix(case.C)
    before = signed.copy()
    for array in (signed.data, signed.indices, signed.indptr):
        array.flags.writeable = False
    problem = make_problem(signed)
    kept = np.flatnonzero((case.C != 0).any(axis=0))
    assert 0 < len(kept) < 1500 == problem.n_pairs
    np.testing.assert_array_equal(problem.columns, kept)
    np.testing.assert_array_equal(problem.absolute().toarray(), np.abs(case.C[:, kept]))
    np.testing.assert_allclose(
        problem.locality_weights, reference.row_weights(np.abs(case.C).astype(np.float64)), rtol=1e-6
    )
    for i in range(len(case.C)):
        for b in range(problem.n_blocks):
            columns = problem.indices[problem.block_starts[i, b] : problem.block_starts[i, b + 1]]
            np.testing.assert_array_equal(columns // BLOCK, b)
    np.testing.assert_array_equal(problem.block_starts[:, -1], problem.indptr[1:])
    assert (before != signed).nnz == 0


def test_target_of_long_rows_has_exact_weights() -> None:
    """Norms over 300,000 pairs of one size: summed in float32 they would be 1e-4 off."""
    C = np.tile(np.float32([[0.1], [0.3], [0.7]]), (1, 300_000))
    weights = reference.row_weights(C.astype(np.float64))
    np.testing.assert_allclose(problem_of(C).locality_weights, weights, rtol=1e-6)


def test_target_of_unsorted_columns() -> None:
    C = sparse.csr_matrix((np.float32([0.1, 0.2, -0.3]), np.array([7, 2, 5]), np.array([0, 2, 3])), shape=(2, 9))
    problem = make_problem(C)
    np.testing.assert_array_equal(problem.columns, [2, 5, 7])
    np.testing.assert_array_equal(problem.absolute().toarray(), np.float32([[0.2, 0, 0.1], [0, 0.3, 0]]))


def test_weight_of_the_only_locality_with_correlations() -> None:
    np.testing.assert_array_equal(problem_of(np.float32([[0, 0], [0.5, 0]])).locality_weights, [0, 1])


@pytest.mark.parametrize("least", [1, 2, 3, 12])
def test_pairs_of_few_localities_are_left_out_when_asked_for(least: int) -> None:
    """As if they correlated nowhere, in the weights too."""
    case = example(density=0.2)
    rare = (case.C != 0).sum(axis=0) < least
    found, expected = (
        make_problem(sparse.csr_matrix(case.C), min_localities=least),
        problem_of(np.where(rare, 0, case.C)),
    )
    assert rare.any()
    assert found.n_pairs == 40
    np.testing.assert_array_equal(found.columns, expected.columns)
    np.testing.assert_array_equal(found.absolute().toarray(), expected.absolute().toarray())
    np.testing.assert_array_equal(found.locality_weights, expected.locality_weights)
    np.testing.assert_array_equal(found.block_starts, expected.block_starts)


def test_many_empty_columns() -> None:
    """Far more columns than entries."""
    C = sparse.csr_matrix(
        (np.float32([0.1, -0.2, 0.3]), np.array([70_000, 5, 70_000]), np.array([0, 1, 3])), (2, 10**8)
    )
    C.sort_indices()
    problem = make_problem(C)
    np.testing.assert_array_equal(problem.columns, [5, 70_000])
    np.testing.assert_array_equal(problem.absolute().toarray(), np.float32([[0, 0.1], [0.2, 0.3]]))


def test_the_target_on_some_columns_keeps_the_weights_of_the_whole() -> None:
    case = example(n_pairs=3000)
    problem = problem_of(case.C)
    some = np.flatnonzero(np.random.default_rng(0).random(problem.n_columns) < 0.5)
    part = restrict(problem, some)
    np.testing.assert_array_equal(part.columns, problem.columns[some])
    np.testing.assert_array_equal(part.absolute().toarray(), np.abs(case.C)[:, part.columns])
    np.testing.assert_array_equal(part.locality_weights, problem.locality_weights)
    assert part.n_pairs == 3000
    assert part.n_blocks == -(-len(some) // BLOCK)
    np.testing.assert_array_equal(part.block_starts[:, [0, -1]], np.column_stack([part.indptr[:-1], part.indptr[1:]]))


@pytest.mark.parametrize("n_columns", [17, 1025])
def test_adam_clamps(n_columns: int) -> None:
    """Three steps of Adam in float64, as its authors write them, with a step so large that both bounds are met."""
    rng = np.random.default_rng(0)
    values = rng.random(n_columns).astype(np.float32)
    first, second = np.zeros_like(values), np.zeros_like(values)
    expected, m, v = values.astype(np.float64), np.zeros(n_columns), np.zeros(n_columns)
    for t in (1, 2, 3):
        gradient = rng.normal(size=n_columns).astype(np.float32)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient.astype(np.float64) ** 2
        expected = np.clip(expected - 0.9 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), 0, 1)
        adam(values, gradient, first, second, np.float32([0.9 / (1 - 0.9**t), np.sqrt(1 - 0.999**t)]))
        np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)
        assert values.min() == 0
        assert values.max() == 1


def test_adam_of_a_vanishing_gradient_is_small() -> None:
    """ε = 1e-8 stands beside the root of the second moment: a gradient of 1e-10 moves by a hundredth of the rate."""
    values, gradient = np.full(1, 0.5, dtype=np.float32), np.full(1, 1e-10, dtype=np.float32)
    adam(values, gradient, np.zeros_like(values), np.zeros_like(values), np.float32([1.0, np.sqrt(0.001)]))
    assert 0.5 - values[0] == pytest.approx(0.1 * 1e-10 / (1e-10 + 1e-8), rel=1e-3)
