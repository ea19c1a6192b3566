"""Preparation: which genes to explain the embedding with."""

from __future__ import annotations

from lava_sc.pp.select_genes import select_genes

__all__ = ["select_genes"]
