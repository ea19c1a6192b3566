"""Settings of the session: where work is done, and how much is said about it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from lava_sc._logging import HINT, logger

if TYPE_CHECKING:
    from collections.abc import Iterator

#: scanpy's levels of verbosity, by their numbers there.
_LEVELS: Final = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "hint": HINT,
    "debug": logging.DEBUG,
}
_DEVICES: Final = ("auto", "cpu", "cuda", "mps")


class Settings:
    """Settings that apply where a function is not told otherwise.

    Attributes
    ----------
    n_jobs
        Number of threads; ``None`` takes every core that the process may use.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    client
        A ``dask.distributed.Client``; ``None`` takes the one that is active, and threads where there is none.
    progress
        Whether work of more than two seconds shows a progress bar.
    verbosity
        ``"error"``, ``"warning"``, ``"info"``, ``"hint"`` or ``"debug"``, or 0 to 4, as in scanpy.
    """

    # scverse-misc's Settings has this interface, but needs Python 3.12
    n_jobs: int | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    client: Any
    progress: bool
    verbosity: str

    def __init__(self) -> None:
        for name, value in _DEFAULTS.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set one, checked.

        Raises
        ------
        AttributeError
            If there is no such setting.
        ValueError
            If it cannot have that value.
        """
        if name not in _DEFAULTS:
            msg = f"Found setting {name!r}, expected one of {', '.join(_DEFAULTS)}; change the name."
            raise AttributeError(msg)
        if name == "verbosity":
            value = _level_name(value)
            logger.setLevel(_LEVELS[value])
        elif not _is_valid(name, value):
            msg = f"Found settings.{name}={value!r}, expected {_EXPECTED[name]}; change it."
            raise ValueError(msg)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {getattr(self, name)!r}" for name in _DEFAULTS)

    @contextmanager
    def override(self, **values: Any) -> Iterator[None]:
        """Other values within a block.

        Parameters
        ----------
        **values
            Settings by their names.
        """
        before = {name: getattr(self, name) for name in values}
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)


_DEFAULTS: Final = {"n_jobs": None, "device": "auto", "client": None, "progress": True, "verbosity": "warning"}
_EXPECTED: Final = {
    "n_jobs": "a whole number of at least 1 or None",
    "device": f"one of {', '.join(map(repr, _DEVICES))}",
    "client": "a dask.distributed.Client or None",
    "progress": "True or False",
}


def _is_valid(name: str, value: Any) -> bool:
    if name == "n_jobs":
        return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)
    if name == "device":
        return value in _DEVICES
    if name == "client":
        return value is None or hasattr(value, "submit")
    return isinstance(value, bool)


def _level_name(value: Any) -> str:
    if isinstance(value, str) and value.lower() in _LEVELS:
        return value.lower()
    if isinstance(value, int) and 0 <= value < len(_LEVELS):
        return list(_LEVELS)[value]
    msg = f"Found settings.verbosity={value!r}, expected one of {', '.join(map(repr, _LEVELS))} or 0 to {len(_LEVELS) - 1}; change it."
    raise ValueError(msg)


settings: Final = Settings()
