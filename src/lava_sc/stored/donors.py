"""Labels of cells, and the donors that cells come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import sparse

from lava_sc._logging import logger, warn
from lava_sc.stored import inputs

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, FloatArray, IntArray

_FEWEST_LEVELS: Final = 2
#: What stands in the column of donors where there is none (CELLxGENE schema: "unknown", "pooled", "na").
_NO_DONOR: Final = frozenset({"", "unknown", "pooled", "na", "nan", "none"})


@dataclass(frozen=True)
class Labels:
    """A column of ``obs``.

    Attributes
    ----------
    column
        Its name.
    names
        Its levels that occur, or its name alone for numbers.
    of_cells
        (E, K) whether the cell has each level, 1 or 0, or its number.
    known
        (E,) whether the cell has a value.
    is_number
        Whether these are numbers.
    """

    column: str
    names: list[str]
    of_cells: FloatArray
    known: BoolArray
    is_number: bool

    def fractions(self, membership: sparse.csr_matrix) -> FloatArray:
        """Mean over the cells of each locality that have a value, (ℓ, K); NaN where none has."""
        of_locality = membership[self.known].T.astype(np.float64)
        totals = np.asarray(of_locality.sum(axis=1)).reshape(-1, 1)
        sums = of_locality @ self.of_cells[self.known]
        return np.divide(sums, totals, out=np.full(sums.shape, np.nan), where=totals > 0)


@dataclass(frozen=True)
class Donors:
    """The donors of cells whose label is known.

    Attributes
    ----------
    names
        (D,).
    labels
        (D, K) label of each, as ``of_cells`` of :class:`Labels`.
    strata
        (D,) codes.
    counts
        (ℓ, D) cells of each in each locality.
    """

    names: list[str]
    labels: FloatArray
    strata: IntArray
    counts: FloatArray

    def of_localities(self) -> NDArray[np.object_]:
        """The donor with most cells in each locality, (ℓ,); an empty name where there is none."""
        names = np.array([*self.names, ""], dtype=object)
        return names[np.where(self.counts.any(axis=1), self.counts.argmax(axis=1), len(self.names))]


def read_labels(adata: AnnData, obs_key: str) -> Labels:
    """A column of ``obs`` as numbers, or as levels.

    Raises
    ------
    ValueError
        If it does not exist or all its values are the same.
    """
    column = inputs.obs_column(adata, obs_key)
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if is_number:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)[:, None]
        known, names = np.isfinite(values[:, 0]), [obs_key]
        values = np.where(known[:, None], values, 0.0)
        n_levels = len(np.unique(values[known]))
    else:
        levels = pd.Categorical(column).remove_unused_categories()
        known, names = levels.codes >= 0, list(map(str, levels.categories))
        values = (levels.codes[:, None] == np.arange(len(names))).astype(np.float64)
        n_levels = len(names)
    if n_levels < _FEWEST_LEVELS:
        msg = (
            f"Found {n_levels} different values in adata.obs[{obs_key!r}], expected at least {_FEWEST_LEVELS} to compare; "
            f"choose another column."
        )
        raise ValueError(msg)
    return Labels(obs_key, names, values, known, is_number)


def read_donors(
    adata: AnnData, labels: Labels, donor_key: str, strata_key: str | None, membership: sparse.csr_matrix
) -> Donors:
    """The donors of the cells whose label and donor are known; a number is then the mean of the donor.

    Raises
    ------
    ValueError
        If a column does not exist, or a donor has several labels or strata.
    """
    column = pd.Categorical(inputs.obs_column(adata, donor_key))
    known = labels.known & (column.codes >= 0) & ~_without_donor(column, donor_key)
    donors = column[known].remove_unused_categories()
    names, of_cell = (
        list(map(str, donors.categories)),
        sparse.csr_matrix(
            (np.ones(len(donors)), donors.codes, np.arange(len(donors) + 1)),
            shape=(len(donors), len(donors.categories)),
        ),
    )
    sizes = np.asarray(of_cell.sum(axis=0)).reshape(-1, 1)
    means = (of_cell.T @ labels.of_cells[known]) / sizes
    if labels.is_number:
        _note_numbers(labels, known, means[donors.codes], donor_key)
    else:
        _refuse_mixed(labels, means, names, donor_key)
    return Donors(
        names=names,
        labels=means,
        strata=_strata(adata, strata_key, known, donors, donor_key),
        counts=np.asarray((membership[known].T.astype(np.float64) @ of_cell).toarray()),
    )


def _without_donor(column: pd.Categorical, donor_key: str) -> BoolArray:
    """Cells, (E,), whose donor is called unknown or the like, who would be one donor of many; warns of them."""
    no_donor = [name for name in column.categories if str(name).strip().lower() in _NO_DONOR]
    without = np.asarray(column.isin(no_donor))
    if without.any():
        named = " or ".join(repr(name) for name in no_donor)
        msg = f"Left out {int(without.sum())} of {len(without)} cells whose adata.obs[{donor_key!r}] is {named}, which is no donor."
        warn(msg)
    if without.all():
        msg = f"Found no donor in adata.obs[{donor_key!r}], expected the donor of each cell; choose another column or leave donor_key out."
        raise ValueError(msg)
    return without


def _note_numbers(labels: Labels, known: BoolArray, means: FloatArray, donor_key: str) -> None:
    if not np.allclose(labels.of_cells[known], means):
        logger.info(
            "adata.obs[%r] varies within donors of adata.obs[%r]: taking the mean of each donor",
            labels.column,
            donor_key,
        )


def _refuse_mixed(labels: Labels, means: FloatArray, names: list[str], donor_key: str) -> None:
    mixed = np.flatnonzero((means < 1).all(axis=1))
    if len(mixed):
        there = " and ".join(repr(labels.names[k]) for k in np.flatnonzero(means[mixed[0]] > 0)[:2])
        msg = (
            f"Found cells of several levels of adata.obs[{labels.column!r}] in {len(mixed)} of {len(names)} donors of "
            f"adata.obs[{donor_key!r}] (e.g. {there} in {names[mixed[0]]!r}), expected one level for each, since whole donors "
            f"are exchanged; leave donor_key out to test against the overlap of localities alone."
        )
        raise ValueError(msg)


def _strata(
    adata: AnnData, strata_key: str | None, known: BoolArray, donors: pd.Categorical, donor_key: str
) -> IntArray:
    """Code of the stratum of each donor, (D,)."""
    if strata_key is None:
        return np.zeros(len(donors.categories), dtype=np.int64)
    codes = pd.Categorical(inputs.obs_column(adata, strata_key)).codes[known]
    of_donor = pd.Series(codes).groupby(donors.codes)
    low, high = of_donor.min().to_numpy(), of_donor.max().to_numpy()
    wrong = np.flatnonzero((low != high) | (low < 0))
    if len(wrong):
        msg = (
            f"Found several or missing values of adata.obs[{strata_key!r}] in {len(wrong)} of {len(low)} donors of "
            f"adata.obs[{donor_key!r}] (e.g. {str(donors.categories[wrong[0]])!r}), expected one for each; change strata_key."
        )
        raise ValueError(msg)
    return low.astype(np.int64)
