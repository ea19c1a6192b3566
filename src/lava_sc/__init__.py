"""Explain an embedding of single cells: which genes move together where on the map."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from lava_sc import datasets, get, pl, pp, tl
from lava_sc._report import report
from lava_sc._settings import settings

__all__ = ["datasets", "get", "pl", "pp", "report", "settings", "tl"]

try:
    __version__ = version("lava-sc")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+unknown"
