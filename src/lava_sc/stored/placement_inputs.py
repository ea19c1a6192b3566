"""PlacementInputs localities again, by the arguments with which the stored ones were placed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lava_sc._logging import logger
from lava_sc.core.localities.placement import PlacementOptions, n_localities, place_probes
from lava_sc.core.localities.sections import place_in_sections
from lava_sc.stored import embeddings
from lava_sc.stored.fields import load, load_params
from lava_sc.stored.inputs import sections as sections_of

if TYPE_CHECKING:
    from anndata import AnnData

    from lava_sc._types import FloatArray, IntArray


@dataclass(frozen=True)
class PlacementInputs:
    """Inputs of a placement of localities.

    Attributes
    ----------
    Z
        (E, D_L) embedding.
    n, overlap, options
        Arguments of the placement.
    probes
        (ℓ, D_L) the stored ones.
    sections
        Codes (E,) of the cells and (ℓ,) of the stored probes, ``None`` without sections.
    """

    Z: FloatArray
    n: int
    overlap: float
    options: PlacementOptions
    probes: FloatArray
    sections: tuple[IntArray, IntArray] | None

    @property
    def strata(self) -> IntArray:
        """Section of each cell, (E,)."""
        return np.zeros(len(self.Z), dtype=np.int64) if self.sections is None else self.sections[0]

    @property
    def smallest_section(self) -> int:
        """Number of cells in the smallest section that has a probe."""
        if self.sections is None:
            return len(self.Z)
        of_cell, of_probe = self.sections
        return int(np.bincount(of_cell)[np.unique(of_probe)].min())

    def n_probes(self, overlap: float) -> int:
        """Number of localities."""
        return n_localities(len(self.Z), self.n, overlap)

    def place(self, overlap: float, seed: int) -> IntArray:
        """Members (ℓ, n) of the localities of another placement."""
        rng, n_probes = np.random.default_rng(seed), self.n_probes(overlap)
        if self.sections is None:
            return place_probes(self.Z, self.n, n_probes, self.options, rng).members
        return place_in_sections(self.Z, self.sections[0], self.n, n_probes, self.options, rng).whole.members


def placement_inputs(adata: AnnData, key: str, n_jobs: int | None) -> PlacementInputs:
    """Read the inputs of the stored placement.

    Raises
    ------
    ValueError
        If there are none, or the embedding or the sections are not there any more.
    """
    probes, params = load(adata, key, "probes"), load_params(adata, key, "localities")
    Z = embeddings.representation(adata, embeddings.representation_key(adata, str(params["use_rep"])))
    n = int(params["n_neighbors"])
    if "transformer" in params:
        logger.info("transformer is not stored: neighbourhoods are searched exactly")
    library_key = params.get("library_key")
    libraries = None if library_key is None else sections_of(adata, str(library_key), n)
    sections = None
    if libraries is not None:
        names = libraries.categories.astype(str)
        of_probe = names.get_indexer(pd.Index(load(adata, key, "placement")["library"]))
        sections = np.asarray(libraries.codes), of_probe
    options = PlacementOptions(str(params["optimizer"]), int(params["max_evals"]), None, n_jobs)
    return PlacementInputs(Z, n, float(params["overlap"]), options, np.asarray(probes), sections)
