"""Checks of the arguments of :func:`lava_sc.tl.amf`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc._logging import logger
from lava_sc.core.cost_model import fit_bytes
from lava_sc.core.factorise.amf.restarts import share_threads
from lava_sc.core.factorise.amf.starts import STARTS
from lava_sc.parallel.device import resolve_device
from lava_sc.parallel.memory import refuse_what_does_not_fit
from lava_sc.parallel.tasks import resolve_client
from lava_sc.stored import checks

if TYPE_CHECKING:
    from distributed import Client

    from lava_sc.core.factorise.problem import Problem

_REMEDY: Final = "lower n_modules or n_runs, or keep fewer correlations (fdr of lava_sc.tl.locality_corr) or these in a file (store of it)"


def check_arguments(
    n_modules: int,
    n_localities: int,
    nu: float,
    gamma: float | str,
    init: str,
    n_runs: int,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Refuse what is no model.

    Raises
    ------
    ValueError
        If an argument of the model, its start or its descent is out of range.
    """
    checks.in_range("n_modules", n_modules, 1, n_localities, integer=True)
    checks.in_range("nu", nu, 1, np.inf)
    if isinstance(gamma, str):
        checks.one_of("gamma", gamma, ["auto"])
    else:
        checks.in_range("gamma", gamma, 0, np.inf)
    checks.one_of("init", init, list(STARTS))
    checks.in_range("n_runs", n_runs, 1, np.inf, integer=True)
    checks.in_range("batch_size", batch_size, 1, np.inf, integer=True)
    checks.in_range("learning_rate", learning_rate, float(np.finfo(np.float32).tiny), 1)


def where_to_run(device: str, client: Client | None) -> tuple[str, Client | None]:
    """The device, and the client whose workers take the runs, ``None`` for runs in this process.

    Workers fit on their CPUs; a client that was not named gives way to a device that was.

    Raises
    ------
    ValueError
        If the device or the client cannot be used, or not both together.
    """
    named = resolve_client(client) if client is not None else None
    at = "cpu" if named is not None and device == "auto" else resolve_device(device)
    if at == "cpu":
        return at, named or resolve_client(None)
    if named is not None:
        msg = f"Found device={device!r} with a client, expected one of them, as its workers fit on the CPU; leave one out."
        raise ValueError(msg)
    if resolve_client(None) is not None:
        logger.info("the active client is left alone: its workers fit on the CPU")
    return at, None


def check_schedule(
    n_refits: int, tol: float, patience: int, max_epochs: int, min_localities: int, device: str, n_jobs: int | None
) -> None:
    """Refuse what is no way to fit one.

    Raises
    ------
    ValueError
        If an argument of the schedule, the device or the workers is out of range.
    """
    checks.in_range("n_refits", n_refits, 0, np.inf, integer=True)
    checks.in_range("tol", tol, 0, 1)
    checks.in_range("patience", patience, 1, np.inf, integer=True)
    checks.in_range("max_epochs", max_epochs, 1, np.inf, integer=True)
    checks.in_range("min_localities", min_localities, 1, np.inf, integer=True)
    checks.one_of("device", device, ["auto", "cpu", "cuda", "mps"])
    checks.in_range("n_jobs", 1 if n_jobs is None else n_jobs, 1, np.inf, integer=True)


def require_pairs(problem: Problem, min_localities: int) -> None:
    """Refuse correlations of which no pair is left.

    Raises
    ------
    ValueError
        If there is no pair.
    """
    if problem.n_columns == 0:
        msg = (
            f"Found no pair of genes that is correlated in {min_localities} localities, expected at least one; lower "
            f"min_localities."
        )
        raise ValueError(msg)


def check_memory(
    problem: Problem, n_modules: int, n_runs: int, n_jobs: int | None, *, init: str, batch_size: int
) -> None:
    """Refuse runs that would not fit into memory.

    Raises
    ------
    ValueError
        If they would not.
    """
    side_by_side, _ = share_threads(n_jobs, n_runs, problem.n_blocks)
    stored = problem.origin is not None
    if stored and init == "kmeans":  # of all localities at once
        copies = 28 * side_by_side * len(problem.data)
        refuse_what_does_not_fit("the start by k-means", copies, "pass init='nmf' or 'random'")
    sizes = 0 if stored else len(problem.data), problem.n_localities, problem.n_columns
    needed = fit_bytes(*sizes, n_modules=n_modules, side_by_side=side_by_side)
    if problem.streamed:  # a copy of a batch
        needed += round(8 * batch_size * len(problem.data) / problem.n_localities * side_by_side)
    what = f"{side_by_side} runs at a time with {n_modules} modules of {problem.n_columns:,} pairs"
    refuse_what_does_not_fit(what, needed, _REMEDY)
