"""Reproduction of the same localities in samples that the modules were not made from.

The samples are split into halves. Both have the same probes, with the nearest half as many members, hence localities at the same
places that share no sample: what the modules and presences of one half reproduce in the other is no chance correlation. Localities
that are held out share samples with those that are not, and with them chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lava_sc.core.factorise.amf.explained import explained
from lava_sc.core.factorise.amf.restarts import single_run
from lava_sc.core.factorise.engines.cpu import row_sums
from lava_sc.core.factorise.engines.protocol import CH, HH
from lava_sc.core.factorise.problem import make_problem, over_columns, row_norms
from lava_sc.parallel.tasks import map_tasks
from lava_sc.parallel.threads import limit_blas_threads, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.core.factorise.protocol import RunPlan
    from lava_sc.core.nulls.null_data import NullData

#: Members (ℓ, n/2) of the localities in either half of the samples.
Halves = tuple["IntArray", "IntArray"]


@dataclass(frozen=True)
class Direction:
    """From the half that modules are made from to the other.

    Attributes
    ----------
    problem
        What is factorised.
    other
        Correlations of the same localities in the other half, over the problem's columns.
    norms
        (ℓ,) ‖C_i‖ in the other half, over all pairs.
    """

    problem: Problem
    other: Problem
    norms: FloatArray

    @classmethod
    def between(cls, own: sparse.csr_matrix, other: sparse.csr_matrix) -> Direction:
        """From correlations (ℓ, J) in one half to those in the other."""
        problem, indptr = make_problem(own), np.asarray(other.indptr, dtype=np.int64)
        return cls(problem, over_columns(problem, other), row_norms(other.data, indptr))


@dataclass(frozen=True)
class Replication:
    """Reconstruction of samples that modules were not made from, with each of k numbers.

    Attributes
    ----------
    cosines
        (splits, k) mean reconstruction cosine of the localities that have any correlation there, 0 where none has.
    shares
        For each number and each half of each split, what each module explains there, as a share of Σ C².
    """

    cosines: FloatArray
    shares: Sequence[Sequence[FloatArray]]

    @property
    def strongest(self) -> FloatArray:
        """Largest share that a module explains with each number, (k,)."""
        return np.array([max((float(some.max()) for some in halves), default=0.0) for halves in self.shares])

    def n_above(self, least: FloatArray) -> IntArray:
        """With each number, how many modules explain more than a least share (k,): the median over halves, rounded down."""
        counts = [
            [int((some > share).sum()) for some in halves] for halves, share in zip(self.shares, least, strict=True)
        ]
        return np.array([int(np.median(some)) if some else 0 for some in counts])


def in_other_half(
    null: NullData,
    halves: Sequence[Halves],
    numbers: Sequence[int],
    plan: RunPlan,
    *,
    seeds: Sequence[int],
    shuffled: bool,
) -> Replication:
    """Modules and presences of one run on either half, in turn, held against the other half.

    Parameters
    ----------
    null
        The data, and where null data come from.
    halves
        The splits.
    numbers, plan
        Numbers of modules, and how to fit.
    seeds
        Of the runs of each split, and of its null data set.
    shuffled
        Whether to take null data, another set for each split.
    """
    cosines = np.empty((len(halves), len(numbers)))
    shares: list[list[FloatArray]] = [[] for _ in numbers]
    for i, (split, seed) in enumerate(zip(progress(list(halves), desc="other cells"), seeds, strict=True)):
        first, second = (_correlations(null, members, seed if shuffled else None) for members in split)
        directions = Direction.between(first, second), Direction.between(second, first)
        tasks = [(one, (number, plan.options, plan.init, seed)) for number in numbers for one in directions]
        names = [f"{number} modules in half {k} of split {i}" for number in numbers for k in range(len(directions))]
        with limit_blas_threads():
            found = list(map_tasks(_evaluate_split, tasks, names, n_jobs=plan.n_jobs, client=plan.client))
        for k in range(len(numbers)):
            there, back = found[2 * k : 2 * k + 2]
            cosines[i, k] = _mean(np.concatenate([there[0], back[0]]))
            shares[k] += [there[1], back[1]]
    return Replication(cosines, shares)


def cosines_of(direction: Direction, P: FloatArray, M: FloatArray) -> FloatArray:
    """Cosine of reconstruction and correlations in the other half, (k,), of the localities that have any there.

    Parameters
    ----------
    direction
        From one half to the other.
    P, M
        (ℓ, M) and (M, J′) float32, found in the first.
    """
    sums = row_sums(direction.other, np.arange(len(P)), P, M, 1.0)
    size = np.sqrt(sums[:, HH]) * direction.norms
    cosine = np.divide(sums[:, CH], size, out=np.zeros(len(size)), where=size > 0)
    return np.asarray(cosine[direction.norms > 0])


def _correlations(null: NullData, members: IntArray, seed: int | None) -> sparse.csr_matrix:
    C = null.real(members)
    return C if seed is None else null.moved(members, C).correlations(seed)


def _evaluate_split(direction: Direction, start: tuple[int, FitOptions, str, int]) -> tuple[FloatArray, FloatArray]:
    """Cosines of the localities, and what each module explains, of one run."""
    n_modules = start[0]
    total = float(np.square(direction.norms).sum())
    if direction.problem.n_columns == 0 or total == 0:
        return np.zeros(int((direction.norms > 0).sum())), np.zeros(n_modules)
    run = single_run(direction.problem, start)
    assert run.P is not None
    assert run.M is not None
    return cosines_of(direction, run.P, run.M), explained(direction.other, run.P, run.M) / total


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else 0.0
