"""Reconstruction of localities that modules were not made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lava_sc.core.factorise.amf.loss import batch_loss
from lava_sc.core.factorise.amf.presences import MOST_PAIRS, SWEEPS, refit_presences
from lava_sc.core.factorise.amf.run import one_run
from lava_sc.core.factorise.engines.cpu import cpu_engines, row_sums
from lava_sc.core.factorise.problem import take_localities

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.problem import Problem


@dataclass(frozen=True)
class Fold:
    """Localities that modules are made from, and those that are held out."""

    fitted: IntArray
    held_out: IntArray


def folds(n_localities: int, n_folds: int, rng: np.random.Generator) -> list[Fold]:
    """Every locality held out once, in random parts; none when there are fewer than two localities for each part."""
    if n_localities < 2 * n_folds:
        return []
    parts = np.array_split(rng.permutation(n_localities), n_folds)
    return [Fold(np.setdiff1d(np.arange(n_localities), part), np.sort(part)) for part in parts]


def held_out_cosines(
    problem: Problem, fold: Fold, n_modules: int, options: FitOptions, *, init: str, seed: int
) -> FloatArray:
    """Reconstruction cosine of each held-out locality that has any correlation, (k,).

    Modules come from one run on the other localities; with these fixed, the presences of the held-out ones are fitted
    to the same loss. Where modules share nothing with a locality its cosine is 0.
    """
    fitted = take_localities(problem, fold.fitted)
    run = one_run(cpu_engines(fitted), fitted, n_modules, options, init=init, seed=seed)
    assert run.M is not None
    left = take_localities(problem, fold.held_out)
    none = np.zeros((left.n_localities, len(run.M)), dtype=np.float32)
    P = refit_presences(
        left,
        none,
        run.M,
        nu=options.nu,
        gamma=options.gamma,
        rng=np.random.default_rng(seed),
        most_pairs=MOST_PAIRS,
        sweeps=SWEEPS,
    )
    sums = row_sums(left, np.arange(left.n_localities), P, run.M, 1.0)
    cosine = batch_loss(sums, left.locality_weights, n_pairs=left.n_pairs, gamma=options.gamma).cosine
    return cosine[np.diff(left.indptr) > 0]
