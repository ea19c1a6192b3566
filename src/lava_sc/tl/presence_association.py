"""Presence of modules against labels of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger, warn
from lava_sc.core.correlation.fdr import adjusted_pvalues
from lava_sc.core.interpret.association import correlations, fractions
from lava_sc.core.nulls.donor_permutation import assignments, donor_pvalues, smaller_arm
from lava_sc.core.nulls.moran import MOST_LOCALITIES, overlap_pvalues
from lava_sc.parallel.threads import progress
from lava_sc.stored import checks, inputs
from lava_sc.stored.donors import read_donors, read_labels
from lava_sc.stored.fields import load, load_params
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from anndata import AnnData

    from lava_sc._types import BoolArray, FloatArray, IntArray, SeedLike
    from lava_sc.stored.donors import Donors, Labels
    from lava_sc.stored.registry import FieldName

_FEWEST_DONORS: Final = 3  # in an arm
_USUAL_LEVEL: Final = 0.05


@step("presence_association")
def presence_association(
    adata: AnnData,
    obs_key: str,
    *,
    min_presence: float = 0.01,
    donor_key: str | None = None,
    strata_key: str | None = None,
    n_permutations: int = 10_000,
    rng: SeedLike = 0,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Correlate the presence of each module with the fraction of a category, over localities.

    Only localities in which the module is present count (paper, B.9 and Table S2). The paper's p-values take localities for
    independent draws. They share cells, and cells share donors, so those are far too small; they are called plain here, and
    a test that respects what was sampled is beside them.

    Parameters
    ----------
    adata
        Annotated data with modules from :func:`lava_sc.tl.amf`.
    obs_key
        Column of ``adata.obs``: categories (each is held against all others), or numbers, whose mean over the cells of a
        locality is then taken for the fraction. Cells without a value do not count.
    min_presence
        A module is present where its presence is above this.
    donor_key
        Column of ``adata.obs`` with the donors, or animals, or whatever was sampled independently. Their labels are
        exchanged, and the conclusion is about donors. Numbers are then means of donors. ``None`` tests against the overlap of
        localities alone, which concludes nothing about other donors.
    strata_key
        Column of ``adata.obs`` with groups of donors, e.g. batches or sexes; labels are exchanged within these only.
    n_permutations
        Exchanges of labels, or surrogates. Where there are no more distinct exchanges, all are taken.
    rng
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["presence_association"]`
        Long table, a row for each module and category (the column's name for numbers): ``module``, ``category``,
        ``n_localities`` that count; ``pearson`` and ``spearman``, and for each of these ``_p_plain``, as in Table S2, ``_p``, by
        the ``test``, "donors" or "overlap", and ``_p_adj``, Benjamini–Hochberg over all modules and categories; ``n_tested``,
        how many localities the test takes, see below; and ``n_permutations`` that were taken, 0 where the test was refused. All
        are two-sided.
    `adata.uns[key]["locality_fractions"]`
        (ℓ, K) float64, fraction of each category in each locality, categories as in the table; NaN where no cell has a value.
    `adata.uns[key]["locality_donors"]`
        (ℓ,) the donor with most cells in each locality, only with ``donor_key``.

    Raises
    ------
    ValueError
        If modules or columns are missing, cells were removed since, an argument is out of range, or a donor has several
        labels or strata.

    Warns
    -----
    UserWarning
        If fewer than three donors are in an arm, where nothing is tested: ``_p`` and ``_p_adj`` are NaN. Donors count that
        can be exchanged with another of their stratum. For numbers, at least six are needed.

    Notes
    -----
    *Donors.* The fraction in a locality is linear in the donors' labels, so one product of matrices gives those of all
    exchanges. The p-value is twice the smaller tail. It is exact if donors are independent and, given the stratum, the
    label has nothing to do with where in the embedding a donor's cells are. With three donors against three no p-value
    can be below 0.1.

    *Overlap.* Surrogates by Moran spectral randomisation: the fraction keeps its smoothness on every scale and loses its
    place, see ``lava_sc.core.nulls.moran``. Its time is cubic in the number of localities, so the p-values of a module in more than
    1,500 are those of the correlations over 1,500 of them, drawn at random; the correlations in the table are over all.

    *Level.* Simulated without any association, 2,000 times each (``benchmarks/association.py``, docs/evidence.md), at 5 %: with
    twelve donors whose cells cluster, the plain test rejects 13–55 % of the time and donors 4.8–5.9 %; with smooth categories and
    no donors, plain 14–55 % and overlap 4.7–6.8 %. Give ``donor_key`` wherever there are donors. An effective number of
    localities from correlograms (Dutilleul 1993) was tried in the place of surrogates, and rejected 2–11 %.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.explain(adata, 4, n_neighbors=100)
    >>> adata.obs["side"] = ["east" if x > 0 else "west" for x in adata.obsm["X_umap"][:, 0]]
    >>> lava.tl.presence_association(adata, "side", n_permutations=100)
    >>> adata.uns["lava"]["presence_association"].shape  # four modules, two categories
    (8, 14)
    """
    _check(min_presence, n_permutations, donor_key, strata_key)
    data = _read_all(adata, obs_key, float(min_presence), donor_key, strata_key, key)
    generator = np.random.default_rng(rng)
    if data.donors is None:
        n_taken = np.full(len(data.labels.names), n_permutations)
        pvalues = _against_overlap(data, _sections(adata, key), n_permutations, generator)
    else:
        pvalues, n_taken = _against_donors(data, data.donors, n_permutations, generator)
        _report(data, data.donors, n_taken)
    fields: dict[FieldName, Any] = {
        "presence_association": _table(data, pvalues, n_taken),
        "locality_fractions": data.F,
    }
    if data.donors is not None:
        fields["locality_donors"] = data.donors.of_localities()
    return Result(fields)


