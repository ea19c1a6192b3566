"""Modules of one object in another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from lava_sc._logging import logger
from lava_sc.stored import checks
from lava_sc.stored.common_genes import common_genes
from lava_sc.stored.fields import load, store
from lava_sc.stored.steps import Result, step
from lava_sc.tl._projection import Projection, Reference
from lava_sc.tl.locality_corr import locality_corr
from lava_sc.tl.module_genes import module_genes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from lava_sc._types import SeedLike
    from lava_sc.stored.fields import Fields

_SAME: Final = "same"
_HALF: Final = 0.5  # of a module's weight; where less can be found, this is said
_LEVEL: Final = 0.05
_CORR: Final = ("method", "covariates", "batch_key", "max_tie_fraction", "fdr")


@step("project", in_place=True)
def project(  # noqa: PLR0913  # how genes are matched, correlated and tested
    adata: AnnData,
    reference: AnnData,
    *,
    reference_key: str | None = None,
    gene_symbols: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    method: Literal["spearman", "pearson", "same"] = _SAME,
    covariates: str | Sequence[str] | None = _SAME,
    batch_key: str | None = _SAME,
    max_tie_fraction: float | Literal["same"] = _SAME,
    fdr: float | Literal["same"] | None = _SAME,
    nu: float | Literal["same"] = _SAME,
    n_permutations: int = 1000,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Find the modules of a reference in other data, and say how well they are preserved there.

    Healthy and diseased tissue, two laboratories, two sets of donors: the genes that were correlated in the reference are looked
    up by name and correlated within the localities of ``adata`` in the same way, and the reference's modules are held against
    these correlations. They stay as they are; only their presences are fitted.

    Parameters
    ----------
    adata
        Annotated data with localities of its own from :func:`lava_sc.tl.localities`.
    reference
        Annotated data with modules from :func:`lava_sc.tl.amf`; not changed.
    reference_key
        Key of the modules in the reference; ``key`` when ``None``.
    gene_symbols
        Column of ``var``, of both objects or of one, with the names to match genes by. ``None`` matches
        ``var_names``, or symbols if more of these are the same: ``feature_name`` where ``var_names`` are Ensembl ids, and
        symbols with an appended id (``HLA-DRA_ENSG00000204287``) without it. Names that stand for several genes match none.
    layer, use_raw
        Values of ``adata`` to correlate, see :func:`lava_sc.tl.locality_corr`.
    method, covariates, batch_key, max_tie_fraction, fdr
        See :func:`lava_sc.tl.locality_corr`. ``"same"`` takes what the reference was correlated with; columns are then looked
        for under the same names.
    nu
        Weight of overestimated correlations in the fit of the presences, at least 1, see :func:`lava_sc.tl.amf`. ``"same"``
        takes that of the reference. With less, e.g. 2, a large module is also present where only a part of it is found.
    n_permutations
        How often genes are exchanged; no p-value is below 1 / (``n_permutations`` + 1). A single one of ℓ localities can pass
        Benjamini–Hochberg with 20·ℓ exchanges only; several that are alike take fewer.
    rng
    n_jobs
    key
        Key of the localities. What else is stored under it is replaced; to keep modules that were found in ``adata`` itself,
        call :func:`lava_sc.tl.localities` with another key first.
    copy

    Returns
    -------
    ``None``, or the copy. Sets the fields of :func:`lava_sc.tl.locality_corr` and of :func:`lava_sc.tl.amf`, so that most of what
    follows these steps can follow this one; those of :func:`lava_sc.tl.module_genes` and :func:`lava_sc.tl.name_modules` where
    the reference has them; and:

    `adata.uns[key]["preservation"]`
        Table, a row for each module, in the reference's order:

        ``n_genes``, ``n_matched``
            Genes with at least 5 % of its largest weight, and those among them that ``adata`` has.
        ``weight_matched``, ``weight_defined``
            Share of the module's correlations between genes that ``adata`` has, and of those between genes that are both
            defined in one of its localities: the rest cannot be found, whether it is there or not.
        ``n_present``
            Localities in which its presence is above 0.01.
        ``explained``, ``explained_reference``, ``explained_null``
            Share of the squared correlations that it accounts for, as in :func:`lava_sc.tl.module_evidence`; the same in the
            reference, over the matched genes; and the mean over 20 exchanges. Of modules that are alike one may get it all.
        ``cosine``, ``cosine_reference``, ``cosine_null``
            Cosine of the module and the mean of the localities' absolute correlations, each scaled to norm 1 and weighted by its
            own cosine with the module, whatever the other modules; the same in the reference, which is as much as can be
            expected; and the mean over the exchanges.
        ``n_alike``
            Localities with a ``p_adj`` of at most 0.05 in the other table.
        ``z``, ``p_value``, ``p_adj``
            Whether it is preserved: how much more its pairs correlate than pairs that are measured as well, added up over the
            localities, against the same sum of exchanged genes, in standard deviations and as a rank;
            Benjamini–Hochberg over the modules.

        NaN for modules none of whose pairs is matched.
    `adata.uns[key]["preservation_localities"]`
        Long table, a row for each module and locality: ``module``, ``locality``, the ``cosine`` of the two, and ``p_value`` and
        ``p_adj`` (over the localities) of that locality alone.

    Results of later steps under the same key are removed. Modules keep their numbers, genes are called as in ``adata``, and what is
    matched of a module is scaled to a largest value of 1.

    Raises
    ------
    ValueError
        If localities or the reference's modules are missing, fewer than ten genes match (the message says what would) or none
        of a module's pairs, a column is missing that the reference's correlations were adjusted by, or as :func:`lava_sc.tl.locality_corr`.
    OSError
        If the file of a backed or lazily opened object cannot be read.

    Warns
    -----
    UserWarning
        As :func:`lava_sc.tl.locality_corr`.

    Notes
    -----
    *Null.* Were these correlations indifferent to which genes make up the module, it might as well lie on any others. So genes
    are exchanged at random among those that are defined in as many localities and detected in as many cells (30 genes, or a
    thirtieth of all). Genes that are expressed in the same cells are defined in the same localities and share depth,
    without having to do with each other; so within each locality ``|ρ|`` is first held against the mean over pairs of genes that as
    many of its cells express (ten groups, of 25 genes at least). See ``benchmarks/projection.py`` for level and power.

    *Presences* are those at which each locality's loss (paper, Equation 6) is lowest. It counts overestimation ν times, so a
    large module of which these data show a part only is present in few localities, and a small one that says the same in more;
    a lower ``nu`` changes that, and neither the cosines nor what is tested depend on it. The loss does not see much of the
    scale of presences either, and AMF's may lie higher: to compare heights between two objects, project the reference onto a
    copy of itself as well.

    :func:`lava_sc.tl.module_evidence` and :func:`lava_sc.tl.stability` would make modules again, and refuse projected ones;
    :func:`lava_sc.tl.amf` replaces them by modules of ``adata``, made of the matched genes.

    Examples
    --------
    >>> import lava_sc as lava
    >>> healthy, ill = (lava.datasets.planted(n_cells=500, rng=seed) for seed in (0, 1))
    >>> lava.tl.explain(healthy, 4, n_neighbors=100)
    >>> lava.tl.localities(ill, n_neighbors=100)
    >>> lava.tl.project(ill, healthy, n_permutations=100)
    >>> bool((ill.uns["lava"]["preservation"]["p_adj"] < 0.05).all())
    True
    """
    _check(adata, reference, nu, n_permutations)
    load(adata, key, "localities")
    reference_key = key if reference_key is None else reference_key
    known = Reference.of(reference, reference_key, nu=None if isinstance(nu, str) else float(nu))
    given = dict(zip(_CORR, (method, covariates, batch_key, max_tie_fraction, fdr), strict=True))
    arguments = _arguments(adata, known.correlated, given)
    common = common_genes(adata, reference, known.genes, gene_symbols)
    seeds = [int(seed) for seed in np.random.default_rng(rng).integers(2**63, size=2)]
    where: dict[str, Any] = {"layer": layer, "use_raw": use_raw}
    locality_corr(adata, mask_var=common.mask(adata), **where, **arguments, n_jobs=n_jobs, key=key)
    projection = Projection.of(adata, key, known, common, n_jobs, **where)
    found = projection.found(seeds[0])
    table, localities = projection.preservation(found, n_permutations, seeds)
    store(adata, key, "amf", *projection.as_amf(adata, key, found, seeds[0]))
    _report(table)
    given = {"reference": None, "reference_key": reference_key, "n_matched": len(common.here)}
    fields: Fields = {"preservation": table, "preservation_localities": localities}
    return Result(fields, given, when_stored=partial(_carry_over, adata, key, known))


