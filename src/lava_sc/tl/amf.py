"""Step 3: modules, correlation patterns that recur over the localities, and their presences."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lava_sc._logging import logger, warn
from lava_sc._settings import settings
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.gamma import sweep_gamma
from lava_sc.core.factorise.amf.restarts import run_many
from lava_sc.core.factorise.engines.accelerator import accelerator_engines
from lava_sc.core.factorise.problem import digest
from lava_sc.core.interpret.summary import gene_weights, presences_of_cells
from lava_sc.io.checkpoint import identity, open_checkpoint
from lava_sc.stored.fields import load
from lava_sc.stored.n_modules_choice import chosen_number, stored_runs
from lava_sc.stored.problems import problem_of
from lava_sc.stored.runs import fields_of_runs, of_all_genes, table_of_sweep
from lava_sc.stored.steps import Result, step
from lava_sc.tl._amf_checks import check_arguments, check_memory, check_schedule, require_pairs, where_to_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike

    from anndata import AnnData
    from distributed import Client

    from lava_sc._types import SeedLike
    from lava_sc.core.factorise.amf.gamma import Sweep
    from lava_sc.core.factorise.amf.restarts import Runs
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.stored.registry import FieldName


@step("amf")
def amf(  # noqa: PLR0913  # every constant of the paper's fit, and where and how it runs
    adata: AnnData,
    n_modules: int | None = None,
    *,
    nu: float = 9.0,
    gamma: float | Literal["auto"] = 1e-4,
    init: Literal["nmf", "kmeans", "random"] = "nmf",
    n_refits: int = 1,
    n_runs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    tol: float = 0.01,
    patience: int = 20,
    max_epochs: int = 10_000,
    min_localities: int = 1,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    callback: Callable[[int, int, float], object] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    client: Client | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Factorise the localities' absolute correlations into modules and presences.

    Association Matrix Factorisation (paper, Section 2.3): ``|C_ij| ≈ max_m P_im · M_mj`` with P and M in
    [0, 1]. The maximum instead of a sum lets modules overlap without adding correlations up, and overestimation counts
    ``nu`` times, so that modules are patterns that recur, not averages.

    Parameters
    ----------
    adata
        Annotated data with correlations from :func:`lava_sc.tl.locality_corr`.
    n_modules
        Number of modules to look for, M, at most ℓ. ``None`` takes the number of :func:`lava_sc.tl.choose_n_modules`, whose
        runs are taken over where their arguments are the same.
    nu
        Weight ν of overestimated correlations in the cosine term, at least 1 (Equation 7).
    gamma
        Weight γ of the mean absolute error (Equation 6). Raise it when ``overestimation`` in the table of runs stays
        high (A.3.1); the paper needed 10 for kidney cells. ``"auto"`` takes the smallest of 1e-4, 3.2e-4, ..., 100 with
        which overestimation makes up at most 1 / (1 + ν) of the error, in the best of three runs.
    init
        Start of each run. ``"nmf"``: eight non-negative factorisations of a sample of the pairs are fitted for a
        while, and the best goes on; reaches the lowest losses, and modules that are similar in all runs. ``"kmeans"``:
        spherical k-means of the localities. ``"random"``: uniform, closest to the paper.
    n_refits
        How often all presences are searched anew with the modules fixed, after 30 epochs each; the fit then goes on with
        steps of 0.3 times ``learning_rate``. It brings modules back to localities where their presence had reached 0, from
        where no gradient leads away. 0 is the paper's plain descent, and better from random starts.
    n_runs
        Runs from different starts; the one with the lowest loss is stored.
    batch_size
        Localities in a batch.
    learning_rate
        Step of Adam; the paper used 1e-3, which takes more epochs.
    tol, patience
        A run stops when its loss has not improved by more than ``tol`` (relative) in ``patience`` epochs. With the paper's
        start and learning rate take its 100.
    max_epochs
        Runs end unconverged after this many epochs.
    min_localities
        Pairs that are correlated in fewer localities are left out, as if they were correlated nowhere.
    device
        ``"cpu"``, ``"cuda"`` or ``"mps"`` (these need torch); ``"auto"`` takes the CPU unless an accelerator is
        there; ``None`` takes ``lava_sc.settings.device``.
        Starts are computed on the CPU.
    callback
        Called with the run, the epoch (both from 0) and its loss after each epoch, in the thread that called this
        function. It may lag behind. ``KeyboardInterrupt`` raised in it has the effect of Ctrl-C.
    checkpoint
        Folder to keep the state of the runs in, so that the same call, in another process if this one is killed, goes on from
        there and ends with the same numbers. A run's state is written every 10 seconds at most, and so rarely that it takes 2 %
        of the time at most. The folder is removed when the result is stored. ``rng`` has to be a seed.
    rng
        Seed or generator; draws the seed of each run.
    n_jobs
    client
        A ``dask.distributed.Client`` whose workers take the runs; ``None`` takes the one that is active, and threads
        where there is none. Changes no number. ``callback`` is then called once for each run, when it has ended, and Ctrl-C keeps the
        runs that have. States of runs are kept in a ``checkpoint`` that workers reach at its path, too, in any other those of runs that
        have ended. Not with an accelerator, to which an active client gives way.
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["modules"]`
        (M, D(D−1)/2) CSR float32, each scaled to a largest value of 1, in the order of total presence.
    `adata.uns[key]["presences"]`
        (ℓ, M) float32; a presence is the largest correlation that the module reconstructs in the locality. There are
        fewer than ``n_modules`` columns when modules died (no presence above 0.01), which is logged.
    `adata.uns[key]["runs"]`
        Table, a row for each run: its ``seed``, ``loss`` and its ``main_term`` over all localities, mean reconstruction
        ``cosine``, ``overestimation`` (share of the absolute error), ``co_presence`` (mean entropy of the presences of a
        locality in bits, over localities with a module present), ``n_modules`` alive, ``n_epochs``, ``converged``,
        ``seconds`` and whether it is the ``best``.
    `adata.uns[key]["gamma_sweep"]`
        With ``gamma="auto"``: table, a row for each γ tried, with the same figures of its best run and whether it was
        ``chosen``.
    `adata.obsm[f"{key}_presences"]`
        (E, M) mean presence over the localities that contain the cell, NaN where none does.
    `adata.varm[f"{key}_gene_weights"]`
        (n_vars, M) sum of the module's correlations in which the gene takes part, NaN for genes that were not selected.

    Results of later steps under the same key are removed. Ctrl-C ends the runs after the epoch they are in and stores the
    best of what there is; a second one, or one while γ is searched, leaves without storing anything. In all these cases
    a checkpoint is kept.

    Raises
    ------
    ValueError
        If correlations are missing, no number of modules was given or chosen, an argument is out of range, the device is not
        there, the runs would not fit into memory, or the checkpoint is of other correlations or arguments.
    OSError
        If the checkpoint cannot be written or is damaged.
    RuntimeError
        If the cluster of the client, or its workers over the same run again and again, are lost,
        or workers have another version of lava_sc.

    Warns
    -----
    UserWarning
        If runs reached ``max_epochs`` before they converged or were interrupted, no γ meets what ``"auto"`` asks for, or
        states could not be written to the checkpoint.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> lava.tl.locality_corr(adata)
    >>> lava.tl.amf(adata, n_modules=4, n_runs=2)
    >>> adata.uns["lava"]["presences"].shape
    (15, 4)
    """
    rng_given, rng = rng, np.random.default_rng(rng)
    device = settings.device if device is None else device
    n_localities = load(adata, key, "C").shape[0]
    n_modules = chosen_number(adata, key) if n_modules is None else n_modules
    check_arguments(n_modules, n_localities, nu, gamma, init, n_runs, batch_size, learning_rate)
    check_schedule(n_refits, tol, patience, max_epochs, min_localities, device, n_jobs)
    at, client = where_to_run(device, client)
    problem = problem_of(adata, key, min_localities=min_localities)
    require_pairs(problem, min_localities)
    check_memory(problem, n_modules, n_runs, n_jobs if client is None else 1, init=init, batch_size=batch_size)
    params: dict[str, Any] = {
        "n_modules": int(n_modules),
        "nu": float(nu),
        "gamma": gamma if isinstance(gamma, str) else float(gamma),
        "init": init,
        "n_refits": int(n_refits),
        "n_runs": int(n_runs),
        "batch_size": int(batch_size),
        "learning_rate": float(learning_rate),
        "tol": float(tol),
        "patience": int(patience),
        "max_epochs": int(max_epochs),
        "min_localities": int(min_localities),
        "device": device,
        "rng": rng_given,
    }
    kept = None if checkpoint is None else open_checkpoint(checkpoint, identity(digest(problem), params, rng, at))
    found = _stored(adata, key, params) if callback is None and at == "cpu" else None
    complete = found is not None
    if found is None:
        engines = None if at == "cpu" else accelerator_engines(problem, at)
        how: dict[str, Any] = {"n_jobs": n_jobs, "client": client, "engines": engines}
        how |= {"callback": callback, "checkpoint": kept}
        found, complete = _fitted(problem, params, rng, **how)

    return Result(
        found | _of_cells_and_genes(adata, key, found),
        {name: value for name, value in params.items() if name != "rng"},  # a generator has moved on
        None if kept is None else partial(kept.conclude, complete=complete),
    )


