"""Results taken out of the AnnData object, as tables and objects of their own. Nothing here changes it."""

from __future__ import annotations

from lava_sc.get.gene_set_scores import gene_set_scores
from lava_sc.get.localities import localities
from lava_sc.get.module import module
from lava_sc.get.modules import modules
from lava_sc.get.presences import presences

__all__ = ["gene_set_scores", "localities", "module", "modules", "presences"]