@dataclass(frozen=True)
class _Data:
    """Presences (ℓ, M), which of them count, fractions (ℓ, K), what these are of, and where the localities are."""

    presences: FloatArray
    present: BoolArray
    F: FloatArray
    labels: Labels
    donors: Donors | None
    probes: FloatArray


def _check(min_presence: float, n_permutations: int, donor_key: str | None, strata_key: str | None) -> None:
    checks.in_range("min_presence", min_presence, 0, 1)
    checks.in_range("n_permutations", n_permutations, 1, np.inf, integer=True)
    if strata_key is not None and donor_key is None:
        msg = (
            f"Found strata_key={strata_key!r} without donor_key, expected donors whose labels are exchanged within strata; "
            f"pass donor_key."
        )
        raise ValueError(msg)


def _read_all(
    adata: AnnData, obs_key: str, min_presence: float, donor_key: str | None, strata_key: str | None, key: str
) -> _Data:
    presences = np.asarray(load(adata, key, "presences"), dtype=np.float64)
    inputs.locality_members(adata, key)  # refuses localities that have lost cells
    membership = load(adata, key, "localities").tocsr()
    labels, donors = read_labels(adata, obs_key), None
    if donor_key is None:
        F = labels.fractions(membership)
    else:
        donors = read_donors(adata, labels, donor_key, strata_key, membership)
        F = fractions(donors.counts, donors.labels)
    present = (presences > min_presence) & ~np.isnan(F[:, [0]])
    return _Data(presences, present, F, labels, donors, np.asarray(load(adata, key, "probes"), dtype=np.float64))


def _sections(adata: AnnData, key: str) -> IntArray | None:
    """Section of tissue of each locality, (ℓ,)."""
    column = load_params(adata, key, "localities").get("library_key")
    if column is None:
        return None
    codes: IntArray = pd.Categorical(inputs.obs_column(adata, column)).codes
    return codes[inputs.locality_members(adata, key)[:, 0]]


def _against_overlap(
    data: _Data, sections: IntArray | None, n_permutations: int, rng: np.random.Generator
) -> FloatArray:
    """P-values of both correlations, (2, M, K)."""
    n_modules = data.presences.shape[1]
    found = np.empty((2, n_modules, data.F.shape[1]))
    of_modules = list(enumerate(rng.spawn(n_modules)))
    for m, own_rng in progress(of_modules, desc="surrogates"):
        rows = data.present[:, m]
        if rows.sum() > MOST_LOCALITIES:
            logger.info("module %d is tested in %d of its %d localities", m, MOST_LOCALITIES, rows.sum())
        found[:, m] = overlap_pvalues(
            data.presences[rows, m],
            data.F[rows],
            data.probes[rows],
            n_permutations=n_permutations,
            rng=own_rng,
            sections=None if sections is None else sections[rows],
            most=MOST_LOCALITIES,
        )
    return found


