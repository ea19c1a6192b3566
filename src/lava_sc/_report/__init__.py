"""One self-contained page that shows what explains an embedding."""

from __future__ import annotations

from lava_sc._report.report import report

__all__ = ["report"]
