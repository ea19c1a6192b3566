"""The one logger of the package; quiet unless the user turns it up."""

from __future__ import annotations

import logging

logger = logging.getLogger("lava_sc")
logger.addHandler(logging.NullHandler())