def _stored(adata: AnnData, key: str, params: Mapping[str, Any]) -> dict[FieldName, Any] | None:
    """Runs that :func:`lava_sc.tl.choose_n_modules` made with the same arguments, ``None`` if there are none."""
    options = {one.name: one.default for one in dataclasses.fields(FitOptions)} | {"min_localities": 1}
    chosen = ("nu", "gamma")  # these it lets the user choose, like the following
    # Not every option of a fit is an argument here
    if any(params.get(name, value) != value for name, value in options.items() if name not in chosen):
        return None
    arguments = {name: params[name] for name in (*chosen, "init", "n_runs", "rng")}
    found = stored_runs(adata, key, params["n_modules"], arguments)
    if found is None or not isinstance(params["rng"], int | np.integer):
        return None
    logger.info("took the runs of lava_sc.tl.choose_n_modules")
    return dict(found)


def _fitted(
    problem: Problem, params: Mapping[str, Any], rng: np.random.Generator, **how: Any
) -> tuple[dict[FieldName, Any], bool]:
    """Modules, presences and runs of new fits, and whether none was interrupted."""
    names = {one.name for one in dataclasses.fields(FitOptions)}
    options = FitOptions(**{name: value for name, value in params.items() if name in names})
    n_modules, how = params["n_modules"], how | {"init": params["init"]}
    fields: dict[FieldName, Any] = {}
    if params["gamma"] == "auto":
        sweep = sweep_gamma(problem, n_modules, options, rng=rng, **how)
        options = replace(options, gamma=_chosen_gamma(sweep))
        fields["gamma_sweep"] = table_of_sweep(sweep)
    found = run_many(problem, n_modules, options, n_runs=params["n_runs"], rng=rng, **how)
    _report(found, params["n_runs"], n_modules, options, resumable=how["checkpoint"] is not None)
    return fields | fields_of_runs(found, problem), not found.interrupted


