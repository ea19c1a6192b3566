"""The choice of a number of modules, on curves that were made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lava_sc.core.number import Curve, beyond_chance, choose

NUMBERS = np.arange(2, 11)


def curve(loss: Any, **changed: Any) -> Curve:
    loss = np.asarray(loss, dtype=float)
    given = {
        "n_modules": NUMBERS,
        "loss": loss,
        "loss_of_none": 1.0,
        "silhouette": np.full(len(loss), 0.9),
        "n_beyond": NUMBERS,
        "explained": np.full(len(loss), 0.6),
        "strongest": np.full(len(loss), 0.3),
        "null_best": np.full(len(loss), 0.01),
    }
    return Curve(**(given | changed))


def elbow_at(n: int, rest: float = 0.01, further: float = 0.001) -> np.ndarray:
    """Falls evenly to ``rest`` at n modules, and slowly behind."""
    return np.where(n >= NUMBERS, 1 - (1 - rest) * NUMBERS / n, rest - further * (NUMBERS - n))


@pytest.mark.parametrize("n", range(2, 10))
def test_elbow(n: int) -> None:
    choice = choose(curve(elbow_at(n)))
    assert (choice.n_modules, choice.clear) == (n, True)
    assert choice.reason.startswith(f"{n}: ")


def test_no_sharp_bend() -> None:
    choice = choose(curve(0.8**NUMBERS))
    assert not choice.clear
    assert choice.n_modules in (4, 5, 6)
    assert "without a sharp bend" in choice.reason
    assert f"{choice.n_modules} is" in choice.reason


def test_stability_decides_near_the_elbow() -> None:
    silhouettes = np.full(9, 0.6)
    for stable in (4, 5):
        silhouettes[:] = 0.6
        silhouettes[stable - 2] = 0.95
        assert choose(curve(0.8**NUMBERS, silhouette=silhouettes)).n_modules == stable


def test_runs_that_disagree() -> None:
    choice = choose(curve(elbow_at(5), silhouette=np.full(9, 0.3)))
    assert (choice.n_modules, choice.clear) == (5, False)
    assert "silhouette 0.30" in choice.reason


def test_more_modules_that_explain_much_more() -> None:
    choice = choose(curve(elbow_at(3), explained=np.linspace(0.2, 0.8, 9)))
    assert (choice.n_modules, choice.clear) == (3, False)
    assert "10 modules explain 0.8 of the squared correlations, 3 only 0.28" in choice.reason


def test_the_largest_number_that_was_tried() -> None:
    choice = choose(curve(1 - NUMBERS / 10.5))
    assert (choice.n_modules, choice.clear) == (10, False)
    assert "still falls" in choice.reason


def test_nothing_beyond_chance() -> None:
    choice = choose(curve(elbow_at(4), n_beyond=np.zeros(9, dtype=int), strongest=np.full(9, 0.015)))
    assert (choice.n_modules, choice.clear) == (0, True)
    assert choice.reason.startswith("0: ")
    assert "0.015" in choice.reason


def test_modules_by_chance_make_it_unclear() -> None:
    """The loss bends at 6, but two of these modules are no better than chance."""
    choice = choose(curve(elbow_at(6), n_beyond=np.minimum(NUMBERS, 4)))
    assert (choice.n_modules, choice.clear) == (6, False)
    assert "4 of 6 explain more" in choice.reason


def test_the_number_before_the_smallest_is_not_chosen() -> None:
    """A single module explains all but little: of 2 to 10 none is clear, although 2 is the deepest."""
    numbers = {
        "n_modules": np.arange(1, 11),
        "n_beyond": np.arange(1, 11),
        "silhouette": np.array([np.nan, *[0.9] * 9]),
    }
    loss = 0.05 - 0.004 * np.arange(10)
    shares = {name: np.full(10, 0.9) for name in ("explained", "strongest")} | {"null_best": np.full(10, 0.01)}
    assert choose(curve(loss, **numbers, **shares)).n_modules == 1
    choice = choose(curve(loss, **numbers, **shares, fewest=2))
    assert (choice.n_modules, choice.clear) == (2, False)


def test_one_module_and_one_number() -> None:
    one = {"n_modules": np.array([1]), "silhouette": np.array([np.nan]), "n_beyond": np.array([1])}
    short = one | {"explained": np.array([0.9]), "strongest": np.array([0.9]), "null_best": np.array([0.01])}
    choice = choose(curve([0.1], **short))
    assert (choice.n_modules, choice.clear) == (1, False)


def test_beyond_chance() -> None:
    np.testing.assert_array_equal(beyond_chance(np.array([0.0, 0.1, 0.2, 0.21]), 0.1), [False, False, False, True])
    np.testing.assert_array_equal(beyond_chance(np.array([0.0, 0.001]), 0.0), [False, True])
