"""Memory there is, models of memory against real arrays, and the growth of C against plain formulas and simulation."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from math import comb
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tests import helpers

from lava_sc.core import cost_model
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.restarts import run_many
from lava_sc.core.factorise.problem import make_problem
from lava_sc.parallel import memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from anndata import AnnData

HUGE = 2**63 - 4096
GB = 10**9


def files(root: Path, contents: Mapping[str, object]) -> Path:
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="utf-8")
    return root


def group(folder: str, limit: object, used: int, cache: int = 0) -> dict[str, object]:
    """Version 2."""
    base = f"sys/fs/cgroup/{folder}".rstrip("/")
    stat = f"anon {used - cache}\ninactive_file {cache}\nactive_file 0"
    return {f"{base}/memory.max": limit, f"{base}/memory.current": used, f"{base}/memory.stat": stat}


def old_group(folder: str, limit: int, used: int, cache: int = 0) -> dict[str, object]:
    """Version 1."""
    base = f"sys/fs/cgroup/memory/{folder}".rstrip("/")
    stat = f"cache {cache}\ninactive_file 1\ntotal_inactive_file {cache}"
    return {
        f"{base}/memory.limit_in_bytes": limit,
        f"{base}/memory.usage_in_bytes": used,
        f"{base}/memory.stat": stat,
    }


SELF = "proc/self/cgroup"


@pytest.fixture
def machine_with_64_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    total = psutil.virtual_memory()._replace(available=64 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: total)


@pytest.mark.usefixtures("machine_with_64_gb")
@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param({}, 64, id="no control groups at all"),
        pytest.param({SELF: "0::/"} | group("", "max", 3 * GB), 64, id="no limit"),
        pytest.param({SELF: "0::/"} | group("", 8 * GB, 3 * GB), 5, id="a container"),
        pytest.param({SELF: "0::/"} | group("", 8 * GB, 7 * GB, cache=4 * GB), 5, id="file cache can be dropped"),
        pytest.param({SELF: "0::/"} | group("", 100 * GB, GB), 64, id="a limit above what the machine has"),
        pytest.param({SELF: "0::/"} | group("", GB, 2 * GB), 0, id="over the limit"),
        pytest.param(
            {SELF: "0::/job/step"} | group("job", 9 * GB, 3 * GB) | group("job/step", "max", GB),
            6,
            id="limit of a parent",
        ),
        pytest.param(
            {SELF: "0::/job/step"} | group("job", 9 * GB, 3 * GB) | group("job/step", 5 * GB, 2 * GB),
            3,
            id="two limits",
        ),
        pytest.param({SELF: "0::/elsewhere"} | group("", 8 * GB, 3 * GB), 5, id="a path of outside the container"),
        pytest.param({SELF: "0::/job"}, 64, id="files that are not mounted"),
        pytest.param({SELF: "5:cpu,cpuacct:/\n4:memory:/\n0::/"} | old_group("", 8 * GB, 3 * GB), 5, id="version 1"),
        pytest.param({SELF: "4:memory:/"} | old_group("", 8 * GB, 7 * GB, cache=4 * GB), 5, id="version 1, cache"),
        pytest.param({SELF: "4:memory:/"} | old_group("", HUGE, 3 * GB), 64, id="version 1, no limit"),
        pytest.param({SELF: "4:memory:/job"} | old_group("job", 5 * GB, 3 * GB), 2, id="version 1, a job"),
        pytest.param({SELF: "4:cpu:/job"} | old_group("job", 5 * GB, 3 * GB), 64, id="version 1, another controller"),
    ],
)
def test_memory_is_what_the_machine_and_all_control_groups_leave(
    tmp_path: Path, contents: Mapping[str, object], expected: int
) -> None:
    assert memory.memory_available(files(tmp_path, contents)) == expected * GB


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are read from /proc")
@pytest.mark.parametrize("which", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_memory_is_what_the_limits_of_the_process_leave(which: str) -> None:
    """As much as is said to be left can be taken, but for what the libraries take themselves, and no more."""
    code = f"""
import resource
from lava_sc.parallel.memory import memory_available
import numpy as np

