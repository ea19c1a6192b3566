"""Chunks of columns of the accelerator's engines: what lies where, how much memory they take, and what they do without.

On torch's CPU, with errors of other devices put in their place.
"""

from __future__ import annotations

import logging
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tests.core.factorise.accelerated import example, state, step

from lava_sc.core.factorise.engines.accelerator import accelerator_engines
from lava_sc.core.factorise.problem import BLOCK, make_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.factorise.accelerated import Factory


@pytest.fixture
def plain() -> Factory:
    """Engines on torch's CPU."""
    pytest.importorskip("torch")
    return lambda problem, **options: accelerator_engines(problem, "cpu", **options)


def test_a_target_without_any_column(plain: Factory) -> None:
    problem = make_problem(sparse.csr_matrix((3, 5), dtype=np.float32))
    engine = plain(problem)(np.ones((3, 2)), np.ones((2, 0)))
    np.testing.assert_array_equal(engine.row_sums(np.arange(3), 9), np.zeros((3, 5)))
    engine.descend(np.arange(3), np.zeros((3, 2)), nu=9, mae_slope=0, learning_rate=1)
    P, M = state(engine)
    np.testing.assert_array_equal(P, np.ones((3, 2)))
    assert M.shape == (2, 0)


@settings(max_examples=40, deadline=None)
@given(density=st.floats(0, 1), n_pairs=st.integers(1, 3 * BLOCK), seed=st.integers(0, 99), data=st.data())
def test_rows_of_a_chunk_are_spread_in_their_places(
    density: float, n_pairs: int, seed: int, data: st.DataObject
) -> None:
    torch = pytest.importorskip("torch")
    from lava_sc.core.factorise.engines.torch_kernels import DeviceProblem, Rows, _dense_rows

    C = sparse.random(5, n_pairs, density, "lil", dtype=np.float32, random_state=seed)
    C[0, 0] = 0.5
    problem = make_problem(C.tocsr())
    on_device = DeviceProblem(
        torch.tensor(problem.data), torch.tensor(problem.indices), problem.block_starts, problem.n_columns
    )
    rows = np.array(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)))
    first = data.draw(st.integers(0, problem.n_blocks - 1))
    last = data.draw(st.integers(first + 1, problem.n_blocks))
    found = _dense_rows(on_device, Rows(rows, torch.tensor(rows)), first, last).numpy()
    padded = np.zeros((5, problem.n_blocks * BLOCK), dtype=np.float32)
    padded[:, : problem.n_columns] = problem.absolute().toarray()
    np.testing.assert_array_equal(found, padded[rows, first * BLOCK : last * BLOCK])


