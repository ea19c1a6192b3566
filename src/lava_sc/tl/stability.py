"""Recurrence of the result with other localities, starts and cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc.core.factorise.protocol import RunPlan
from lava_sc.core.rehearsal import check_correlations_fit
from lava_sc.core.stability.analysis import Analysis
from lava_sc.core.stability.reruns import N_NULLS, PARTS, repeat_placements, repeat_runs, repeat_samples
from lava_sc.core.stability.resampling import SHARE, draw_groups, draw_samples, members_among, scaled_size
from lava_sc.parallel.tasks import resolve_client
from lava_sc.stored import checks, inputs
from lava_sc.stored.fields import load, load_params
from lava_sc.stored.null_data import null_data
from lava_sc.stored.placement_inputs import placement_inputs
from lava_sc.stored.problems import problem_of
from lava_sc.stored.runs import arguments_of_fit, options_of_amf
from lava_sc.stored.steps import Result, step
from lava_sc.tl._stability_tables import table_of_cosines, table_of_medians

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from distributed import Client

    from lava_sc._types import IntArray, SeedLike
    from lava_sc.stored.fields import Fields
    from lava_sc.stored.placement_inputs import PlacementInputs

_FEWEST_DONORS: Final = 3


@step("stability")
def stability(
    adata: AnnData,
    *,
    n_placements: int = 5,
    overlaps: Sequence[float] | None = None,
    n_runs: int = 5,
    n_resamples: int = 20,
    donor_key: str | None = None,
    depth_key: str | None = None,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    client: Client | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Repeat the analysis with other placements, starts and cells, beside the same on shuffled genes.

    Every step is repeated with the arguments that it was called with (paper, Section 3.1), in four parts:

    - ``"placement"``: localities are placed anew with other seeds; cosine of the mean absolute correlations of every two
      placements, for several overlaps (Figure 3a).
    - ``"runs"``: other starts of AMF in the stored localities; cosine of the presence-weighted average modules of every two
      runs (Figure 3d), and of each stored module with its partner in each run.
    - ``"end_to_end"``: both anew, the best of ``n_runs`` runs in each placement of the stored overlap; the same two figures
      between placements (Figures 3c, S7, S8). For any other overlap, between its first placement and those of the stored
      one (Figure S9).
    - ``"resamples"``: the same probes with other cells; cosine of each stored module with its partner in each resample.

    Partners are assigned one to one such that the cosines add up to the most.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    n_placements
        Placements with each overlap, at least 2.
    overlaps
        Mean numbers of localities that contain a cell, see :func:`lava_sc.tl.localities`; the stored one is always among
        them. ``None`` takes half of it and twice of it, too.
    n_runs
        Runs of AMF in each set of localities, at least 2.
    n_resamples
        Resamples of the cells. Each has 1 − 1/e = 63.2 % of the cells (of each section, if there are any), drawn without
        replacement: the different cells of a bootstrap. With repeated cells ties would be made up and p-values too small.
        Localities shrink by the same share, hence hold less evidence: stability comes out too low rather than too high.
    donor_key
        Column of ``adata.obs`` with the donor of each cell, at least three. Resamples are then the cells of the different
        donors among as many drawn with replacement as there are, so that they show what holds beyond these donors.
    depth_key
        Column of ``adata.obs`` with the sequencing depth of the cells, see :func:`lava_sc.tl.choose_n_modules`.
    rng
    n_jobs
    client
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["stability"]`
        Table, a row for each ``part``, ``overlap`` and ``module`` (−1 for averages over modules or localities): ``cosine``
        (median), ``low`` and ``high`` (2.5 and 97.5 %), ``n`` comparisons, and of null data ``null_cosine`` (median) and
        ``null_high`` (97.5 %) over all modules.
    `adata.uns[key]["stability_cosines"]`
        Table, a row for each comparison: ``part``, ``overlap``, ``first`` and ``second`` repetition (``first`` is −1 where
        it is the stored modules), ``module``, ``cosine`` and whether it is of ``null`` data.

    Results of later steps under the same key are removed. Ctrl-C leaves without storing anything.

    Raises
    ------
    ValueError
        If modules are missing or those of another object, cells or genes were removed since, an argument is out of range, the correlations of the
        largest overlap would not fit into memory, or there are fewer than three donors.
    RuntimeError
        If the cluster of the client, or its workers over the same task again and again, are lost,
        or workers have another version of lava_sc.

    Notes
    -----
    Two repetitions see the same cells, and so the same chance correlations: noise repeats, too. Null values are
    therefore those of repetitions of one and the same shuffled data set (there are three, each in two of the placements,
    shuffled as in :func:`lava_sc.tl.choose_n_modules`), whose modules, found in the stored localities, are the ones that
    others are matched to. They say how stable the same steps would be without any structure; stability that does not
    exceed them is no evidence for modules.

    Neighbour searches passed as ``transformer`` are not stored, so the exact one is used; modules are fitted on the CPU.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.stability(adata, n_placements=2, n_runs=2, n_resamples=4)
    >>> table = adata.uns["lava"]["stability"]
    >>> table.loc[table["part"] == "resamples", "module"].tolist()
    [0, 1, 2, 3]
    """
    seeds = np.random.default_rng(rng).integers(2**63, size=6)
    _check_arguments(n_placements, n_runs, n_resamples, n_jobs)
    load(adata, key, "modules")  # refuses an object without any, before other checks
    donors = None if donor_key is None else _donors(adata, donor_key)
    again = placement_inputs(adata, key, n_jobs)
    chosen = _overlaps(overlaps, again)
    analysis = _analysis(adata, key, depth_key, seeds[0], n_jobs, resolve_client(client))
    draws = _draws(again, donors, n_resamples, seeds[1])
    placements = _placements(again, analysis, chosen, n_placements, seeds[2])

    found, references = repeat_runs(analysis, _seeds(seeds[3], n_runs))
    per_placement = np.reshape(_seeds(seeds[4], n_placements * n_runs), (n_placements, n_runs)).tolist()
    found += repeat_placements(analysis, placements, references, per_placement)
    found += repeat_samples(analysis, draws, references, _seeds(seeds[5], n_resamples))

    fields: Fields = {"stability": table_of_medians(found), "stability_cosines": table_of_cosines(found)}
    _report(fields["stability"])
    return Result(fields, {"overlaps": chosen})


