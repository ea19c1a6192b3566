"""Runs of AMF as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc.core.amf.gamma import Sweep
    from lava_sc.core.amf.run import Run


def table_of_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run."""
    rows = [
        {
            "seed": run.seed,
            "loss": run.quality.loss,
            "main_term": run.quality.main_term,
            "cosine": run.quality.cosine,
            "overestimation": run.quality.overestimation,
            "co_presence": run.co_presence,
            "n_modules": run.n_modules,
            "n_epochs": run.n_epochs,
            "converged": run.converged,
            "seconds": run.seconds,
        }
        for run in runs
    ]
    return pd.DataFrame(rows, index=pd.Index([str(i) for i in range(len(runs))], name="run"))


def table_of_sweep(sweep: Sweep) -> pd.DataFrame:
    """A row for each γ that was tried, of its best run."""
    table = table_of_runs(sweep.runs).drop(columns="seed").rename_axis(index=None)
    table.insert(0, "gamma", sweep.gammas)
    return table.assign(chosen=np.arange(len(sweep.gammas)) == sweep.chosen)
