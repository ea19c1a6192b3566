"""C: the correlations between all defined features within every locality (paper, Section 2.2 and A.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from scipy import sparse

from lava_sc.core.correlation.batched import batch_scores, batches_of, pooled_pairs
from lava_sc.core.correlation.fdr import significant
from lava_sc.core.correlation.measures import SPEARMAN
from lava_sc.core.correlation.pairs import n_pairs, pair_index
from lava_sc.core.correlation.partial import covariate_basis
from lava_sc.core.correlation.unbatched import locality_scores, pairs_of_at_least, plain_pairs
from lava_sc.parallel.tasks import map_tasks, most_to_send
from lava_sc.parallel.threads import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Client

    from lava_sc._types import BoolArray, DataMatrix, FloatArray, IntArray
    from lava_sc.core.correlation.fdr import LocalityPairs
    from lava_sc.core.correlation.measures import Measure
    from lava_sc.core.correlation.partial import Covariate
    from lava_sc.core.correlation.scores import Scores
    from lava_sc.core.correlation.unbatched import PairFinder
    from lava_sc.core.nulls.shuffled_genes import Null
    from lava_sc.io.blocks import Source

#: Localities whose evidence is evaluated together, and that a worker takes at a time.
LOCALITIES_AT_ONCE: Final = 8


class Sink(Protocol):
    """Takes in the rows of C as they come."""

    def add(self, row: int, columns: IntArray, values: FloatArray) -> None:
        """One row, its columns in rising order."""

    def matrix(self) -> sparse.csr_matrix:
        """C, once all rows are in."""


@dataclass(frozen=True)
class LocalityCorrelations:
    """Correlations of all localities.

    Attributes
    ----------
    C
        (ℓ, D(D−1)/2) CSR float32, signed correlations; a pair that is undefined or not kept has no entry.
    defined
        (ℓ, D) bool, whether the feature can be correlated in the locality.
    n_defined_pairs, n_kept_pairs
        (ℓ,) int64.
    """

    C: sparse.csr_matrix
    defined: BoolArray
    n_defined_pairs: IntArray
    n_kept_pairs: IntArray


@dataclass(frozen=True)
class _Row:
    """Contribution of one locality: its defined features, and the pairs kept among all that were tested."""

    features: IntArray
    columns: IntArray
    rho: FloatArray
    n_tests: int


@dataclass(frozen=True)
class CorrelationOptions:
    """Options of correlations: what is correlated how, and which pairs are kept.

    Attributes
    ----------
    measure
        Measure of correlation.
    max_tie_fraction
        A feature is defined in a locality when no value is shared by more than this fraction of its samples.
    fdr
        Keep the pairs of each locality that pass Benjamini–Hochberg at this level; ``None`` keeps every defined pair.
    covariates
        Taken out of every feature's scores by linear regression within the locality.
    batches
        (E,) codes of batches within which correlations are taken, then pooled.
    """

    measure: Measure = SPEARMAN
    max_tie_fraction: float = 0.75
    fdr: float | None = 0.05
    covariates: Sequence[Covariate] = ()
    batches: IntArray | None = None

    @property
    def level(self) -> float | None:
        """Level of the test, ``None`` where there is none: no p-value is above 1."""
        return None if self.fdr is None or self.fdr >= 1 else self.fdr


@dataclass(frozen=True)
class _Ground:
    """Localities of a block: the rows of their samples in its matrix, their numbers among all samples, and the options."""

    X: DataMatrix
    localities: IntArray
    rows: IntArray
    samples: IntArray
    options: CorrelationOptions
    null: Null | None
    find: PairFinder

    @property
    def n_features(self) -> int:
        """Number of features of C."""
        n_features: int = self.X.shape[1]
        return n_features if self.null is None else self.null.shuffle.features_of(n_features)

    def rows_of(self, part: slice) -> list[_Row]:
        """Contributions of some of the localities."""
        pairs = [self._pairs_of(k) for k in range(part.start, part.stop)]
        level = self.options.level
        kept = pairs if level is None else significant(pairs, level)
        return [_row(one, self.n_features) for one in kept]

    def _pairs_of(self, k: int) -> LocalityPairs:
        try:
            return self._correlate(int(self.localities[k]), self.rows[k], self.samples[k])
        except Exception as error:
            error.add_note(f"This was in locality {self.localities[k]}.")
            raise

    def _correlate(self, locality: int, rows: IntArray, samples: IntArray) -> LocalityPairs:
        X, options, measure = self.X, self.options, self.options.measure
        shuffle, floor = (_as_it_is, np.inf) if self.null is None else (self.null.shuffle, self.null.floors[locality])
        if options.batches is None:
            basis = covariate_basis(options.covariates, samples, measure)
            scores = locality_scores(X, rows, basis, options.max_tie_fraction, measure)
            return plain_pairs(shuffle(scores, samples), options.level, floor, self.find)
        of_locality = batches_of(options.batches, samples, options.covariates, measure)
        parts = batch_scores(X, rows, of_locality, options.max_tie_fraction, measure)
        parts = [shuffle(part, samples[one.positions]) for part, one in zip(parts, of_locality, strict=True)]
        return pooled_pairs(parts, options.level, floor)


DEFAULTS: Final = CorrelationOptions()


def locality_correlations(
    source: Source,
    members: IntArray,
    options: CorrelationOptions = DEFAULTS,
    *,
    null: Null | None = None,
    sink: Sink | None = None,
    find: PairFinder = pairs_of_at_least,
    n_jobs: int | None = None,
    client: Client | None = None,
) -> LocalityCorrelations:
    """Correlate every pair of defined features within every locality.

    Parameters
    ----------
    source
        (E, D) values.
    members
        (ℓ, n) sample indices of the localities.
    options
        What is correlated how, and which pairs are kept.
    null
        Shuffle the features first; ``None`` takes them as they are.
    sink
        Where the rows of C go; ``None`` collects them in memory.
    find
        Takes the products of scores, where there are no batches.
    n_jobs
        Number of threads; changes no number.
    client
        Works at the localities instead of threads; each block is sent to every worker once, and fits there.
    """
    n_features = source.shape[1] if null is None else null.shuffle.features_of(source.shape[1])
    found: dict[int, _Row] = {}
    n_kept = np.zeros(len(members), dtype=np.int64)
    with progress(desc="locality correlations", total=len(members)) as bar:
        for block in source.blocks(members, most_to_send(client)):
            ground = _Ground(block.X, block.localities, block.members, members[block.localities], options, null, find)
            parts = _parts(len(block.localities))
            tasks, names = [(ground, part) for part in parts], [_name(block.localities[part]) for part in parts]
            results = map_tasks(_Ground.rows_of, tasks, names, n_jobs=n_jobs, client=client)
            for part, rows in zip(parts, results, strict=True):
                localities = block.localities[part].tolist()
                n_kept[localities] = [len(row.columns) for row in rows]
                left = rows if sink is None else _passed_on(sink, localities, rows)
                found.update(zip(localities, left, strict=True))
                bar.update(len(rows))
            del block, ground, tasks, results, rows, left  # lets go of the matrix before the next one is read
    return _assemble([found.pop(i) for i in range(len(members))], n_features, n_kept, sink)


def _passed_on(sink: Sink, localities: list[int], rows: list[_Row]) -> list[_Row]:
    """Rows without their correlations, which the sink has taken."""
    for i, row in zip(localities, rows, strict=True):
        sink.add(i, row.columns, row.rho)
    return [replace(row, columns=row.columns[:0].copy(), rho=row.rho[:0].copy()) for row in rows]  # a view keeps all


def _as_it_is(scores: Scores, samples: IntArray) -> Scores:  # noqa: ARG001
    return scores


def _parts(n_localities: int) -> list[slice]:
    """A few localities each; how many does not follow the number of workers, so no number can."""
    starts = range(0, n_localities, LOCALITIES_AT_ONCE)
    return [slice(start, min(start + LOCALITIES_AT_ONCE, n_localities)) for start in starts]


def _name(localities: IntArray) -> str:
    return f"localities {', '.join(map(str, localities))}" if len(localities) > 1 else f"locality {localities[0]}"


def _row(pairs: LocalityPairs, n_features: int) -> _Row:
    columns: IntArray = pair_index(pairs.first, pairs.second, n_features).astype(_index_type(n_pairs(n_features)))
    return _Row(pairs.features, columns, pairs.rho.astype(np.float32), pairs.n_tests)


def _assemble(rows: list[_Row], n_features: int, n_kept: IntArray, sink: Sink | None) -> LocalityCorrelations:
    defined = np.zeros((len(rows), n_features), dtype=bool)
    for i, row in enumerate(rows):
        defined[i, row.features] = True
    return LocalityCorrelations(
        defined=defined,
        n_defined_pairs=np.array([row.n_tests for row in rows], dtype=np.int64),
        n_kept_pairs=n_kept,
        C=_stack(rows, n_pairs(n_features)) if sink is None else sink.matrix(),
    )


def _index_type(largest: int) -> type[np.int32 | np.int64]:
    return np.int32 if largest <= np.iinfo(np.int32).max else np.int64


def _stack(rows: list[_Row], n_columns: int) -> sparse.csr_matrix:
    """Rows to one matrix; each is let go of once it is copied, so that no more than one copy is held."""
    counts = [len(row.columns) for row in rows]
    indptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    dtype = _index_type(max(n_columns, int(indptr[-1])))
    indices, values = np.empty(indptr[-1], dtype=dtype), np.empty(indptr[-1], dtype=np.float32)
    for i in reversed(range(len(rows))):
        row = rows.pop()
        indices[indptr[i] : indptr[i + 1]] = row.columns
        values[indptr[i] : indptr[i + 1]] = row.rho
    return sparse.csr_matrix((values, indices, indptr.astype(dtype)), shape=(len(counts), n_columns))
