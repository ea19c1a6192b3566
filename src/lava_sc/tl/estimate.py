"""Before long work: what it will take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc._docs import document_parameters
from lava_sc._logging import warn
from lava_sc.core import cost_model
from lava_sc.core.correlation.locality import CorrelationOptions
from lava_sc.core.factorise.amf.restarts import share_threads
from lava_sc.core.factorise.problem import BLOCK
from lava_sc.core.localities.sections import allocate
from lava_sc.core.n_modules.sweep import N_FOLDS, N_NULLS_OF_CURVE, N_RUNS_OF_NULL
from lava_sc.core.placement_rehearsal import sample_placement
from lava_sc.core.rehearsal import fit_seconds, sample_correlations
from lava_sc.io.blocks import InMemory
from lava_sc.parallel import memory as memory_limits
from lava_sc.parallel.threads import resolve_n_jobs
from lava_sc.stored import checks, embeddings, inputs
from lava_sc.stored.fields import GENE_MASK
from lava_sc.tl._excerpt import select_in_excerpt, take_excerpt
from lava_sc.tl.localities import _sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from lava_sc._types import BoolArray, FloatArray, IntArray, SeedLike
    from lava_sc.core.rehearsal import CorrelationSample
    from lava_sc.tl._excerpt import Excerpt

_CHOSEN_AMONG, _MIDDLE = 15, 8  # numbers of modules that tl.choose_n_modules tries, 1 to 15
_N_SPLITS, _N_PERMUTATIONS = 5, 20  # of tl.choose_n_modules
_SAMPLED: Final = 64  # localities
_EPOCHS: Final = 60  # of a run, where it was measured (benchmarks/starts.py): 51 to about 65 as a rule
_FEWER: Final = "lower n_top_genes, n_modules or n_runs, or pass a number for fdr if it is None"
_REMEDIES: Final = {
    "localities": "raise n_neighbors or lower overlap",
    "select_genes": "select genes on some of the cells and pass mask_var",
    "locality_corr": (
        "lower n_top_genes or overlap, raise n_neighbors, pass a number for fdr if it is None, or write the correlations to a "
        "file with store= of lava_sc.tl.locality_corr"
    ),
    "choose_n_modules": _FEWER,
    "amf": _FEWER,
}


@document_parameters
def estimate(  # noqa: PLR0913  # what the steps take that decides on their cost
    adata: AnnData,
    n_modules: int | None = None,
    *,
    use_rep: str | None = None,
    n_neighbors: int | None = None,
    overlap: float = 3.0,
    library_key: str | None = None,
    mask_var: str | Sequence[bool] | BoolArray | None = None,
    n_top_genes: int | None = 1000,
    layer: str | None = None,
    use_raw: bool = False,
    covariates: str | Sequence[str] | None = None,
    batch_key: str | None = None,
    max_tie_fraction: float = 0.75,
    fdr: float | None = 0.05,
    n_runs: int = 10,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Estimate the time and the memory that each step will take, from small pieces of it that are run and measured.

    Parameters
    ----------
    adata
        Annotated data as for :func:`lava_sc.tl.explain`; nothing is stored in it.
    n_modules
        See :func:`lava_sc.tl.explain`; ``None`` counts the choice among 15 numbers, too.
    use_rep, n_neighbors, overlap, library_key
        See :func:`lava_sc.tl.localities`.
    mask_var
        Genes to correlate, see :func:`lava_sc.tl.locality_corr`. ``None`` takes the column ``lava_genes`` or, without
        it, selects genes in the sample as :func:`lava_sc.tl.explain` would.
    n_top_genes
        See :func:`lava_sc.pp.select_genes`; of no account if genes are given.
    layer, use_raw, covariates, batch_key, max_tie_fraction, fdr
        See :func:`lava_sc.tl.locality_corr`.
    n_runs
        See :func:`lava_sc.tl.amf`.
    rng
        Seed or generator; draws the sample.
    n_jobs
        Number of threads that the steps will have, all cores when ``None``.

    Returns
    -------
    Table, a row for each step in the order in which they are called: ``seconds``; ``memory_gb``, the peak on top of what
    is in memory now, results of earlier steps included, in 10⁹ bytes; ``fits``, whether as much is available; and
    ``what``, the size of the work in words. Its ``attrs`` hold the numbers: ``n_localities``, ``n_neighbors``, ``n_genes``,
    ``n_nonzero`` expected in C and its standard error ``n_nonzero_se``, ``n_columns`` of C that are not empty,
    ``n_modules``, ``n_epochs`` assumed for each run of AMF, and ``available_gb``.

    Raises
    ------
    ValueError
        As the steps would.

    Warns
    -----
    UserWarning
        If a step is expected to take more memory than is available; says what to change.

    Notes
    -----
    The correlations of at most 64 localities, spread over the embedding as all of them will be, tell the number of
    non-zeros and the time. A few localities may hold most of the correlations; the standard error says how sure the number
    is. Columns that the sample has not seen are extrapolated. Peaks of memory are counted from the sizes of arrays. Epochs of
    AMF are timed on the sample, and a run is taken to need 60 of them after its start. Expect to be right within a factor
    of 2, on a machine that is as busy then as it is now.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> table = lava.tl.estimate(adata, n_neighbors=100)
    >>> table.attrs["n_localities"]
    15
    """
    rng = np.random.default_rng(rng)
    checks.annotated(adata)
    _check_arguments(n_runs, max_tie_fraction, fdr, n_jobs)
    checks.unique_var_names(adata)
    given = mask_var is not None or GENE_MASK in adata.var.columns
    mask = inputs.gene_mask(adata, mask_var, GENE_MASK) if given else np.ones(adata.n_vars, dtype=bool)
    places = _places(adata, use_rep, n_neighbors, overlap, library_key)
    chosen, n_modules = n_modules is None, min(_MIDDLE, places.n_localities) if n_modules is None else n_modules
    checks.in_range("n_modules", n_modules, 1, places.n_localities, integer=True)
    names = [covariates] if isinstance(covariates, str) else list(covariates or [])
    columns = names if batch_key is None else [*names, batch_key]
    available = memory_limits.memory_available()

    members, placing = _placing(places, rng, n_jobs)
    stages = {"localities": placing}
    excerpt = take_excerpt(adata, members, mask, layer=layer, use_raw=use_raw, obs_columns=columns)
    if not given:
        excerpt, stages["select_genes"] = _selecting(places, excerpt, n_top_genes, batch_key, n_jobs)
    sample = sample_correlations(
        InMemory(excerpt.data.X),
        excerpt.members,
        places.n_localities,
        CorrelationOptions(
            max_tie_fraction=max_tie_fraction,
            fdr=fdr,
            covariates=[inputs.covariate(excerpt.data, name) for name in names],
            batches=None if batch_key is None else inputs.batch_codes(excerpt.data, batch_key),
        ),
        n_jobs=n_jobs,
    )
    found = _sizes_found(places, excerpt, sample) | {"n_modules": n_modules}
    stages["locality_corr"] = _correlating(places, excerpt, sample, found, fdr, n_jobs)
    fitting = fit_seconds(sample.C, places.n_localities, found["n_columns"], n_modules, rng)
    amf = _factorising(found, *fitting, n_runs, n_jobs)
    stages |= _choosing(amf, stages["locality_corr"], n_runs, tested=fdr is not None) if chosen else {"amf": amf}
    return _table(stages, found | {"available_gb": available / memory_limits.GB})


