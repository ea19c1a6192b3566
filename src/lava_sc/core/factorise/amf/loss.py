"""The loss of AMF (paper, Equations 6 and 7), stated once, from the row sums of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lava_sc.core.factorise.amf.batches import Batches
from lava_sc.core.factorise.engines.cpu import row_sums
from lava_sc.core.factorise.engines.protocol import ABSOLUTE, CC, CH, HH, OVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import FloatArray
    from lava_sc.core.factorise.problem import Problem

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class BatchLoss:
    """Loss of a batch and what its gradient needs.

    Attributes
    ----------
    cosine
        (B,) cosine of w⊙C and w⊙Ĉ; 0 where either is zero.
    main_term
        Σ weight · (1 − cosine); localities without any correlation have none.
    loss
        Main term plus γ times the mean absolute errors.
    slopes
        (B, 2) float32: ∂loss/∂Ĉ = w²·(slopes₁·Ĉ − slopes₀·C) + γ/J·sign(Ĉ − C).
    """

    cosine: FloatArray
    main_term: float
    loss: float
    slopes: FloatArray


@dataclass(frozen=True)
class Quality:
    """Quality of presences and modules as a reconstruction of the localities.

    Attributes
    ----------
    loss, main_term
        Over all localities as one batch.
    cosine
        Mean over the localities with any correlation of cos(C_i, Ĉ_i), unweighted.
    overestimation
        Σ max(Ĉ − C, 0) / Σ |Ĉ − C|, 0 when there is no error.
    """

    loss: float
    main_term: float
    cosine: float
    overestimation: float


def batch_loss(sums: FloatArray, weights: FloatArray, *, n_pairs: int, gamma: float) -> BatchLoss:
    """Loss of a batch of localities, Σ over its rows.

    Where Ĉ_i is all zero the cosine counts as 0 and has no slope: its direction is undefined there.

    Parameters
    ----------
    sums
        (B, 5), see :meth:`lava_sc.core.factorise.engines.protocol.Engine.row_sums`.
    weights
        (B,) weights of Equation 6.
    n_pairs
        J.
    gamma
        Weight γ of the mean absolute error.
    """
    norms = np.sqrt(sums[:, CC] * sums[:, HH])
    cosine = np.divide(sums[:, CH], norms, out=np.zeros_like(norms), where=norms > 0)
    main_term = float((weights * (1 - cosine)).sum())
    a = np.divide(weights, norms, out=np.zeros_like(norms), where=norms > 0)
    b = np.divide(weights * cosine, sums[:, HH], out=np.zeros_like(norms), where=norms > 0)
    loss = main_term + gamma * float(sums[:, ABSOLUTE].sum()) / n_pairs
    return BatchLoss(cosine, main_term, loss, np.column_stack([a, b]).astype(np.float32))


def quality(problem: Problem, P: FloatArray, M: FloatArray, *, nu: float, gamma: float) -> Quality:
    """Loss, reconstruction cosine and overestimation ratio over all localities."""
    return quality_of_sums(problem, *_all_row_sums(problem, P, M, (nu, 1.0)), gamma=gamma)


def quality_of_sums(problem: Problem, weighted: FloatArray, plain: FloatArray, *, gamma: float) -> Quality:
    """Quality from the row sums of any reconstruction, (ℓ, 5) each, with the weight ν and with 1."""
    whole, unweighted = (
        batch_loss(sums, problem.locality_weights, n_pairs=problem.n_pairs, gamma=gamma) for sums in (weighted, plain)
    )
    errors = plain[:, [ABSOLUTE, OVER]].sum(axis=0)
    correlated = problem.locality_weights > 0
    return Quality(
        loss=whole.loss,
        main_term=whole.main_term,
        cosine=float(unweighted.cosine[correlated].mean()) if correlated.any() else 0.0,
        overestimation=float(errors[1] / errors[0]) if errors[0] > 0 else 0.0,
    )


def _all_row_sums(problem: Problem, P: FloatArray, M: FloatArray, weights: Sequence[float]) -> list[FloatArray]:
    """Row sums of all localities with each weight of overestimation, in one pass over the localities."""
    rows, batches = np.arange(problem.n_localities), Batches(problem)
    found: list[list[FloatArray]] = [[] for _ in weights]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        for parts, nu in zip(found, weights, strict=True):
            parts.append(row_sums(problem, some, P, M, nu, batches=batches))
    return [np.concatenate(parts) for parts in found]
