"""AMF without torch: reconstruction, loss, gradients by central differences, quality figures (paper 2.3, 3.1, 3.2).

C holds absolute correlations throughout, shape (l, J); P is (l, M), M is (M, J).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Frozen(NamedTuple):
    """What is constant under differentiation in a batch: arg-max modules and mask (b, J), rows with a cosine (b,)."""

    winners: NDArray[np.intp]
    mask: Floats
    has_cosine: NDArray[np.bool_]


def reconstruct(P: Floats, M: Floats) -> Floats:
    """Chat (Eq. 3, 4): (l, J), the largest of the modules' products at each entry."""
    return np.asarray((P[:, :, None] * M[None, :, :]).max(axis=1))


def row_weights(C: Floats) -> Floats:
    """Factor of the cosine distance in Eq. 6, (l,), norms over all rows; 1 where every other row is zero."""
    norms = np.linalg.norm(C, axis=1)
    out = np.zeros(len(C))
    for i, norm in enumerate(norms):
        others = np.delete(norms, i).sum()
        if norm > 0:
            out[i] = norm / others if others > 0 else 1.0
    return out


def freeze(C: Floats, P: Floats, M: Floats, rows: NDArray[np.intp], nu: float) -> Frozen:
    """Arg-max modules (Eq. 3, ties to the lowest index), mask (Eq. 7) and the rows for which a cosine exists."""
    products = P[rows][:, :, None] * M[None, :, :]
    chat = products.max(axis=1)
    mask = np.where(chat > C[rows], nu, 1.0)
    return Frozen(products.argmax(axis=1), mask, C[rows].any(axis=1) & chat.any(axis=1))


def frozen_loss(
    C: Floats, P: Floats, M: Floats, rows: NDArray[np.intp], frozen: Frozen, gamma: float, n_pairs: int | None = None
) -> float:
    """Eq. 6 summed over `rows` with arg-max and mask as given; the MAE divides by `n_pairs` (default: J)."""
    total = 0.0
    every = row_weights(C)
    columns = np.arange(C.shape[1])
    for k, i in enumerate(rows):
        m = frozen.winners[k]
        chat = P[i, m] * M[m, columns]
        x, y = frozen.mask[k] * C[i], frozen.mask[k] * chat
        cosine = x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) if frozen.has_cosine[k] else 0.0
        total += every[i] * (1.0 - cosine) + gamma * np.abs(C[i] - chat).sum() / (n_pairs or C.shape[1])
    return float(total)


def batch_loss(
    C: Floats, P: Floats, M: Floats, rows: NDArray[np.intp], *, nu: float, gamma: float, n_pairs: int | None = None
) -> float:
    """Eq. 6 summed over `rows`."""
    return frozen_loss(C, P, M, rows, freeze(C, P, M, rows, nu), gamma, n_pairs)


def _central(f: Callable[[], float], array: Floats, step: float) -> Floats:
    """Central differences of `f()` by the entries of `array`, which f reads."""
    out = np.zeros_like(array)
    for at in np.ndindex(array.shape):
        value = array[at]
        array[at] = value + step
        above = f()
        array[at] = value - step
        below = f()
        array[at] = value
        out[at] = (above - below) / (2 * step)
    return out


def numerical_gradients(
    C: Floats,
    P: Floats,
    M: Floats,
    rows: NDArray[np.intp],
    *,
    nu: float,
    gamma: float,
    n_pairs: int | None = None,
    step: float = 1e-5,
) -> tuple[Floats, Floats]:
    """Gradients of Eq. 6 by P (l, M) and M (M, J), arg-max and mask frozen; rows of P outside of the batch get 0."""
    P, M = np.array(P, dtype=np.float64), np.array(M, dtype=np.float64)
    frozen = freeze(C, P, M, rows, nu)

    def value() -> float:
        return frozen_loss(C, P, M, rows, frozen, gamma, n_pairs)

    return _central(value, P, step), _central(value, M, step)


def overestimation_ratio(C: Floats, chat: Floats) -> float:
    """Sum of positive errors over sum of absolute errors (3.1, Fig. 3b); nan without any error."""
    error = chat - C
    total = np.abs(error).sum()
    return float(error[error > 0].sum() / total) if total > 0 else float("nan")


def mean_cosine(C: Floats, chat: Floats) -> float:
    """Mean cos(C_i, Chat_i) without mask over the rows with a correlation (3.1); 0 where Chat_i = 0."""
    cosines = []
    for x, y in zip(C, chat, strict=True):
        if x.any():
            cosines.append(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) if y.any() else 0.0)
    return float(np.mean(cosines))


def co_presence_entropy(P: Floats, min_sum: float = 0.5) -> Floats:
    """Shannon entropy in bits of each row of P scaled to sum 1 (3.2, Fig. 5); nan where the sum is below `min_sum`."""
    out = np.full(len(P), np.nan)
    for i, row in enumerate(P):
        if row.sum() >= min_sum:
            share = row[row > 0] / row.sum()
            out[i] = -(share * np.log2(share)).sum()
    return out
