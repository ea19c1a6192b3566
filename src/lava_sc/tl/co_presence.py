"""Modules that share a locality, and the spread of each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lava_sc._logging import logger, warn
from lava_sc.core.interpret.summary import co_presences, module_entropies
from lava_sc.stored import checks
from lava_sc.stored.fields import load
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from anndata import AnnData

    from lava_sc._types import FloatArray


@step("co_presence")
def co_presence(adata: AnnData, *, min_presence_sum: float = 0.5, key: str = "lava", copy: bool = False) -> Result:
    """Entropy of the modules' presences in each locality, and of the correlations in each module.

    Presences of a locality are scaled to sum 1. Their Shannon entropy is 0 bits where a single module is present, and
    log₂ M where all are, equally (paper, Section 3.2, Figure 5a-b).

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    min_presence_sum
        Localities whose presences add up to less are left out, since scaling would make much of little.
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["co_presence"]`
        (ℓ,) float64, bits; NaN for localities that are left out. How many are is logged.
    `adata.uns[key]["module_entropy"]`
        (M,) float64, bits: Shannon entropy of the correlations of each module, scaled to sum 1. The higher, the more
        spread out; log₂ of the number of its pairs when all are correlated equally (Figure S25).

    Raises
    ------
    ValueError
        If modules are missing or ``min_presence_sum`` is out of range.

    Warns
    -----
    UserWarning
        If all localities are left out.

    Notes
    -----
    Modules are scaled to a largest value of 1, so a presence is the strongest correlation that the module reconstructs in
    the locality. The bound is therefore one on correlations: where these are weak, as in sparse counts, 0.5 leaves most
    localities out, and a lower bound is needed. Entropies under different bounds do not compare.

    The mean that :func:`lava_sc.tl.amf` writes into its table of runs is over the localities where a presence is above 0.01.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> lava.tl.co_presence(adata)
    >>> adata.uns["lava"]["co_presence"].shape
    (15,)
    """
    checks.in_range("min_presence_sum", min_presence_sum, 0, np.inf)
    presences = load(adata, key, "presences")
    bits = co_presences(presences, min_presence_sum=float(min_presence_sum))
    _report(bits, presences, min_presence_sum)
    return Result({"co_presence": bits, "module_entropy": module_entropies(load(adata, key, "modules"))})


def _report(bits: FloatArray, presences: FloatArray, bound: float) -> None:
    left_out = np.isnan(bits)
    if left_out.all():
        largest = float(presences.sum(axis=1, dtype=np.float64).max(initial=0.0))
        msg = (
            f"The presences of none of {len(bits)} localities add up to min_presence_sum={bound:g} (at most {largest:.2g}), "
            f"so all are left out; lower min_presence_sum."
        )
        warn(msg)
    else:
        logger.info(
            "%d of %d localities are left out, their presences add up to less than %g; mean of the others %.2f bits",
            left_out.sum(),
            len(bits),
            bound,
            bits[~left_out].mean(),
        )