def _against_donors(
    data: _Data, donors: Donors, n_permutations: int, rng: np.random.Generator
) -> tuple[FloatArray, IntArray]:
    """P-values of both correlations, (2, M, K), and the number of exchanges for each category, (K,)."""
    n_modules, n_categories = data.presences.shape[1], data.F.shape[1]
    found = np.full((2, n_modules, n_categories), np.nan)
    n_taken = np.zeros(n_categories, dtype=np.int64)
    for k, own_rng in enumerate(rng.spawn(n_categories)):
        values = donors.labels[:, k]
        if smaller_arm(values, donors.strata, is_number=data.labels.is_number) < _FEWEST_DONORS:
            continue
        others, exact = assignments(values, donors.strata, n_permutations, own_rng)
        n_taken[k] = len(others)
        found[:, :, k] = donor_pvalues(
            data.presences, data.present, donors.counts, np.vstack([values, others]), exact=exact
        )
    return found, n_taken


def _report(data: _Data, donors: Donors, n_taken: IntArray) -> None:
    """Warn of tests that were refused, and of those that can never be significant."""
    refused = np.flatnonzero(n_taken == 0)
    if len(refused):
        k = refused[0]
        arms = " against ".join(str(int((donors.labels[:, k] == value).sum())) for value in (1, 0))
        what = (
            f"{len(donors.names)} donors in all"
            if data.labels.is_number
            else f"{arms} donors for {data.labels.names[k]!r}"
        )
        needed = f"{2 * _FEWEST_DONORS} that differ" if data.labels.is_number else f"{_FEWEST_DONORS} in each arm"
        msg = (
            f"Nothing is tested for {len(refused)} of {len(n_taken)} categories of obs column {data.labels.column!r}: "
            f"found {what}, expected at least {needed} that can be exchanged within their stratum; read the correlations as "
            f"descriptions, their plain p-values mean nothing for other donors, and add donors."
        )
        warn(msg)
    hopeless = (n_taken > 0) & (2 / np.maximum(n_taken, 1) > _USUAL_LEVEL)
    if hopeless.any():
        logger.warning(
            "labels of donors can be exchanged in %d ways only, so no p-value can be below %.2g",
            n_taken[hopeless].min(),
            2 / n_taken[hopeless].min(),
        )


def _table(data: _Data, pvalues: FloatArray, n_taken: IntArray) -> pd.DataFrame:
    n_modules, n_categories = data.presences.shape[1], data.F.shape[1]
    plain = np.empty((2, 2, n_modules, n_categories))
    for m in range(n_modules):
        rows = data.present[:, m]
        plain[:, :, m] = correlations(data.presences[rows, m], data.F[rows])
    r, plain_p = plain
    pvalues = np.where(np.isnan(r), np.nan, pvalues)
    columns: dict[str, Any] = {
        "module": np.repeat(np.arange(n_modules), n_categories),
        "category": data.labels.names * n_modules,
        "n_localities": np.repeat(data.present.sum(axis=0), n_categories),
    }
    for name, *found in zip(("pearson", "spearman"), r, plain_p, pvalues, strict=True):
        for suffix, values in zip(("", "_p_plain", "_p"), found, strict=True):
            columns[name + suffix] = values.ravel()
        columns[f"{name}_p_adj"] = adjusted_pvalues(found[-1].ravel())
    columns["test"] = "overlap" if data.donors is None else "donors"
    columns["n_tested"] = columns["n_localities"]
    if data.donors is None:
        columns["n_tested"] = np.minimum(columns["n_localities"], MOST_LOCALITIES)
    columns["n_permutations"] = np.tile(n_taken, n_modules)
    table = pd.DataFrame(columns)
    table.index = table.index.astype(str)
    return table
