"""Runs of AMF as what is stored."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.problem import over_all_pairs
from lava_sc.stored.fields import has, load, load_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.amf.gamma import Sweep
    from lava_sc.core.factorise.amf.restarts import Runs
    from lava_sc.core.factorise.amf.run import Run
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.stored.registry import FieldName


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


def fields_of_runs(found: Runs, problem: Problem) -> dict[FieldName, Any]:
    """Modules and presences of the best run, and the table of all."""
    P, M = found.factors
    runs = table_of_runs(found.runs).assign(best=np.arange(len(found.runs)) == found.best)
    return {"modules": over_all_pairs(M, problem), "presences": P, "runs": runs}


def arguments_of_fit(adata: AnnData, key: str, step: str) -> dict[str, Any]:
    """Arguments of the last call of ``tl.amf``, for steps that make modules again with them.

    Raises
    ------
    ValueError
        If the modules were not made from these data.
    """
    if has(adata, key, "preservation"):
        msg = (
            f"Found modules of another object (lava_sc.tl.project) under key {key!r}, which {step} would make again from these "
            f'data, expected those of lava_sc.tl.amf; see adata.uns[{key!r}]["preservation"] for what speaks for them here, or '
            f"call lava_sc.tl.amf first."
        )
        raise ValueError(msg)
    return load_params(adata, key, "amf")


def options_of_amf(adata: AnnData, key: str, arguments: dict[str, Any]) -> FitOptions:
    """Options of the last call of ``tl.amf``, as files give them back, or else the defaults."""
    options = FitOptions()
    for field in fields(FitOptions):
        value = arguments.get(field.name)
        if value is not None and not isinstance(value, str):
            options = replace(options, **{field.name: type(getattr(options, field.name))(value)})
    if arguments.get("gamma") == "auto":
        sweep = load(adata, key, "gamma_sweep")
        options = replace(options, gamma=float(sweep.loc[sweep["chosen"].to_numpy(), "gamma"].iloc[0]))
    return options


def of_all_genes(adata: AnnData, genes: Sequence[str], values: FloatArray) -> FloatArray:
    """Values (D, M) of the correlated genes for all genes, (n_vars, M); NaN for the others."""
    spread = np.full((adata.n_vars, values.shape[1]), np.nan)
    at = adata.var_names.get_indexer(pd.Index(genes))
    present = at >= 0  # genes may have been removed since
    spread[at[present]] = values[present]
    return spread