@dataclass(frozen=True)
class _Places:
    """Places of localities."""

    Z: FloatArray
    sections: IntArray | None
    n: int
    n_localities: int


@dataclass(frozen=True)
class _Stage:
    """Seconds, bytes at the peak on top of what earlier stages leave and bytes that this one leaves, and what it does."""

    seconds: float
    peak: float
    left: float
    what: str


def _check_arguments(n_runs: int, max_tie_fraction: float, fdr: float | None, n_jobs: int | None) -> None:
    checks.in_range("n_runs", n_runs, 1, np.inf, integer=True)
    checks.in_range("max_tie_fraction", max_tie_fraction, 0, 1)
    checks.in_range("fdr", 0.5 if fdr is None else fdr, 0, 1)
    checks.in_range("n_jobs", 1 if n_jobs is None else n_jobs, 1, np.inf, integer=True)


def _places(
    adata: AnnData, use_rep: str | None, n_neighbors: int | None, overlap: float, library_key: str | None
) -> _Places:
    Z = embeddings.representation(adata, embeddings.representation_key(adata, use_rep))
    n, n_probes = _sizes(len(Z), n_neighbors, overlap)
    libraries = inputs.sections(adata, library_key, n)
    if libraries is None:
        return _Places(Z, None, n, n_probes)
    return _Places(Z, libraries.codes, n, int(allocate(n_probes, np.bincount(libraries.codes)).sum()))


def _placing(places: _Places, rng: np.random.Generator, n_jobs: int | None) -> tuple[IntArray, _Stage]:
    (n_cells, dimension), n, n_localities = places.Z.shape, places.n, places.n_localities
    n_sampled = min(_SAMPLED, n_localities)
    sample = sample_placement(places.Z, places.sections, n, n_localities, n_sampled, rng, n_jobs)
    peak = cost_model.localities_bytes(n_cells, dimension, n_localities, n, resolve_n_jobs(n_jobs))
    left = cost_model.membership_bytes(n_cells, n_localities, n)
    what = f"{n_localities:,} localities of {n:,} of {n_cells:,} cells"
    return sample.members, _Stage(sample.seconds, peak, left, what)


