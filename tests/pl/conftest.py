from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def agg() -> Iterator[None]:
    """No screen, the default style, and not one figure more at the end than at the start."""
    with mpl.rc_context():
        plt.switch_backend("agg")
        plt.ioff()
        plt.close("all")
        yield
        left = plt.get_fignums()
        plt.ioff()
        plt.close("all")
    assert not left