def _check_arguments(n_placements: int, n_runs: int, n_resamples: int, n_jobs: int | None) -> None:
    checks.in_range("n_placements", n_placements, 2, np.inf, integer=True)
    checks.in_range("n_runs", n_runs, 2, np.inf, integer=True)
    checks.in_range("n_resamples", n_resamples, 1, np.inf, integer=True)


def _donors(adata: AnnData, donor_key: str) -> IntArray:
    """Codes of the donors of all cells, (E,)."""
    column = pd.Categorical(inputs.obs_column(adata, donor_key)).remove_unused_categories()
    missing = int((column.codes < 0).sum())
    if missing:
        msg = f"Found {missing} cells without a donor in adata.obs[{donor_key!r}], expected one for each; drop these cells."
        raise ValueError(msg)
    if len(column.categories) < _FEWEST_DONORS:
        msg = (
            f"Found {len(column.categories)} donors in adata.obs[{donor_key!r}], expected at least {_FEWEST_DONORS} to draw "
            f"from; leave donor_key out to draw cells."
        )
        raise ValueError(msg)
    return np.asarray(column.codes)


def _overlaps(overlaps: Sequence[float] | None, again: PlacementInputs) -> list[float]:
    """Overlaps in rising order, the stored one among them.

    Raises
    ------
    ValueError
        If one is no positive number, or asks for more localities than there are cells.
    """
    if overlaps is None:
        possible = [factor * again.overlap for factor in (0.5, 1.0, 2.0)]
        return [overlap for overlap in possible if overlap <= again.overlap or again.n_probes(overlap) <= len(again.Z)]
    for overlap in overlaps:
        checks.in_range("overlaps", overlap, np.finfo(float).tiny, np.inf)
        if again.n_probes(overlap) > len(again.Z):
            msg = (
                f"Found overlaps={overlap:g} with n_neighbors={again.n}, which asks for {again.n_probes(overlap)} "
                f"localities, expected at most one for each of the {len(again.Z)} cells; lower it."
            )
            raise ValueError(msg)
    return sorted({again.overlap, *map(float, overlaps)})


def _analysis(
    adata: AnnData, key: str, depth_key: str | None, seed: int, n_jobs: int | None, client: Client | None
) -> Analysis:
    params = arguments_of_fit(adata, key, "lava_sc.tl.stability")
    min_localities = int(params["min_localities"])
    return Analysis(
        null=null_data(adata, key, depth_key, n_jobs, client),
        C=load(adata, key, "C"),
        stored=problem_of(adata, key, min_localities=min_localities),
        modules=load(adata, key, "modules"),
        overlap=float(load_params(adata, key, "localities")["overlap"]),
        n_modules=int(params["n_modules"]),
        min_localities=min_localities,
        plan=RunPlan(options_of_amf(adata, key, params), str(params["init"]), n_jobs, client),
        null_seeds=_seeds(seed, N_NULLS),
    )


def _seeds(seed: int, n: int) -> list[int]:
    return [int(one) for one in np.random.default_rng(seed).integers(2**63, size=n)]


def _draws(again: PlacementInputs, donors: IntArray | None, n_resamples: int, seed: int) -> list[IntArray]:
    """Localities of each resample."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n_resamples):
        cells = draw_samples(again.strata, rng) if donors is None else draw_groups(donors, rng)
        share = SHARE if donors is None else len(cells) / len(again.Z)
        n = scaled_size(again.n, share)
        draws.append(members_among(again.Z, cells, again.probes, n, again.sections, again.options.n_jobs))
    return draws


def _placements(
    again: PlacementInputs, analysis: Analysis, overlaps: Sequence[float], n: int, seed: int
) -> dict[float, list[IntArray]]:
    """Localities of each placement, by overlap; the largest is made sure to fit."""
    seeds = iter(_seeds(seed, n * len(overlaps)))
    found = {overlap: [again.place(overlap, next(seeds)) for _ in range(n)] for overlap in overlaps}
    largest, null = found[max(overlaps)][0], analysis.null
    check_correlations_fit(null.source, largest, null.options, remedy="lower overlaps", n_jobs=null.n_jobs)
    return found


def _report(table: pd.DataFrame) -> None:
    for part in PARTS[1:]:
        rows = table[(table["part"] == part) & (table["module"] >= 0)]
        weakest = rows.iloc[int(rows["cosine"].argmin())]
        logger.info(
            "%s: least stable is module %d with cosine %.2f; shuffled genes up to %.2f",
            part,
            weakest["module"],
            weakest["cosine"],
            weakest["null_high"],
        )
