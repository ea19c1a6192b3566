"""AMF against non-negative matrix factorisation, in the same figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger, warn
from lava_sc.core.cost_model import fit_bytes
from lava_sc.core.factorise.amf.restarts import share_threads
from lava_sc.core.factorise.factorisations import FACTORISATIONS
from lava_sc.core.factorise.protocol import RunPlan
from lava_sc.core.n_modules.medoids import silhouette_of_runs
from lava_sc.parallel.memory import refuse_what_does_not_fit
from lava_sc.stored import checks
from lava_sc.stored.fields import has, load, load_params
from lava_sc.stored.problems import problem_of
from lava_sc.stored.runs import options_of_amf
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from lava_sc._types import SeedLike
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.core.factorise.protocol import Factors

_DEFAULT_START: Final = "nmf"
_REMEDY: Final = "lower n_modules, n_runs or n_jobs, or keep fewer correlations (fdr of lava_sc.tl.locality_corr)"


@step("factorisations")
def compare_factorisations(
    adata: AnnData,
    n_modules: int | None = None,
    *,
    n_runs: int = 10,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Compare AMF with non-negative matrix factorisation of the same correlations.

    AMF reconstructs a correlation by the largest product of presence and module and avoids overestimation; NMF adds its
    components up and minimises the Kullback-Leibler divergence, here scikit-learn's from random starts (paper, B.8). Half
    of the error of NMF is overestimation (Figure S24): its components are averages over localities, and more spread out
    than modules (Figure S25).

    Parameters
    ----------
    adata
        Annotated data with correlations from :func:`lava_sc.tl.locality_corr`.
    n_modules
        Number of modules and of components; that of :func:`lava_sc.tl.amf` when ``None``.
    n_runs
        Runs of each method, from different starts.
    rng
        Seed or generator; draws the seed of each run.
    n_jobs
        Number of threads, all cores when ``None``; changes no number but the seconds.
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["factorisations"]`
        Table with the rows ``AMF`` and ``NMF``. All but ``silhouette`` are medians over the runs:

        ``cosine``
            Mean over localities between correlations and their reconstruction.
        ``overestimation``
            Share of the absolute error.
        ``loss``, ``main_term``
            Loss of AMF (Equation 6), which NMF does not minimise, and its cosine term.
        ``co_presence``
            Mean entropy in bits of the presences of a locality, over localities where one is above 0.01. NMF's are its
            weights, each component scaled to a largest value of 1 as modules are.
        ``module_entropy``
            Mean entropy in bits of the correlations in a module or component.
        ``silhouette``
            Of the modules of all runs together, by cosine, in as many clusters as there are modules: 1 when all runs find
            the same ones. NaN for a single run.
        ``seconds``
            Wall time of a run, while as many go side by side as ``n_jobs`` says.

    Raises
    ------
    ValueError
        If correlations are missing, an argument is out of range, ``n_modules`` is neither given nor known, or the runs
        would not fit into memory.

    Warns
    -----
    UserWarning
        If runs ended before they converged.

    Notes
    -----
    AMF runs on the CPU with the start and the other arguments that :func:`lava_sc.tl.amf` was last called with under this
    key, its defaults if it was not; of ``gamma="auto"`` the γ that was chosen. Each method is measured by its own
    reconstruction. Pairs that correlate nowhere are left out of both fits; the loss counts them.

    The 50 % of NMF is no finding about the data: with this divergence every update makes the reconstruction add up to what
    the correlations do, so that errors above and below cancel, whatever is factorised. It checks the computation.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> lava.tl.locality_corr(adata)
    >>> lava.tl.compare_factorisations(adata, 4, n_runs=2)
    >>> table = adata.uns["lava"]["factorisations"]
    >>> bool(table.loc["AMF", "overestimation"] < table.loc["NMF", "overestimation"])
    True
    """
    rng = np.random.default_rng(rng)
    n_localities = load(adata, key, "C").shape[0]
    arguments = load_params(adata, key, "amf") if has(adata, key, "runs") else {}
    n_modules = _known_number(n_modules, arguments, key)
    checks.in_range("n_modules", n_modules, 1, n_localities, integer=True)
    checks.in_range("n_runs", n_runs, 1, np.inf, integer=True)
    problem = problem_of(adata, key, min_localities=int(arguments.get("min_localities", 1)))
    _check_memory(problem, n_modules, n_runs, n_jobs)

    options = options_of_amf(adata, key, arguments)
    start = str(arguments.get("init", _DEFAULT_START))
    plan = RunPlan(options, start, n_jobs)
    found = {name: method.fit(problem, n_modules, rng, plan, n_runs) for name, method in FACTORISATIONS.items()}
    _report(found, options)
    table = pd.DataFrame([_medians(runs) for runs in found.values()], index=pd.Index(list(found), name="method"))

    return Result({"factorisations": table}, {"n_modules": int(n_modules), "init": start, **asdict(options)})


def _known_number(n_modules: int | None, arguments: dict[str, Any], key: str) -> int:
    if n_modules is not None:
        return n_modules
    if "n_modules" not in arguments:
        msg = f"Found no n_modules and no modules of lava_sc.tl.amf with key {key!r}, expected one of them; pass n_modules."
        raise ValueError(msg)
    return int(arguments["n_modules"])


def _check_memory(problem: Problem, n_modules: int, n_runs: int, n_jobs: int | None) -> None:
    n_nonzero, n_columns = len(problem.data), problem.n_columns
    side_by_side, _ = share_threads(n_jobs, n_runs, problem.n_blocks)
    of_amf = fit_bytes(n_nonzero, problem.n_localities, n_columns, n_modules=n_modules, side_by_side=side_by_side)
    # Reconstructed entries of C, their ratio and products by module; components, their update's parts; |C|
    of_nmf = side_by_side * 4 * (6 * n_nonzero + 6 * n_modules * n_columns) + 4 * n_nonzero
    kept = len(FACTORISATIONS) * n_runs * 4 * n_modules * n_columns
    what = f"{n_runs} runs of each method, {side_by_side} at a time, with {n_modules} modules of {n_columns:,} pairs"
    refuse_what_does_not_fit(what, max(of_amf, of_nmf) + kept, _REMEDY)


def _report(found: dict[str, list[Factors]], options: FitOptions) -> None:
    for method, runs in found.items():
        most = FACTORISATIONS[method].most_passes(options)
        unconverged = sum(not run.converged for run in runs)
        if unconverged:
            warn(f"{unconverged} of {len(runs)} runs of {method} stopped after {most} passes before they converged.")
        overestimation = [run.quality.overestimation for run in runs]
        logger.info("%s: overestimation makes up %.3f of the error", method, np.median(overestimation))


def _medians(runs: Sequence[Factors]) -> dict[str, float]:
    rows = [
        {
            "cosine": run.quality.cosine,
            "overestimation": run.quality.overestimation,
            "loss": run.quality.loss,
            "main_term": run.quality.main_term,
            "co_presence": run.co_presence,
            "module_entropy": run.module_entropy,
            "seconds": run.seconds,
        }
        for run in runs
    ]
    medians = pd.DataFrame(rows).median()
    silhouette = silhouette_of_runs([run.modules for run in runs]) if len(runs) > 1 else float("nan")
    return {**medians.drop("seconds"), "silhouette": float(silhouette), "seconds": medians["seconds"]}
