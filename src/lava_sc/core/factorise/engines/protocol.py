"""Protocol of an engine. The loss and the loop are stated once, for all engines (``loss.py``, ``fit.py``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lava_sc._types import FloatArray, IntArray

#: Columns of :meth:`Engine.row_sums`: Σ w²C², Σ w²CĈ, Σ w²Ĉ², Σ |C − Ĉ|, Σ max(Ĉ − C, 0).
CC, CH, HH, ABSOLUTE, OVER = range(5)
N_SUMS: Final = 5

#: Adam (paper, A.3).
BETA1: Final = 0.9
BETA2: Final = 0.999
EPSILON: Final = 1e-8


class Engine(Protocol):
    """P and M of one run and the moments of their optimiser."""

    def row_sums(self, rows: IntArray, nu: float) -> FloatArray:
        """Sums over all pairs of each row, (B, 5) float64; see ``CC`` … ``OVER``. w is ν where Ĉ > C, else 1."""

    def descend(self, rows: IntArray, slopes: FloatArray, *, nu: float, mae_slope: float, learning_rate: float) -> None:
        """One step of Adam on all of P and M along the gradient of a batch's loss, then clamping to [0, 1].

        The gradient flows through the module that wins an entry, the lowest of those that tie. As plain Adam does,
        presences outside of the batch move by their momentum.

        Parameters
        ----------
        rows
            (B,) localities of the batch.
        slopes
            (B, 2): ∂loss/∂Ĉ = w²·(slopes₁·Ĉ − slopes₀·C) + mae_slope·sign(Ĉ − C); w is a constant.
        nu
            Weight of overestimation.
        mae_slope
            Weight of the mean absolute error over the number of pairs.
        learning_rate
            Step of Adam.
        """

    def keep(self) -> None:
        """Remember the present P and M."""

    def kept(self) -> tuple[FloatArray, FloatArray]:
        """P (ℓ, M) and M (M, J′) as they were remembered last, float32."""

    def state(self) -> dict[str, NDArray[Any]]:
        """All that decides on how it goes on: P, M, those remembered, their moments and the number of steps, by name.

        These may be the engine's own arrays, which change with its next step. ``P`` and ``M`` are a start of the same sizes.
        """

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from the state of an engine that had a start of the same sizes. Each array is asked for once."""


#: Arrays of a state, P's before M's, and the number of steps.
FACTORS: Final = ("P", "M", "kept_P", "kept_M", "first_P", "first_M", "second_P", "second_M")
N_STEPS: Final = "n_steps"

#: Makes an engine from a start, P and M, which it does not change.
EngineFactory = Callable[["FloatArray", "FloatArray"], Engine]
