"""The number of modules to take, as far as modules exceed chance.

Two rules. In *other samples*, that modules and presences were not made from, a reconstruction gets better with every true
module and no better, or worse, with any further one. The smallest number is taken that is within one standard error of the best
(Breiman et al. 1984; widened for few splits, by Student's t), or within 1 % of it, among those whose modules all exceed chance in
other samples and are not near copies of one another: where more modules are asked for than there are, one comes twice, as it is
where it is strong and where it is weak, and others are chance. The paper's rule (Section 2.3) is the *elbow* of the loss, resolved
by stability; the loss is known without any module as well, so the curve begins at 0 modules, and its elbow is where it lies
deepest below the line from there to its end (Satopää et al. 2011). It serves where there are no other samples to look at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from lava_sc._types import BoolArray, FloatArray, IntArray

#: A module exceeds chance when it explains so many times what the best module of any null data set does.
TIMES_THE_NULL: Final = 2.0
_NO_BEND: Final = 0.05  # of the loss without modules: as deep below the line no point has to lie
_AS_DEEP: Final = 0.95  # of the deepest point below the line: there stability decides
_SHARP: Final = 3.0  # times as steep before a clear elbow as behind it
_NEARLY_ALL: Final = 0.8  # of what the largest number explains
_STABLE: Final = 0.5  # silhouette from which clusters are taken to be there (Kaufman & Rousseeuw 1990)
_ALIKE: Final = 0.8  # cosine from which two modules are near copies
_APART: Final = 2.0  # standard errors by which a clear number is better than every smaller one
_TELLING: Final = 0.01  # cosine in other samples below which they say nothing, however little null data reach there
_FURTHER: Final = 0.2  # of a number: so much further numbers have to go to show that other samples get no better
_BETTER: Final = 0.01  # of the best cosine: less is no gain, however small the standard error of few splits comes out


@dataclass(frozen=True)
class Curve:
    """Figures of every number of modules; all (k,), in the order of rising numbers.

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
    explained
        What all its modules explain together, as a share of Σ C².
    most_alike
        Cosine of the two most alike modules; NaN for a single one.
    strongest, null_best
        What its strongest module explains, and the strongest of all null data sets, as shares of Σ C².
    fewest
        Smallest number that may be chosen; the one before it only shows how the curve goes there.
    other_samples
        (splits, k) mean reconstruction cosine in other samples; no rows where samples were not split.
    other_samples_null
        (null data sets, k) the same in null data.
    n_replicated
        Modules that exceed chance in other samples.
    """

    n_modules: IntArray
    loss: FloatArray
    loss_of_none: float
    silhouette: FloatArray
    n_beyond: IntArray
    explained: FloatArray
    most_alike: FloatArray
    strongest: FloatArray
    null_best: FloatArray
    fewest: int = 1
    other_samples: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    other_samples_null: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    n_replicated: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


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
    elbow
        The number at the elbow of the loss.
    """

    n_modules: int
    clear: bool
    reason: str
    elbow: int


def choose(curve: Curve) -> Choice:
    """The number by other samples or, without them, at the elbow; 0 if none of its modules exceeds chance."""
    at = position(curve)
    n, at_elbow = int(curve.n_modules[at]), int(curve.n_modules[elbow(curve)[0]])
    if curve.n_beyond[at] == 0:
        return Choice(0, clear=True, reason=_none(curve, at), elbow=at_elbow)
    why, verdict = _others_verdict(curve, at) if tells(curve) else _elbow_verdict(curve, at)
    reason = f"{n}: {verdict}." if why is None else f"Unclear: {why}; {verdict}."
    return Choice(n, clear=why is None, reason=reason, elbow=at_elbow)


def position(curve: Curve) -> int:
    """Position of the number to take, if any."""
    return _smallest_near_best(curve, 1.0) if tells(curve) else int(elbow(curve)[0])


def tells(curve: Curve) -> bool:
    """Tell whether other samples tell modules from chance."""
    if not curve.other_samples.size:
        return False
    null = curve.other_samples_null.max() if curve.other_samples_null.size else 0.0
    return bool(curve.other_samples.mean(axis=0).max() > max(TIMES_THE_NULL * null, _TELLING))


def elbow(curve: Curve) -> IntArray:
    """Positions of the numbers near the elbow of the loss, the one to take first."""
    depth = np.where(curve.n_modules >= curve.fewest, _below_line(curve), -np.inf)
    if depth.max() <= _NO_BEND * curve.loss_of_none:
        return np.array([len(depth) - 1])
    near = np.flatnonzero(depth >= _AS_DEEP * depth.max())
    return near[np.argsort(-np.nan_to_num(curve.silhouette[near], nan=-1.0), kind="stable")]


