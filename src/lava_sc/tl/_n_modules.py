"""Evidence for each number of modules: in the data, in other cells, in null data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc.core.n_modules.rule import TIMES_THE_NULL, Curve, beyond_chance, position, standard_errors
from lava_sc.core.n_modules.split_half import in_other_half
from lava_sc.core.n_modules.sweep import N_NULLS_OF_CURVE, N_RUNS_OF_NULL, fit_nulls, squares
from lava_sc.core.stability.resampling import draw_halves, members_among, scaled_size
from lava_sc.stored.placement_inputs import placement_inputs
from lava_sc.stored.runs import table_of_runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from lava_sc._types import IntArray
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.core.factorise.protocol import RunPlan
    from lava_sc.core.n_modules.split_half import Replication
    from lava_sc.core.n_modules.sweep import NullFit, Tried
    from lava_sc.core.nulls.null_data import NullData

_OTHER_CELLS: Final = "other_cells", "other_cells_se", "other_cells_null", "other_cells_null_sd"


@dataclass(frozen=True)
class Findings:
    """Findings with each of k numbers.

    Attributes
    ----------
    tried
        In the data.
    problem
        What was factorised.
    fewest
        The smallest number that may be chosen.
    others, others_null
        In other cells, of the data and of null data.
    nulls
        For each null data set, what was found with each number.
    null_best
        What the best null module explains with each number.
    """

    tried: Sequence[Tried]
    problem: Problem
    fewest: int
    others: Replication
    others_null: Replication
    nulls: Sequence[Sequence[NullFit]] = ()
    null_best: Mapping[int, float] = field(default_factory=dict)

    @property
    def curve(self) -> Curve:
        return Curve(
            n_modules=np.array([one.n_modules for one in self.tried]),
            loss=np.array([one.found.runs[one.found.best].quality.loss for one in self.tried]),
            loss_of_none=float(self.problem.locality_weights.sum()),
            silhouette=np.array([one.silhouette for one in self.tried]),
            n_beyond=np.array(
                [beyond_chance(one.explained, self.null_best[one.n_modules]).sum() for one in self.tried]
            ),
            explained=np.array([one.explained.sum() for one in self.tried]),
            most_alike=np.array([one.most_alike for one in self.tried]),
            strongest=np.array([one.explained.max() for one in self.tried]),
            null_best=np.array([self.null_best[one.n_modules] for one in self.tried]),
            fewest=self.fewest,
            other_samples=self.others.cosines,
            other_samples_null=self.others_null.cosines,
            n_replicated=self.n_replicated,
        )

    @property
    def n_replicated(self) -> IntArray:
        """Modules that exceed chance in other cells, (k,)."""
        return self.others.n_above(TIMES_THE_NULL * self.others_null.strongest)


def in_other_cells(
    adata: AnnData, key: str, null: NullData, numbers: Sequence[int], n_splits: int, seed: int, plan: RunPlan
) -> tuple[Replication, Replication]:
    """Modules of either half of the cells held against the other, in the data and in null data."""
    rng, again = np.random.default_rng([seed, 2]), placement_inputs(adata, key, plan.n_jobs)
    halves = []
    for _ in range(n_splits):
        parts = draw_halves(again.strata, rng)
        n = min(scaled_size(again.n, 1 / 2), again.smallest_section // 2)  # both halves have a locality at every probe
        first, second = (members_among(again.Z, part, again.probes, n, again.sections, plan.n_jobs) for part in parts)
        halves.append((first, second))
    seeds = [int(s) for s in rng.integers(2**63, size=n_splits)]
    some = slice(N_NULLS_OF_CURVE)
    data = in_other_half(null, halves, numbers, plan, seeds=seeds, shuffled=False)
    return data, in_other_half(null, halves[some], numbers, plan, seeds=seeds[some], shuffled=True)


def against_chance(null: NullData, found: Findings, n_permutations: int, seed: int, plan: RunPlan) -> Findings:
    """Add fits of null data: the first few data sets with every number, all of them with the one to take."""
    seeds = [int(s) for s in np.random.default_rng([seed, 1]).integers(2**63, size=n_permutations)]
    total, numbers = squares(found.problem), [one.n_modules for one in found.tried]
    first = fit_nulls(null, seeds[:N_NULLS_OF_CURVE], numbers, plan, n_runs=N_RUNS_OF_NULL, total=total)
    best = {number: max(fits[k].best for fits in first) for k, number in enumerate(numbers)}
    found = replace(found, nulls=first, null_best=best)
    taken = numbers[position(found.curve)]
    others = fit_nulls(null, seeds[N_NULLS_OF_CURVE:], [taken], plan, n_runs=1, total=total)
    return replace(found, null_best=best | {taken: max([best[taken], *(fits[0].best for fits in others)])})


def table_of_numbers(found: Findings) -> pd.DataFrame:
    """A row for each number."""
    rows = [
        _row(one, [fits[k] for fits in found.nulls], found.null_best[one.n_modules])
        for k, one in enumerate(found.tried)
    ]
    table = pd.DataFrame(rows, index=pd.Index([str(one.n_modules) for one in found.tried]))
    cosines, of_null = found.others.cosines, pd.DataFrame(found.others_null.cosines)
    if not cosines.size:
        return table.assign(**dict.fromkeys(_OTHER_CELLS, np.nan), n_replicated=0)
    mean = cosines.mean(axis=0)
    values = mean, standard_errors(cosines, int(mean.argmax())), of_null.mean().to_numpy(), of_null.std().to_numpy()
    return table.assign(**dict(zip(_OTHER_CELLS, values, strict=True)), n_replicated=found.n_replicated)


def _row(one: Tried, nulls: Sequence[NullFit], null_best: float) -> dict[str, float]:
    runs = table_of_runs(one.found.runs)
    row: dict[str, float] = {"n_modules": one.n_modules, "loss": runs["loss"].min()}
    for name in ("cosine", "overestimation"):
        row |= {name: runs[name].mean(), f"{name}_sd": runs[name].std()}
    row |= {
        "co_presence": runs["co_presence"].mean(),
        "silhouette": one.silhouette,
        "most_alike": one.most_alike,
        "held_out": one.held_out,
        "explained": one.explained.sum(),
        "weakest": one.explained.min(),
        "null_best": null_best,
        "n_beyond_null": int(beyond_chance(one.explained, null_best).sum()),
    }
    frame = pd.DataFrame([asdict(fit) for fit in nulls])
    for name in ("loss", "cosine", "overestimation", "silhouette"):
        row |= {f"{name}_null": frame[name].mean(), f"{name}_null_sd": frame[name].std()}
    return row
