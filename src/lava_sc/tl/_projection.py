"""A reference's modules and the correlations they are held against, over the genes that both objects have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from lava_sc.core.correlation.fdr import adjusted_pvalues
from lava_sc.core.correlation.pairs import pair_features
from lava_sc.core.correlation.relabel import relabelled
from lava_sc.core.factorise.amf.run import Run
from lava_sc.core.interpret.preservation import (
    explained_by_exchanged,
    likeness,
    pattern_cosines,
    project,
    strongest_pairs,
)
from lava_sc.core.interpret.summary import PRESENT_ABOVE, co_presence, gene_weights, presences_of_cells
from lava_sc.core.nulls.exchanged_genes import detection_stats, exchanges, permutation_test, ranked_by_level
from lava_sc.stored import inputs
from lava_sc.stored.fields import has, load, load_params
from lava_sc.stored.runs import of_all_genes, options_of_amf, table_of_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from lava_sc._types import BoolArray, FloatArray, IntArray
    from lava_sc.core.factorise.amf.fit import FitOptions
    from lava_sc.core.interpret.preservation import Likeness, Projected
    from lava_sc.core.nulls.exchanged_genes import DetectionStats
    from lava_sc.stored.common_genes import CommonGenes
    from lava_sc.stored.fields import Fields

_TAKES_PART: Final = 0.05  # of the largest weight (paper, B.9.2)
_LEVEL: Final = 0.05
_N_REFITTED: Final = 20  # exchanges for which presences are fitted, too


@dataclass(frozen=True)
class Reference:
    """Results of the reference, read before anything is written: it may be the same object.

    Attributes
    ----------
    genes, C, modules
        Its correlated genes, their correlations and the modules.
    correlated, factorised
        Arguments of :func:`lava_sc.tl.locality_corr` and :func:`lava_sc.tl.amf`.
    options
        Of the fit.
    listed
        Arguments of :func:`lava_sc.tl.module_genes`, ``None`` if it was not called.
    names
        Names of the modules and the arguments with which they were given, if they were.
    """

    genes: NDArray[np.object_]
    C: sparse.csr_matrix
    modules: sparse.csr_matrix
    correlated: dict[str, Any]
    factorised: dict[str, Any]
    options: FitOptions
    listed: dict[str, Any] | None
    names: tuple[NDArray[np.object_], dict[str, Any]] | None

    @classmethod
    def of(cls, reference: AnnData, key: str, *, nu: float | None) -> Reference:
        """Read those of an object with modules; ``nu`` takes the place of its own.

        Raises
        ------
        ValueError
            If it has none.
        """
        if not has(reference, key, "modules"):
            msg = (
                f"Found no modules under key {key!r} in the reference, expected the result of lava_sc.tl.amf; call it on the "
                f"reference first, or pass reference_key=."
            )
            raise ValueError(msg)
        factorised = load_params(reference, key, "amf")
        options = options_of_amf(reference, key, factorised)
        names = None
        if has(reference, key, "module_names"):
            labels = np.array(load(reference, key, "module_names"), dtype=object)
            names = labels, load_params(reference, key, "name_modules")
        return cls(
            genes=np.asarray(load(reference, key, "genes"), dtype=object),
            C=load(reference, key, "C"),
            modules=load(reference, key, "modules"),
            correlated=load_params(reference, key, "locality_corr"),
            factorised=factorised,
            options=options if nu is None else replace(options, nu=nu),
            listed=load_params(reference, key, "module_genes") if has(reference, key, "module_genes") else None,
            names=names,
        )


@dataclass(frozen=True)
class Projection:
    """Modules and the correlations they are projected onto. All that is random depends on the genes' names, in whose order they are.

    Attributes
    ----------
    reference
        Where modules come from.
    C, C_reference
        (ℓ, J) correlations of the k matched genes, and the same in the reference's localities.
    matched
        (M, J) modules over the pairs of the matched genes.
    stored_at
        (k,) place of each matched gene among those that are stored, which are in the order of ``adata.var_names``.
    named
        (D₀,) place of each of the reference's genes among the matched ones, −1 where it has none.
    defined
        (ℓ, k) where a matched gene can be correlated.
    levels
        How well it is measured.
    n_jobs
        Number of threads; changes no number.
    """

    reference: Reference
    C: sparse.csr_matrix
    C_reference: sparse.csr_matrix
    matched: sparse.csr_matrix
    stored_at: IntArray
    named: IntArray
    defined: BoolArray
    levels: DetectionStats
    n_jobs: int | None

    @classmethod
    def of(
        cls, adata: AnnData, key: str, reference: Reference, common: CommonGenes, n_jobs: int | None, **where: Any
    ) -> Projection:
        """Project onto an object in which the matched genes have been correlated.

        Raises
        ------
        ValueError
            If no module has a pair of matched genes.
        """
        n = len(common.here)
        stored_at = np.searchsorted(np.sort(common.here), common.here)
        named = np.full(len(reference.genes), -1)
        named[common.there] = np.arange(n)
        matched = relabelled(reference.modules, named, n)
        if matched.nnz == 0:
            msg = (
                f"Found {n} genes of the reference in adata, and no two of them in one module, expected pairs that modules are "
                f"made of; match more genes, or take a reference with more of them."
            )
            raise ValueError(msg)
        source = inputs.source(adata, common.mask(adata), **where)
        return cls(
            reference=reference,
            C=relabelled(load(adata, key, "C"), np.argsort(stored_at), n),
            C_reference=relabelled(reference.C, named, n),
            matched=matched,
            stored_at=stored_at,
            named=named,
            defined=np.asarray(load(adata, key, "defined"))[:, stored_at],
            levels=detection_stats(source, inputs.locality_members(adata, key)).take(stored_at),
            n_jobs=n_jobs,
        )

    @property
    def n_genes(self) -> int:
        """Number of matched genes, k."""
        return len(self.stored_at)

    @cached_property
    def modules(self) -> sparse.csr_matrix:
        """(M, J) modules over the pairs of the matched genes, each scaled to a largest value of 1."""
        peaks = self.matched.max(axis=1).toarray().ravel()
        scales = np.repeat(np.where(peaks > 0, peaks, 1), np.diff(self.matched.indptr))
        parts = self.matched.data / scales, self.matched.indices, self.matched.indptr
        return sparse.csr_matrix(parts, shape=self.matched.shape)

    def found(self, seed: int) -> Projected:
        """The modules in ``adata``."""
        return self._project(self.C, seed)

    def _project(self, C: sparse.csr_matrix, seed: int) -> Projected:
        options = self.reference.options
        return project(C, self.modules, seed=seed, nu=options.nu, gamma=options.gamma, n_jobs=self.n_jobs)

    def as_amf(self, adata: AnnData, key: str, found: Projected, seed: int) -> tuple[Fields, dict[str, Any]]:
        """Fields that :func:`lava_sc.tl.amf` would store, and its arguments."""
        P, stored = found.presences, relabelled(self.modules, self.stored_at, self.n_genes)
        run = Run(seed, P, None, P.shape[1], found.quality, co_presence(P), 0, converged=True, seconds=found.seconds)
        weights = gene_weights(stored, self.n_genes)
        fields: Fields = {
            "modules": stored,
            "presences": P,
            "runs": table_of_runs([run]).assign(best=True),
            "cell_presences": presences_of_cells(load(adata, key, "localities"), P),
            "gene_weights": of_all_genes(adata, load(adata, key, "genes"), weights),
        }
        arguments = {
            "n_modules": P.shape[1],
            "init": str(self.reference.factorised["init"]),
            "min_localities": 1,
            "nu": self.reference.options.nu,
            "gamma": self.reference.options.gamma,
            "projected": True,
        }
        return fields, arguments

    def preservation(self, found: Projected, n: int, seeds: Sequence[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The tables of :func:`lava_sc.tl.project`, of modules and of localities, from ``n`` exchanges.

        Of the seeds, the first is that of fits, the second that of the exchanges.
        """
        rng, names = np.random.default_rng(seeds[1]), np.arange(self.n_genes)
        labels = exchanges(ranked_by_level(self.defined, self.levels, names), n, rng)
        strongest = strongest_pairs(self.modules)
        alike = likeness(self.C, self.defined, self.levels, strongest, labels, n_jobs=self.n_jobs)
        options, some = self.reference.options, labels[1 : 1 + _N_REFITTED]
        refitted = explained_by_exchanged(
            self.C, self.modules, some, seed=seeds[0], nu=options.nu, gamma=options.gamma, n_jobs=self.n_jobs
        )
        none = np.diff(self.modules.indptr) == 0
        pattern, totals = (np.where(none, np.nan, figures) for figures in (alike.pattern, alike.totals))
        localities = _table_of_localities(alike, none)
        expected = self._project(self.C_reference, seeds[0])
        z, pvalues = permutation_test(totals)
        columns = self._matched() | {
            "n_present": (found.presences > PRESENT_ABOVE).sum(axis=0),
            "explained": found.explained,
            "explained_reference": expected.explained,
            "explained_null": refitted.mean(axis=0),
            "cosine": pattern[0],
            "cosine_reference": np.where(none, np.nan, pattern_cosines(self.C_reference, strongest)),
            "cosine_null": pattern[1:].mean(axis=0),
            "n_alike": [(localities.loc[localities["module"] == m, "p_adj"] <= _LEVEL).sum() for m in range(len(none))],
            "z": z,
            "p_value": pvalues,
            "p_adj": adjusted_pvalues(pvalues),
        }
        index = pd.Index([str(m) for m in range(len(none))], name="module")
        return pd.DataFrame(columns, index=index), localities

    def _matched(self) -> dict[str, FloatArray | IntArray]:
        """Share of each module that can be found here."""
        n_features = len(self.named)
        weights = gene_weights(self.reference.modules, n_features)
        parts = (weights > 0) & (weights >= _TAKES_PART * weights.max(axis=0))
        whole, matched = (
            np.asarray(M.sum(axis=1, dtype=np.float64)).ravel() for M in (self.reference.modules, self.matched)
        )
        whole = np.where(whole > 0, whole, np.nan)
        somewhere = self.defined.astype(np.float32)
        together = (somewhere.T @ somewhere) > 0
        pairs = self.matched.tocoo()
        there = together[pair_features(pairs.col, self.n_genes)]
        defined = np.bincount(pairs.row, weights=pairs.data * there, minlength=len(whole))
        return {
            "n_genes": parts.sum(axis=0),
            "n_matched": parts[self.named >= 0].sum(axis=0),
            "weight_matched": matched / whole,
            "weight_defined": defined / whole,
        }


def _table_of_localities(alike: Likeness, none: BoolArray) -> pd.DataFrame:
    """A row for each module that can be found and each locality."""
    _, pvalues = permutation_test(alike.excess)
    parts = [
        pd.DataFrame(
            {
                "module": m,
                "locality": np.arange(len(pvalues)),
                "cosine": alike.cosines[0, :, m],
                "p_value": pvalues[:, m],
                "p_adj": adjusted_pvalues(pvalues[:, m]),
            }
        )
        for m in np.flatnonzero(~none)
    ]
    table = pd.concat(parts, ignore_index=True)
    table.index = table.index.astype(str)
    return table
