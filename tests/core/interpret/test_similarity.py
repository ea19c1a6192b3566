from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

from lava_sc.core.interpret.similarity import cosines_with, pairs_within


def correlations(n_genes: int = 9) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = 12, n_genes * (n_genes - 1) // 2
    C = rng.uniform(-1, 1, shape) * (rng.random(shape) < 0.3)
    C[4] = 0
    return C.astype(np.float32)


@pytest.mark.parametrize("genes", [[0, 1], [7, 2, 2, 5], list(range(9))])
def test_pairs_within_some_genes(genes: list[int]) -> None:
    numbers = {pair: column for column, pair in enumerate(combinations(range(9), 2))}
    expected = sorted(numbers[pair] for pair in combinations(sorted(set(genes)), 2))
    assert pairs_within(np.array(genes), 9).tolist() == expected


@pytest.mark.parametrize("genes", [None, [0, 2, 3, 5, 8]])
@pytest.mark.parametrize("locality", [0, 11])
def test_cosines_are_those_of_scikit_learn(locality: int, genes: list[int] | None) -> None:
    C = correlations()
    pairs = None if genes is None else pairs_within(np.array(genes), 9)
    part = np.abs(C if pairs is None else C[:, pairs]).astype(np.float64)
    found = cosines_with(sparse.csr_matrix(C), locality, pairs)
    some = part.any(axis=1)
    assert found.shape == (12,)
    assert not some[4]
    np.testing.assert_array_equal(np.isnan(found), ~some)
    np.testing.assert_allclose(found[some], cosine_similarity(part[[locality]], part[some])[0], atol=1e-6)
    assert found[locality] == pytest.approx(1)


def test_signs_do_not_count_and_are_kept() -> None:
    C = correlations()
    signed = sparse.csr_matrix(C)
    np.testing.assert_array_equal(cosines_with(signed, 0), cosines_with(sparse.csr_matrix(np.abs(C)), 0))
    np.testing.assert_array_equal(signed.toarray(), C)


def test_a_locality_without_correlations_is_like_none() -> None:
    assert np.isnan(cosines_with(sparse.csr_matrix(correlations()), 4)).all()
