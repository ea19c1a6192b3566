"""Which number of modules to take: the elbow of the loss, resolved by stability, as far as modules exceed chance.

The loss is known without any module as well, so the curve begins at 0 modules. Its elbow is where it lies deepest below the
line from there to its end (Satopää et al. 2011). Where true modules are apart the loss falls evenly with each of them and
hardly with any further one; where there is no such place the choice is unclear, and said to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from lava_sc._types import BoolArray, FloatArray, IntArray

#: A module exceeds chance when it explains so many times what the best module of any null data set does.
TIMES_THE_NULL: Final = 2.0
_NO_BEND: Final = 0.05  # of the loss without modules: as deep below the line no point has to lie
_AS_DEEP: Final = 0.95  # of the deepest point below the line: there stability decides
_SHARP: Final = 3.0  # times as steep before a clear elbow as behind it
_NEARLY_ALL: Final = 0.8  # of what the largest number explains
_STABLE: Final = 0.5  # silhouette from which clusters are taken to be there (Kaufman & Rousseeuw 1990)


@dataclass(frozen=True)
class Curve:
    """What was found with every number of modules; all (k,), in the order of rising numbers.

    Attributes
    ----------
    n_modules
        Numbers that were tried, at least 1.
    loss
        Of the best run.
    loss_of_none
        Without any module.
    silhouette
        Of all runs' modules; NaN where it is not defined.
    n_beyond
        Modules of the best run that exceed chance.
    fewest
        Smallest number that may be chosen; the one before it only shows how the loss bends there.
    explained
        What all its modules explain together, as a share of Σ C².
    strongest, null_best
        What its strongest module explains, and the strongest of all null data sets, as shares of Σ C².
    """

    n_modules: IntArray
    loss: FloatArray
    loss_of_none: float
    silhouette: FloatArray
    n_beyond: IntArray
    explained: FloatArray
    strongest: FloatArray
    null_best: FloatArray
    fewest: int = 1


@dataclass(frozen=True)
class Choice:
    """A number of modules.

    Attributes
    ----------
    n_modules
        0 when none exceeds chance.
    clear
        Whether the data speak for this number, rather than for one in a range.
    reason
        One sentence.
    """

    n_modules: int
    clear: bool
    reason: str


def elbow(curve: Curve) -> IntArray:
    """Positions of the numbers near the elbow, the one to take first."""
    depth = np.where(curve.n_modules >= curve.fewest, _below_line(curve), -np.inf)
    if depth.max() <= _NO_BEND * curve.loss_of_none:
        return np.array([len(depth) - 1])
    near = np.flatnonzero(depth >= _AS_DEEP * depth.max())
    return near[np.argsort(-np.nan_to_num(curve.silhouette[near], nan=-1.0), kind="stable")]


def choose(curve: Curve) -> Choice:
    """The number at the elbow, or 0 if none of its modules exceeds chance."""
    near = elbow(curve)
    at = int(near[0])
    if curve.n_beyond[at] == 0:
        return _none(curve, at)
    return _clear(curve, at) if _is_clear(curve, at) else _unclear(curve, at, np.sort(near))


def _below_line(curve: Curve) -> FloatArray:
    """How far each point lies below the line from no module to the last point."""
    slope = (curve.loss[-1] - curve.loss_of_none) / curve.n_modules[-1]
    return curve.loss_of_none + slope * curve.n_modules - curve.loss


def _slopes(curve: Curve, at: int) -> tuple[float, float]:
    """How much the loss falls with each module up to a point, and with each one after it (NaN at the last)."""
    before = (0, curve.loss_of_none) if at == 0 else (curve.n_modules[at - 1], curve.loss[at - 1])
    falls = float((before[1] - curve.loss[at]) / (curve.n_modules[at] - before[0]))
    if at + 1 == len(curve.loss):
        return falls, float("nan")
    further = (curve.loss[at] - curve.loss[at + 1]) / (curve.n_modules[at + 1] - curve.n_modules[at])
    return falls, max(float(further), 0.0)


def _is_clear(curve: Curve, at: int) -> bool:
    falls, further = _slopes(curve, at)
    stable = not curve.silhouette[at] < _STABLE  # NaN: a single module
    real = curve.n_beyond[at] >= curve.n_modules[at]
    return bool(falls >= _SHARP * further and stable and real and _explains(curve, at))  # never at the last number


def _explains(curve: Curve, at: int) -> bool:
    return bool(curve.explained[at] >= _NEARLY_ALL * curve.explained[-1])


def _clear(curve: Curve, at: int) -> Choice:
    n, (falls, further) = int(curve.n_modules[at]), _slopes(curve, at)
    reason = (
        f"{n}: up to this number the loss falls by {falls:.2g} with a module, beyond it by {further:.2g}, and "
        f"{_beyond(curve, at)}."
    )
    return Choice(n, clear=True, reason=reason)


def _unclear(curve: Curve, at: int, near: IntArray) -> Choice:
    n = int(curve.n_modules[at])
    some = [int(number) for number in curve.n_modules[near]]
    among = f"the most stable of {some[0]} to {some[-1]}" if len(some) > 1 else "where it bends most"
    if at + 1 == len(curve.loss):
        why = "the loss still falls at the largest number that was tried"
    elif curve.n_beyond[at] < n:
        why = "not all modules exceed chance"
    elif curve.silhouette[at] < _STABLE:
        why = f"runs do not agree on their modules (silhouette {curve.silhouette[at]:.2f})"
    elif not _explains(curve, at):
        more, most = curve.n_modules[-1], curve.explained[-1]
        why = f"{more} modules explain {most:.2g} of the squared correlations, {n} only {curve.explained[at]:.2g}"
    else:
        why = "the loss falls without a sharp bend"
    reason = f"Unclear: {why}; {n} is {among}, and {_beyond(curve, at)}."
    return Choice(n, clear=False, reason=reason)


def _none(curve: Curve, at: int) -> Choice:
    reason = (
        f"0: no module exceeds chance; of {curve.n_modules[at]} the strongest explains {curve.strongest[at]:.2g} of the squared "
        f"correlations, the best module of shuffled genes {curve.null_best[at]:.2g}, and {TIMES_THE_NULL:g} times as much was "
        f"asked for."
    )
    return Choice(0, clear=True, reason=reason)


def _beyond(curve: Curve, at: int) -> str:
    n, of = int(curve.n_beyond[at]), int(curve.n_modules[at])
    some = f"{'all' if n == of else f'{n} of'} {of} explain{'s' if n == 1 else ''}" if of > 1 else "the module explains"
    return (
        f"{some} more than {TIMES_THE_NULL:g} times the {curve.null_best[at]:.2g} of the best module of shuffled genes"
    )


def beyond_chance(shares: FloatArray, null_best: float) -> BoolArray:
    """Whether modules exceed chance, by what they explain."""
    return np.asarray((shares > TIMES_THE_NULL * null_best) & (shares > 0))
