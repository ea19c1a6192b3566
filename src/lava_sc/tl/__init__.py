"""Tools: each computes one step and stores it in the AnnData object."""

from __future__ import annotations

from lava_sc.tl.amf import amf
from lava_sc.tl.choose_n_modules import choose_n_modules
from lava_sc.tl.co_presence import co_presence
from lava_sc.tl.compare_factorisations import compare_factorisations
from lava_sc.tl.estimate import estimate
from lava_sc.tl.explain import explain
from lava_sc.tl.finetune_presences import finetune_presences
from lava_sc.tl.localities import localities
from lava_sc.tl.locality_corr import locality_corr
from lava_sc.tl.locality_size import locality_size
from lava_sc.tl.module_evidence import module_evidence
from lava_sc.tl.module_genes import module_genes
from lava_sc.tl.name_modules import name_modules
from lava_sc.tl.ora import ora
from lava_sc.tl.presence_association import presence_association
from lava_sc.tl.project import project
from lava_sc.tl.score_gene_sets import score_gene_sets
from lava_sc.tl.stability import stability

__all__ = [
    "amf",
    "choose_n_modules",
    "co_presence",
    "compare_factorisations",
    "estimate",
    "explain",
    "finetune_presences",
    "localities",
    "locality_corr",
    "locality_size",
    "module_evidence",
    "module_genes",
    "name_modules",
    "ora",
    "presence_association",
    "project",
    "score_gene_sets",
    "stability",
]
