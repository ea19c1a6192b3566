"""The number of modules to look for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from lava_sc._logging import logger, warn
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.starts import STARTS
from lava_sc.core.factorise.protocol import RunPlan
from lava_sc.core.n_modules.rule import choose
from lava_sc.core.n_modules.sweep import quick, try_number
from lava_sc.parallel.tasks import resolve_client
from lava_sc.stored import checks
from lava_sc.stored.fields import load
from lava_sc.stored.null_data import null_data
from lava_sc.stored.problems import problem_of
from lava_sc.stored.runs import fields_of_runs
from lava_sc.stored.steps import Result, step
from lava_sc.tl._n_modules import Findings, against_chance, in_other_cells, table_of_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from distributed import Client

    from lava_sc._types import SeedLike
    from lava_sc.core.n_modules.rule import Choice
    from lava_sc.core.nulls.null_data import NullData
    from lava_sc.stored.registry import FieldName

#: Of Σ C²; with ``fdr=0.05`` chance alone keeps about one correlation in twenty, weaker ones than the others.
_MUCH: Final = 0.1
_FEW: Final = 10  # correlations in a locality, of which chance may make up any share


@step("choose_n_modules")
def choose_n_modules(
    adata: AnnData,
    n_modules: Iterable[int] = range(2, 16),
    *,
    n_runs: int = 10,
    n_permutations: int = 20,
    n_splits: int = 5,
    depth_key: str | None = None,
    nu: float = 9.0,
    gamma: float = 1e-4,
    init: Literal["nmf", "kmeans", "random"] = "nmf",
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    client: Client | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Choose the number of modules by what holds in other cells, stability and chance.

    Cells are split into halves, and modules and presences that are made from one reconstruct the same localities in the other.
    That gets better with every module that is there, and no better with any further one: the smallest number is taken
    that is within one standard error, or 1 %, of the best, among those whose modules are no near copies of one another (cosine
    above 0.8), as they are when more are asked for than there are, and all exceed chance in the other half. When none of its
    modules explains more than twice what the best module of shuffled genes does, the number is 0. When the largest number that
    was tried is still better, or none much larger was tried and it is no worse, a smaller one nearly as good, runs disagree or
    only modules that may be chance make it better, a number is given, but called unclear.

    The paper looks for an elbow of the loss instead, and lets stability decide where it is ambiguous (Section 2.3). That number
    is stored as well, and is the one that is taken with ``n_splits=0``, or where half of the cells hold too few correlations.

    Parameters
    ----------
    adata
        Annotated data with correlations from :func:`lava_sc.tl.locality_corr`.
    n_modules
        Numbers to try, at least 1; those above the number of localities are left out. The one before the smallest is fitted
        as well, since the loss may bend at the smallest; it is not chosen.
    n_runs
        Runs with each number, see :func:`lava_sc.tl.amf`.
    n_permutations
        Null data sets. Each gene is shuffled within each locality, among the cells of a batch (if correlations have a
        ``batch_key``) and of similar depth, so that its values, ties and depth stay as they are; the correlations are then
        taken, tested and factorised in the same way. The first three are factorised with every number, all with the chosen
        one.
    n_splits
        How often the cells are split into halves. 0 leaves this out: the elbow of the loss decides.
    depth_key
        Column of ``adata.obs`` with the sequencing depth of the cells. ``None`` takes ``total_counts``, ``n_counts`` or
        ``nCount_RNA`` if there is one; without depth, what genes share by it alone is not part of the null.
    nu, gamma, init
        See :func:`lava_sc.tl.amf`.
    rng
    n_jobs
    client
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["n_modules"]`
        Table, a row for each number: ``loss`` of the best run; means over the runs of ``cosine`` and ``overestimation``
        (with ``_sd``) and of ``co_presence`` (bits); ``silhouette`` of all runs' modules in M clusters around medoids;
        ``most_alike``, cosine of the two most alike modules of a run (median);
        ``held_out``, mean reconstruction cosine of localities that modules were not made from, their presences fitted
        with the modules fixed (five parts in turn); ``other_cells``, mean reconstruction cosine in the half of the cells that
        modules and presences were not made from, and ``other_cells_se``, the standard error of its difference to the best
        number (both NaN without splits); ``n_replicated``, modules that explain more there than twice what the best module of
        shuffled genes does (median over the halves); ``explained`` and ``weakest``, shares of the squared correlations that all
        modules and the weakest one of the best run account for; ``null_best``, the largest share of a null module
        (of all null data sets with the chosen number, of the first three with the others);
        ``n_beyond_null``, modules with more than twice that. Columns that end in ``_null`` and ``_null_sd``: mean and standard
        deviation over null data sets.
    `adata.uns[key]["n_modules_choice"]`
        ``n_modules``, ``clear``, the ``reason`` in a sentence, and the number at the ``elbow`` of the loss.
    `adata.uns[key]["n_modules_runs"]`
        The runs with the chosen number, which :func:`lava_sc.tl.amf` takes if called with the same arguments; missing
        when the number is 0.

    Raises
    ------
    ValueError
        If correlations are missing, cells or genes were removed since, or an argument is out of range.
    RuntimeError
        If the cluster of the client, or its workers over the same task again and again, are lost,
        or workers have another version of lava_sc.

    Warns
    -----
    UserWarning
        If the number is unclear or 0, or genes correlate through depth.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=1000, n_modules=2)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> lava.tl.locality_corr(adata)
    >>> lava.tl.choose_n_modules(adata, range(1, 4), n_runs=2, n_permutations=2)
    >>> adata.uns["lava"]["n_modules_choice"]["n_modules"]
    2
    >>> lava.tl.amf(adata, n_runs=2)  # the runs of that number, without fitting them again
    """
    numbers = _numbers(n_modules, load(adata, key, "C").shape[0])
    fewest, numbers = numbers[0], sorted({max(numbers[0] - 1, 1), *numbers})
    _check_arguments(n_runs, n_permutations, n_splits, nu, gamma, init, n_jobs)
    client = resolve_client(client)
    null, problem, options = (
        null_data(adata, key, depth_key, n_jobs, client),
        problem_of(adata, key),
        FitOptions(float(nu), float(gamma)),
    )
    seed = rng if isinstance(rng, int | np.integer) else int(np.random.default_rng(rng).integers(2**63))
    plan, quickly = RunPlan(options, init, n_jobs, client), RunPlan(quick(options), init, n_jobs, client)
    tried = [try_number(problem, number, plan, n_runs=n_runs, seed=seed) for number in numbers]
    others = in_other_cells(adata, key, null, numbers, n_splits, int(seed), quickly)
    found = against_chance(null, Findings(tried, problem, fewest, *others), n_permutations, int(seed), quickly)
    choice = choose(found.curve)
    _report(choice)
    if len(problem.data) >= _FEW * problem.n_localities:
        _warn_of_depth(null, [fits[0].total for fits in found.nulls])

    fields: dict[FieldName, Any] = {"n_modules": table_of_numbers(found), "n_modules_choice": asdict(choice)}
    chosen = next((one for one in tried if one.n_modules == choice.n_modules), None)
    if chosen is not None:
        fields["n_modules_runs"] = fields_of_runs(chosen.found, problem)
    return Result(fields, {"n_modules": numbers, "nu": float(nu), "gamma": float(gamma)})


