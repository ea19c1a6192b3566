"""Small measured pieces of the correlations and of AMF, and what they come to for the whole."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.core import cost_model
from lava_sc.core.correlation.locality import LOCALITIES_AT_ONCE, locality_correlations
from lava_sc.core.correlation.pairs import n_pairs
from lava_sc.core.factorise.amf.fit import FitOptions, fit
from lava_sc.core.factorise.amf.starts import STARTS
from lava_sc.core.factorise.amf.successive_halving import MOST_PAIRS
from lava_sc.core.factorise.engines.cpu import cpu_engines
from lava_sc.core.factorise.problem import make_problem
from lava_sc.parallel import memory as memory_limits
from lava_sc.parallel.threads import resolve_n_jobs

if TYPE_CHECKING:
    from scipy import sparse

    from lava_sc._types import IntArray
    from lava_sc.core.correlation.locality import CorrelationOptions
    from lava_sc.core.cost_model import Growth
    from lava_sc.io.blocks import Source

_MOST_PRODUCTS: Final = 3e10  # multiplications in the products of the sampled localities
_MOST_KEPT: Final = 2e7  # correlations of the sampled localities
_BATCH: Final = FitOptions().batch_size
_MOST_COLUMNS: Final = 16_384  # of those that epochs are timed on
_EPOCHS, _FIRST_EPOCHS = 40, 20
_CHECKED: Final = 16  # localities


@dataclass(frozen=True)
class CorrelationSample:
    """Correlations of some localities.

    Attributes
    ----------
    C
        (k, J).
    growth
        What they say of the non-zeros of all.
    n_defined
        Most features that are defined in one of them.
    seconds
        Time for all, with the threads asked for.
    """

    C: sparse.csr_matrix
    growth: Growth
    n_defined: int
    seconds: float


def sample_correlations(
    source: Source, members: IntArray, n_localities: int, options: CorrelationOptions, *, n_jobs: int | None
) -> CorrelationSample:
    """Correlate some of ℓ localities.

    Parameters
    ----------
    source, options, n_jobs
        See :func:`lava_sc.core.correlation.locality.locality_correlations`.
    members
        (k, n), in random order. The first two tell how many more can be had for little.
    n_localities
        ℓ.
    """
    first = locality_correlations(source, members[:2], options, n_jobs=n_jobs)
    d, kept = max(int(first.defined.sum(axis=1).max()), 1), max(int(first.n_kept_pairs.max()), 1)
    affordable = int(min(_MOST_PRODUCTS / (members.shape[1] * d**2), _MOST_KEPT / kept))
    members = members[: max(affordable, 2)]
    began = time.perf_counter()
    found = locality_correlations(source, members, options, n_jobs=n_jobs)
    seconds = time.perf_counter() - began
    varying = int(found.defined.any(axis=0).sum())
    return CorrelationSample(
        found.C,
        cost_model.growth(found.n_kept_pairs, found.C.indices, n_pairs(varying)),
        int(found.defined.sum(axis=1).max()),
        seconds * _in_turn(n_localities, n_jobs) / _in_turn(len(members), n_jobs),
    )


def _in_turn(n_localities: int, n_jobs: int | None) -> int:
    """Number of localities that the busiest worker correlates."""
    tasks = -(-n_localities // LOCALITIES_AT_ONCE)
    return min(n_localities, LOCALITIES_AT_ONCE * -(-tasks // resolve_n_jobs(n_jobs)))


def check_correlations_fit(
    source: Source,
    members: IntArray,
    options: CorrelationOptions,
    *,
    remedy: str,
    n_jobs: int | None,
    stored: bool = False,
) -> None:
    """Refuse correlations that are expected to take more memory than there is, judged on some of the localities.

    Costs nothing where all pairs of all localities would fit.

    Parameters
    ----------
    source, members, options, n_jobs
        See :func:`lava_sc.core.correlation.locality.locality_correlations`.
    remedy
        What to change.
    stored
        Whether the rows are written to a file as they come.

    Raises
    ------
    ValueError
        If they are expected not to fit, by more than the standard error that the spread of the sample gives.
    """
    (n_localities, n), n_features = members.shape, source.shape[1]

    def needed(n_nonzero: float, n_defined: int) -> int:
        workers, tested = resolve_n_jobs(n_jobs), options.fdr is not None
        return cost_model.correlating_bytes(
            *(n_nonzero, n_localities, n_features),
            n=n,
            n_defined=n_defined,
            tested=tested,
            workers=workers,
            stored=stored,
        )

    if needed(n_localities * n_pairs(n_features), n_features) <= memory_limits.memory_available():
        return
    some = np.random.default_rng(0).permutation(n_localities)[:_CHECKED]
    sample = sample_correlations(source, members[some], n_localities, options, n_jobs=n_jobs)
    expected, error = sample.growth.n_nonzero(n_localities)
    what = f"the correlations between {n_features:,} genes in {n_localities:,} localities"
    memory_limits.refuse_what_does_not_fit(what, needed(max(expected - error, 0.0), sample.n_defined), remedy)


def fit_seconds(
    C: sparse.csr_matrix,
    n_localities: int,
    n_columns: float,
    n_modules: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Times of the start and of an epoch of AMF in one thread on ℓ localities and J′ columns, from a batch of some of both.

    How fast an epoch is depends on the numbers, since absent modules are passed over. So it has to be real localities,
    and the first epochs, in which modules find theirs, do not count.

    Parameters
    ----------
    C
        (k, J) correlations of some localities, repeated if they do not fill a batch.
    n_localities, n_columns
        ℓ and J′.
    n_modules, rng
        See :func:`lava_sc.core.factorise.amf.restarts.run_many`.
    """
    if C.nnz == 0:
        return 0.0, 0.0
    columns = np.unique(C.indices)
    columns = columns[:: -(-len(columns) // _MOST_COLUMNS)]
    n_rows = min(n_localities, _BATCH)
    problem = make_problem(C[np.arange(n_rows) % C.shape[0]][:, columns])

    STARTS["nmf"](make_problem(C[:1]), 1, FitOptions(), rng)  # compiles
    began = time.perf_counter()
    STARTS["nmf"](problem, n_modules, FitOptions(), rng)
    starting = time.perf_counter() - began
    engines, start = cpu_engines(problem), STARTS["kmeans"](problem, n_modules, FitOptions(), rng)
    fit(engines, problem, *start, FitOptions(max_epochs=1), rng)  # compiles
    ends: list[float] = []
    options = FitOptions(max_epochs=_EPOCHS)
    fit(engines, problem, *start, options, rng, on_epoch=lambda _: ends.append(time.perf_counter()))
    each = float(np.median(np.diff(ends[_FIRST_EPOCHS:])))
    rows, columns_of_start = n_localities / n_rows, min(n_columns, MOST_PAIRS) / min(problem.n_columns, MOST_PAIRS)
    return starting * rows * columns_of_start, each * rows * n_columns / problem.n_columns
