"""Fine-tuned presences against dense recomputation, root finding, linear and mixed-integer programming."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse

from lava_sc.core.factorise.amf.finetune import finetune

if TYPE_CHECKING:
    from lava_sc.core.factorise.amf.finetune import FineTuned

TAUS = [0.02, 0.1, 0.3, 0.5]


def tuned(C: np.ndarray, M: np.ndarray, tau: float, P: np.ndarray | None = None, n_jobs: int = 1) -> FineTuned:
    P = np.full((len(C), len(M)), 0.5, dtype=np.float32) if P is None else P
    return finetune(sparse.csr_matrix(C), sparse.csr_matrix(M), P, tau=tau, n_jobs=n_jobs)


def presence(c: list[float], M: list[list[float]], tau: float) -> np.ndarray:
    """Presences in a single locality."""
    return tuned(np.array([c]), np.array(M), tau).presences[0]


def errors(c: np.ndarray, M: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Over- and underestimation of one locality."""
    hat = np.max(np.asarray(p, dtype=np.float64)[:, None] * M, axis=0)
    return np.maximum(hat - c, 0).sum(), np.maximum(c - hat, 0).sum()


def ratio(c: np.ndarray, M: np.ndarray, p: np.ndarray) -> float:
    over, under = errors(c, M, p)
    return over / (over + under)


def scaled(c: np.ndarray, M: np.ndarray, p: np.ndarray, tau: float) -> np.ndarray:
    """Presences along min(t·p, 1) with ratio τ, or the last ones where none has it."""
    if not p.any():
        return p
    low, high = 0.0, 1 / p[p > 0].min()
    for _ in range(60):
        middle = (low + high) / 2
        over, under = errors(c, M, np.minimum(middle * p, 1))
        low, high = (middle, high) if (1 - tau) * over <= tau * under else (low, middle)
    return np.minimum(low * p, 1)


def optimum(c: np.ndarray, M: np.ndarray, tau: float) -> float:
    """Lowest underestimation with a ratio of at most τ ≤ 1/2, as a mixed-integer program.

    Variables p, h = Ĉ, o ≥ max(h − c, 0) and z, which says for each pair whose product h is. Since over − under = Σ(h − c),
    the constraint is (1 − 2τ)·Σo + τ·Σh ≤ τ·Σc, and the objective is Σo − Σh + Σc.
    """
    K, J = M.shape
    top, one = np.tile(M.max(axis=0), K), np.eye(J)
    p_M = np.kron(np.eye(K), np.ones((J, 1))) * M.reshape(-1, 1)  # (K·J, K)
    h, zero = np.tile(one, (K, 1)), np.zeros
    constraints = [
        (np.hstack([-p_M, h, zero((K * J, J + K * J))]), 0, np.inf),  # h ≥ each product
        (np.hstack([-p_M, h, zero((K * J, J)), np.diag(top)]), -np.inf, top),  # h ≤ that which z says
        (np.hstack([zero((J, K + 2 * J)), np.tile(one, K)]), 1, 1),
        (np.hstack([zero((J, K)), -one, one, zero((J, K * J))]), -c, np.inf),
        (np.repeat([0, tau, 1 - 2 * tau, 0], [K, J, J, K * J])[None], -np.inf, tau * c.sum()),
    ]
    found = optimize.milp(
        np.repeat([0, -1, 1, 0], [K, J, J, K * J]),
        integrality=np.repeat([0, 1], [K + 2 * J, K * J]),
        bounds=optimize.Bounds(0, np.repeat([1, np.inf, 1], [K, 2 * J, K * J])),
        constraints=[optimize.LinearConstraint(*parts) for parts in constraints],
        options={"mip_rel_gap": 1e-5},
    )
    assert found.status == 0
    return found.fun + c.sum()


def small_problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """2 or 3 overlapping modules and a locality that is unrelated, or theirs with noise and gaps."""
    rng = np.random.default_rng(seed)
    K, J = rng.integers(2, 4), rng.integers(5, 11)
    M = rng.uniform(0, 1, (K, J)) * (rng.random((K, J)) < rng.uniform(0.4, 1))
    M[:, 0] = rng.uniform(0.1, 1, K)
    M /= M.max(axis=1, keepdims=True)
    hat = np.max(rng.uniform(0, 1, (K, 1)) * (rng.random((K, 1)) < 0.7) * M, axis=0)
    c = np.clip(hat + rng.normal(0, 0.1, J), 0, 1) if seed % 3 else rng.uniform(0, 1, J) * (rng.random(J) < 0.6)
    c[c < 0.1] = 0
    c[-1] = 0.5
    return c, M


