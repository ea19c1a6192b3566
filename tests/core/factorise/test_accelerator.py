"""The engines of an accelerator against float64 restatements and the CPU's.

They run on every device that is here, on torch's CPU in any case. Triton's kernels run on CUDA; where Triton is installed
they run interpreted as well, in a process of their own, since Triton reads the switch for that when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import sparse
from tests.core.factorise.accelerated import example, state, step
from tests.reference import amf_numpy

import lava_sc
from lava_sc.core.factorise.amf.fit import FitOptions, fit
from lava_sc.core.factorise.amf.loss import batch_loss
from lava_sc.core.factorise.engines.accelerator import accelerator_engines
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import BLOCK, make_problem
from lava_sc.parallel import device as devices

if TYPE_CHECKING:
    from tests.core.factorise.accelerated import Example, Factory

    from lava_sc.core.factorise.problem import Problem

SOURCES = str(Path(lava_sc.__file__).resolve().parents[1])
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

PROBLEMS: dict[str, dict[str, Any]] = {
    "small": dict(),
    "one module": dict(n_modules=1),
    "more modules than localities": dict(n_localities=6, n_modules=11),
    "a block exactly": dict(n_pairs=BLOCK, density=1.0),
    "blocks": dict(n_pairs=2 * BLOCK + 5, density=0.05),
}
EXTREMES = pytest.mark.parametrize(("nu", "gamma"), [(1, 0), (1, 10), (9, 1e-4), (100, 0), (100, 10)])


@pytest.fixture(params=PROBLEMS)
def case(request: pytest.FixtureRequest) -> Example:
    return example(**PROBLEMS[request.param])


@pytest.fixture(params=["plain_cpu", "fused_cpu", "plain_cuda", "fused_cuda", "plain_mps"])
def engines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """Engines of every device and kind of kernel that can run here."""
    kernels, device = request.param.split("_")
    torch = pytest.importorskip("torch")
    if device not in devices._available():
        pytest.skip(f"torch finds no {device} here")
    if kernels == "fused":
        pytest.importorskip("triton")
    if (request.param == "fused_cpu") != INTERPRETED:
        pytest.skip("interpreted kernels, and these alone, run where Triton interprets")
    from lava_sc.core.factorise.engines import torch_engine

    assert torch.device(device).type == device
    monkeypatch.setattr(torch_engine, "_can_fuse", lambda _: kernels == "fused")

    def make(problem: Problem, **options: Any) -> Any:
        found: Any = accelerator_engines(problem, device, **options)
        probe = found(np.ones((problem.n_localities, 1)), np.ones((1, problem.n_columns)))
        assert type(probe._chunks._kernels).__name__ == ("TritonKernels" if kernels == "fused" else "PlainKernels")
        return found

    return make


@pytest.mark.parametrize("nu", [1, 9, 100])
def test_row_sums(case: Example, nu: float, engines: Factory) -> None:
    """Float32 products, and float32 sums over a block at most: 1e-6 of a sum of terms that are not negative."""
    C, P, M = (a[case.rows] if a.shape[0] == case.problem.n_localities else a for a in case.doubles)
    hat = amf_numpy.reconstruct(P, M)
    w2, error = np.where(hat > C, nu**2, 1), hat - C
    expected = [w2 * C * C, w2 * C * hat, w2 * hat * hat, abs(error), np.maximum(error, 0)]
    found = engines(case.problem)(case.P, case.M).row_sums(case.rows, nu)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.sum(expected, axis=2).T, rtol=5e-6, atol=1e-7 * C.shape[1])


@EXTREMES
def test_gradient(case: Example, nu: float, gamma: float, engines: Factory) -> None:
    """Read off one step of Adam: where the gradient is far below ε, the step is the gradient times rate / ε.

    So the slopes are scaled down and the rate is scaled up, for a largest step of 1/4. Rounding: of float32 around 1/2,
    1e-7, and of sums in float32, 1e-6 of the largest gradient.
    """
    pytest.importorskip("torch")
    from tests.reference.amf import loss_and_gradients

    _, g_P, g_M = loss_and_gradients(*case.doubles, case.rows, nu=nu, gamma=gamma)
    # One module's scale moves no cosine: its g_P may be 0
    largest = {0: max(np.abs(g_P).max(), np.abs(g_M).max()), 1: np.abs(g_M).max()}
    for at, g in enumerate((g_P, g_M)):
        engine = engines(case.problem)(case.P, case.M)
        sums = engine.row_sums(case.rows, nu)
        weights, J = case.problem.locality_weights[case.rows], case.problem.n_pairs
        slopes = batch_loss(sums, weights, n_pairs=J, gamma=gamma).slopes
        scale = 1e-14 / largest[0]
        rate = 0.25 / largest[at] / scale * 1e-8
        engine.descend(case.rows, slopes * scale, nu=nu, mae_slope=gamma / J * scale, learning_rate=rate)
        expected = np.clip((case.P, case.M)[at] - 0.25 * g / largest[at], 0, 1)
        np.testing.assert_allclose(state(engine)[at], expected, atol=3e-6)


@EXTREMES
def test_epochs(nu: float, gamma: float, engines: Factory) -> None:
    """Without edges: Adam makes whole steps of gradients that cancel but for rounding, and parts what was tied."""
    pytest.importorskip("torch")
    from tests.reference.amf import epoch

    case, batches = example(12, edges=False), [np.array([0, 5, 7, 2]), np.array([11, 3, 1, 10]), np.array([9, 4, 6, 8])]
    engine = engines(case.problem)(case.P, case.M)
    for rows in batches * 2:
        step(engine, case, rows, nu=nu, gamma=gamma)
    P, M, _ = epoch(*case.doubles, batches * 2, nu=nu, gamma=gamma, learning_rate=1e-2)
    for found, expected in zip(state(engine), (P, M), strict=True):
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_presences_outside_of_the_batch_move_by_their_momentum(engines: Factory) -> None:
    case = example(edges=False)
    case.P[[6, 7]] = 0.5
    engine = engines(case.problem)(case.P, case.M)
    step(engine, case, np.array([6, 7]), nu=9, gamma=1)
    before = state(engine)[0]
    step(engine, case, np.array([8]), nu=9, gamma=1)
    after = state(engine)[0]
    # Second step of Adam without a gradient: m = 0.9·0.1·g, v = 0.999·0.001·g², corrected by 1 − 0.9² and 1 − 0.999²
    size = 1e-2 * (0.09 / 0.19) / np.sqrt(0.000999 / 0.001999)
    np.testing.assert_allclose(np.abs(after - before)[[6, 7]], size, rtol=1e-4)
    np.testing.assert_array_equal(after[:6], case.P[:6])


def test_chunks_change_nothing_but_rounding(engines: Factory) -> None:
    case = example(5, 2 * BLOCK + 5, density=0.05, edges=False)
    found = []
    for memory in (1, None):
        engine = engines(case.problem, memory=memory)(case.P, case.M)
        sums = engine.row_sums(case.rows, 9)
        for _ in range(2):
            step(engine, case, case.rows, nu=9, gamma=1)
        found.append((sums, *state(engine)))
    for block_by_block, at_once in zip(*found, strict=True):
        np.testing.assert_allclose(block_by_block, at_once, rtol=1e-6, atol=1e-6)


def test_running_out_of_memory_at_the_last_moment_changes_nothing(
    engines: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums of the gradient are the last that takes memory; the chunk is then done again, by halves."""
    case = example(5, 2 * BLOCK, density=0.05, edges=False)
    found = []
    for errors in ([], [RuntimeError("CUDA out of memory")]):
        engine = engines(case.problem)(case.P, case.M)
        slopes = np.full((len(case.rows), 2), 0.5)
        kernels = sys.modules[type(engine._chunks._kernels).__module__]

        def total(parts: Any, dim: int, errors: list[RuntimeError] = errors, total: Any = kernels.total) -> Any:
            if errors:
                raise errors.pop()
            return total(parts, dim)

        monkeypatch.setattr(kernels, "total", total)
        engine.descend(case.rows, slopes, nu=9, mae_slope=0, learning_rate=1e-2)
        assert not errors
        found.append(state(engine))
    for with_error, without in zip(*found, strict=True):
        np.testing.assert_allclose(with_error, without, atol=1e-7)


