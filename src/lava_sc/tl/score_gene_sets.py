"""Co-regulation of the genes of given sets in each locality."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc.core.correlation.fdr import adjusted_pvalues
from lava_sc.core.correlation.locality import LOCALITIES_AT_ONCE, locality_correlations
from lava_sc.core.correlation.pairs import n_pairs
from lava_sc.core.interpret.set_scores import Part, score_sets
from lava_sc.core.interpret.summary import scores_of_cells
from lava_sc.core.nulls.exchanged_genes import detection_stats, exchanges, permutation_test, ranked_by_level
from lava_sc.core.nulls.matched_residuals import FEWEST_DEFINED
from lava_sc.io.gene_sets import collect
from lava_sc.stored import checks
from lava_sc.stored.correlation_inputs import CorrelationInputs
from lava_sc.stored.fields import load
from lava_sc.stored.gene_matching import names_in_sets, require_overlap
from lava_sc.stored.steps import Result, step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData

    from lava_sc._types import FloatArray, GeneSets, IntArray, SeedLike
    from lava_sc.core.interpret.set_scores import SetScores
    from lava_sc.stored.fields import Fields

_LEVEL: Final = 0.05
_MOST_AT_ONCE: Final = 20_000_000  # correlations


@step("gene_set_scores")
def score_gene_sets(
    adata: AnnData,
    gene_sets: GeneSets | Sequence[GeneSets],
    *,
    gene_symbols: str | None = None,
    min_size: int = 5,
    max_size: int = 500,
    n_random: int = 1000,
    network: bool = False,
    rng: SeedLike = 0,
    n_jobs: int | None = None,
    key: str = "lava",
    copy: bool = False,
) -> Result:
    """Score how strongly the genes of each set are co-regulated in each locality, beside random sets.

    Not how high they are expressed: whether they rise and fall together among the cells of a place. The score of a set is the
    mean ``|ρ|`` over the pairs of its genes that are defined in the locality, tested against random sets of as many genes that are
    measured as well.

    Parameters
    ----------
    adata
        Annotated data with correlations from :func:`lava_sc.tl.locality_corr`.
    gene_sets
        See :func:`lava_sc.tl.ora`. Only correlated genes count.
    gene_symbols
        See :func:`lava_sc.tl.ora`.
    min_size, max_size
        Sets with fewer or more correlated genes are left out.
    n_random
        Random sets for each set; no p-value is below 1 / (``n_random`` + 1). A single one of ℓ localities can pass
        Benjamini–Hochberg with 20·ℓ random sets only; several take fewer.
    network
        Whether names that are no file may be downloaded.
    rng
    n_jobs
    key
    copy

    Returns
    -------
    ``None``, or the copy. Sets the following fields:

    `adata.uns[key]["gene_set_summary"]`
        Table, a row for each set, in the given order:

        ``gene_set``, ``n_genes``
            Name, and how many of its genes are correlated ones.
        ``n_localities``
            Where at least three of them are defined: only there the set has a score.
        ``score``, ``expected``
            Mean ``|ρ|`` over all defined pairs of all localities, and what pairs give there that are measured as well. ``|ρ|`` is
            never 0 by chance.
        ``positive``
            Share of positive ρ, each counted by its size: 0.5 where signs are mixed, 1 where all genes rise together.
        ``z``, ``p_value``, ``p_adj``
            Of the excess over what is expected, added up over the localities, against the same sum of each random set, so that
            it does not matter that localities share cells; Benjamini–Hochberg over the sets.
        ``n_significant``
            Localities with a ``p_adj`` of at most 0.05 in the other table.
    `adata.uns[key]["gene_set_scores"]`
        Long table, a row for each set and locality with a score: ``gene_set``, ``locality``, ``n_genes`` that are defined,
        and ``score``, ``expected``, ``positive``, ``z``, ``p_value`` and ``p_adj`` (over the localities) of that locality alone.
    `adata.obsm[f"{key}_gene_set_scores"]`
        (E, sets) mean z over the localities that contain the cell and have a score, NaN where there is none; columns are the
        rows of the summary, see :func:`lava_sc.get.gene_set_scores`.

    Raises
    ------
    ValueError
        If correlations are missing, cells or genes were removed since, a file or library cannot be read, or no set has
        ``min_size`` correlated genes; the message says which names would match.
    OSError
        If the file of a backed or lazily opened object cannot be read.

    Notes
    -----
    All defined pairs count, also those that :func:`lava_sc.tl.locality_corr` did not keep: a set of 20 genes has 190 pairs, and
    small correlations in many of them say more than a single large one. They are taken again, with the same arguments.

    *Expected.* Genes that most cells express correlate more than others, and genes that are expressed in the same cells are
    defined in the same localities, whether they have anything to do with each other or not. So within each locality genes are
    put into ten groups (of 25 at least) by how many of its cells express them, and each ``|ρ|`` is held against the mean over all
    pairs of the same two groups. The sum over the set's pairs is scaled by the standard deviation of as many independent pairs
    of these groups, without which sets of which few genes are defined would reach large means by chance.

    *Random sets* have in the place of each gene one out of the 30 genes (or a thirtieth of all) that are defined in as many
    localities and detected in as many cells; they are the same in all localities.

    Examples
    --------
    >>> import lava_sc as lava
    >>> adata = lava.datasets.planted(n_cells=500)
    >>> lava.tl.localities(adata, n_neighbors=100)
    >>> lava.tl.locality_corr(adata)
    >>> sets = {"first": [f"M1_{i:02d}" for i in range(1, 16)]}
    >>> lava.tl.score_gene_sets(adata, sets, n_random=200)
    >>> bool(adata.uns["lava"]["gene_set_summary"]["p_value"].iloc[0] < 0.01)
    True
    """
    rng = np.random.default_rng(rng)
    _check(min_size, max_size, n_random, n_jobs)
    taken = CorrelationInputs.of(adata, key)
    sets = _members(adata, collect(gene_sets, network=network), gene_symbols, min_size, max_size, key)
    genes, defined = np.asarray(load(adata, key, "genes"), dtype=str), np.asarray(load(adata, key, "defined"))
    names, levels = np.argsort(np.argsort(genes)), detection_stats(taken.source, taken.members)
    labels = exchanges(ranked_by_level(defined, levels, names), n_random, rng)
    draws = [labels[:, own] for own in sets.values()]
    scores, totals = score_sets(_parts(adata, key, taken, n_jobs), levels, names, draws, n_jobs=n_jobs)
    localities = _table_of_localities(scores, list(sets))
    summary = _summary(scores, localities, totals, sets)
    logger.info("%d of %d gene sets are co-regulated (p_adj ≤ 0.05)", (summary["p_adj"] <= _LEVEL).sum(), len(summary))

    fields: Fields = {
        "gene_set_summary": summary,
        "gene_set_scores": localities,
        "cell_gene_set_scores": scores_of_cells(load(adata, key, "localities"), scores.z),
    }
    return Result(fields, {"gene_sets": None})


def _check(min_size: int, max_size: int, n_random: int, n_jobs: int | None) -> None:
    checks.in_range("min_size", min_size, FEWEST_DEFINED, np.inf, integer=True)
    checks.in_range("max_size", max_size, min_size, np.inf, integer=True)
    checks.in_range("n_random", n_random, 1, np.inf, integer=True)


def _members(
    adata: AnnData,
    sets: Mapping[str, set[str]],
    gene_symbols: str | None,
    min_size: int,
    max_size: int,
    key: str,
) -> dict[str, IntArray]:
    """Correlated genes of each set that is neither too small nor too large."""
    genes = load(adata, key, "genes")
    names = names_in_sets(adata, gene_symbols, sets).reindex(genes)
    require_overlap(adata, sets, set(names), min_size, "correlated")
    members = {name: np.flatnonzero(names.isin(wanted)) for name, wanted in sets.items()}
    scored: dict[str, IntArray] = {name: own for name, own in members.items() if min_size <= len(own) <= max_size}
    if not scored:
        msg = (
            f"Found no gene set with {min_size} to {max_size} correlated genes, expected at least one; change min_size or "
            f"max_size."
        )
        raise ValueError(msg)
    logger.info("%d of %d gene sets have %d to %d correlated genes", len(scored), len(sets), min_size, max_size)
    return scored


def _parts(adata: AnnData, key: str, taken: CorrelationInputs, n_jobs: int | None) -> Iterator[Part]:
    """All defined correlations, of as many localities at a time as do not take much memory."""
    n_localities = len(taken.members)
    if taken.options.fdr is None:  # they are stored
        yield Part(np.arange(n_localities), load(adata, key, "C"), np.asarray(load(adata, key, "defined")))
        return
    options = replace(taken.options, fdr=None)
    at_once = _MOST_AT_ONCE // max(n_pairs(taken.source.shape[1]), 1)
    step = max(at_once // LOCALITIES_AT_ONCE * LOCALITIES_AT_ONCE, 1)
    for start in range(0, n_localities, step):
        some = np.arange(start, min(start + step, n_localities))
        found = locality_correlations(taken.source, taken.members[some], options, n_jobs=n_jobs)
        yield Part(some, found.C, found.defined)


def _table_of_localities(scores: SetScores, sets: Sequence[str]) -> pd.DataFrame:
    """A row for each set and locality with a score, by set."""
    n_localities = len(scores.z)
    columns = {
        "gene_set": pd.Categorical(np.repeat(sets, n_localities), categories=pd.Index(sets)),
        "locality": np.tile(np.arange(n_localities), len(sets)),
        "n_genes": scores.n_defined.T.ravel(),
        "score": scores.means.T.ravel(),
        "expected": scores.expected.T.ravel(),
        "positive": scores.positive.T.ravel(),
        "z": scores.z.T.ravel(),
        "p_value": scores.pvalues.T.ravel(),
    }
    table = pd.DataFrame(columns)[scores.n_pairs.T.ravel() > 0].reset_index(drop=True)
    pvalues = table.groupby("gene_set", observed=True)["p_value"]
    table["p_adj"] = pvalues.transform(lambda p: adjusted_pvalues(p.to_numpy())).astype(float)
    table.index = table.index.astype(str)
    return table


def _summary(
    scores: SetScores, localities: pd.DataFrame, totals: FloatArray, sets: Mapping[str, IntArray]
) -> pd.DataFrame:
    """A row for each set."""
    mean, expected, positive = scores.pooled()
    z, pvalues = permutation_test(totals.T)
    passing = localities.loc[localities["p_adj"] <= _LEVEL, "gene_set"].value_counts()
    table = {
        "gene_set": list(sets),
        "n_genes": [len(own) for own in sets.values()],
        "n_localities": (scores.n_pairs > 0).sum(axis=0),
        "score": mean,
        "expected": expected,
        "positive": positive,
        "z": z,
        "p_value": pvalues,
        "p_adj": adjusted_pvalues(pvalues),
        "n_significant": [int(passing.get(name, 0)) for name in sets],
    }
    return pd.DataFrame(table, index=pd.Index([str(k) for k in range(len(sets))]))