def _numbers(n_modules: Iterable[int], n_localities: int) -> list[int]:
    numbers = list(n_modules)
    if not numbers:
        msg = "Found no number in n_modules, expected at least one; pass for example range(2, 16)."
        raise ValueError(msg)
    for number in numbers:
        checks.in_range("n_modules", number, 1, np.inf, integer=True)
    possible = sorted({int(number) for number in numbers if number <= n_localities})
    if not possible:
        msg = f"Found n_modules of at least {min(numbers)}, expected at most the {n_localities} localities; lower it."
        raise ValueError(msg)
    return possible


def _check_arguments(
    n_runs: int, n_permutations: int, n_splits: int, nu: float, gamma: float, init: str, n_jobs: int | None
) -> None:
    checks.in_range("n_runs", n_runs, 2, np.inf, integer=True)
    checks.in_range("n_permutations", n_permutations, 1, np.inf, integer=True)
    checks.in_range("n_splits", n_splits, 0, np.inf, integer=True)
    checks.in_range("nu", nu, 1, np.inf)
    checks.in_range("gamma", gamma, 0, np.inf)
    checks.one_of("init", init, list(STARTS))


def _report(choice: Choice) -> None:
    if choice.clear and choice.n_modules:
        logger.info("number of modules: %s", choice.reason)
    else:
        warn(f"Number of modules: {choice.reason}")


def _warn_of_depth(null: NullData, totals: Sequence[float]) -> None:
    """Warn when shuffled genes keep much of their correlations, which they share through depth."""
    kept = float(np.mean(totals))
    if null.depth is not None and null.options.fdr is not None and kept > _MUCH:
        msg = (
            f"Genes that share nothing but sequencing depth keep {kept:.0%} of the squared correlations; take depth out "
            f"with covariates= of lava_sc.tl.locality_corr."
        )
        warn(msg)
