"""Bundled and simulated data for tests, documentation and the demo; nothing here needs a network."""

from __future__ import annotations

from lava_sc.datasets.pbmc68k import pbmc68k
from lava_sc.datasets.planted import planted

__all__ = ["pbmc68k", "planted"]
