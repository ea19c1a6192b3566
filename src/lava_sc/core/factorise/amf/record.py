"""Record of one run on its way, so that another process can go on from there."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lava_sc.core.factorise.amf.fit import Descent
    from lava_sc.io.checkpoint import StateStore

#: Seconds between two states of a run, at least, and as a multiple of the time that writing one takes.
LEAST_SECONDS: Final = 10.0
_TIMES_THE_COST: Final = 50.0


class Record:
    """States of the fit that a run is in, written now and then, or what it has found in the end.

    Parameters
    ----------
    store
        Keeps the latest state, and may hold one to go on from; ``None`` keeps nothing.

    Attributes
    ----------
    facts, arrays
        Of the state that was found, empty at the start of a run.
    stage
        Position of the fit that the run is in.
    n_epochs
        Number of epochs in all fits, in all processes.
    """

    def __init__(self, store: StateStore | None = None) -> None:
        self._store = store
        found = None if store is None else store.read()
        self.facts, self.arrays = found or ({}, {})
        self.stage, self.n_epochs = self.facts.get("stage", 0), self.facts.get("n_epochs", 0)
        self._began = time.perf_counter() - self.facts.get("seconds", 0)
        self._due = math.inf if store is None else time.perf_counter() + LEAST_SECONDS

    @property
    def seconds(self) -> float:
        """Time that the run has taken so far, in all processes."""
        return time.perf_counter() - self._began

    def begin(self, descent: Descent) -> None:
        """Take up the state that was found, or save that of a fit that begins if it is time."""
        if self.facts:
            descent.restore(self.facts, self.arrays)
            self.facts, self.arrays = {}, {}
        elif time.perf_counter() >= self._due:
            self.save(*descent.state())

    def after_epoch(self, descent: Descent, *, last: bool) -> None:
        """Save the state if it is time, and that of a run which was stopped in any case."""
        self.n_epochs += 1
        if last or time.perf_counter() >= self._due:
            self.save(*descent.state())

    def save(self, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the state of the run."""
        if self._store is not None:
            began = time.perf_counter()
            own = {"stage": self.stage, "n_epochs": self.n_epochs, "seconds": self.seconds}
            self._store.write({**facts, **own}, arrays)
            ended = time.perf_counter()
            self._due = ended + max(LEAST_SECONDS, _TIMES_THE_COST * (ended - began))
