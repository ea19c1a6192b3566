"""AMF in PyTorch, for ``amf.py`` to compare with: the paper's formulation, and one that is lean on memory.

Both return a function that takes a batch of localities, makes one step of torch's Adam with clamping, and returns the
batch's loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy import sparse

    from lava_sc.core.factorise.amf.fit import FitOptions


def plain(C: sparse.csr_matrix, P: np.ndarray, M: np.ndarray, options: FitOptions) -> Callable[[np.ndarray], float]:
    """All pairs, C dense; the gradient goes through the (64, M, J) tensor of products."""
    dense, weights = torch.from_numpy(C.toarray()).abs_(), norm_shares(C)
    whole = np.zeros((len(M), C.shape[1]), dtype=np.float32)
    whole[:, np.unique(C.indices)] = M
    P, M = (torch.from_numpy(start.copy()).requires_grad_() for start in (P, whole))
    optimizer = torch.optim.Adam([P, M], lr=options.learning_rate)

    def step(localities: np.ndarray) -> float:
        rows = torch.from_numpy(localities)
        optimizer.zero_grad()
        c = dense[rows]
        hat = (P[rows][:, :, None] * M[None]).max(dim=1).values
        w = torch.where(hat.detach() > c, options.nu, 1.0)
        cosine = torch.nn.functional.cosine_similarity(w * c, w * hat, dim=1)
        loss = (weights[rows] * (1 - cosine)).sum() + options.gamma * (hat - c).abs().mean(dim=1).sum()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for values in (P, M):
                values.clamp_(0, 1)
        return loss.item()

    return step


def lean(C: sparse.csr_matrix, P: np.ndarray, M: np.ndarray, options: FitOptions) -> Callable[[np.ndarray], float]:
    """The non-empty pairs, C dense for the batch; winners by a running maximum, the gradient by masks."""
    n_pairs, weights, C = C.shape[1], norm_shares(C), abs(C[:, np.unique(C.indices)])
    P, M = (torch.from_numpy(start.copy()) for start in (P, M))
    optimizer = torch.optim.Adam([P, M], lr=options.learning_rate)
    mae, nu2 = options.gamma / n_pairs, options.nu**2

    def step(localities: np.ndarray) -> float:
        rows, c = torch.from_numpy(localities), torch.from_numpy(C[localities].toarray())
        presences = P[rows]
        hat, winner = presences[:, :1] * M[0], torch.zeros(c.shape, dtype=torch.int8)
        for m in range(1, len(M)):
            product = presences[:, m : m + 1] * M[m]
            winner.masked_fill_(product > hat, m)
            torch.maximum(hat, product, out=hat)
        w2 = torch.where(hat > c, nu2, 1.0)
        cc, ch, hh = ((w2 * one * other).sum(dim=1) for one, other in ((c, c), (c, hat), (hat, hat)))
        cosine = ch / torch.sqrt(cc * hh)
        a, b = weights[rows] / torch.sqrt(cc * hh), weights[rows] * cosine / hh
        slope = w2 * (b[:, None] * hat - a[:, None] * c) + mae * torch.sign(hat - c)
        P.grad, M.grad = torch.zeros_like(P), torch.empty_like(M)
        for m in range(len(M)):
            own = torch.where(winner == m, slope, 0.0)
            M.grad[m], P.grad[rows, m] = presences[:, m] @ own, own @ M[m]
        optimizer.step()
        for values in (P, M):
            values.clamp_(0, 1)
        return ((weights[rows] * (1 - cosine)).sum() + mae * (hat - c).abs().sum()).item()

    return step


def norm_shares(C: sparse.csr_matrix) -> torch.Tensor:
    """Each locality's norm over the sum of the others' (Equation 6)."""
    norms = np.sqrt(C.multiply(C).sum(axis=1).A1)
    return torch.from_numpy((norms / (norms.sum() - norms)).astype(np.float32))