def test_the_same_again(engines: Factory) -> None:
    case = example(n_pairs=BLOCK + 5)
    factory = engines(case.problem)
    found = []
    for _ in range(2):
        engine = factory(case.P, case.M)
        for k in range(2):
            step(engine, case, case.rows[k:], nu=9, gamma=1)
        found.append(state(engine))
    for once, again in zip(*found, strict=True):
        np.testing.assert_array_equal(once, again)


def test_the_start_and_what_is_kept_are_copies(engines: Factory) -> None:
    case = example()
    start = case.P.copy(), case.M.copy()
    engine = engines(case.problem)(case.P, case.M)
    kept = state(engine)
    step(engine, case, case.rows, nu=9, gamma=1)
    for given_, found, before in zip((case.P, case.M), engine.kept(), start, strict=True):
        np.testing.assert_array_equal(given_, before)
        np.testing.assert_array_equal(found, before)
    moved = state(engine)
    for now, before in zip(moved, kept, strict=True):
        assert not np.array_equal(now, before)


def test_a_whole_fit_ends_where_the_cpu_ends(engines: Factory) -> None:
    """Adam makes rounding grow, so the ends differ; their losses do not by 1e-4 in a fit that converges."""
    rng = np.random.default_rng(5)
    C = (rng.random((24, 3, 1)) ** 2 * rng.random((3, 90)) ** 3).max(axis=1)
    C = np.where(rng.random(C.shape) < 0.3, 0, C).astype(np.float32)
    problem = make_problem(sparse.csr_matrix(C))
    P, M = rng.random((24, 3), dtype=np.float32), rng.random((3, problem.n_columns), dtype=np.float32)
    options = FitOptions(batch_size=12, learning_rate=3e-2, patience=10, max_epochs=4 if INTERPRETED else 300)
    ours, cpu = (
        fit(factory, problem, P, M, options, np.random.default_rng(1))
        for factory in (engines(problem), cpu_engines(problem))
    )
    assert ours.losses.min() < 0.9 * ours.losses[0]
    np.testing.assert_allclose(ours.losses.min(), cpu.losses.min(), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="is what is run")
def test_fused_kernels_interpreted(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    pytest.importorskip("torch")
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join([SOURCES, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    done = subprocess.run([*command, "-k", "fused_cpu"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
