"""Similarity of repeated analyses, and the samples that a repetition takes (paper, Section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from lava_sc.core.interpret.similarity import cosines
from lava_sc.core.localities.in_degree import nearest_samples
from lava_sc.core.localities.kd_index import build_index

if TYPE_CHECKING:
    from lava_sc._types import FloatArray, IntArray

#: Share of different samples in a bootstrap, 1 − 1/e.
SHARE: Final = float(1 - np.exp(-1))
_FEWEST_MEMBERS: Final = 3


def average_module(P: FloatArray, M: FloatArray) -> FloatArray:
    """Presence-weighted average module, Σ_m (Σ_i P_im)·M_m / Σ_im P_im (paper, Section 3.1), (J,) float64; 0 without presences.

    Parameters
    ----------
    P
        (ℓ, M) presences.
    M
        (M, J) modules.
    """
    weights = P.sum(axis=0, dtype=np.float64)
    total = weights.sum()
    return (weights / total) @ M.astype(np.float64) if total > 0 else np.zeros(M.shape[1])


def mean_absolute(C: sparse.csr_matrix) -> sparse.csr_matrix:
    """Mean of |C| over the localities, (1, J) CSR float64, with entries where any locality has one."""
    columns, where = np.unique(C.indices, return_inverse=True)
    means = np.bincount(where, weights=np.abs(C.data).astype(np.float64), minlength=len(columns)) / max(C.shape[0], 1)
    return sparse.csr_matrix((means, columns, np.array([0, len(columns)])), shape=(1, C.shape[1]))


def matched_cosines(modules: sparse.csr_matrix, others: sparse.csr_matrix) -> FloatArray:
    """Cosine of each module (M, J) and its partner among others (k, J), (M,).

    Partners are assigned one to one such that the cosines add up to the most; 0 for a module without partner, where k < M.
    """
    between = cosines(modules, others)
    rows, columns = linear_sum_assignment(-between)
    found = np.zeros(modules.shape[0])
    found[rows] = between[rows, columns]
    return found


def draw_samples(strata: IntArray, rng: np.random.Generator) -> IntArray:
    """1 − 1/e of the samples of each stratum, drawn without replacement, ascending.

    Parameters
    ----------
    strata
        (E,) codes.
    rng
        Draws them.
    """
    parts = [np.flatnonzero(strata == code) for code in np.unique(strata)]
    return np.sort(np.concatenate([rng.choice(part, int(np.ceil(SHARE * len(part))), replace=False) for part in parts]))


def draw_halves(strata: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """The samples of each stratum in two halves, drawn at random, each ascending.

    Parameters
    ----------
    strata
        (E,) codes.
    rng
        Draws them.
    """
    first = np.zeros(len(strata), dtype=bool)
    for code in np.unique(strata):
        of_one = np.flatnonzero(strata == code)
        first[rng.choice(of_one, len(of_one) // 2, replace=False)] = True
    return np.flatnonzero(first), np.flatnonzero(~first)


def draw_groups(groups: IntArray, rng: np.random.Generator) -> IntArray:
    """Samples of the different groups among as many drawn with replacement as there are, ascending.

    Parameters
    ----------
    groups
        (E,) codes.
    rng
        Draws the groups.
    """
    there = np.unique(groups)
    return np.flatnonzero(np.isin(groups, rng.choice(there, len(there))))


def scaled_size(n: int, share: float) -> int:
    """Locality size in a share of the samples, at least 3."""
    return max(_FEWEST_MEMBERS, round(n * share))


def members_among(
    Z: FloatArray,
    samples: IntArray,
    probes: FloatArray,
    n: int,
    sections: tuple[IntArray, IntArray] | None,
    n_jobs: int | None,
) -> IntArray:
    """Localities of given probes with members among some of the samples only, (ℓ, n) sample indices, ascending.

    Parameters
    ----------
    Z
        (E, D_L) embedding.
    samples
        Those to choose from, ascending.
    probes
        (ℓ, D_L).
    n
        Locality size.
    sections
        Codes (E,) of the samples and (ℓ,) of the probes, which take no members from other sections; ``None`` without
        sections. Probes of a section with fewer than n samples are left out.
    n_jobs
        Number of threads; changes no number.

    Raises
    ------
    ValueError
        If there are fewer than n samples everywhere.
    """
    of_sample, of_probe = sections or (np.zeros(len(Z), dtype=np.int64), np.zeros(len(probes), dtype=np.int64))
    members = np.full((len(probes), n), -1)
    for code in np.unique(of_probe):
        own, asked = samples[of_sample[samples] == code], of_probe == code
        if len(own) >= n:
            members[asked] = own[nearest_samples(build_index(Z[own]), probes[asked], n, n_jobs=n_jobs)]
    members = members[members[:, 0] >= 0]
    if not len(members):
        msg = f"Found {len(samples)} cells in a resample, expected at least {n} in one place; leave donor_key out."
        raise ValueError(msg)
    return members