def beyond_chance(shares: FloatArray, null_best: float) -> BoolArray:
    """Tell whether modules exceed chance, by what they explain."""
    return np.asarray((shares > TIMES_THE_NULL * null_best) & (shares > 0))


def standard_errors(cosines: FloatArray, best: int) -> FloatArray:
    """Standard errors of the mean differences to one number, (k,); 0 with a single split.

    Parameters
    ----------
    cosines
        (splits, k). Numbers are compared within splits, which differ from one another for reasons of their own.
    best
        Position of that number.
    """
    if len(cosines) == 1:
        return np.zeros(cosines.shape[1])
    return np.asarray((cosines[:, [best]] - cosines).std(axis=0, ddof=1) / np.sqrt(len(cosines)))


def _as_wide(n_errors: float, n_splits: int) -> float:
    """Standard errors, themselves from a few splits, that are as unlikely to be exceeded as so many known ones."""
    if n_splits == 1:
        return n_errors  # there are no standard errors
    return float(stats.t.ppf(stats.norm.cdf(n_errors), n_splits - 1))


def _choosable(curve: Curve) -> BoolArray:
    """Numbers whose modules are not near copies of one another and, where there are such, all hold in other samples; else the smallest."""
    enough = curve.n_modules >= curve.fewest
    distinct = enough & ~_copies(curve)
    if not distinct.any():
        return np.asarray(enough & (curve.n_modules == curve.n_modules[enough].min()))
    held = distinct & (curve.n_replicated >= curve.n_modules)
    return np.asarray(held if held.any() else distinct)


def _copies(curve: Curve) -> BoolArray:
    return np.asarray(curve.most_alike > _ALIKE)


def _best(curve: Curve) -> int:
    """Position of the number that is best in other samples."""
    return int(np.where(_choosable(curve), curve.other_samples.mean(axis=0), -np.inf).argmax())


def _better_by_chance(curve: Curve, at: int) -> int | None:
    """The best larger number, if it is better, that was not to be chosen since not all of its modules exceed chance."""
    means = curve.other_samples.mean(axis=0)
    left_out = ~_copies(curve) & (curve.n_replicated < curve.n_modules) & (curve.n_modules > curve.n_modules[at])
    if not left_out.any():
        return None
    best = int(np.where(left_out, means, -np.inf).argmax())
    error = _as_wide(1.0, len(curve.other_samples)) * standard_errors(curve.other_samples, at)[best]
    gain = max(error, _BETTER * means[best])
    return int(curve.n_modules[best]) if means[best] - means[at] > gain else None


def _may_go_on(curve: Curve, at: int) -> bool:
    """Tell whether more modules than the largest number may do better: each gains less than counts, and few were tried."""
    means, n = curve.other_samples.mean(axis=0), curve.n_modules
    few = n[-1] - n[at] < _FURTHER * n[at]
    return bool(few and _choosable(curve)[-1] and means[-1] >= means[at])


def _smallest_near_best(curve: Curve, n_errors: float, *, of_all: bool = False) -> int:
    """Position of the smallest number within so many standard errors of the best, of those that may be chosen or of all.

    Standard errors of a few splits can be next to nothing by chance, so differences below ``_BETTER`` never count.
    """
    means, best = curve.other_samples.mean(axis=0), _best(curve)
    errors = _as_wide(n_errors, len(curve.other_samples)) * standard_errors(curve.other_samples, best)
    within = np.maximum(errors, _BETTER * means[best])
    near = means[best] - means <= within
    return int(np.flatnonzero(near & (of_all | _choosable(curve)))[0])