def _check(adata: AnnData, reference: Any, nu: float | str, n_permutations: int) -> None:
    from anndata import AnnData

    if not isinstance(reference, AnnData):
        msg = f"Found {type(reference).__name__} as reference, expected an AnnData object with modules; pass one."
        raise TypeError(msg)
    if nu != _SAME:
        checks.in_range("nu", nu, 1, np.inf)  # type: ignore[arg-type]  # which refuses text
    checks.in_range("n_permutations", n_permutations, 1, np.inf, integer=True)
    checks.unique_var_names(adata)


def _arguments(adata: AnnData, correlated: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """With what to correlate, by what is given and with what the reference was.

    Raises
    ------
    ValueError
        If ``adata`` has no column of a name that is taken over.
    """
    same = {name for name, value in given.items() if isinstance(value, str) and value == _SAME}
    chosen = {name: correlated.get(name) if name in same else value for name, value in given.items()}
    needed = [str(chosen["batch_key"])] if "batch_key" in same and chosen["batch_key"] is not None else []
    if "covariates" in same:
        covariates = [str(name) for name in correlated.get("covariates", [])]
        chosen["covariates"] = covariates
        needed += covariates
    missing = [name for name in needed if name not in adata.obs.columns]
    if missing:
        msg = (
            f"Found no column {missing[0]!r} in adata.obs, by which the reference's correlations were adjusted, expected "
            f"it here as well; add it, or pass covariates= and batch_key= for adata (None for none)."
        )
        raise ValueError(msg)
    return chosen


def _carry_over(adata: AnnData, key: str, reference: Reference) -> None:
    """Gene lists by the reference's rule, and the names of its modules."""
    if reference.listed is not None:
        module_genes(adata, **reference.listed, key=key)
        if reference.names is not None:
            names, params = reference.names
            store(adata, key, "name_modules", {"module_names": names}, params)


def _report(table: pd.DataFrame) -> None:
    for m, row in table.iterrows():
        logger.info(
            "module %s: %d of %d genes and %.0f %% of its weight are matched",
            m,
            row["n_matched"],
            row["n_genes"],
            100 * row["weight_matched"],
        )
    partly = table.index[table["weight_defined"] < _HALF]
    if len(partly):
        logger.warning(
            "less than half of the weight of modules %s is between genes that are defined here", ", ".join(partly)
        )
    logger.info("%d of %d modules are preserved (p_adj ≤ 0.05)", (table["p_adj"] <= _LEVEL).sum(), len(table))
