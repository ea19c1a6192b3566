"""AMF by torch autograd in float64: loss, gradients, epochs of Adam, the fit with its stopping rule (paper 2.3, A.3).

C holds absolute correlations throughout, shape (l, J); P is (l, M), M is (M, J). P and M given are left as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .amf_numpy import row_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Batches = Sequence[NDArray[np.intp]]


class Fit(NamedTuple):
    """Result of :func:`fit`: P and M after the epoch `best` (counted from 0), and the loss of every epoch run."""

    P: Floats
    M: Floats
    losses: list[float]
    best: int


def _leaf(array: Floats) -> torch.Tensor:
    return torch.tensor(np.asarray(array), dtype=torch.float64, requires_grad=True)


def _reconstruct(P: torch.Tensor, M: torch.Tensor) -> torch.Tensor:
    """Eq. 3 through the arg-max module only; numpy's argmax, since torch's promises no order among ties."""
    products = P[:, :, None] * M[None, :, :]
    winners = torch.from_numpy(products.detach().numpy().argmax(axis=1))
    return products.gather(1, winners[:, None, :])[:, 0, :]


def loss_tensor(
    C: Floats,
    P: torch.Tensor,
    M: torch.Tensor,
    rows: NDArray[np.intp],
    *,
    nu: float,
    gamma: float,
    n_pairs: int | None = None,
) -> torch.Tensor:
    """Eq. 6 summed over `rows`, mask (Eq. 7) detached; the MAE divides by `n_pairs` (default: the columns of C)."""
    target = torch.tensor(np.asarray(C)[rows], dtype=torch.float64)
    weight = torch.from_numpy(row_weights(np.asarray(C, dtype=np.float64))[rows])
    chat = _reconstruct(P[rows], M)
    mask = torch.where(chat.detach() > target, nu, 1.0)
    total = gamma * (target - chat).abs().sum() / (n_pairs or target.shape[1])
    for k in range(len(rows)):
        x, y = mask[k] * target[k], mask[k] * chat[k]
        cosine = (x @ y) / (x.norm() * y.norm()) if x.any() and y.any() else 0.0
        total = total + weight[k] * (1 - cosine)
    return total


def loss_and_gradients(
    C: Floats, P: Floats, M: Floats, rows: NDArray[np.intp], *, nu: float, gamma: float, n_pairs: int | None = None
) -> tuple[float, Floats, Floats]:
    """Eq. 6 summed over `rows` and its gradients by P (l, M) and M (M, J)."""
    p, m = _leaf(P), _leaf(M)
    value = loss_tensor(C, p, m, rows, nu=nu, gamma=gamma, n_pairs=n_pairs)
    grad_p, grad_m = torch.autograd.grad(value, [p, m])
    return value.item(), grad_p.numpy(), grad_m.numpy()


def _run_epoch(
    C: Floats,
    p: torch.Tensor,
    m: torch.Tensor,
    adam: torch.optim.Adam,
    batches: Batches,
    *,
    nu: float,
    gamma: float,
    n_pairs: int | None,
) -> float:
    """One pass over `batches` (A.3): Adam on the whole of P and M, clamp; the sum of the losses before each step."""
    total = 0.0
    for rows in batches:
        value = loss_tensor(C, p, m, rows, nu=nu, gamma=gamma, n_pairs=n_pairs)
        p.grad, m.grad = torch.autograd.grad(value, [p, m])
        adam.step()
        with torch.no_grad():
            p.clamp_(0, 1)
            m.clamp_(0, 1)
        total += value.item()
    return total


def _adam(p: torch.Tensor, m: torch.Tensor, learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam([p, m], lr=learning_rate, betas=(0.9, 0.999), eps=1e-8)


def epoch(
    C: Floats,
    P: Floats,
    M: Floats,
    batches: Batches,
    *,
    nu: float,
    gamma: float,
    n_pairs: int | None = None,
    learning_rate: float = 1e-3,
) -> tuple[Floats, Floats, float]:
    """P and M after one epoch of a fresh Adam over `batches` (A.3), and the loss of the epoch."""
    p, m = _leaf(P), _leaf(M)
    loss = _run_epoch(C, p, m, _adam(p, m, learning_rate), batches, nu=nu, gamma=gamma, n_pairs=n_pairs)
    return p.detach().numpy(), m.detach().numpy(), loss


def stops_after(losses: Sequence[float], *, tol: float, patience: int) -> bool:
    """Whether the fit stops after these epochs (A.3): no loss beat the reference by more than `tol` in `patience`."""
    reference, at = losses[0], 0
    for k, loss in enumerate(losses):
        if loss < (1 - tol) * reference:
            reference, at = loss, k
    return len(losses) - 1 - at >= patience


def fit(
    C: Floats,
    P: Floats,
    M: Floats,
    schedule: Iterable[Batches],
    *,
    nu: float,
    gamma: float,
    n_pairs: int | None = None,
    learning_rate: float = 1e-3,
    tol: float = 0.01,
    patience: int = 100,
) -> Fit:
    """AMF (A.3) over the epochs of `schedule` or until :func:`stops_after`; P, M at the end of the best epoch."""
    p, m = _leaf(P), _leaf(M)
    adam = _adam(p, m, learning_rate)
    losses: list[float] = []
    kept: list[tuple[Floats, Floats]] = []
    for batches in schedule:
        losses.append(_run_epoch(C, p, m, adam, batches, nu=nu, gamma=gamma, n_pairs=n_pairs))
        kept.append((p.detach().numpy().copy(), m.detach().numpy().copy()))
        if stops_after(losses, tol=tol, patience=patience):
            break
    best = int(np.argmin(losses))
    return Fit(*kept[best], losses, best)