@pytest.mark.parametrize("n_modules", [1, 30])
@pytest.mark.parametrize("density", [0.05, 1])
def test_temporaries_keep_to_the_bound(n_modules: int, density: float, plain: Factory) -> None:
    torch = pytest.importorskip("torch")
    from torch.multiprocessing.reductions import StorageWeakRef
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    def storages(tree: Any) -> dict[int, Any]:
        arrays = [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
        return {storage._cdata: storage for storage in arrays}

    class Watch(TorchDispatchMode):  # type: ignore[misc]  # torch's classes are Any
        """Largest number of bytes at a time in arrays that operations have made."""

        def __init__(self) -> None:
            super().__init__()
            self.made: list[tuple[StorageWeakRef, int]] = []
            self.peak = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            given_ = storages((args, kwargs))
            new = [storage for at, storage in storages(result).items() if at not in given_]
            self.made = [(weak, size) for weak, size in self.made if not weak.expired()]
            self.made += [(StorageWeakRef(storage), storage.nbytes()) for storage in new]
            self.peak = max(self.peak, sum(size for _, size in self.made))
            return result

    case = example(40, 9 * BLOCK, n_modules, density=density)
    memory = 3 * BLOCK * (40 * len(case.rows) + 8 * n_modules)
    engine = plain(case.problem, memory=memory)(case.P, case.M)
    small = 10 * 8 * case.P.size + 1000 * len(case.rows)  # arrays of the size of P, sums of rows and blocks
    with Watch() as watch:
        engine.row_sums(case.rows, 9)
        assert memory / 2 < watch.peak
        step(engine, case, case.rows, nu=9, gamma=1)
    # What operations take inside cannot be seen: a quarter is left for it
    assert watch.peak < 0.75 * memory + small


class Failing:
    """Kernels that fail as ``error`` says for a number of blocks, else work."""

    def __init__(self, kernels: Any, error: Callable[[int], Exception | None]) -> None:
        self.kernels, self.error = kernels, error
        self.bytes_per_column = kernels.bytes_per_column

    def sums(self, rows: Any, first: int, last: int, *rest: Any) -> Any:
        if error := self.error(last - first):
            raise error
        return self.kernels.sums(rows, first, last, *rest)

    def descend(self, rows: Any, first: int, last: int, *rest: Any) -> Any:
        if error := self.error(last - first):
            raise error
        return self.kernels.descend(rows, first, last, *rest)


def cuda_error(message: str) -> Exception:
    import torch

    return torch.cuda.OutOfMemoryError(message)


MEMORY_ERRORS = pytest.mark.parametrize(
    "error",
    [
        lambda: cuda_error("CUDA out of memory."),
        lambda: RuntimeError("MPS backend out of memory"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
    ids=["cuda", "mps", "cpu"],
)


@MEMORY_ERRORS
def test_out_of_memory_takes_smaller_chunks(
    error: Callable[[], Exception], plain: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    case = example(n_pairs=6 * BLOCK + 5, density=0.05)
    expected, engine = plain(case.problem)(case.P, case.M), plain(case.problem)(case.P, case.M)
    chunks = engine._chunks
    chunks._kernels = Failing(chunks._plain, lambda n_blocks: error() if n_blocks > 2 else None)
    chunks._plain = chunks._kernels
    with caplog.at_level(logging.INFO, "lava_sc"):
        for tried in (expected, engine):
            step(tried, case, case.rows, nu=9, gamma=1)
    for found, wanted in zip(state(engine), state(expected), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert [record.getMessage().partition(" on ")[0] for record in caplog.records] == ["AMF ran out of memory"] * 2


@MEMORY_ERRORS
def test_too_little_memory_says_what_to_do(error: Callable[[], Exception], plain: Factory) -> None:
    case = example()
    engine = plain(case.problem)(case.P, case.M)
    engine._chunks._kernels = Failing(engine._chunks._plain, lambda _: error())
    with pytest.raises(MemoryError, match="pass device='cpu'"):
        engine.row_sums(case.rows, 9)


def test_too_little_memory_for_the_target_or_a_run(plain: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    case = example()
    factory = plain(case.problem)

    def no_memory(*_: Any, **__: Any) -> Any:
        msg = "CUDA out of memory."
        raise cuda_error(msg)

    monkeypatch.setattr(torch, "zeros", no_memory)
    with pytest.raises(MemoryError, match="modules and the moments"):
        factory(case.P, case.M)
    monkeypatch.setattr(torch, "tensor", no_memory)
    with pytest.raises(MemoryError, match="correlations"):
        plain(case.problem)


def test_other_errors_come_out(plain: Factory) -> None:
    case = example()
    engine = plain(case.problem)(case.P, case.M)
    engine._chunks._kernels = engine._chunks._plain = Failing(engine._chunks._plain, lambda _: RuntimeError("no luck"))
    with pytest.raises(RuntimeError, match="no luck"):
        engine.row_sums(case.rows, 9)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler."),
        subprocess.CalledProcessError(1, "Failed to find C compiler"),
        PermissionError("Failed to find C compiler"),
        ImportError("Failed to find C compiler"),
        type("CompilationError", (Exception,), {"__module__": "triton.compiler.errors"})("Failed to find C compiler"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_a_compiler_for_fused_kernels_the_plain_ones_go_on(
    error: Exception, plain: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    case = example()
    factory = plain(case.problem)
    expected = factory(case.P, case.M)
    wanted = expected.row_sums(case.rows, 9)
    expected._chunks._kernels = Failing(expected._chunks._plain, lambda _: error)
    for engine in (expected, factory(case.P, case.M)):
        np.testing.assert_array_equal(engine.row_sums(case.rows, 9), wanted)
    assert [(record.levelname, "Failed to find C compiler" in record.getMessage()) for record in caplog.records] == [
        ("WARNING", True)
    ]


@pytest.mark.parametrize("error", [AttributeError, TypeError, IndexError, KeyError, ValueError, AssertionError])
def test_mistakes_in_fused_kernels_come_out(
    error: type[Exception], plain: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    case = example()
    engine = plain(case.problem)(case.P, case.M)
    engine._chunks._kernels = Failing(engine._chunks._plain, lambda _: error("no such thing"))
    with pytest.raises(error, match="no such thing"):
        step(engine, case, case.rows, nu=9, gamma=1)
    assert not caplog.records
