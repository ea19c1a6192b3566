"""Tables of the page that can be taken along as CSV, without a network."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lava_sc.stored.fields import has, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from lava_sc.stored.registry import FieldName

#: Stored tables and what they hold.
_TABLES: Final[Mapping[FieldName, str]] = {
    "module_genes": "genes of each module",
    "module_evidence": "modules against chance",
    "ora": "gene sets",
    "ora_control": "gene sets of random modules",
    "presence_association": "presence against groups of cells",
    "preservation": "modules of other data",
    "preservation_localities": "modules of other data by locality",
    "gene_set_summary": "co-regulation of gene sets",
    "gene_set_scores": "co-regulation of gene sets by locality",
    "n_modules": "numbers of modules",
    "stability": "stability",
    "runs": "runs",
    "evidence": "correlations of each locality",
}
_MOST_ROWS: Final = 5_000  # a page stays small; adata has the whole table


@dataclass(frozen=True)
class Download:
    """A table to take along.

    Attributes
    ----------
    name, label
        Name of the file, and what it holds.
    n_rows, n_all
        Rows of the file, and of the stored table.
    uri
        The file as a data URI.
    """

    name: str
    label: str
    n_rows: int
    n_all: int
    uri: str


def downloads(adata: AnnData, key: str) -> list[Download]:
    """All stored tables, and the presences by locality."""
    found = [_download(name, label, load(adata, key, name)) for name, label in _TABLES.items() if has(adata, key, name)]
    if has(adata, key, "presences"):
        presences = np.asarray(load(adata, key, "presences"))
        columns = [f"module_{m}" for m in range(presences.shape[1])]
        index = pd.RangeIndex(len(presences), name="locality")
        table = pd.DataFrame(presences, index=index, columns=columns)
        found.append(_download("presences", "presence of each module in each locality", table))
    return found


def _download(name: str, label: str, table: pd.DataFrame) -> Download:
    shown = table.head(_MOST_ROWS)
    text = base64.b64encode(shown.to_csv(index=shown.index.name is not None).encode("utf-8")).decode("ascii")
    return Download(f"{name}.csv", label, len(shown), len(table), f"data:text/csv;base64,{text}")
