"""The choice of a number of modules, on curves that were made up: by other samples, and at the elbow of the loss."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from lava_sc.core.n_modules.rule import Curve, beyond_chance, choose

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
        "most_alike": np.full(len(loss), 0.3),
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
        "most_alike": np.array([np.nan, *[0.3] * 9]),
    }
    loss = 0.05 - 0.004 * np.arange(10)
    shares = {name: np.full(10, 0.9) for name in ("explained", "strongest")} | {"null_best": np.full(10, 0.01)}
    assert choose(curve(loss, **numbers, **shares)).n_modules == 1
    choice = choose(curve(loss, **numbers, **shares, fewest=2))
    assert (choice.n_modules, choice.clear) == (2, False)


def test_one_module_and_one_number() -> None:
    one = {
        "n_modules": np.array([1]),
        "silhouette": np.array([np.nan]),
        "n_beyond": np.array([1]),
        "most_alike": np.array([np.nan]),
    }
    short = one | {"explained": np.array([0.9]), "strongest": np.array([0.9]), "null_best": np.array([0.01])}
    choice = choose(curve([0.1], **short))
    assert (choice.n_modules, choice.clear) == (1, False)


def test_beyond_chance() -> None:
    np.testing.assert_array_equal(beyond_chance(np.array([0.0, 0.1, 0.2, 0.21]), 0.1), [False, False, False, True])
    np.testing.assert_array_equal(beyond_chance(np.array([0.0, 0.001]), 0.0), [False, True])


def others(means: Any, spread: float = 0.01, seed: int = 0) -> np.ndarray:
    """Five splits that differ by far more than numbers do within them; differences to the mean have a given spread."""
    means = np.asarray(means, dtype=float)
    noise = np.random.default_rng(seed).normal(size=(5, len(means)))
    noise -= noise.mean(axis=0)
    return means + spread * noise + np.linspace(-0.1, 0.1, 5)[:, None]


def replicated(means: Any, **changed: Any) -> Curve:
    """The loss bends at 3, whatever other samples say."""
    given = {"other_samples": others(means), "other_samples_null": np.full((3, 9), 0.01), "n_replicated": NUMBERS}
    return curve(elbow_at(3), **(given | changed))


def rising_to(n: int, behind: float = 0.02) -> np.ndarray:
    return np.where(n >= NUMBERS, 0.6 * NUMBERS / n, 0.6 - behind)


@pytest.mark.parametrize("n", range(2, 10))
def test_best_in_other_samples(n: int) -> None:
    choice = choose(replicated(rising_to(n)))
    assert (choice.n_modules, choice.clear, choice.elbow) == (n, True, 3)
    assert f"{n} modules reconstruct cells that were left out with a cosine of 0.6" in choice.reason
    assert f"all {n} explain there more than 2 times" in choice.reason


def test_the_smallest_within_a_standard_error() -> None:
    """From 5 modules on the curve is level but for chance; 4 are worse by many standard errors."""
    means = np.where(NUMBERS < 5, 0.1 * NUMBERS, 0.5 + 0.0005 * NUMBERS)
    choice = choose(replicated(means, other_samples=others(means, spread=0.03)))
    assert (choice.n_modules, choice.clear) == (5, True)


def test_next_to_no_gain_does_not_count_where_splits_agree_by_chance() -> None:
    """Two splits may well differ alike from number to number, so that a standard error is 0."""
    means = np.where(NUMBERS < 5, 0.1 * NUMBERS, 0.5 + 0.0005 * NUMBERS)
    choice = choose(replicated(means, other_samples=np.vstack([means, means + 0.1])))
    assert (choice.n_modules, choice.clear) == (5, True)


def test_a_smaller_number_that_is_nearly_as_good() -> None:
    means = np.where(NUMBERS < 6, 0.5, 0.516)
    choice = choose(replicated(means, other_samples=others(means, seed=1)))
    assert (choice.n_modules, choice.clear) == (6, False)
    assert re.search(r"Unclear: [2-5] modules reconstruct cells that were left out nearly as well", choice.reason)


def test_better_with_every_number() -> None:
    choice = choose(replicated(0.06 * NUMBERS))
    assert (choice.n_modules, choice.clear) == (10, False)
    assert "still reconstructed better with the largest number" in choice.reason


def slowly_to(last: float) -> np.ndarray:
    """A curve that rises by less than counts with each of the last numbers: 9 is within 1 % of the best."""
    return np.append(np.linspace(0.4, 0.5, 8), last)


def test_too_few_larger_numbers_to_see_an_end() -> None:
    """9 is chosen of 2 to 10, and 10 is better by too little to count: more might go on so."""
    choice = choose(replicated(slowly_to(0.503), other_samples=others(slowly_to(0.503), spread=0.001)))
    assert (choice.n_modules, choice.clear) == (9, False)
    assert "no number above 10 was tried, where cells that were left out are reconstructed no worse" in choice.reason


@pytest.mark.parametrize(
    "end",
    [
        {"other_samples": others(slowly_to(0.48), spread=0.001)},
        {"n_replicated": np.minimum(NUMBERS, 9)},
        {"most_alike": np.where(NUMBERS == 10, 0.9, 0.3)},
    ],
    ids=["worse", "chance", "copies"],
)
def test_the_largest_number_shows_the_end(end: dict[str, Any]) -> None:
    level = {"other_samples": others(slowly_to(0.503), spread=0.001)}
    choice = choose(replicated(slowly_to(0.503), **(level | end)))
    assert (choice.n_modules, choice.clear) == (9, True)


def test_near_copies_are_not_counted() -> None:
    """Other samples are reconstructed a little better when modules come twice."""
    alike = np.where(NUMBERS > 5, 0.95, 0.2)
    choice = choose(replicated(rising_to(5, behind=-0.05), most_alike=alike))
    assert (choice.n_modules, choice.clear) == (5, True)
    assert "no larger number without near copies among its modules does better" in choice.reason
    assert choose(replicated(rising_to(5, behind=-0.05))).n_modules > 5


def test_copies_with_every_number() -> None:
    choice = choose(replicated(rising_to(5), most_alike=np.full(9, 0.9)))
    assert (choice.n_modules, choice.clear) == (2, False)
    assert "two of the modules are near copies (cosine 0.90)" in choice.reason


def test_modules_that_do_not_recur() -> None:
    """Five are best, but one of them is chance: four are sure."""
    choice = choose(replicated(rising_to(5), n_replicated=np.minimum(NUMBERS, 4)))
    assert (choice.n_modules, choice.clear) == (4, False)
    assert "5 modules reconstruct cells that were left out better, but only 4 of them exceed" in choice.reason
    assert "all 4 explain there" in choice.reason


def test_modules_by_chance_that_make_nothing_better() -> None:
    choice = choose(replicated(rising_to(5, behind=0), n_replicated=np.minimum(NUMBERS, 5)))
    assert (choice.n_modules, choice.clear) == (5, True)


def test_no_number_all_of_whose_modules_recur() -> None:
    choice = choose(replicated(rising_to(5), n_replicated=np.minimum(NUMBERS - 1, 4)))
    assert (choice.n_modules, choice.clear) == (5, False)
    assert "not all modules exceed chance" in choice.reason
    assert "4 of 5 explain there" in choice.reason


@pytest.mark.parametrize(("means", "null"), [(np.zeros(9), 0.01), (rising_to(5) / 40, 0.01), (rising_to(5) / 100, 0.0)])
def test_other_samples_that_tell_nothing(means: np.ndarray, null: float) -> None:
    """No better than twice the null, or next to nothing: the elbow decides, and is not clear."""
    choice = choose(replicated(means, other_samples=np.tile(means, (5, 1)), other_samples_null=np.full((3, 9), null)))
    assert (choice.n_modules, choice.clear, choice.elbow) == (3, False, 3)
    assert "half of the cells hold too few correlations to tell; 3 is where it bends most" in choice.reason


def test_nothing_beyond_chance_whatever_other_samples_say() -> None:
    choice = choose(replicated(rising_to(5), n_beyond=np.zeros(9, dtype=int)))
    assert (choice.n_modules, choice.clear) == (0, True)


def test_few_splits_know_their_standard_error_badly() -> None:
    """A gain of 1.5 standard errors counts with twenty splits, and not with two, for which Student's t asks for 1.84."""

    def chosen(n_splits: int) -> int:
        means = np.repeat([np.where(NUMBERS < 5, 0.1 * NUMBERS, 0.5)], n_splits, axis=0)
        deviations = np.resize([0.02, -0.02], n_splits)
        means[:, NUMBERS == 5] -= (1.5 * deviations.std(ddof=1) / np.sqrt(n_splits) + deviations)[:, None]
        return choose(replicated(means[0], other_samples=means)).n_modules

    assert chosen(20) == 6
    assert chosen(2) == 5


def test_a_single_split() -> None:
    assert choose(replicated(rising_to(4), other_samples=rising_to(4)[None])).n_modules == 4
