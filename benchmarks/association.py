"""How often `tl.presence_association` finds an association at 5 %, where there is none and where there is one.

    python benchmarks/association.py                   # the whole table, about five minutes
    python benchmarks/association.py --simulations 50
    python benchmarks/association.py --first-seed 1000  # other simulations than those the tests were developed with

2,000 cells in two dimensions, evenly or in six clusters, in 60 localities of 100 cells; the presence is a random smooth function, cut off
at 0, so that about two thirds of the localities count.
donors: twelve donors, whose cells cluster in the embedding; six of them, at random, have the label.
smooth: no donors; the category of a cell follows another random smooth function and chance.
Range: the distance over which these functions change, where the embedding is about 8 to 16 wide and a locality 2.
With effect: a share of the fraction in the locality is added to the presence.
Columns: rejections in per cent by the plain p-value, by exchange of donors, and by surrogates, Pearson / Spearman.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from lava_sc.core.interpret.association import correlations, fractions
from lava_sc.core.nulls.donor_permutation import assignments, donor_pvalues
from lava_sc.core.nulls.moran import MOST_LOCALITIES, overlap_pvalues

if TYPE_CHECKING:
    from lava_sc._types import FloatArray

N_CELLS, N_NEIGHBORS, N_LOCALITIES, N_DONORS = 2000, 100, 60, 12
WIDTH, N_CLUSTERS = 8.0, 6


class Case(NamedTuple):
    layout: str
    reach: float
    donors: bool
    effect: float


CASES = [
    Case(layout, reach, donors, effect)
    for effect in (0.0, 0.8)
    for donors in (True, False)
    for layout in ("even", "clusters")
    for reach in ((2.0,) if effect else (1.0, 2.0, 4.0))
]


def positions(layout: str, rng: np.random.Generator) -> FloatArray:
    if layout == "even":
        return rng.uniform(0, WIDTH, (N_CELLS, 2))
    centres = rng.uniform(0, 2 * WIDTH, (N_CLUSTERS, 2))
    cluster = rng.choice(N_CLUSTERS, N_CELLS, p=rng.dirichlet(np.full(N_CLUSTERS, 4.0)))
    return centres[cluster] + rng.normal(size=(N_CELLS, 2)) * rng.uniform(0.6, 1.6, N_CLUSTERS)[cluster, None]


def smooth(places: FloatArray, reach: float, rng: np.random.Generator, n_waves: int = 60) -> FloatArray:
    """A Gaussian process with a squared-exponential covariance, by random Fourier features."""
    frequencies, phases = rng.normal(size=(2, n_waves)) / reach, rng.uniform(0, 2 * np.pi, n_waves)
    return np.sqrt(2 / n_waves) * np.cos(places @ frequencies + phases) @ rng.normal(size=n_waves)


def p_values(case: Case, seed: int, n_permutations: int, tested: int) -> list[FloatArray]:
    """Of the plain, the donors' and the surrogates' test, each for Pearson and Spearman."""
    rng = np.random.default_rng(seed)
    Z = positions(case.layout, rng)
    probes = KMeans(N_LOCALITIES, n_init=1, random_state=seed).fit(Z).cluster_centers_
    members = np.argpartition(cdist(probes, Z), N_NEIGHBORS, axis=1)[:, :N_NEIGHBORS]
    presence = smooth(probes, case.reach, rng)
    if case.donors:
        liking = np.array([2 * smooth(Z, case.reach, rng) for _ in range(N_DONORS)])
        donor = (liking + rng.gumbel(size=liking.shape)).argmax(axis=0)
        values = rng.permutation(np.repeat([0.0, 1.0], N_DONORS // 2))
    else:
        donor = (smooth(Z, case.reach, rng) + 0.7 * rng.normal(size=N_CELLS) > 0).astype(int)
        values = np.array([0.0, 1.0])
    counts = np.array([np.bincount(donor[cells], minlength=len(values)) for cells in members], dtype=float)
    F = fractions(counts, values[:, None])
    presence += case.effect * F[:, 0] / max(F.std(), 1e-9)
    P = np.clip((presence - np.quantile(presence, 0.3)) / 2, 0, 1)[:, None]
    there = P > 0.01
    rows = there[:, 0]
    found = [correlations(P[rows, 0], F[rows])[1][:, 0], np.full(2, np.nan)]
    if case.donors:
        others, exact = assignments(values, np.zeros(N_DONORS, dtype=int), n_permutations, rng)
        found[1] = donor_pvalues(P, there, counts, np.vstack([values, others]), exact=exact)[:, 0]
    how = {"n_permutations": n_permutations, "rng": rng, "most": tested}
    return [*found, overlap_pvalues(P[rows, 0], F[rows], probes[rows], **how)[:, 0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--permutations", type=int, default=999)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tested", type=int, default=MOST_LOCALITIES, help="by surrogates, of the 60 localities")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.simulations)
    print(f"{'':8} {'cells':8} {'range':>5} {'effect':>6} {'plain':>14} {'donors':>14} {'surrogates':>14}")
    began, totals = time.perf_counter(), {}
    for case in CASES:
        found = np.array([p_values(case, seed, arguments.permutations, arguments.tested) for seed in seeds])
        rates = 100 * np.where(np.isnan(found).all(axis=0), np.nan, (found <= 0.05).mean(axis=0))
        write(case, "donors" if case.donors else "smooth", f"{case.reach:g}", rates)
        totals.setdefault((case.donors, case.effect), []).append(rates)
    for (donors, effect), rates in totals.items():
        write(Case("all", 0, donors, effect), "donors" if donors else "smooth", "", np.mean(rates, axis=0))
    print(f"{time.perf_counter() - began:.0f} s")


def write(case: Case, kind: str, reach: str, rates: FloatArray) -> None:
    cells = " ".join(f"{'–' if np.isnan(a) else f'{a:.1f} / {b:.1f}':>14}" for a, b in rates)
    print(f"{kind:8} {case.layout:8} {reach:>5} {case.effect:6g} {cells}", flush=True)


if __name__ == "__main__":
    main()
