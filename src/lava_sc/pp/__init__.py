"""Preparation: which genes to explain the embedding with, and how deep cells were sequenced."""

from __future__ import annotations

from lava_sc.pp.select_genes import select_genes
from lava_sc.pp.total_counts import total_counts

__all__ = ["select_genes", "total_counts"]
