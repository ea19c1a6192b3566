"""Where AMF ends from each of its starts, and what it finds of modules that are known.

    python benchmarks/starts.py                            # both tables
    python benchmarks/starts.py --data kang --start nmf    # some rows of the first, with what is planted in the second
    python benchmarks/starts.py --runs 10

First table: loss (median, smallest and largest), main term, reconstruction cosine, overestimation and co-presence (bits),
medians over the runs; the silhouette of their modules; epochs (median) and wall time, all runs' over their number. Each
start is taken without a refit of the presences on the way, and with as many as are the default.

Second table: modules that are planted in cells, where they share genes, regions or both, or in a matrix that is the model
itself, with and without correlations that each locality has for itself (see ``amf_data.py``). The best of ten runs of AMF
(from each start, and from the default one with overestimation weighted less or the mean absolute error weighted more),
of non-negative matrix factorisation (Kullback-Leibler, random starts) and of spherical k-means of the localities, each
with the right number of modules: the smallest and the mean cosine between a planted module and the one that is matched to
it, the correlation of the presences of matched modules with the true ones, and the co-presence, which is to be the true
one.

Data are read from the folder LAVA_SC_DATA, and left out without it.
"""

from __future__ import annotations

import argparse
import inspect
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from amf_data import DATA, made
from scipy.optimize import linear_sum_assignment

import lava_sc as lava
from lava_sc.core.factorise.amf.fit import FitOptions
from lava_sc.core.factorise.amf.restarts import run_many
from lava_sc.core.factorise.amf.starts import STARTS
from lava_sc.core.factorise.problem import make_problem
from lava_sc.core.interpret.summary import co_presence
from lava_sc.core.n_modules.medoids import silhouette_of_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from amf_data import Data
    from scipy import sparse

    from lava_sc.core.factorise.amf.restarts import Runs
    from lava_sc.core.factorise.engines.protocol import EngineFactory
    from lava_sc.core.factorise.problem import Problem

N_BEST_OF = 10
DEFAULT_START = str(inspect.signature(lava.tl.amf).parameters["init"].default)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, those of zeros left as they are."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def runs_of(
    problem: Problem, n_modules: int, n_runs: int, *, init: str, engines: EngineFactory | None = None, **options: Any
) -> Runs:
    how = {"init": init, "n_runs": n_runs, "rng": np.random.default_rng(0), "engines": engines}
    return run_many(problem, n_modules, FitOptions(**options), keep_all=True, **how)


def figures(found: Runs, seconds: float) -> str:
    """The columns of :data:`FIGURES`, of runs that took so long together."""
    runs, loss = found.runs, np.array([run.quality.loss for run in found.runs])
    main, cosine, over, bits, epochs = np.median(
        [
            (run.quality.main_term, run.quality.cosine, run.quality.overestimation, run.co_presence, run.n_epochs)
            for run in runs
        ],
        axis=0,
    )
    same = silhouette_of_runs([run.M for run in runs if run.M is not None])
    return (
        f"{np.median(loss):8.4f} [{loss.min():.4f}, {loss.max():.4f}] {main:8.4f} {cosine:6.2f} {over:6.2f} {bits:6.2f} "
        f"{same:10.2f} {epochs:7.0f} {seconds / len(runs):8.2f}"
    )


FIGURES = (
    f"{'loss':>8} {'[least, most]':16} {'main':>8} {'cosine':>6} {'over':>6} {'bits':>6} {'silhouette':>10} "
    f"{'epochs':>7} {'s a run':>8}"
)


def table_of_starts(data: dict[str, Data], starts: list[str], n_runs: int) -> None:
    print(f"{'data':24} {'start':8} {'refits':>6} {FIGURES}")
    for name, one in data.items():
        problem = make_problem(one.C)
        for start in starts:
            for n_refits in (0, FitOptions().n_refits):
                began = time.perf_counter()
                found = runs_of(problem, one.n_modules, n_runs, init=start, n_refits=n_refits)
                row = figures(found, time.perf_counter() - began)
                print(f"{name:24} {start:8} {n_refits:6d} {row}", flush=True)
    print(f"{n_runs} runs of each")


def amf(C: sparse.csr_matrix, n_modules: int, init: str, **options: float) -> tuple[np.ndarray, np.ndarray]:
    problem = make_problem(C)
    P, M = runs_of(problem, n_modules, N_BEST_OF, init=init, **options).factors
    modules = np.zeros((len(M), problem.n_pairs))
    modules[:, problem.columns] = M
    return P, modules


def nmf(C: sparse.csr_matrix, n_modules: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import NMF

    how = {"init": "random", "solver": "mu", "beta_loss": "kullback-leibler", "max_iter": 2000}
    models = [NMF(n_modules, random_state=seed, **how).fit(C) for seed in range(N_BEST_OF)]
    best = min(models, key=lambda model: model.reconstruction_err_)
    peaks = best.components_.max(axis=1)
    return best.transform(C) * peaks, best.components_ / peaks[:, None]


def kmeans(C: sparse.csr_matrix, n_modules: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the localities with any correlation; a module is the mean of its cluster, and present there only."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    correlated = np.flatnonzero(np.diff(C.indptr))
    labels = KMeans(n_modules, n_init=N_BEST_OF, random_state=0).fit_predict(normalize(C[correlated]))
    presences = np.zeros((C.shape[0], n_modules))
    presences[correlated, labels] = 1
    return presences, np.array([C[correlated[labels == m]].mean(axis=0).A1 for m in range(n_modules)])


METHODS: dict[str, Callable[[sparse.csr_matrix, int], tuple[np.ndarray, np.ndarray]]] = {
    f"AMF, {DEFAULT_START} (default)": lambda C, n_modules: amf(C, n_modules, DEFAULT_START),
    **{
        f"AMF, {start}": lambda C, n_modules, start=start: amf(C, n_modules, start)
        for start in STARTS
        if start != DEFAULT_START
    },
    "AMF, nu=3": lambda C, n_modules: amf(C, n_modules, DEFAULT_START, nu=3.0),
    "AMF, gamma=1": lambda C, n_modules: amf(C, n_modules, DEFAULT_START, gamma=1.0),
    "NMF": nmf,
    "k-means": kmeans,
}


def table_of_planted(data: dict[str, Data]) -> None:
    print(
        f"{'planted':24} {'method':22} {'least cosine':>12} {'mean':>6} {'presences, r':>12} {'bits':>6} {'true bits':>9}"
    )
    for name, one in data.items():
        if one.modules is None or one.presences is None:
            continue
        for method, find in METHODS.items():
            P, M = find(abs(one.C), one.n_modules)
            cosines = unit(one.modules) @ unit(M).T
            planted, found = linear_sum_assignment(-cosines)
            matched = np.zeros(one.n_modules)  # modules that died stay at 0
            matched[planted] = cosines[planted, found]
            r = np.corrcoef(one.presences[:, planted].ravel(), P[:, found].ravel())[0, 1]
            print(
                f"{name:24} {method:22} {matched.min():12.2f} {matched.mean():6.2f} {r:12.2f} {abs(co_presence(P)):6.2f} "
                f"{abs(co_presence(one.presences)):9.2f}",
                flush=True,
            )
    print(f"the best of {N_BEST_OF} runs of each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, action="append", help="only this, may be repeated")
    parser.add_argument("--start", choices=STARTS, action="append", help="only this, may be repeated")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    data = made(arguments.data or list(DATA))
    table_of_starts(data, arguments.start or list(STARTS), arguments.runs)
    print()
    table_of_planted(data)


if __name__ == "__main__":
    main()
