"""How many modules to look for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from lava_sc import _validate
from lava_sc._logging import logger, warn
from lava_sc._slots import load, store
from lava_sc.core.amf.fit import Options
from lava_sc.core.amf.starts import STARTS
from lava_sc.core.amf.target import make_target
from lava_sc.core.number import Curve, beyond_chance, choose, elbow
from lava_sc.core.numbers import N_NULLS_OF_CURVE, N_RUNS_OF_NULL, fit_nulls, squares, try_number
from lava_sc.tl._null import null_data
from lava_sc.tl._runs import fields_of_runs, table_of_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData

    from lava_sc._types import SeedLike
    from lava_sc.core.amf.target import Target
    from lava_sc.core.null import NullData
    from lava_sc.core.number import Choice
    from lava_sc.core.numbers import NullFit, Tried

#: Of Σ C²; with ``fdr=0.05`` chance alone keeps about one correlation in twenty, weaker ones than the others.
_MUCH: Final = 0.1
_FEW: Final = 10  # correlations in a locality, of which chance may make up any share


def choose_n_modules(
    adata: AnnData,
    n_modules: Iterable[int] = range(2, 16),
    *,
    n_runs: int = 10,
    n_permutations: int = 20,
    depth_key: str | None = None,
    nu: float = 9.0,
    gamma: float = 1e-4,
    init: Literal["nmf", "kmeans", "random"] = "nmf",
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    key: str = "lava",
    copy: bool = False,
) -> AnnData | None:
    """Choose the number of modules by loss, stability and chance.

    The paper looks for an elbow of the loss over numbers of modules, and lets stability decide where it is ambiguous
    (Section 2.3). The same is done here, with the null beside it: the point of the loss that lies deepest below the line from no
    module at all to the largest number is taken, and among those nearly as deep the one at which the runs' modules
    have the highest silhouette. When none of its modules explains more than twice what the best module of shuffled genes
    does, the number is 0. When the loss has no sharp bend, runs disagree, some modules are no better than shuffled genes, or
    more modules explain much more, a number is given, but called unclear.

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
    depth_key
        Column of ``adata.obs`` with the sequencing depth of the cells. ``None`` takes ``total_counts``, ``n_counts`` or
        ``nCount_RNA`` if there is one; without depth, what genes share by it alone is not part of the null.
    nu, gamma, init
        See :func:`lava_sc.tl.amf`.
    rng
        Seed or generator.
    n_jobs
        Number of threads, all cores when ``None``; changes no number.
    key
        Key of the correlations.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["n_modules"]`
        Table, a row for each number: ``loss`` of the best run; means over the runs of ``cosine`` and ``overestimation``
        (with ``_sd``) and of ``co_presence`` (bits); ``silhouette`` of all runs' modules in M clusters around medoids;
        ``held_out``, mean reconstruction cosine of localities that modules were not made from, their presences fitted
        with the modules fixed (five parts in turn); ``explained`` and ``weakest``, shares of the squared correlations that all
        modules and the weakest one of the best run account for; ``null_best``, the largest share of a null module
        (of all null data sets with the chosen number, of the first three with the others);
        ``n_beyond_null``, modules with more than twice that. Columns that end in ``_null`` and ``_null_sd``: mean and standard
        deviation over null data sets.
    `adata.uns[key]["n_modules_choice"]`
        ``n_modules``, ``clear`` and the ``reason`` in a sentence.
    `adata.uns[key]["n_modules_runs"]`
        The runs with the chosen number, which :func:`lava_sc.tl.amf` takes if called with the same arguments; missing
        when the number is 0.

    Raises
    ------
    ValueError
        If correlations are missing, cells or genes were removed since, or an argument is out of range.

    Warns
    -----
    UserWarning
        If the number is unclear or 0, or genes correlate through depth.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=1000)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> lava.tl.locality_corr(adata)
    >>> lava.tl.choose_n_modules(adata, range(2, 7), n_runs=2, n_permutations=2)
    >>> adata.uns["lava"]["n_modules_choice"]["n_modules"]
    4
    >>> lava.tl.amf(adata, n_runs=2)  # the runs of that number, without fitting them again
    """
    _validate.annotated(adata)
    _validate.writable(adata, copy=copy)
    C = load(adata, key, "C")
    numbers = _numbers(n_modules, C.shape[0])
    fewest, numbers = numbers[0], sorted({max(numbers[0] - 1, 1), *numbers})
    _check_arguments(n_runs, n_permutations, nu, gamma, init, n_jobs)
    null, target, options = null_data(adata, key, depth_key, n_jobs), make_target(C), Options(float(nu), float(gamma))
    seed = rng if isinstance(rng, int | np.integer) else int(np.random.default_rng(rng).integers(2**63))
    how: dict[str, Any] = {"init": init, "n_jobs": n_jobs}
    tried = [try_number(target, number, options, n_runs=n_runs, seed=seed, **how) for number in numbers]

    first, best, choice = _against_chance(
        null, tried, target, fewest, n_permutations, int(seed), options=options, **how
    )
    _report(choice)
    if len(target.data) >= _FEW * target.n_localities:
        _warn_of_depth(null, [fits[0].total for fits in first])

    adata = adata.copy() if copy else adata
    fields: dict[str, Any] = {"n_modules": _table(tried, first, best), "n_modules_choice": asdict(choice)}
    chosen = next((one for one in tried if one.n_modules == choice.n_modules), None)
    if chosen is not None:
        fields["n_modules_runs"] = fields_of_runs(chosen.found, target)
    params = {
        "n_modules": numbers,
        "n_runs": int(n_runs),
        "n_permutations": int(n_permutations),
        "depth_key": depth_key,
        "nu": float(nu),
        "gamma": float(gamma),
        "init": init,
        "rng": rng,
    }
    store(adata, key, "choose_n_modules", fields, params)
    return adata if copy else None


def _numbers(n_modules: Iterable[int], n_localities: int) -> list[int]:
    numbers = list(n_modules)
    if not numbers:
        msg = "Found no number in n_modules, expected at least one; pass for example range(2, 16)."
        raise ValueError(msg)
    for number in numbers:
        _validate.in_range("n_modules", number, 1, np.inf, integer=True)
    possible = sorted({int(number) for number in numbers if number <= n_localities})
    if not possible:
        msg = f"Found n_modules of at least {min(numbers)}, expected at most the {n_localities} localities; lower it."
        raise ValueError(msg)
    return possible


def _check_arguments(n_runs: int, n_permutations: int, nu: float, gamma: float, init: str, n_jobs: int | None) -> None:
    _validate.in_range("n_runs", n_runs, 2, np.inf, integer=True)
    _validate.in_range("n_permutations", n_permutations, 1, np.inf, integer=True)
    _validate.in_range("nu", nu, 1, np.inf)
    _validate.in_range("gamma", gamma, 0, np.inf)
    _validate.one_of("init", init, list(STARTS))
    _validate.in_range("n_jobs", 1 if n_jobs is None else n_jobs, 1, np.inf, integer=True)


def _against_chance(
    null: NullData, tried: Sequence[Tried], target: Target, fewest: int, n_permutations: int, seed: int, **how: Any
) -> tuple[list[list[NullFit]], dict[int, float], Choice]:
    """Fits of the first null data sets, the best null module with each number, and the choice."""
    seeds = [int(s) for s in np.random.default_rng([seed, 1]).integers(2**63, size=n_permutations)]
    how["total"] = squares(target)
    numbers = [one.n_modules for one in tried]
    first = fit_nulls(null, seeds[:N_NULLS_OF_CURVE], numbers, n_runs=N_RUNS_OF_NULL, **how)
    best = {number: max(fits[k].best for fits in first) for k, number in enumerate(numbers)}
    deepest = numbers[int(elbow(_curve(target, tried, best, fewest))[0])]
    others = fit_nulls(null, seeds[N_NULLS_OF_CURVE:], [deepest], n_runs=1, **how)
    best[deepest] = max([best[deepest], *(fits[0].best for fits in others)])
    return first, best, choose(_curve(target, tried, best, fewest))


def _curve(target: Target, tried: Sequence[Tried], best: Mapping[int, float], fewest: int) -> Curve:
    return Curve(
        n_modules=np.array([one.n_modules for one in tried]),
        loss=np.array([one.found.runs[one.found.best].quality.loss for one in tried]),
        loss_of_none=float(target.locality_weights.sum()),
        silhouette=np.array([one.silhouette for one in tried]),
        n_beyond=np.array([beyond_chance(one.explained, best[one.n_modules]).sum() for one in tried]),
        explained=np.array([one.explained.sum() for one in tried]),
        strongest=np.array([one.explained.max() for one in tried]),
        null_best=np.array([best[one.n_modules] for one in tried]),
        fewest=fewest,
    )


def _report(choice: Choice) -> None:
    if choice.clear and choice.n_modules:
        logger.info("number of modules: %s", choice.reason)
    else:
        warn(f"Number of modules: {choice.reason}")


def _warn_of_depth(null: NullData, totals: Sequence[float]) -> None:
    """Warn when shuffled genes keep much of their correlations, which they share through depth."""
    kept = float(np.mean(totals))
    if null.depth is not None and null.options["fdr"] is not None and kept > _MUCH:
        msg = (
            f"Genes that share nothing but sequencing depth keep {kept:.0%} of the squared correlations; take depth out "
            f"with covariates= of lava_sc.tl.locality_corr."
        )
        warn(msg)


def _table(tried: Sequence[Tried], first: list[list[NullFit]], best: Mapping[int, float]) -> pd.DataFrame:
    rows = [_row(one, [fits[k] for fits in first], best[one.n_modules]) for k, one in enumerate(tried)]
    return pd.DataFrame(rows, index=pd.Index([str(one.n_modules) for one in tried]))


def _row(one: Tried, nulls: Sequence[NullFit], null_best: float) -> dict[str, float]:
    runs = table_of_runs(one.found.runs)
    row: dict[str, float] = {"n_modules": one.n_modules, "loss": runs["loss"].min()}
    for name in ("cosine", "overestimation"):
        row |= {name: runs[name].mean(), f"{name}_sd": runs[name].std()}
    row |= {
        "co_presence": runs["co_presence"].mean(),
        "silhouette": one.silhouette,
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
