"""The one logger of the package, quiet unless the user turns it up, and warnings that point at the user's line."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger("lava_sc")
logger.addHandler(logging.NullHandler())


def warn(message: str) -> None:
    """Warn, pointing at the first caller outside of the package, however deep the call that found the reason."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "lava_sc":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
