"""The bound of the incomplete beta function against scipy's; what the tails are for is tested with the p-values."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special

from lava_sc.core.correlation.pearson_tails import beta_density, bounded_beta_tail


def bound(a: object, b: object, x: object) -> np.ndarray:
    a, b, x = (np.atleast_1d(np.asarray(value, dtype=float)) for value in (a, b, x))
    return bounded_beta_tail(a, b, x, beta_density(a, b, x, special.betaln(a, b)))


@example(a=1.0, b=1.0, x=1 - 2**-53)
@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6), st.floats(0, 1))
def test_the_bound_is_an_upper_bound(a: float, b: float, x: float) -> None:
    found = bound(a, b, x)[0]
    assert special.betainc(a, b, x) <= found <= 1


def test_the_bound_is_close_in_the_far_tail() -> None:
    a, b = np.meshgrid([0.5, 5.0, 50.0, 500.0], [0.5, 5.0, 50.0, 500.0])
    x = special.betaincinv(a, b, 1e-12)
    np.testing.assert_allclose(bound(a, b, x), 1e-12, rtol=0.1)