def localities(seed: int = 0, n: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Sparse localities of five overlapping modules with noise, some with other pairs as well."""
    rng = np.random.default_rng(seed)
    M = np.zeros((5, 400))
    for m in range(5):
        M[m, m * 50 : m * 50 + 110] = rng.uniform(0.1, 1, 110)
    M /= M.max(axis=1, keepdims=True)
    P = rng.uniform(0.2, 1, (n, 5, 1)) * (rng.random((n, 5, 1)) < 0.5)
    C = np.clip((P * M).max(axis=1) + rng.normal(0, 0.1, (n, 400)), 0, 1)
    C[C < 0.2] = 0
    return C.astype(np.float32), M.astype(np.float32)


@pytest.mark.parametrize("tau", TAUS)
def test_every_locality_has_the_ratio(tau: float) -> None:
    C, M = localities()
    found = tuned(C, M, tau)
    ratios = [ratio(c.astype(np.float64), M.astype(np.float64), p) for c, p in zip(C, found.presences, strict=True)]
    np.testing.assert_allclose(ratios, tau, atol=1e-5)
    np.testing.assert_allclose(found.ratios(found.errors), ratios, rtol=1e-6)
    assert found.presences.dtype == np.float32
    assert found.presences.min() >= 0
    assert found.presences.max() <= 1


def test_close_to_the_optimum_of_mixed_integer_programming() -> None:
    """Within 1 % in at least 95 % of small problems, the least favourable: few pairs, many local optima."""
    close = []
    for seed in range(40):
        (c, M), tau = small_problem(seed), TAUS[seed % 4]
        over, under = errors(c, M, tuned(c[None], M, tau).presences[0])
        assert (1 - tau) * over <= tau * under + 1e-6 * c.sum()
        best = optimum(c, M, tau)
        assert under >= best - 1e-4 * c.sum()  # or the program is not the same problem
        close.append(under <= 1.01 * best + 1e-3 * c.sum())
    assert np.mean(close) >= 0.95


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(TAUS))
def test_no_worse_than_what_scaling_gives(seed: int, tau: float) -> None:
    """Presences given, one module alone, and all modules alike, each scaled to the ratio. Rounding to float32: 1e-6."""
    c, M = small_problem(seed)
    P = np.random.default_rng(seed).random((1, len(M))).astype(np.float32)
    under = errors(c, M, tuned(c[None], M, tau, P).presences[0])[1]
    for start in (*P.astype(np.float64), *np.eye(len(M)), np.ones(len(M))):
        assert under <= errors(c, M, scaled(c, M, start, tau))[1] + 1e-6 * c.sum()


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("seed", range(3))
def test_one_module(tau: float, seed: int) -> None:
    """The only presence with that ratio, and the pinball minimiser at a level of its own: the weight of what is above it."""
    rng = np.random.default_rng(seed)
    M = np.append(1, rng.random(399))[None]
    c = np.clip(0.5 * M[0] + rng.normal(0, 0.2, 400), 0, 1)
    p = tuned(c[None], M, tau).presences[0, 0]
    expected = optimize.brentq(lambda presence: ratio(c, M, np.array([presence])) - tau, 1e-9, 1)
    assert p == pytest.approx(expected, abs=1e-6)
    module = M[0]
    level = module[p * module > c].sum() / module.sum()
    costs = np.concatenate([[0], np.full(400, 1 - level), np.full(400, level)])
    errors_of = np.concatenate([module[:, None], -np.eye(400), np.eye(400)], axis=1)  # p·M − over + under = c
    least = optimize.linprog(costs, A_eq=errors_of, b_eq=c, bounds=[(0, 1)] + [(0, None)] * 800)
    over, under = errors(c, M, np.array([p]))
    assert (1 - level) * over + level * under == pytest.approx(least.fun, rel=1e-6)


@pytest.mark.parametrize(
    ("c", "M", "tau", "expected"),
    [
        ([0.5, 0.2, 0], [[1, 1, 1]], 0.1, [0.07 / 1.1]),  # over p, under 0.7 − 2p
        ([0.5, 0.2, 0], [[1, 1, 1]], 0.5, [0.7 / 3]),  # over 2p − 0.2, under 0.5 − p
        ([1, 0.5, 0.5, 0], [[1, 0, 0, 0], [0, 1, 1, 1]], 0.1, [1, 1 / 11]),  # the first is exact at 1
        ([1, 1, 1], [[1, 0.2, 0.2]], 0.1, [1]),  # too weak even at 1
        (
            [1, 1, 0.9],
            [[1, 0.2, 0], [0, 0, 1]],
            0.05,
            [1, 0.9],
        ),  # nothing more to recover, although 0.05 would allow it
        (
            [0.3, 0.6, 0, 0],
            [[1, 0.5, 0, 0], [0, 0, 1, 0.5]],
            0.1,
            [0.3 + 0.45 / 9.5, 0],
        ),  # over p − 0.3, under 0.6 − p/2
        ([0, 0, 0], [[1, 1, 1], [0, 1, 0]], 0.1, [0, 0]),  # nothing there
        ([0, 0, 0.7], [[1, 1, 0], [0, 1, 0]], 0.1, [0, 0]),  # nothing in common
        ([0.4, 0.2, 0], [[0, 0, 0], [1, 0.5, 0]], 0.1, [0, 0.4]),  # a dead module, and an exact one
    ],
)
def test_by_hand(c: list[float], M: list[list[float]], tau: float, expected: list[float]) -> None:
    np.testing.assert_allclose(presence(c, M, tau), expected, atol=1e-6)


@pytest.mark.parametrize("tau", TAUS)
def test_what_modules_explain_exactly_is_found(tau: float) -> None:
    M = localities()[1].astype(np.float64)
    P = np.random.default_rng(1).uniform(0.3, 1, (6, 5))
    found = tuned(np.max(P[:, :, None] * M, axis=1), M, tau)
    np.testing.assert_allclose(found.presences, P, atol=1e-5)
    np.testing.assert_array_equal(found.ratios(found.errors), 0)


@pytest.mark.parametrize("tau", TAUS)
def test_where_the_ratio_stays_below_no_presence_recovers_more(tau: float) -> None:
    """Each presence is raised until the ratio is τ: that lowers no underestimation."""
    rng = np.random.default_rng(0)
    M = np.zeros((3, 40))
    M[0, :4], M[1, 3:6], M[2, 6:8] = (rng.uniform(0.3, 1, size) for size in (4, 3, 2))
    C = rng.uniform(0, 1, (30, 40)) * (rng.random((30, 40)) < 0.4)
    below = 0
    for c, p in zip(C, tuned(C, M, tau).presences.astype(np.float64), strict=True):
        over, under = errors(c, M, p)
        assert over / (over + under) <= tau + 1e-6
        if over / (over + under) > tau - 1e-3:
            continue
        below += 1
        for m in range(3):
            for value in np.linspace(p[m], 1, 200):
                more, missed = errors(c, M, np.where(np.arange(3) == m, value, p))
                assert missed >= under - 1e-6 or more / (more + missed) > tau
    assert below > 0


def test_a_module_that_recovers_nothing_is_absent() -> None:
    """It lies below another wherever there is a correlation."""
    c, stronger = np.array([0.9, 0.5, 0.6, 0.1]), np.array([1, 0.6, 0.5, 0])
    expected = tuned(c[None], stronger[None], 0.1).presences[0, 0]
    assert expected > 0.5
    for weaker in (stronger * [0.5, 0.5, 0.5, 0], stronger):
        found = tuned(c[None], np.stack([stronger, weaker]), 0.1).presences[0]
        assert sorted(found) == pytest.approx([0, expected], abs=1e-6)


def test_errors_are_those_of_what_came_in_and_what_goes_out() -> None:
    C, M = (values.astype(np.float64) for values in localities())
    P = np.random.default_rng(0).random((25, 5)).astype(np.float32)
    found = tuned(C, M, 0.1, P)
    for presences, sums in ((P, found.errors_before), (found.presences, found.errors)):
        np.testing.assert_allclose(
            sums, [errors(c, M, p) for c, p in zip(C, presences, strict=True)], rtol=1e-6, atol=1e-9
        )
    np.testing.assert_allclose(found.totals, C.sum(axis=1))


def test_signs_threads_and_the_order_of_pairs_do_not_matter() -> None:
    C, M = localities(n=8)
    expected = tuned(C, M, 0.1)
    signs = np.where(np.arange(400) % 3, 1, -1)
    for other in (tuned(C * signs, M, 0.1), tuned(C, M, 0.1, n_jobs=3)):
        np.testing.assert_array_equal(other.presences, expected.presences)
    order = np.random.default_rng(0).permutation(400)
    np.testing.assert_allclose(tuned(C[:, order], M[:, order], 0.1).presences, expected.presences, atol=1e-4)


def test_localities_do_not_touch_each_other_nor_what_is_passed_in() -> None:
    C, M = localities(n=6)
    C[2] = 0
    P = np.full((6, 5), 0.3, dtype=np.float32)
    sparse_C, sparse_M = sparse.csr_matrix(C), sparse.csr_matrix(M)
    for matrix in (sparse_C, sparse_M):
        for part in (matrix.data, matrix.indices, matrix.indptr):
            part.flags.writeable = False
    P.flags.writeable = False
    together = finetune(sparse_C, sparse_M, P, tau=0.1, n_jobs=1)
    for i in range(6):
        np.testing.assert_array_equal(together.presences[i], tuned(C[[i]], M, 0.1, P[[i]]).presences[0])
    assert not together.presences[2].any()
    np.testing.assert_array_equal(together.errors[2], 0)
