"""The colours of positive and negative correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lava_sc.pl import _canvas

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable

#: Colours that colour-blind readers tell apart (Okabe & Ito 2008).
_POSITIVE: Final = "#D55E00"
_NEGATIVE, _NEGATIVE_ON_BLACK = "#0072B2", "#56B4E9"
_NEITHER: Final = "#BDBDBD"


def direction_colors() -> tuple[str, str]:
    """Of negative and of positive correlations, both seen on the style's background."""
    return _canvas.for_background(_NEGATIVE, _NEGATIVE_ON_BLACK), _POSITIVE


def direction_scale() -> ScalarMappable:
    """Colours of the share of positive correlations, from 0 to 1, grey where neither sign prevails."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    negative, positive = direction_colors()
    cmap = LinearSegmentedColormap.from_list("lava_direction", (negative, _NEITHER, positive))
    return ScalarMappable(Normalize(0.0, 1.0), cmap)
