"""Workers of the command line: a cluster on this machine that it starts, or one that is already there."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from lava_sc.parallel.memory import memory_available

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

_TIMEOUT: Final = 10.0  # seconds in which a scheduler has to answer


@contextmanager
def connected(n_workers: int | None, scheduler: str | None) -> Iterator[Client | None]:
    """A client of either cluster, ``None`` when neither is asked for; what was started is closed at the end.

    Parameters
    ----------
    n_workers
        Processes to start, of one thread each, which share the memory that is free.
    scheduler
        Address of a scheduler that is there.

    Raises
    ------
    ValueError
        If ``distributed`` is not installed.
    OSError
        If no scheduler answers.
    """
    if n_workers is None and scheduler is None:
        yield None
        return
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        msg = "Found no package distributed, expected it where --workers or --scheduler is given; pip install 'lava-sc[dask]'."
        raise ValueError(msg) from error
    with _quiet(), ExitStack() as stack:
        if scheduler is not None:
            yield stack.enter_context(_client_of(scheduler))
            return
        cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=memory_available() // (n_workers or 1),
            dashboard_address=":0",  # any port that is free
            silence_logs=logging.ERROR,
        )
        yield stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))


@contextmanager
def _quiet() -> Iterator[None]:
    """A cluster says at length what it does; errors are heard."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _client_of(scheduler: str) -> Client:
    from distributed import Client

    try:
        return Client(scheduler, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        msg = (
            f"Found no scheduler that answers at {scheduler!r} within {_TIMEOUT:g} seconds, expected a running one; check its address, "
            f"e.g. tcp://127.0.0.1:8786, or pass --workers to start one."
        )
        raise OSError(msg) from error