def _of_cells_and_genes(adata: AnnData, key: str, found: Mapping[FieldName, Any]) -> dict[FieldName, Any]:
    """Presences of cells and weights of genes."""
    genes = load(adata, key, "genes")
    return {
        "cell_presences": presences_of_cells(load(adata, key, "localities"), found["presences"]),
        "gene_weights": of_all_genes(adata, genes, gene_weights(found["modules"], len(genes))),
    }


def _chosen_gamma(sweep: Sweep) -> float:
    gamma, ratio = sweep.gammas[sweep.chosen], sweep.runs[sweep.chosen].quality.overestimation
    if not sweep.met:
        msg = (
            f"With no gamma up to {sweep.gammas[-1]:g} does overestimation make up less than {sweep.target:.2g} of the "
            f"error; took {gamma:g}, with which it makes up {ratio:.2g}."
        )
        warn(msg)
    logger.info("gamma=%g: overestimation makes up %.3f of the error", gamma, ratio)
    return gamma


def _report(found: Runs, n_runs: int, n_modules: int, options: FitOptions, *, resumable: bool) -> None:
    unconverged = sum(not run.converged for run in found.runs)
    if found.interrupted:
        msg = f"Interrupted: kept the best of {len(found.runs)} of {n_runs} runs, {unconverged} of them not converged"
        msg += "; the same call with this checkpoint goes on from there." if resumable else "."
        warn(msg)
    elif unconverged:
        msg = (
            f"{unconverged} of {n_runs} runs stopped at max_epochs={options.max_epochs} before they converged; raise "
            f"max_epochs or learning_rate."
        )
        warn(msg)
    best = found.runs[found.best]
    if best.n_modules < n_modules:
        logger.warning("%d of %d modules died: %d are stored", n_modules - best.n_modules, n_modules, best.n_modules)
    logger.info("best of %d runs: %s", len(found.runs), best.quality)
