"""Step 3: modules, correlation patterns that recur over the localities, and their presences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from lava_sc import _validate
from lava_sc._logging import logger, warn
from lava_sc._slots import load, store
from lava_sc.core.amf.fit import Options
from lava_sc.core.amf.runs import run_many
from lava_sc.core.amf.starts import STARTS
from lava_sc.core.amf.target import make_target
from lava_sc.core.resources import fit_bytes, refuse_what_does_not_fit
from lava_sc.core.summary import gene_weights, presences_of_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from lava_sc._types import FloatArray, SeedLike
    from lava_sc.core.amf.runs import Run
    from lava_sc.core.amf.target import Target

_REMEDY: Final = "lower n_modules or n_runs, or keep fewer correlations (fdr of lava_sc.tl.locality_corr)"


def amf(
    adata: AnnData,
    n_modules: int,
    *,
    nu: float = 9.0,
    gamma: float = 1e-4,
    init: Literal["kmeans", "random"] = "kmeans",
    n_runs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    tol: float = 0.01,
    patience: int = 100,
    max_epochs: int = 10_000,
    device: Literal["auto", "cpu"] = "auto",
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    key: str = "lava",
    copy: bool = False,
) -> AnnData | None:
    """Factorise the localities' absolute correlations into modules and presences.

    Association Matrix Factorisation (paper, Section 2.3): ``|C_ij| ≈ max_m P_im · M_mj`` with P and M in
    [0, 1]. The maximum instead of a sum lets modules overlap without adding correlations up, and overestimation counts
    ``nu`` times, so that modules are patterns that recur, not averages.

    Parameters
    ----------
    adata
        Annotated data with correlations from :func:`lava_sc.tl.locality_corr`.
    n_modules
        Number of modules to look for, M, at most ℓ.
    nu
        Weight ν of overestimated correlations in the cosine term, at least 1 (Equation 7).
    gamma
        Weight γ of the mean absolute error (Equation 6). Raise it when ``overestimation`` in the table of runs stays
        high (A.3.1); the paper needed 10 for kidney cells.
    init
        Start of each run: ``"kmeans"``, spherical k-means of the localities, reaches lower losses and more similar
        modules in all runs; ``"random"``, uniform, is closest to the paper.
    n_runs
        Runs from different starts; the one with the lowest loss is stored.
    batch_size
        Localities in a batch.
    learning_rate
        Step of Adam; the paper used 1e-3, which takes more epochs.
    tol, patience
        A run stops when its loss has not improved by more than ``tol`` (relative) in ``patience`` epochs.
    max_epochs
        Runs end unconverged after this many epochs.
    device
        ``"cpu"``, or ``"auto"``, which is the same as long as there is no other engine.
    rng
        Seed or generator; runs get independent children of it.
    n_jobs
        Number of threads, all cores when ``None``; changes no number.
    key
        Key of the correlations.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["modules"]`
        (M, D(D−1)/2) CSR float32, each scaled to a largest value of 1, in the order of total presence.
    `adata.uns[key]["presences"]`
        (ℓ, M) float32; a presence is the largest correlation that the module reconstructs in the locality. There are
        fewer than ``n_modules`` columns when modules died (no presence above 0.01), which is logged.
    `adata.uns[key]["runs"]`
        Table, a row for each run: ``loss`` and its ``main_term`` over all localities, mean reconstruction ``cosine``,
        ``overestimation`` (share of the absolute error), ``n_modules`` alive, ``n_epochs``, ``converged``, ``seconds``
        and whether it is the ``best``.
    `adata.obsm[f"{key}_presences"]`
        (E, M) mean presence over the localities that contain the cell, NaN where none does.
    `adata.varm[f"{key}_gene_weights"]`
        (n_vars, M) sum of the module's correlations in which the gene takes part, NaN for genes that were not selected.

    Results of later steps under the same key are removed.

    Raises
    ------
    ValueError
        If correlations are missing, an argument is out of range, or the runs would not fit into memory.

    Warns
    -----
    UserWarning
        If runs reached ``max_epochs`` before they converged.

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
    _validate.annotated(adata)
    _validate.writable(adata, copy=copy)
    C = load(adata, key, "C")
    _check_arguments(n_modules, C.shape[0], nu, gamma, init, n_runs, batch_size, learning_rate)
    _check_schedule(tol, patience, max_epochs, device, n_jobs)
    options = Options(nu, gamma, batch_size, learning_rate, tol, patience, max_epochs)
    target = make_target(C)
    sizes = target.C.nnz, *target.C.shape
    needed = fit_bytes(*sizes, n_modules=n_modules, n_runs=n_runs)
    refuse_what_does_not_fit(f"{n_runs} runs with {n_modules} modules of {sizes[2]:,} pairs", needed, _REMEDY)
    runs = run_many(target, n_modules, options, init=init, n_runs=n_runs, rng=rng, n_jobs=n_jobs)
    best = min(range(n_runs), key=lambda i: runs[i].quality.loss)
    _report(runs, best, n_modules, options)

    adata = adata.copy() if copy else adata
    modules = _scatter_columns(runs[best].M, target)
    fields = {
        "modules": modules,
        "presences": runs[best].P,
        "runs": _table(runs, best),
        "cell_presences": presences_of_cells(load(adata, key, "localities"), runs[best].P),
        "gene_weights": _weights_of_all_genes(adata, load(adata, key, "genes"), modules),
    }
    params: dict[str, Any] = {
        "n_modules": int(n_modules),
        "nu": float(nu),
        "gamma": float(gamma),
        "init": init,
        "n_runs": int(n_runs),
        "batch_size": int(batch_size),
        "learning_rate": float(learning_rate),
        "tol": float(tol),
        "patience": int(patience),
        "max_epochs": int(max_epochs),
        "device": device,
        "rng": rng_given,
    }
    store(adata, key, "amf", fields, params)
    return adata if copy else None


def _check_arguments(
    n_modules: int,
    n_localities: int,
    nu: float,
    gamma: float,
    init: str,
    n_runs: int,
    batch_size: int,
    learning_rate: float,
) -> None:
    _validate.in_range("n_modules", n_modules, 1, n_localities, integer=True)
    _validate.in_range("nu", nu, 1, np.inf)
    _validate.in_range("gamma", gamma, 0, np.inf)
    _validate.one_of("init", init, list(STARTS))
    _validate.in_range("n_runs", n_runs, 1, np.inf, integer=True)
    _validate.in_range("batch_size", batch_size, 1, np.inf, integer=True)
    _validate.in_range("learning_rate", learning_rate, float(np.finfo(np.float32).tiny), 1)


def _check_schedule(tol: float, patience: int, max_epochs: int, device: str, n_jobs: int | None) -> None:
    _validate.in_range("tol", tol, 0, 1)
    _validate.in_range("patience", patience, 1, np.inf, integer=True)
    _validate.in_range("max_epochs", max_epochs, 1, np.inf, integer=True)
    _validate.one_of("device", device, ["auto", "cpu"])
    _validate.in_range("n_jobs", 1 if n_jobs is None else n_jobs, 1, np.inf, integer=True)


def _report(runs: Sequence[Run], best: int, n_modules: int, options: Options) -> None:
    unconverged = sum(not run.converged for run in runs)
    if unconverged:
        msg = (
            f"{unconverged} of {len(runs)} runs stopped at max_epochs={options.max_epochs} before they converged; raise "
            f"max_epochs or learning_rate."
        )
        warn(msg)
    alive = runs[best].P.shape[1]
    if alive < n_modules:
        logger.warning("%d of %d modules died: %d are stored", n_modules - alive, n_modules, alive)
    logger.info("best of %d runs: %s", len(runs), runs[best].quality)


def _scatter_columns(M: FloatArray, target: Target) -> sparse.csr_matrix:
    """Modules over all pairs, the target's empty columns filled in."""
    compact = sparse.csr_matrix(M)
    columns = target.columns[compact.indices]
    return sparse.csr_matrix((compact.data, columns, compact.indptr), shape=(len(M), target.n_pairs))


def _table(runs: Sequence[Run], best: int) -> pd.DataFrame:
    rows = [
        {
            "loss": run.quality.loss,
            "main_term": run.quality.main_term,
            "cosine": run.quality.cosine,
            "overestimation": run.quality.overestimation,
            "n_modules": run.P.shape[1],
            "n_epochs": run.n_epochs,
            "converged": run.converged,
            "seconds": run.seconds,
            "best": i == best,
        }
        for i, run in enumerate(runs)
    ]
    return pd.DataFrame(rows, index=pd.Index([str(i) for i in range(len(runs))], name="run"))


def _weights_of_all_genes(adata: AnnData, genes: Sequence[str], modules: sparse.csr_matrix) -> FloatArray:
    weights = np.full((adata.n_vars, modules.shape[0]), np.nan)
    at = adata.var_names.get_indexer(pd.Index(genes))
    present = at >= 0  # genes may have been removed since
    weights[at[present]] = gene_weights(modules, len(genes))[present]
    return weights
