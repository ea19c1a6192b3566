"""``python -m lava_sc``."""

from __future__ import annotations

import sys

from lava_sc.cli.commands import main

sys.exit(main())
