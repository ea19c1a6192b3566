"""What a run writes down on its way, so that another process can go on from there. Where it is kept is not its concern."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lava_sc._types import FloatArray

#: Seconds between two states of a run, at least, and as a multiple of the time that writing one takes.
LEAST_SECONDS: Final = 10.0
_TIMES_THE_COST: Final = 50.0
_FINISHED: Final = "run"


@dataclass(frozen=True)
class State:
    """Where a run stands.

    Attributes
    ----------
    facts
        Plain values, as JSON has them.
    arrays
        By name. Those of a state that was read may be read one by one, when they are asked for.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def finished(self) -> bool:
        """Whether it is what the run has found in the end."""
        return _FINISHED in self.facts


class StateStore(Protocol):
    """Keeps the latest state of one run. It may be pickled for another process to keep states in the same place.

    Attributes
    ----------
    failures
        Why states could not be written.
    """

    failures: list[str]

    def reached(self) -> bool:
        """Whether this process reaches the place where it was made for."""

    def read(self) -> State | None:
        """The state, ``None`` if there is none yet."""

    def write(self, state: State) -> None:
        """Put a state in the place of the former."""


class Checkpoint(Protocol):
    """Keeps the states of runs."""

    def state_store(self, name: str) -> StateStore:
        """That of one run."""

    def part(self, name: str) -> Checkpoint:
        """Those of runs that belong together."""


class Resumable(Protocol):
    """A fit that can be put away and taken up again."""

    def state(self) -> State:
        """All that decides on how it goes on."""

    def restore(self, state: State) -> None:
        """Go on from a state, which is that of a fit of the same sizes and options."""


class Record:
    """The record of one run: states of the fit it is in, written now and then, or what it has found in the end.

    Parameters
    ----------
    drawer
        Where it is kept; ``None`` keeps nothing.
    """

    def __init__(self, drawer: StateStore | None = None) -> None:
        self._drawer = drawer
        self._found = None if drawer is None else drawer.read()
        facts = {} if self._found is None else self._found.facts
        self.stage = int(facts.get("stage", 0))
        self.n_epochs = int(facts.get("n_epochs", 0))
        self._seconds_before = float(facts.get("seconds", 0))
        self._began = self._written = time.perf_counter()
        self._cost = 0.0

    @property
    def seconds(self) -> float:
        """Time that the run has taken so far, in all processes."""
        return self._seconds_before + time.perf_counter() - self._began

    @property
    def finished(self) -> State | None:
        """What the run has found, if it has ended."""
        return self._found if self._found is not None and self._found.finished else None

    def factors(self) -> tuple[FloatArray, FloatArray] | None:
        """P and M where the fit stands that was taken up again, ``None`` at the start of a run."""
        return None if self._found is None else (self._found.arrays["P"], self._found.arrays["M"])

    def begin(self, fit: Resumable) -> None:
        """Take up the state that was found, or put away that of a fit that begins."""
        if self._found is None:
            self._save(fit)
        else:
            fit.restore(self._found)
            self._found = None

    def after_epoch(self, fit: Resumable) -> None:
        """Put the state away if it is time."""
        self.n_epochs += 1
        self._save(fit)

    def stop(self, fit: Resumable) -> None:
        """Put the state away in any case, and nothing after it: what becomes of a run that was stopped is not its own end."""
        self.n_epochs += 1
        if self._drawer is not None:
            self._write(self._drawer, fit.state())
        self._drawer = None

    def finish(self, run: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put away what the run has found."""
        if self._drawer is not None:
            self._write(self._drawer, State({_FINISHED: run}, arrays))

    def _save(self, fit: Resumable) -> None:
        pause = max(LEAST_SECONDS, _TIMES_THE_COST * self._cost)
        if self._drawer is not None and time.perf_counter() - self._written >= pause:
            self._write(self._drawer, fit.state())

    def _write(self, drawer: StateStore, state: State) -> None:
        began = time.perf_counter()
        own = {"stage": self.stage, "n_epochs": self.n_epochs, "seconds": self.seconds}
        drawer.write(State({**state.facts, **own}, state.arrays))
        self._written = time.perf_counter()
        self._cost = self._written - began
