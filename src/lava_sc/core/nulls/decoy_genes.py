"""Genes that a module's list would hold by chance: decoys, shuffled copies of the genes that take part in the fit.

A copy has its gene's values, ties and dependence on depth, but nothing to share with others (see
:mod:`lava_sc.core.nulls.shuffled_genes`). A gene that is no part of a module gets into it no easier than its
copy does, so the copies on the list count the genes that are there by chance (as decoys do in proteomics, Elias & Gygi 2007).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from lava_sc.core.correlation.pairs import n_pairs, pair_features, pair_index
from lava_sc.core.factorise.factorisations import complete_runs
from lava_sc.core.factorise.problem import make_problem, over_all_pairs
from lava_sc.core.interpret.similarity import cosines
from lava_sc.core.interpret.summary import gene_weights

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.factorise.protocol import RunPlan
    from lava_sc.core.nulls.null_data import NullData


def weights_with_decoys(
    null: NullData, modules: sparse.csr_matrix, plan: RunPlan, *, n_runs: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Weights of genes and of their copies in modules that are fitted to both, (D, M) each.

    Parameters
    ----------
    null
        Where copies come from.
    modules
        (M, D(D−1)/2) modules of the genes alone: those of the fit are matched to them by their cosine over the genes' pairs.
        A module that has no match has weights 0.
    plan, n_runs
        How to fit; the best run counts.
    seed
        Of the copies and of the fit.
    """
    n_features, n_modules = null.source.shape[1], modules.shape[0]
    problem = make_problem(null.correlations(seed, "decoy_genes"))
    found = complete_runs(problem, n_modules, np.random.default_rng(seed), plan, n_runs)
    fitted = over_all_pairs(found.factors[1], problem)
    of_genes, matched = np.zeros((2 * n_features, n_modules)), _matched(modules, fitted, n_features)
    of_genes[:, matched[0]] = gene_weights(fitted, 2 * n_features)[:, matched[1]]
    return of_genes[:n_features], of_genes[n_features:]


def _matched(modules: sparse.csr_matrix, fitted: sparse.csr_matrix, n_features: int) -> tuple[IntArray, IntArray]:
    """Modules and their partners in a fit with copies, by cosine over the pairs of genes."""
    entries = fitted.tocoo()
    a, b = pair_features(entries.col, 2 * n_features)
    genes = b < n_features
    columns = pair_index(a[genes], b[genes], n_features)
    shape = fitted.shape[0], n_pairs(n_features)
    of_genes = sparse.csr_matrix((entries.data[genes], (entries.row[genes], columns)), shape=shape)
    between = cosines(modules, of_genes)
    rows, found = linear_sum_assignment(-between)
    shared = between[rows, found] > 0
    return rows[shared], found[shared]


def false_discoveries(weights: FloatArray, decoys: FloatArray) -> FloatArray:
    """Share of genes by chance among those that weigh as much as each gene or more, (D,): its q-value; 1 for weight 0.

    Parameters
    ----------
    weights, decoys
        (D,) weights in a module, of the genes and of their copies.
    """
    order = np.argsort(-weights, kind="stable")
    n_genes, n_decoys = (len(some) - np.searchsorted(np.sort(some), weights[order]) for some in (weights, decoys))
    share = np.minimum(n_decoys / n_genes, 1.0)
    q = np.empty(len(weights))
    q[order] = np.minimum.accumulate(share[::-1])[::-1]
    return np.where(weights > 0, q, 1.0)