resource.setrlimit(resource.{which}, (6 * 10**9, 6 * 10**9))
left = memory_available()
assert 0 < left < 6 * 10**9
taken = np.empty(left - 10**8, dtype=np.uint8)
assert memory_available() <= 10**8
try:
    np.empty(2 * 10**8, dtype=np.uint8)
except MemoryError:
    print("no more")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "no more\n"


def test_memory_of_this_machine() -> None:
    assert 0 < memory.memory_available() <= psutil.virtual_memory().total


def size_of(X: sparse.csr_matrix) -> int:
    return X.data.nbytes + X.indices.nbytes + X.indptr.nbytes


def peak_of(work: Callable[[], object]) -> int:
    """Largest memory in arrays during some work, above what there was before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def random_correlations(n_localities: int, n_columns: int, density: float, seed: int = 0) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    C = np.where(rng.random((n_localities, n_columns)) < density, rng.uniform(-1, 1, (n_localities, n_columns)), 0)
    return sparse.csr_matrix(C.astype(np.float32))


def test_stored_results_have_the_size_that_is_counted(stages: Mapping[str, AnnData]) -> None:
    adata = stages["locality_corr"]
    C, defined = adata.uns["lava"]["C"], adata.uns["lava"]["defined"]
    counted = cost_model.correlations_bytes(C.nnz, *defined.shape)
    assert counted == pytest.approx(size_of(C) + defined.nbytes, abs=8)
    membership = adata.obsm["lava_localities"]
    stored = size_of(membership) + sum(adata.obs[name].nbytes for name in helpers.names(["localities"], "obs"))
    n = adata.uns["lava"]["params"]["localities"]["n_neighbors"]
    assert cost_model.membership_bytes(*membership.shape, n) == pytest.approx(stored, rel=0.2)


def test_indices_take_eight_bytes_where_four_do_not_reach() -> None:
    small, large = (cost_model.correlations_bytes(1000, 1, n_features) for n_features in (65_536, 65_537))
    assert large - small == pytest.approx(4 * 1000, abs=10)  # 65,537 · 65,536 / 2 > 2³¹ − 1
    assert cost_model.correlations_bytes(2.0**31, 1, 2) - cost_model.correlations_bytes(2.0**31 - 1, 1, 2) > 2**33


@pytest.mark.parametrize("density", [0.02, 0.5])
def test_laying_out_takes_the_memory_that_is_counted(density: float) -> None:
    """With an empty column; where there is none, nothing is copied."""
    C = sparse.hstack([random_correlations(60, 20_000, density), sparse.csr_matrix((60, 1), dtype=np.float32)], "csr")
    n_columns = len(np.unique(C.indices))
    make_problem(C)  # compiles
    assert cost_model.problem_bytes(C.nnz, 60, n_columns) == pytest.approx(peak_of(lambda: make_problem(C)), rel=0.3)


@pytest.mark.parametrize(("density", "n_modules", "n_jobs"), [(0.05, 9, 1), (0.05, 9, 3), (0.9, 2, 1), (0.05, 3, 2)])
def test_runs_take_the_memory_that_is_counted(density: float, n_modules: int, n_jobs: int) -> None:
    problem = make_problem(random_correlations(60, 20_000, density))

    def runs() -> None:
        options = FitOptions(max_epochs=2)
        run_many(problem, n_modules, options, init="random", n_runs=4, rng=np.random.default_rng(0), n_jobs=n_jobs)

    runs()  # compiles
    counted = cost_model.fit_bytes(len(problem.data), 60, problem.n_columns, n_modules=n_modules, side_by_side=n_jobs)
    held = problem.indices.nbytes + problem.columns.nbytes + problem.block_starts.nbytes
    assert counted == pytest.approx(held + peak_of(runs), rel=0.5)


def test_more_work_takes_more_memory() -> None:
    def correlating(**changed: int) -> int:
        usual = dict(n_nonzero=10**6, n_localities=100, n_features=500, n=300, n_defined=200, tested=True, workers=2)
        return cost_model.correlating_bytes(**(usual | changed))  # type: ignore[arg-type]

    usual = correlating()
    for name, value in {"n_nonzero": 10**7, "n": 600, "n_defined": 400, "workers": 4}.items():
        assert correlating(**{name: value}) > usual, name
    assert cost_model.localities_bytes(10**6, 2, 6000, 500, 2) > cost_model.localities_bytes(10**5, 2, 600, 500, 2)


def growth_of(C: sparse.csr_matrix) -> cost_model.Growth:
    return cost_model.growth(np.diff(C.indptr), C.indices, C.shape[1])


def test_non_zeros_and_their_error() -> None:
    counts = np.random.default_rng(0).poisson(50, size=(10_000, 20))
    estimates = [cost_model.Growth(row, np.zeros(20), 0).n_nonzero(400) for row in counts]
    expected, errors = np.array(estimates).T
    assert expected.mean() == pytest.approx(400 * 50, rel=0.01)
    np.testing.assert_allclose(expected, 400 * counts.mean(axis=1))
    # of the 400, 20 are known: the others vary around their mean no matter how well that is known
    spread = (380 * (counts.mean(axis=1) - 50)).std()
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(spread, rel=0.05)
    assert cost_model.Growth(counts[0], np.zeros(20), 0).n_nonzero(20) == (counts[0].sum(), 0)


def plain_columns(present: np.ndarray, n_localities: int, n_most: int) -> float:
    """The two extrapolations, from the (m, J) mask and binomial coefficients."""
    m, times = len(present), present.sum(axis=0)
    seen, once, twice = ((times > 0).sum(), (times == 1).sum(), (times == 2).sum())
    unseen = (m - 1) / m * (once**2 / (2 * twice) if twice else once * (once - 1) / 2)
    chao = seen + (unseen * (1 - (1 - once / (m * unseen + once)) ** (n_localities - m)) if unseen else 0)
    half = m // 2
    of_half = sum(1 - comb(m - t, half) / comb(m, half) for t in times.tolist())
    power = np.log(seen / of_half) / np.log(m / half)
    most = min(n_most, present.sum() / m * n_localities)
    return float(np.sqrt(min(chao, most) * min(seen * (n_localities / m) ** power, most)))


@given(seed=st.integers(0, 2**32 - 1), m=st.integers(2, 20), n_columns=st.integers(1, 60), more=st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_columns_as_the_plain_formulas_say(seed: int, m: int, n_columns: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    present = rng.random((m, n_columns)) < rng.random(n_columns) ** 3
    C = sparse.csr_matrix(present.astype(np.float32))
    found = growth_of(C).n_columns(m + more)
    seen = int(present.any(axis=0).sum())
    assert seen <= found <= n_columns
    assert growth_of(C).n_columns(m) == seen
    if seen:
        assert found == pytest.approx(max(seen, plain_columns(present, m + more, n_columns)))


@pytest.mark.parametrize("shape", [0.05, 0.3, 2.0])
def test_columns_of_simulated_localities(shape: float) -> None:
    """Columns of very different frequencies: 64 of 1,000 localities tell the number of columns in all."""
    rng = np.random.default_rng(0)
    C = sparse.csr_matrix((rng.random((1000, 5000)) < rng.beta(shape, 20, size=5000)).astype(np.float32))
    truth = len(np.unique(C.indices))
    assert truth / 1.5 < growth_of(C[rng.permutation(1000)[:64]]).n_columns(1000) < 1.5 * truth


def test_many_non_zeros_are_thinned_by_their_columns() -> None:
    C = random_correlations(40, 5000, 0.1)
    whole = growth_of(C)
    thinned = cost_model.growth(np.diff(C.indptr), C.indices, 5000, most_counted=2000)
    assert thinned.n_nonzero(500) == whole.n_nonzero(500)
    np.testing.assert_allclose(thinned.columns.sum(), whole.columns.sum(), rtol=0.05)
    assert thinned.n_columns(500) == pytest.approx(whole.n_columns(500), rel=0.05)


def test_no_correlations_at_all() -> None:
    empty = cost_model.growth(np.zeros(5, dtype=np.int64), np.empty(0, dtype=np.int32), 100)
    assert empty.n_nonzero(50) == (0, 0)
    assert empty.n_columns(50) == 0


def test_what_does_not_fit_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_available", lambda: 4_000_000_000)
    memory.refuse_what_does_not_fit("work", 4e9, "lower overlap")
    expected = (
        "Found that the work would take about 12 GB of memory, expected no more than the 4 GB that are available; lower "
        "overlap."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        memory.refuse_what_does_not_fit("the work", 12.3e9, "lower overlap")
