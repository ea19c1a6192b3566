"""The whole way in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.io.checkpoint import removed_at_the_end
from lava_sc.parallel.tasks import resolve_client
from lava_sc.pp.select_genes import select_genes
from lava_sc.stored.fields import load
from lava_sc.stored.steps import pipeline
from lava_sc.tl.amf import amf
from lava_sc.tl.choose_n_modules import choose_n_modules
from lava_sc.tl.localities import localities
from lava_sc.tl.locality_corr import locality_corr
from lava_sc.tl.module_genes import module_genes
from lava_sc.tl.ora import ora
from lava_sc.tl.presence_association import presence_association

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from distributed import Client

    from lava_sc._types import BoolArray, GeneSets, SeedLike


@pipeline
def explain(  # noqa: PLR0913  # the arguments of six steps that most users want to set
    adata: AnnData,
    n_modules: int | None = None,
    *,
    use_rep: str | None = None,
    n_neighbors: int | None = None,
    overlap: float = 3.0,
    library_key: str | None = None,
    mask_var: str | Sequence[bool] | BoolArray | None = None,
    n_top_genes: int | None = 1000,
    gene_symbols: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    covariates: str | Sequence[str] | None = None,
    batch_key: str | None = None,
    fdr: float | None = 0.05,
    gamma: float | Literal["auto"] = 1e-4,
    n_runs: int = 10,
    gene_sets: GeneSets | Sequence[GeneSets] | None = None,
    obs_key: str | None = None,
    donor_key: str | None = None,
    checkpoint: str | PathLike[str] | None = None,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    client: Client | None = None,
    key_added: str = "lava",
    copy: bool = False,
) -> None:
    """Explain an embedding: localities, genes, correlations, modules and, if asked, what these stand for and go with.

    Calls, in this order, :func:`lava_sc.tl.localities`, :func:`lava_sc.pp.select_genes` (among the genes that are
    defined in these localities), :func:`lava_sc.tl.locality_corr`, :func:`lava_sc.tl.amf`,
    :func:`lava_sc.tl.module_genes` and, with ``gene_sets``, :func:`lava_sc.tl.ora`, with ``obs_key``
    :func:`lava_sc.tl.presence_association`. Each can be called by itself for more control.

    Parameters
    ----------
    adata
        Annotated data with an embedding and log-normalised values.
    n_modules
        Number of modules. ``None`` lets :func:`lava_sc.tl.choose_n_modules` choose it, which takes some twenty times as long
        as to fit one number. If that finds none that exceeds chance it warns, and no modules are stored.
    use_rep, n_neighbors, overlap, library_key
        See :func:`lava_sc.tl.localities`.
    mask_var
        Genes to correlate, see :func:`lava_sc.tl.locality_corr`. ``None`` selects genes anew.
    n_top_genes, gene_symbols
        See :func:`lava_sc.pp.select_genes`; of no account with ``mask_var``, but for ``gene_symbols`` and gene sets.
    layer
    use_raw
    covariates, batch_key, fdr
        See :func:`lava_sc.tl.locality_corr`.
    gamma, n_runs
        See :func:`lava_sc.tl.amf`.
    gene_sets
        See :func:`lava_sc.tl.ora`; left out, that step is not run.
    obs_key, donor_key
        See :func:`lava_sc.tl.presence_association`; without ``obs_key`` that step is not run.
    checkpoint
        Folder to keep the state of :func:`lava_sc.tl.amf` in. The same call goes on from there; the steps before it are done
        again. It is removed when all steps are done. ``n_modules`` has to be given.
    rng
    n_jobs
    client
    key_added
    copy

    Returns
    -------
    ``None``, or the copy. Sets the fields of all functions named above. If a step fails, ``adata`` is left as it was.

    Raises
    ------
    ValueError
        As the functions named above, or if ``checkpoint`` is given without ``n_modules``.
    RuntimeError
        If the cluster of the client, or its workers over the same task again and again, are lost,
        or workers have another version of lava_sc.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.pbmc68k()
    >>> lava.tl.explain(adata, n_modules=4)
    >>> figure = lava.pl.modules(adata, show=False)
    """
    _check_together(n_modules, checkpoint, obs_key, donor_key)
    resolve_client(client)
    where: dict[str, Any] = {"n_jobs": n_jobs, "client": client}
    values: dict[str, Any] = {"layer": layer, "use_raw": use_raw, "batch_key": batch_key}
    with removed_at_the_end():
        localities(
            adata,
            use_rep=use_rep,
            n_neighbors=n_neighbors,
            overlap=overlap,
            library_key=library_key,
            rng=rng,
            n_jobs=n_jobs,
            key_added=key_added,
        )
        if mask_var is None:
            which: dict[str, Any] = {"localities_key": key_added, "gene_symbols": gene_symbols}
            select_genes(adata, n_top_genes=n_top_genes, **which, **values, n_jobs=n_jobs)
        tests: dict[str, Any] = {"covariates": covariates, "fdr": fdr}
        locality_corr(adata, mask_var=mask_var, **values, **tests, **where, key=key_added)
        if n_modules is None:
            n_modules = _chosen(adata, n_runs, gamma, rng=rng, **where, key=key_added)
        if n_modules is not None:
            how: dict[str, Any] = {"checkpoint": checkpoint, "rng": rng, **where}
            amf(adata, n_modules, gamma=gamma, n_runs=n_runs, **how, key=key_added)
            _interpret(adata, gene_sets, gene_symbols, obs_key, donor_key, rng=rng, key=key_added)


def _chosen(adata: AnnData, n_runs: int, gamma: float | str, *, key: str, **how: Any) -> int | None:
    """The number of modules, ``None`` where none exceeds chance."""
    gamma = FitOptions().gamma if isinstance(gamma, str) else gamma
    choose_n_modules(adata, n_runs=max(n_runs, 2), gamma=gamma, **how, key=key)
    return int(load(adata, key, "n_modules_choice")["n_modules"]) or None


def _interpret(
    adata: AnnData,
    gene_sets: GeneSets | Sequence[GeneSets] | None,
    gene_symbols: str | None,
    obs_key: str | None,
    donor_key: str | None,
    *,
    rng: SeedLike,
    key: str,
) -> None:
    """Genes of the modules, and what these stand for and go with, if asked."""
    module_genes(adata, key=key)
    if gene_sets is not None:
        ora(adata, gene_sets, gene_symbols=gene_symbols, key=key)
    if obs_key is not None:
        presence_association(adata, obs_key, donor_key=donor_key, rng=rng, key=key)


def _check_together(
    n_modules: int | None, checkpoint: str | PathLike[str] | None, obs_key: str | None, donor_key: str | None
) -> None:
    """Refuse arguments that mean nothing without another one."""
    if donor_key is not None and obs_key is None:
        msg = f"Found donor_key={donor_key!r} without obs_key, expected what to compare between donors; pass obs_key."
        raise ValueError(msg)
    if checkpoint is not None and n_modules is None:
        msg = (
            f"Found checkpoint={str(checkpoint)!r} without n_modules, expected a number, as only the runs of lava_sc.tl.amf are "
            f"kept and not those that choose it; pass n_modules or leave checkpoint out."
        )
        raise ValueError(msg)
