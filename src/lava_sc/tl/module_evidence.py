"""Evidence for each module, beside that for modules of shuffled genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc.core.factorise.amf.explained import explained
from lava_sc.core.factorise.protocol import RunPlan
from lava_sc.core.interpret.summary import gene_weights
from lava_sc.core.n_modules.rule import beyond_chance
from lava_sc.core.n_modules.sweep import fit_nulls, squares
from lava_sc.core.nulls.decoy_genes import false_discoveries, weights_with_decoys
from lava_sc.parallel.tasks import resolve_client
from lava_sc.stored import checks
from lava_sc.stored.fields import load
from lava_sc.stored.null_data import null_data
from lava_sc.stored.problems import problem_of
from lava_sc.stored.runs import arguments_of_fit, of_all_genes, options_of_amf
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from distributed import Client
    from scipy import sparse

    from lava_sc._types import FloatArray, SeedLike
    from lava_sc.core.factorise.problem import Problem
    from lava_sc.stored.fields import Fields

_N_RUNS: Final = 3  # of a fit with decoys


@step("module_evidence")
def module_evidence(
    adata: AnnData,
    *,
    n_permutations: int = 20,
    n_decoys: int = 5,
    threshold: float = 0.05,
    depth_key: str | None = None,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    client: Client | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Hold each module, and its list of genes, against shuffled genes.

    AMF finds modules in anything. Here each gene is shuffled within each locality, among the cells of a batch and of
    similar depth, which leaves its values, ties and depth as they are and nothing for two genes to share; the same number of
    modules is then looked for in these null data, and in the data with a shuffled copy of every gene beside it.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    n_permutations
        Null data sets; no p-value is below 1 / (``n_permutations`` + 1).
    n_decoys
        Draws of shuffled copies.
    threshold
        Genes with at least this fraction of the module's largest weight are its list, as in
        :func:`lava_sc.tl.module_genes`.
    depth_key
        See :func:`lava_sc.tl.choose_n_modules`.
    rng
    n_jobs
    client
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["module_evidence"]`
        Table, a row for each module: ``explained``, the share of the squared correlations of all localities that it accounts
        for; ``null_best``, the largest such share (of the same total) of any module in the null data; ``beyond_null``, the
        difference; ``p_value``, (1 + null data sets whose best module explains as much) / (1 + ``n_permutations``), which
        holds for all modules at once; ``exceeds_chance``, whether it explains more than twice ``null_best``;
        ``n_genes`` on its list; ``n_decoys``, shuffled copies on the list when they take part in the fit, on average over the
        draws; ``fdr``, their number over that of the genes then on it, 1 where the module is not found again.
    `adata.varm[f"{key}_gene_q"]`
        (n_vars, M) least false-discovery rate of a list that ends with the gene, from the copies; NaN for genes
        that were not selected.

    Raises
    ------
    ValueError
        If modules are missing or those of another object, cells or genes were removed since, or an argument is out of range.
    RuntimeError
        If the cluster of the client, or its workers over the same task again and again, are lost,
        or workers have another version of lava_sc.

    Notes
    -----
    Where correlations are kept by ``fdr``, the null keeps those that pass the same test or are as large as the least
    that was kept in the locality, so that it has as many chance correlations as the data.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.module_evidence(adata, n_permutations=5, n_decoys=1)
    >>> bool(adata.uns["lava"]["module_evidence"]["exceeds_chance"].all())
    True
    """
    modules, P = load(adata, key, "modules"), load(adata, key, "presences")
    _check_arguments(n_permutations, n_decoys, threshold, n_jobs)
    arguments = arguments_of_fit(adata, key, "lava_sc.tl.module_evidence")
    client = resolve_client(client)
    plan = RunPlan(options_of_amf(adata, key, arguments), str(arguments["init"]), n_jobs, client)
    null, problem = null_data(adata, key, depth_key, n_jobs, client), problem_of(adata, key)
    generator = np.random.default_rng(rng)
    seeds, seeds_of_decoys = ([int(s) for s in generator.integers(2**63, size=n)] for n in (n_permutations, n_decoys))
    n_modules, total = int(arguments["n_modules"]), squares(problem)
    fits = fit_nulls(null, seeds, [n_modules], plan, n_runs=1, total=total)
    shares = _explained(problem, P, modules) / total
    draws = [weights_with_decoys(null, modules, plan, n_runs=_N_RUNS, seed=seed) for seed in seeds_of_decoys]

    genes = load(adata, key, "genes")
    lists, q = _lists(draws, gene_weights(modules, len(genes)), threshold)
    table = _table(shares, np.array([fit.best for (fit,) in fits])).join(lists)
    fields: Fields = {"module_evidence": table, "gene_q": of_all_genes(adata, genes, q)}
    logger.info("%d of %d modules exceed chance", int(table["exceeds_chance"].sum()), len(table))
    return Result(fields)


def _check_arguments(n_permutations: int, n_decoys: int, threshold: float, n_jobs: int | None) -> None:
    checks.in_range("n_permutations", n_permutations, 1, np.inf, integer=True)
    checks.in_range("n_decoys", n_decoys, 1, np.inf, integer=True)
    checks.in_range("threshold", threshold, 0, 1)


def _explained(problem: Problem, P: FloatArray, modules: sparse.csr_matrix) -> FloatArray:
    M = modules[:, problem.columns].toarray().astype(np.float32)
    return explained(problem, np.ascontiguousarray(P, dtype=np.float32), np.ascontiguousarray(M))


def _table(shares: FloatArray, null: FloatArray) -> pd.DataFrame:
    exceed = (null >= shares[:, None]).sum(axis=1)
    return pd.DataFrame(
        {
            "explained": shares,
            "null_best": null.max(),
            "beyond_null": shares - null.max(),
            "p_value": (1 + exceed) / (1 + len(null)),
            "exceeds_chance": beyond_chance(shares, float(null.max())),
        },
        index=pd.Index([str(m) for m in range(len(shares))], name="module"),
    )


def _lists(
    draws: Sequence[tuple[FloatArray, FloatArray]], weights: FloatArray, threshold: float
) -> tuple[pd.DataFrame, FloatArray]:
    """Genes and copies on each module's list, and the q-values of all genes, (D, M); means over the draws."""
    chance = []
    for genes, copies in draws:
        least = np.maximum(threshold * genes.max(axis=0), np.finfo(float).tiny)
        chance.append(((genes >= least).sum(axis=0), (copies >= least).sum(axis=0)))
    n_genes, n_decoys = np.mean(chance, axis=0)
    listed = (weights >= np.maximum(threshold * weights.max(axis=0), np.finfo(float).tiny)).sum(axis=0)
    fdr = np.divide(n_decoys, n_genes, out=np.ones(len(n_genes)), where=n_genes > 0)  # not found again: all by chance
    q = np.mean(
        [
            np.column_stack([false_discoveries(*of_one) for of_one in zip(genes.T, copies.T, strict=True)])
            for genes, copies in draws
        ],
        axis=0,
    )
    lists = pd.DataFrame({"n_genes": listed, "n_decoys": n_decoys, "fdr": np.minimum(fdr, 1.0)})
    lists.index = pd.Index([str(m) for m in range(len(lists))], name="module")
    return lists, q
