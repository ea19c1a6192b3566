"""Pictures of what the other modules stored. Nothing here changes the AnnData object."""

from __future__ import annotations

from lava_sc.pl.association import association
from lava_sc.pl.centrality import centrality
from lava_sc.pl.co_presence import co_presence
from lava_sc.pl.image_modules import image_modules
from lava_sc.pl.localities import localities
from lava_sc.pl.locality_similarity import locality_similarity
from lava_sc.pl.locality_size import locality_size
from lava_sc.pl.module_genes import module_genes
from lava_sc.pl.module_network import module_network
from lava_sc.pl.modules import modules
from lava_sc.pl.n_modules import n_modules
from lava_sc.pl.ora import ora
from lava_sc.pl.presences import presences
from lava_sc.pl.reconstruction import reconstruction
from lava_sc.pl.stability import stability

__all__ = [
    "association",
    "centrality",
    "co_presence",
    "image_modules",
    "localities",
    "locality_similarity",
    "locality_size",
    "module_genes",
    "module_network",
    "modules",
    "n_modules",
    "ora",
    "presences",
    "reconstruction",
    "stability",
]