def _selecting(
    places: _Places, excerpt: Excerpt, n_top_genes: int | None, batch_key: str | None, n_jobs: int | None
) -> tuple[Excerpt, _Stage]:
    """Go on with the genes that are selected in the excerpt."""
    n_cells, n_genes = len(places.Z), excerpt.data.n_vars
    chosen = select_in_excerpt(excerpt, n_top_genes, batch_key, n_jobs)
    seconds = chosen.seconds_per_locality * places.n_localities + chosen.seconds_per_cell * n_cells
    what = f"about {int(chosen.genes.sum()):,} of {n_genes:,} genes"
    return excerpt.with_genes(chosen.genes), _Stage(seconds, n_cells * chosen.bytes_per_cell, 0, what)


def _sizes_found(places: _Places, excerpt: Excerpt, sample: CorrelationSample) -> dict[str, int]:
    expected, error = sample.growth.n_nonzero(places.n_localities)
    return {
        "n_localities": places.n_localities,
        "n_neighbors": places.n,
        "n_genes": excerpt.data.n_vars,
        "n_nonzero": round(expected),
        "n_nonzero_se": round(error),
        "n_columns": round(sample.growth.n_columns(places.n_localities)),
    }


def _correlating(
    places: _Places,
    excerpt: Excerpt,
    sample: CorrelationSample,
    found: Mapping[str, int],
    fdr: float | None,
    n_jobs: int | None,
) -> _Stage:
    n_cells, sizes = len(places.Z), (found["n_nonzero"], places.n_localities, found["n_genes"])
    peak = excerpt.bytes_held(n_cells) + cost_model.correlating_bytes(
        *sizes, n=places.n, n_defined=sample.n_defined, tested=fdr is not None, workers=resolve_n_jobs(n_jobs)
    )
    seconds = sample.seconds + excerpt.seconds * n_cells / excerpt.data.n_obs
    counts = f"{_about(found['n_nonzero'])} ± {_about(found['n_nonzero_se'])}"
    what = f"{found['n_genes']:,} genes: {counts} correlations"
    return _Stage(seconds, peak, cost_model.correlations_bytes(*sizes), what)


def _factorising(
    found: Mapping[str, int], starting: float, per_epoch: float, n_runs: int, n_jobs: int | None
) -> _Stage:
    sizes = found["n_nonzero"], found["n_localities"], found["n_columns"]
    side_by_side, threads = share_threads(n_jobs, n_runs, -(-found["n_columns"] // BLOCK))
    fitting = cost_model.fit_bytes(*sizes, n_modules=found["n_modules"], side_by_side=side_by_side)
    peak = max(cost_model.problem_bytes(*sizes), fitting)
    what = (
        f"{found['n_modules']} modules of {_about(found['n_columns'])} pairs, {n_runs} runs of about {_EPOCHS} epochs"
    )
    run = starting + per_epoch * _EPOCHS / threads
    return _Stage(run * -(-n_runs // side_by_side), peak, 0, what)


def _choosing(fitting: _Stage, correlating: _Stage, n_runs: int, *, tested: bool) -> dict[str, _Stage]:
    """Cost of choosing among numbers of modules, with folds, splits and null data; the runs are then those of AMF.

    A half of the cells holds about half of the correlations, and each split has two. Null data have few correlations where
    these are tested, and as many as the data where they are not.
    """
    fits = n_runs + N_FOLDS + _N_SPLITS + (0 if tested else N_NULLS_OF_CURVE * (N_RUNS_OF_NULL + 1))
    passes = _N_SPLITS + 2 * N_NULLS_OF_CURVE + _N_PERMUTATIONS
    seconds = _CHOSEN_AMONG * fitting.seconds * fits / n_runs + passes * correlating.seconds
    what = f"1 to {_CHOSEN_AMONG} modules, {n_runs} runs of each, and null data"
    return {"choose_n_modules": replace(fitting, seconds=seconds, what=what), "amf": replace(fitting, seconds=0.0)}


def _about(number: float) -> str:
    """Two digits of a number."""
    return f"{int(float(f'{number:.2g}')):,}"


def _table(stages: Mapping[str, _Stage], found: Mapping[str, float]) -> pd.DataFrame:
    left = np.cumsum([0.0, *(stage.left for stage in stages.values())])[:-1]
    memory = [float(before + stage.peak) for before, stage in zip(left, stages.values(), strict=True)]
    available = found["available_gb"] * memory_limits.GB
    for name, n_bytes in zip(stages, memory, strict=True):
        if n_bytes > available:
            warn(memory_limits.too_large(name, n_bytes, available, _REMEDIES[name]))
    table = pd.DataFrame(
        {
            "seconds": [stage.seconds for stage in stages.values()],
            "memory_gb": [n_bytes / memory_limits.GB for n_bytes in memory],
            "fits": [n_bytes <= available for n_bytes in memory],
            "what": [stage.what for stage in stages.values()],
        },
        index=pd.Index(list(stages), name="step"),
    )
    table.attrs.update(found, n_epochs=_EPOCHS)
    return table
