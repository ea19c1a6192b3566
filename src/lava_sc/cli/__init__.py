"""The command line ``lava-sc``."""

from __future__ import annotations

from lava_sc.cli.commands import main

__all__ = ["main"]
