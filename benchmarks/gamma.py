"""What the weight of the mean absolute error, γ of Equation 6, changes.

    python benchmarks/gamma.py                             # all data
    python benchmarks/gamma.py --data kang --gamma 0.1 --runs 10 --modules 5

Medians over the runs from the default start: main term of the loss, reconstruction cosine, overestimation (the share of the
absolute error, which ν = 9 would have at 0.1), co-presence in bits; the silhouette of their modules. Where modules are
known, the best run's smallest and mean cosine with them and the true co-presence. ``weight`` is γ times the mean absolute
error over the main term: what γ is worth depends on how dense the correlations are. ``explained`` is the share of the squared
correlations that the best run accounts for.

Data are read from the folder LAVA_SC_DATA, and left out without it.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from amf_data import DATA, made
from scipy.optimize import linear_sum_assignment
from starts import DEFAULT_START, runs_of, unit

from lava_sc.core.factorise.amf.explained import explained
from lava_sc.core.factorise.problem import make_problem
from lava_sc.core.interpret.summary import co_presence
from lava_sc.core.n_modules.medoids import silhouette_of_runs
from lava_sc.core.n_modules.sweep import squares

GAMMAS = (1e-4, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, action="append", help="only this, may be repeated")
    parser.add_argument("--gamma", type=float, action="append", help="only this, may be repeated")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--modules", type=int, help="number of modules; otherwise one for each of the data")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"{'data':24} {'gamma':>7} {'main':>7} {'cosine':>6} {'over':>6} {'bits':>6} {'silhouette':>10} {'weight':>6} {'explained':>9}  "
        f"least cosine, mean, true bits"
    )
    for name, one in made(arguments.data or list(DATA)).items():
        problem = make_problem(one.C)
        for gamma in arguments.gamma or GAMMAS:
            found = runs_of(
                problem, arguments.modules or one.n_modules, arguments.runs, init=DEFAULT_START, gamma=gamma
            )
            qualities = [run.quality for run in found.runs]
            main_term, cosine, over = np.median([(q.main_term, q.cosine, q.overestimation) for q in qualities], axis=0)
            bits = np.median([run.co_presence for run in found.runs])
            weight = np.median([(q.loss - q.main_term) / q.main_term for q in qualities])
            same = silhouette_of_runs([run.M for run in found.runs if run.M is not None])
            share = explained(problem, *found.factors).sum() / squares(problem)
            row = f"{main_term:7.4f} {cosine:6.3f} {over:6.2f} {bits:6.2f} {same:10.2f} {weight:6.2f} {share:9.2f}"
            if one.modules is not None and one.presences is not None:
                M = np.zeros((len(found.factors[1]), problem.n_pairs))
                M[:, problem.columns] = found.factors[1]
                cosines = unit(one.modules) @ unit(M).T
                matched = np.zeros(one.n_modules)  # modules that died stay at 0
                planted, of = linear_sum_assignment(-cosines)
                matched[planted] = cosines[planted, of]
                row += f"  {matched.min():.2f} {matched.mean():.2f} {abs(co_presence(one.presences)):.2f}"
            print(f"{name:24} {gamma:7.2g} {row}", flush=True)
    print(f"{arguments.runs} runs of each")


if __name__ == "__main__":
    main()
