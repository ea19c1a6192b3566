"""Presences such that the same share of every locality's error is overestimation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc.core.factorise.amf.finetune import finetune
from lava_sc.core.interpret.summary import presences_of_cells
from lava_sc.stored import checks
from lava_sc.stored.fields import has, load
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from anndata import AnnData

    from lava_sc.core.factorise.amf.finetune import FineTuned
    from lava_sc.stored.fields import Fields

_REACHED: Final = 1e-3  # as close to τ as is promised


@step("finetune_presences")
def finetune_presences(
    adata: AnnData, tau: float = 0.1, *, n_jobs: int | None = None, key: str = "lava", copy: bool = False
) -> Result:
    """Refit the presences so that overestimation is the same share τ of every locality's error.

    What modules reconstruct in a locality can then be read alike everywhere: ``tau`` of what is wrong about it is claimed but
    not there, the rest is there but missed (paper, A.3.1). The modules stay as they are. Of all presences with at
    most that share of overestimation, those are taken that miss least of the locality's correlations.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    tau
        Overestimation ratio τ, ``Σ max(Ĉ − C, 0) / Σ |Ĉ − C|`` over all pairs, between 0.001 and 0.5. It corresponds to
        ν = (1 − τ)/τ of :func:`lava_sc.tl.amf` (Equation S4).
    n_jobs
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["presences"]`
        (ℓ, M) float32, replaced. A module that recovers nothing in a locality has presence 0 there.
    `adata.obsm[f"{key}_presences"]`
        (E, M), replaced: mean presence over the localities that contain the cell.
    `adata.uns[key]["presences_amf"]`
        (ℓ, M) float32, the presences as :func:`lava_sc.tl.amf` found them. A further call starts from these again.
    `adata.uns[key]["finetuning"]`
        Table, a row for each locality: ``overestimation`` (ratio) and ``error`` (``Σ |C − Ĉ|``), and the same before,
        ``overestimation_amf`` and ``error_amf``.

    Results that were computed from the former presences are removed, modules and their genes are kept.

    Raises
    ------
    ValueError
        If modules are missing or an argument is out of range.

    Notes
    -----
    The pinball loss of Equation S3 at level τ would not give the ratio τ, since it balances numbers of pairs, weighted, and
    not errors. See ``lava_sc.core.factorise.amf.finetune`` for what is minimised instead, and how.

    The ratio is τ to 0.001 wherever presences can reach it usefully. It stays below where modules have nothing more to recover:
    in localities without correlations, or with none in any module. How many there are is logged.

    Correlations outside of all modules count as missed. Where they are most of a locality's, a ratio of τ leaves much
    room for overestimation, and presences and error may end higher than before; ``error`` in the table tells.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.finetune_presences(adata, 0.2)
    >>> float(adata.uns["lava"]["finetuning"]["overestimation"].median().round(3))
    0.2
    """
    former = load(adata, key, "presences_amf" if has(adata, key, "presences_amf") else "presences")
    checks.in_range("tau", tau, 0.001, 0.5)
    found = finetune(load(adata, key, "C"), load(adata, key, "modules"), former, tau=float(tau), n_jobs=n_jobs)
    _report(found, tau)

    fields: Fields = {
        "presences": found.presences,
        "cell_presences": presences_of_cells(load(adata, key, "localities"), found.presences),
        "presences_amf": np.array(former),
        "finetuning": _table(found, load(adata, key, "evidence").index),
    }
    return Result(fields)


def _report(found: FineTuned, tau: float) -> None:
    below = found.ratios(found.errors) < tau - _REACHED
    if below.any():
        logger.warning(
            "%d of %d localities keep an overestimation ratio below tau=%g, since modules have nothing more to recover "
            "there (%d have no correlations)",
            below.sum(),
            len(below),
            tau,
            (found.totals == 0).sum(),
        )


def _table(found: FineTuned, localities: pd.Index) -> pd.DataFrame:
    columns = {
        "overestimation_amf": found.ratios(found.errors_before),
        "overestimation": found.ratios(found.errors),
        "error_amf": found.errors_before.sum(axis=1),
        "error": found.errors.sum(axis=1),
    }
    return pd.DataFrame(columns, index=localities)