def _others_verdict(curve: Curve, at: int) -> tuple[str | None, str]:
    """Why the number is unclear, if it is, and what other samples say of it."""
    n, cosine = int(curve.n_modules[at]), curve.other_samples.mean(axis=0)[at]
    doubt, more = _doubt(curve, at, curve.n_replicated), _better_by_chance(curve, at)
    fair = " whose modules all exceed chance there" if more is not None else ""
    copies = " without near copies among its modules" if _copies(curve)[at:].any() else ""
    verdict = (
        f"{_modules(n)} reconstruct{'s' if n == 1 else ''} cells that were left out with a cosine of {cosine:.2g}, no larger "
        f"number{copies}{fair} does better by more than a standard error, and {_count(curve.n_replicated[at], n)} there more than "
        f"{TIMES_THE_NULL:g} times what the best module of shuffled genes does"
    )
    if more is not None:
        held = int(curve.n_replicated[curve.n_modules == more][0])
        chance = (
            f"{more} modules reconstruct cells that were left out better, but only {held} of them exceed chance there"
        )
        return doubt or chance, verdict
    if at + 1 == len(curve.loss):
        return "cells that were left out are still reconstructed better with the largest number that was tried", verdict
    if _may_go_on(curve, at):
        why = f"no number above {curve.n_modules[-1]} was tried, where cells that were left out are reconstructed no worse"
        return doubt or why, verdict
    smaller = int(curve.n_modules[_smallest_near_best(curve, _APART, of_all=True)])
    plural = "s" if smaller == 1 else ""
    nearly = f"{_modules(smaller)} reconstruct{plural} cells that were left out nearly as well" if smaller < n else None
    return doubt or nearly, verdict


def _elbow_verdict(curve: Curve, at: int) -> tuple[str | None, str]:
    """Why the number is unclear, if it is, and how the loss goes there."""
    n, (falls, further) = int(curve.n_modules[at]), _slopes(curve, at)
    why = _doubt(curve, at, curve.n_beyond)
    if at + 1 == len(curve.loss):
        why = "the loss still falls at the largest number that was tried"
    elif not curve.explained[at] >= _NEARLY_ALL * curve.explained[-1]:
        more, most = curve.n_modules[-1], curve.explained[-1]
        some = f"{more} modules explain {most:.2g} of the squared correlations, {n} only {curve.explained[at]:.2g}"
        why = why or some
    elif not falls >= _SHARP * further:
        why = why or "the loss falls without a sharp bend"
    if curve.other_samples.size:
        why = "half of the cells hold too few correlations to tell"
    beyond = f"{_count(curve.n_beyond[at], n)} more than {TIMES_THE_NULL:g} times the {curve.null_best[at]:.2g} of the best module of shuffled genes"
    if why is None:
        return (
            None,
            f"up to this number the loss falls by {falls:.2g} with a module, beyond it by {further:.2g}, and {beyond}",
        )
    near = [int(number) for number in np.sort(curve.n_modules[elbow(curve)])]
    among = f"the most stable of {near[0]} to {near[-1]}" if len(near) > 1 else "where it bends most"
    return why, f"{n} is {among}, and {beyond}"


def _doubt(curve: Curve, at: int, n_beyond: IntArray) -> str | None:
    """Reason why a number is unclear by whatever rule it was found, if there is one."""
    if n_beyond[at] < curve.n_modules[at]:
        return "not all modules exceed chance"
    if _copies(curve)[at]:
        return f"two of the modules are near copies (cosine {curve.most_alike[at]:.2f})"
    if curve.silhouette[at] < _STABLE:  # NaN: a single module
        return f"runs do not agree on their modules (silhouette {curve.silhouette[at]:.2f})"
    return None


def _below_line(curve: Curve) -> FloatArray:
    """Distance of each point below the line from no module to the last point."""
    slope = (curve.loss[-1] - curve.loss_of_none) / curve.n_modules[-1]
    return curve.loss_of_none + slope * curve.n_modules - curve.loss


def _slopes(curve: Curve, at: int) -> tuple[float, float]:
    """Fall of the loss with each module up to a point, and with each one after it (NaN at the last)."""
    before = (0, curve.loss_of_none) if at == 0 else (curve.n_modules[at - 1], curve.loss[at - 1])
    falls = float((before[1] - curve.loss[at]) / (curve.n_modules[at] - before[0]))
    if at + 1 == len(curve.loss):
        return falls, float("nan")
    further = (curve.loss[at] - curve.loss[at + 1]) / (curve.n_modules[at + 1] - curve.n_modules[at])
    return falls, max(float(further), 0.0)


def _none(curve: Curve, at: int) -> str:
    return (
        f"0: no module exceeds chance; of {curve.n_modules[at]} the strongest explains {curve.strongest[at]:.2g} of the squared "
        f"correlations, the best module of shuffled genes {curve.null_best[at]:.2g}, and {TIMES_THE_NULL:g} times as much was "
        f"asked for."
    )


def _count(n: int, of: int) -> str:
    """Number of modules that explain so much."""
    if of == 1:
        return "it explains" if n else "it does not explain"
    return f"{'all' if n == of else f'{n} of'} {of} explain{'s' if n == 1 else ''}"


def _modules(n: int) -> str:
    return "one module" if n == 1 else f"{n} modules"
