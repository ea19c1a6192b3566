"""Places at which cells and probes are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lava_sc.stored import checks, embeddings
from lava_sc.stored.fields import Slots, load, load_params

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

    from lava_sc._types import FloatArray, IntArray

_PREFERRED: Final = ("X_umap", "X_tsne", "spatial")
_AXIS_NAMES: Final = {"X_umap": "UMAP", "X_tsne": "tSNE", "X_pca": "PC", "X_diffmap": "DC"}  # as scanpy has them


@dataclass(frozen=True)
class Basis:
    """Two-dimensional coordinates.

    Attributes
    ----------
    cells
        (E, 2).
    probes
        (drawn localities, 2).
    drawn
        Numbers of the localities whose probe is drawn: those that still have a cell, so that a subset of the cells
        shows its own localities only.
    axes
        Labels of the two axes.
    is_space
        Whether both axes have the same unit, as in a tissue.
    """

    cells: FloatArray
    probes: FloatArray
    drawn: IntArray
    axes: tuple[str, str]
    is_space: bool


def find_basis(adata: AnnData, basis: str | None, key: str) -> Basis:
    """Coordinates of cells and probes in ``basis``.

    Outside of the explained representation a probe is drawn at the cell nearest to it there (paper, B.7.3).

    Raises
    ------
    ValueError
        If localities are missing, or the basis is not in ``adata.obsm`` or has a single column.
    """
    explained = str(load_params(adata, key, "localities")["use_rep"])
    known = _dimensions(adata, key)
    name = _default(known, explained) if basis is None else _named(known, basis)
    membership: sparse.csc_matrix = load(adata, key, "localities").tocsc()
    drawn = np.flatnonzero(np.diff(membership.indptr))
    probes: FloatArray = np.asarray(load(adata, key, "probes"), dtype=np.float64)[drawn]
    cells = _coordinates(adata, name)
    if name != explained:
        probes = cells[_nearest_cells(adata, explained, membership[:, drawn], probes)]
    return Basis(
        cells=cells[:, :2],
        probes=probes[:, :2],
        drawn=drawn,
        axes=(_axis(name, 1, known[name]), _axis(name, 2, known[name])),
        is_space="spatial" in name,
    )


def _dimensions(adata: AnnData, key: str) -> dict[str, int]:
    """Names and dimensions of what could be an embedding of two or more dimensions."""
    slots = Slots(key)
    shapes = {name: np.shape(value) for name, value in adata.obsm.items()}
    own = {slots.localities, slots.cell_presences}
    return {name: shape[1] for name, shape in shapes.items() if name not in own and len(shape) == 2 and shape[1] > 1}


def _default(known: dict[str, int], explained: str) -> str:
    if known.get(explained) == 2:
        return explained
    found = (embeddings.named_in(list(known), name) for name in _PREFERRED)
    return _named(known, next((name for name in found if name is not None and known[name] == 2), explained))


def _named(known: dict[str, int], basis: str) -> str:
    name = embeddings.named_in(list(known), basis) or basis
    checks.column_names("basis in adata.obsm", name, list(known))
    return name


def _axis(name: str, number: int, of: int) -> str:
    stem = _AXIS_NAMES.get(f"X_{name[2:].lower()}", name.removeprefix("X_"))
    gap = " " if stem[-1:].isdigit() else ""
    return f"{stem}{gap}{number}" + (f" (of {of})" if of > 2 else "")


def _coordinates(adata: AnnData, name: str) -> FloatArray:
    return np.asarray(adata.obsm[name], dtype=np.float64)


def _nearest_cells(adata: AnnData, explained: str, membership: sparse.csc_matrix, probes: FloatArray) -> IntArray:
    """The cell nearest to each probe; it is in the probe's locality, so only these cells are searched."""
    if explained not in adata.obsm:
        msg = (
            f"Found no adata.obsm[{explained!r}], expected the representation that was explained, to find the cells "
            f"nearest to the probes; put it back or choose it as basis."
        )
        raise ValueError(msg)
    Z = embeddings.representation(adata, explained)
    nearest = np.empty(len(probes), dtype=np.int64)
    for i, probe in enumerate(probes):
        members = np.sort(membership.indices[membership.indptr[i] : membership.indptr[i + 1]])
        nearest[i] = members[np.argmin(((Z[members] - probe) ** 2).sum(axis=1))]
    return nearest
