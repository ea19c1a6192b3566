"""Numbering of pairs against numpy.triu_indices and whole-number arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_sc.core.correlation.pairs import n_pairs, pair_features, pair_index


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 17, 100])
def test_order_is_that_of_triu_indices(n_features: int) -> None:
    a, b = np.triu_indices(n_features, 1)
    columns = np.arange(len(a))
    assert n_pairs(n_features) == len(a) == math.comb(n_features, 2)
    np.testing.assert_array_equal(pair_index(a, b, n_features), columns)
    np.testing.assert_array_equal(pair_features(columns, n_features), (a, b))


@given(data=st.data())
def test_there_and_back_at_any_size(data: st.DataObject) -> None:
    n_features = data.draw(st.integers(2, 1_000_000))
    b = data.draw(st.integers(1, n_features - 1))
    a = data.draw(st.integers(0, b - 1))
    before = (
        sum(n_features - 1 - row for row in (0, a - 1)) * a // 2 if a else 0
    )  # pairs of the rows above, as a series
    column = pair_index(np.array([a]), np.array([b]), n_features)
    assert column[0] == before + b - a - 1
    assert [int(f[0]) for f in pair_features(column, n_features)] == [a, b]


def test_32_bit_indices_do_not_overflow() -> None:
    a, b = np.array([99_998], dtype=np.int32), np.array([99_999], dtype=np.int32)
    column = pair_index(a, b, 100_000)
    assert column[0] == math.comb(100_000, 2) - 1
    assert [int(f[0]) for f in pair_features(column, 100_000)] == [99_998, 99_999]


def test_pairs_in_any_order_and_none() -> None:
    columns = np.array([4, 0, 9, 4])
    a, b = np.triu_indices(5, 1)
    np.testing.assert_array_equal(pair_features(columns, 5), (a[columns], b[columns]))
    assert all(len(f) == 0 for f in pair_features(np.array([], dtype=np.int32), 5))
