"""Some cells of an object by themselves, with nothing but what correlations between genes are taken from."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from lava_sc.core.correlation.ranks import defined_features
from lava_sc.io.blocks import InMemory, n_bytes, rows_needed
from lava_sc.parallel.memory import SHARE_OF_MEMORY, memory_available
from lava_sc.parallel.threads import quiet_thread_map
from lava_sc.pp._variability import survey
from lava_sc.pp.select_genes import select_genes
from lava_sc.stored import inputs
from lava_sc.stored.fields import GENE_MASK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc._types import BoolArray, DataMatrix, IntArray

_COMPILED_ON: Final = 200  # cells
_COPIES: Final = 2  # of the candidates' values while their variability is measured
_MAX_TIE_FRACTION: Final = 0.75  # as pp.select_genes takes by default
_SYMBOLS: Final = "symbols"


@dataclass(frozen=True)
class Excerpt:
    """Sampled cells.

    Attributes
    ----------
    data
        Their values, in memory as CSR matrix or dense array in ``X``, wherever they were before.
    members
        (k, n) rows of ``data`` that make up the sampled localities.
    seconds
        Time that reading them took.
    most_held
        Bytes of values that a step holds at most: none where all are in memory as they are needed, no more than a share of
        the memory where they are read piece by piece.
    """

    data: AnnData
    members: IntArray
    seconds: float
    most_held: float

    def bytes_held(self, n_cells: int) -> float:
        """Memory that a step takes for the values of so many cells."""
        return min(n_cells * _bytes_per_row(self.data.X), self.most_held)

    def with_genes(self, chosen: BoolArray) -> Excerpt:
        """Some of the genes, which a step has to copy."""
        most_held = self.most_held or np.inf
        return Excerpt(self.data[:, chosen].copy(), self.members, self.seconds, most_held)


@dataclass(frozen=True)
class Selection:
    """Genes that would be selected, (n_vars,) bool, and what that takes for each locality and cell."""

    genes: BoolArray
    seconds_per_locality: float
    seconds_per_cell: float
    bytes_per_cell: float


def _bytes_per_row(X: DataMatrix) -> float:
    return n_bytes(X) / X.shape[0]


def take_excerpt(
    adata: AnnData,
    members: IntArray,
    mask: BoolArray,
    *,
    layer: str | None,
    use_raw: bool,
    obs_columns: Sequence[str],
) -> Excerpt:
    """Read what some localities need: (k, n) cells, the selected genes, and some columns of ``obs``.

    Of what is stored or computed piece by piece, only as many localities are taken as fit into memory at once.
    """
    began = time.perf_counter()
    part, positions, genes = adata, members, mask
    most_held = memory_available() / SHARE_OF_MEMORY
    if _is_in_memory(adata, layer, use_raw=use_raw):  # rows first, since all rows might not fit a second time
        cells, positions = rows_needed(members, adata.n_obs)
        part, genes = (adata[cells] if mask.all() else adata[cells, mask]), np.ones(int(mask.sum()), dtype=bool)
        most_held = 0.0 if mask.all() else np.inf
    source = inputs.source(part, genes, layer=layer, use_raw=use_raw)
    block = next(iter(source.blocks(positions)))
    cells, positions = rows_needed(members[block.localities], adata.n_obs)
    seconds = time.perf_counter() - began
    obs = pd.DataFrame(
        {name: inputs.obs_column(adata, name).to_numpy()[cells] for name in dict.fromkeys(obs_columns)},
        index=np.arange(len(cells)).astype(str),
    )
    var = pd.DataFrame({_SYMBOLS: inputs.symbols(adata, None)[mask]}, index=adata.var_names[mask])
    notes = {name: adata.uns[name] for name in ("log1p",) if name in adata.uns}  # variability is measured by its base
    return Excerpt(AnnData(block.X, obs=obs, var=var, uns=notes), positions, seconds, most_held)


def _is_in_memory(adata: AnnData, layer: str | None, *, use_raw: bool) -> bool:
    if use_raw:
        X = None if adata.raw is None else adata.raw.X
    else:
        X = adata.X if layer is None else adata.layers.get(layer)
    return isinstance(X, np.ndarray | sparse.sparray | sparse.spmatrix)


def select_in_excerpt(
    excerpt: Excerpt, n_top_genes: int | None, batch_key: str | None, n_jobs: int | None
) -> Selection:
    """Select among the genes that are defined in any of the sampled localities.

    :func:`lava_sc.pp.select_genes` does so with all of them.
    """
    data = excerpt.data
    is_defined = partial(defined_features, data.X, max_tie_fraction=_MAX_TIE_FRACTION)
    is_defined(excerpt.members[0])  # compiles
    began = time.perf_counter()
    defined = quiet_thread_map(is_defined, list(excerpt.members), n_jobs=n_jobs)
    somewhere = np.zeros(data.n_vars, dtype=bool)
    somewhere[np.concatenate(defined)] = True
    per_locality = (time.perf_counter() - began) / len(excerpt.members)
    with warnings.catch_warnings():  # the step itself will give them
        warnings.simplefilter("ignore", UserWarning)
        with suppress(ValueError):  # loads and compiles
            select_genes(data[:_COMPILED_ON, somewhere].copy(), n_top_genes=2, gene_symbols=_SYMBOLS)
        began = time.perf_counter()
        survey(InMemory(data.X))
        candidates = data[:, somewhere].copy()
        select_genes(candidates, n_top_genes=n_top_genes, batch_key=batch_key, gene_symbols=_SYMBOLS)
        per_cell = (time.perf_counter() - began) / data.n_obs
    genes = np.zeros(data.n_vars, dtype=bool)
    genes[somewhere] = candidates.var[GENE_MASK]
    held = max(_bytes_per_row(data.X), _COPIES * _bytes_per_row(candidates.X))
    return Selection(genes, per_locality, per_cell, held)
