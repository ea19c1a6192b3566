"""Step 2: correlations between genes within every locality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc._settings import settings
from lava_sc.core.correlation.locality import locality_correlations
from lava_sc.core.correlation.measures import MEASURES
from lava_sc.core.correlation.pair_finders import pair_finder
from lava_sc.core.correlation.pairs import n_pairs
from lava_sc.core.rehearsal import check_correlations_fit
from lava_sc.io import values as value_checks
from lava_sc.io.correlation_store import new_store
from lava_sc.parallel.tasks import resolve_client
from lava_sc.stored import checks, inputs
from lava_sc.stored.correlation_inputs import options_of
from lava_sc.stored.fields import GENE_MASK
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from distributed import Client

    from lava_sc._types import BoolArray
    from lava_sc.core.correlation.locality import LocalityCorrelations
    from lava_sc.stored.fields import Fields

_REMEDY: Final = "lower fdr or overlap, raise n_neighbors, or select fewer genes"


@step("locality_corr")
def locality_corr(
    adata: AnnData,
    *,
    mask_var: str | Sequence[bool] | BoolArray | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    method: Literal["spearman", "pearson"] = "spearman",
    covariates: str | Sequence[str] | None = None,
    batch_key: str | None = None,
    max_tie_fraction: float = 0.75,
    fdr: float | None = 0.05,
    store: str | PathLike[str] | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    n_jobs: int | None = None,
    client: Client | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Correlate every pair of genes within every locality, and keep what stands out of chance.

    Parameters
    ----------
    adata
        Annotated data with localities from :func:`lava_sc.tl.localities`.
    mask_var
        Genes to correlate: a boolean column of ``adata.var`` or one bool for each gene. ``None`` takes the column
        ``lava_genes`` of :func:`lava_sc.pp.select_genes`, or all genes without it.
    layer
        Layer to correlate instead of ``X``; normalised values, for counts follow the sequencing depth.
    use_raw
    method
        ``"spearman"`` (the paper, Section 2.2), ties with their average rank, or ``"pearson"``.
    covariates
        Columns of ``adata.obs`` whose effect is taken out within each locality, e.g. ``"total_counts"``: partial
        correlation, by linear regression of the ranks (of the values for ``"pearson"``); categories enter as
        indicators.
    batch_key
        Column of ``adata.obs`` with batches or donors. Correlations are taken within each batch of a locality and pooled
        by Fisher's z with weights n_b − 3 (n_b: cells of the batch, less the covariates), so that a difference between
        donors is no correlation. Batches with n_b ≤ 3 in a locality are left out there.
    max_tie_fraction
        A gene is *defined* in a locality when no single value, usually 0, is shared by more than this fraction of its
        cells; pairs with an undefined gene are 0 there. With ``batch_key`` the largest ties within the batches, added up,
        count.
    fdr
        Keep the pairs of each locality that pass Benjamini–Hochberg at this level. The p-values (two-sided) are those of
        shuffling one gene against the other; see Notes. ``None`` keeps every defined pair, as the paper does.
    store
        Folder to write the correlations to as they come, where they would not fit into memory; see Notes. A store that is
        there is replaced.
    device
        Where products of scores are taken: ``"cpu"``, ``"cuda"`` (needs torch), or ``"auto"``, CUDA where there is some;
        ``None`` takes ``lava_sc.settings.device``. Changes no number. It pays with many genes that are defined in a locality; with few, and within batches, the CPU
        is used in any case, and with a client by default.
    n_jobs
    client
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["genes"]`
        (D,) names of the correlated genes, in the order of ``adata.var_names``.
    `adata.uns[key]["defined"]`
        (ℓ, D) bool.
    `adata.uns[key]["C"]`
        (ℓ, D(D−1)/2) CSR float32, signed correlations; columns are pairs in the order of ``numpy.triu_indices(D, 1)``. With
        ``store``, a mapping with its path and an id instead.
    `adata.uns[key]["evidence"]`
        Table, a row for each locality: ``n_defined_genes``, ``n_defined_pairs``, ``n_kept_pairs``.

    Results of later steps under the same key are removed.

    Raises
    ------
    ValueError
        If localities are missing or cells were removed since, a name is unknown, the device is not there, values are not finite, the result would
        not fit into memory, no gene is defined anywhere, or no pair passes ``fdr``.
    OSError
        If the file of a backed or lazily opened object cannot be read, or the store not written.
    RuntimeError
        If the cluster of the client, or its workers over the same localities again and again, are lost,
        or workers have another version of lava_sc.

    Warns
    -----
    UserWarning
        If the values look like raw counts or like scaled data.

    Notes
    -----
    Under independence a locality's ρ over n cells has mean 0 and variance exactly 1/(n − 1), ties or not; its skewness
    and kurtosis follow from the ties of the two genes. The p-values match these moments, since with many ties the usual
    t approximation is too small by an order of magnitude in the tail that decides. With k covariates, n − k takes the
    place of n.

    Correlations over all cells of a locality also hold differences between donors or batches in it; where that is not
    wanted, ``batch_key`` is the way to go. A categorical covariate only shifts the ranks of each batch, and leaves
    differences in spread.

    ``X`` may be in memory, dense or sparse, in a file opened backed or lazily, or a Dask array; what is not in memory is
    read a few times at most, in the order of the file, and only the selected genes of cells in localities are kept.

    A ``store`` is a zarr group that holds a CSR matrix as anndata stores one, and stays outside of the object: copy it where the
    object goes. Later steps map it into memory and read what they need; :func:`lava_sc.tl.amf` never holds all of it.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> lava.tl.locality_corr(adata, covariates="total_counts")
    >>> adata.uns["lava"]["C"].shape
    (15, 19900)
    """
    if device is None:  # products are taken on CUDA or the CPU
        device = "cpu" if settings.device == "mps" else settings.device
    checks.one_of("method", method, list(MEASURES))
    checks.in_range("max_tie_fraction", max_tie_fraction, 0, 1)
    checks.in_range("fdr", 0.5 if fdr is None else fdr, 0, 1)
    checks.one_of("device", device, ["auto", "cpu", "cuda"])
    checks.unique_var_names(adata)
    members = inputs.locality_members(adata, key)
    mask = inputs.gene_mask(adata, mask_var, GENE_MASK)
    covariates = [covariates] if isinstance(covariates, str) else list(covariates or [])
    source = inputs.source(adata, mask, layer=layer, use_raw=use_raw)
    value_checks.warn_about_values(source.head(value_checks.SAMPLED_ROWS), inputs.matrix_name(layer, use_raw=use_raw))
    params: dict[str, Any] = {
        "layer": layer,
        "use_raw": use_raw,
        "method": method,
        "covariates": covariates or None,
        "batch_key": batch_key,
        "max_tie_fraction": float(max_tie_fraction),
        "fdr": fdr,
        "n_genes": int(mask.sum()),
        "mask_var": inputs.mask_param(adata, mask_var),
        "device": device,
    }
    workers = resolve_client(client)
    options = options_of(adata, params)
    find = pair_finder("cpu" if workers is not None and device == "auto" else device)
    remedy = _REMEDY if store is not None else f"{_REMEDY}, or pass store="
    check_correlations_fit(source, members, options, remedy=remedy, stored=store is not None, n_jobs=n_jobs)
    with new_store(store, len(members), n_pairs(int(mask.sum()))) as sink:
        found = locality_correlations(source, members, options, sink=sink, find=find, n_jobs=n_jobs, client=workers)
        _refuse_nothing(found, members.shape[1], max_tie_fraction, fdr)
    fields: Fields = {
        "genes": adata.var_names[mask].to_numpy(dtype=object),
        "defined": found.defined,
        "C": found.C if sink is None else sink.reference,
        "evidence": _evidence(found),
    }
    return Result(fields, params)


