"""The one logger of the package, and warnings that point at the user's line."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

#: Between information and debugging, as in scanpy.
HINT: Final = 15
logging.addLevelName(HINT, "HINT")


class _StderrHandler(logging.Handler):
    """Writes to stderr unless whoever runs the program has set up logging, whose handlers then get the records."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            sys.stderr.write(f"{self.format(record)}\n")


logger = logging.getLogger("lava_sc")
if not logger.handlers:  # not again when the module is loaded anew
    logger.addHandler(_StderrHandler())


def warn(message: str) -> None:
    """Warn, pointing at the first caller outside of the package, however deep the call that found the reason."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "lava_sc":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
