"""The loss of AMF (paper, Equations 6 and 7), stated once, from the row sums of the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lava_sc.core.amf.kernels import ABSOLUTE, CC, CH, HH, OVER, block_gradients, row_sums

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray
    from lava_sc.core.amf.target import Target


@dataclass(frozen=True)
class Batch:
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
    """How well presences and modules reproduce the localities.

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


def batch_loss(target: Target, rows: IntArray, P: FloatArray, M: FloatArray, *, nu: float, gamma: float) -> Batch:
    """Loss of a batch of localities, Σ over its rows.

    Where Ĉ_i is all zero the cosine counts as 0 and has no slope: its direction is undefined there.
    """
    sums = row_sums(target, rows, P, M, nu)
    norms = np.sqrt(sums[:, CC] * sums[:, HH])
    cosine = np.divide(sums[:, CH], norms, out=np.zeros_like(norms), where=norms > 0)
    weights = target.locality_weights[rows]
    main_term = float((weights * (1 - cosine)).sum())
    a = np.divide(weights, norms, out=np.zeros_like(norms), where=norms > 0)
    b = np.divide(weights * cosine, sums[:, HH], out=np.zeros_like(norms), where=norms > 0)
    loss = main_term + gamma * float(sums[:, ABSOLUTE].sum()) / target.n_pairs
    return Batch(cosine, main_term, loss, np.column_stack([a, b]).astype(np.float32))


def batch_gradient(
    target: Target,
    rows: IntArray,
    P: FloatArray,
    M: FloatArray,
    batch: Batch,
    *,
    nu: float,
    gamma: float,
    g_M: FloatArray,
) -> FloatArray:
    """Gradient of the batch's loss: with respect to M into ``g_M``, to the batch's presences returned, (B, M) float64."""
    C = target.C
    scale = gamma / target.n_pairs
    parts = block_gradients(C.data, C.indices, target.block_starts, rows, P, M, nu, batch.slopes, scale, g_M)
    return np.asarray(parts.sum(axis=0))


def quality(target: Target, P: FloatArray, M: FloatArray, *, nu: float, gamma: float) -> Quality:
    """Loss, reconstruction cosine and overestimation ratio over all localities."""
    rows = np.arange(target.n_localities)
    weighted = batch_loss(target, rows, P, M, nu=nu, gamma=gamma)
    plain = batch_loss(target, rows, P, M, nu=1.0, gamma=gamma)
    errors = row_sums(target, rows, P, M, 1.0)[:, [ABSOLUTE, OVER]].sum(axis=0)
    correlated = target.locality_weights > 0
    return Quality(
        loss=weighted.loss,
        main_term=weighted.main_term,
        cosine=float(plain.cosine[correlated].mean()) if correlated.any() else 0.0,
        overestimation=float(errors[1] / errors[0]) if errors[0] > 0 else 0.0,
    )
