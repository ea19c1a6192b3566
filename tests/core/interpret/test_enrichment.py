"""Over-representation against scipy's exact test and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests

from lava_sc.core.interpret.enrichment import overrepresentation

GENES = [f"g{i}" for i in range(200)]


def sets(rng: np.random.Generator, n_sets: int) -> dict[str, set[str]]:
    """Sets of 1 to 60 genes; a fifth of the genes are not in the background."""
    names = GENES + [f"other{i}" for i in range(50)]
    return {f"s{k}": set(rng.choice(names, rng.integers(1, 60), replace=False).tolist()) for k in range(n_sets)}


@pytest.mark.parametrize("n_query", [0, 1, 30, 200])
def test_against_fisher_and_benjamini_hochberg(n_query: int) -> None:
    rng = np.random.default_rng(n_query)
    background, gene_sets = set(GENES), sets(rng, 25)
    query = set(rng.choice(GENES, n_query, replace=False).tolist())
    gene_sets["enriched"] = set(sorted(query)[: n_query // 2]) | set(GENES[:3])
    gene_sets["outside"] = {"other1", "other2"}
    found = overrepresentation(query | {"other1", "nowhere"}, gene_sets, background)
    assert found.names == [name for name in gene_sets if name != "outside"]
    for k, name in enumerate(found.names):
        genes = gene_sets[name] & background
        both = len(query & genes)
        table = [[both, len(query) - both], [len(genes) - both, 200 - len(genes) - len(query) + both]]
        assert found.pvalues[k] == pytest.approx(fisher_exact(table, alternative="greater").pvalue, rel=1e-9)
        assert found.hits[k] == sorted(query & genes)
        assert found.set_sizes[k] == len(genes)
        assert found.expected[k] == pytest.approx(len(genes) * len(query) / 200)
    np.testing.assert_allclose(found.adjusted, multipletests(found.pvalues, method="fdr_bh")[1], rtol=1e-12)
    if n_query == 30:
        assert found.adjusted[found.names.index("enriched")] < 0.01


def test_random_queries_are_rarely_significant() -> None:
    """Hypergeometric p-values are discrete, so at most 5 % of random queries may pass 0.05 in one set."""
    rng = np.random.default_rng(0)
    gene_sets = {"s": set(GENES[:40])}
    passing = sum(
        overrepresentation(set(rng.choice(GENES, 30, replace=False).tolist()), gene_sets, set(GENES)).pvalues[0] < 0.05
        for _ in range(600)
    )
    assert passing <= 45  # the 99.8 % quantile of 600 draws at 5 %


def test_small_sets_are_not_tested() -> None:
    gene_sets = {"two": {"g1", "g2"}, "three": {"g1", "g2", "g3"}, "two here": {"g4", "g5", "other1"}}
    found = overrepresentation({"g1"}, gene_sets, set(GENES), min_size=3)
    assert found.names == ["three"]
    assert found.adjusted == pytest.approx(found.pvalues)


def test_nothing_to_test() -> None:
    found = overrepresentation({"g1"}, {"s": {"other1"}}, set(GENES))
    assert found.names == []
    assert found.pvalues.shape == found.adjusted.shape == (0,)
    assert overrepresentation(set(), {}, set()).names == []