def _refuse_nothing(found: LocalityCorrelations, n: int, max_tie_fraction: float, fdr: float | None) -> None:
    n_defined = int(found.n_defined_pairs.sum())
    if n_defined == 0:
        fewest = n - int(np.floor(max_tie_fraction * n + 1e-9))
        msg = (
            f"Found no locality in which two genes are defined, expected genes that are expressed in at least {fewest} of "
            f"a locality's {n} cells; select other genes (pp.select_genes with localities_key), enlarge n_neighbors or "
            f"raise max_tie_fraction."
        )
        raise ValueError(msg)
    if found.C.nnz == 0:
        level = f"at fdr={fdr:g}" if fdr is not None else "different from 0"
        msg = (
            f"Found none of {n_defined} correlations {level}, expected at least one; select other genes, enlarge "
            f"n_neighbors, or pass fdr=None to factorise what may be noise."
        )
        raise ValueError(msg)
    logger.info("kept %d of %d defined correlations in %d localities", found.C.nnz, n_defined, found.C.shape[0])


def _evidence(found: LocalityCorrelations) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "n_defined_genes": found.defined.sum(axis=1),
            "n_defined_pairs": found.n_defined_pairs,
            "n_kept_pairs": found.n_kept_pairs,
        },
        index=pd.Index([str(i) for i in range(len(found.defined))], name="locality"),
    )
