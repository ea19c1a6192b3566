"""What the page says before it is trusted: each sentence where it holds, and only there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import lava_sc as lava
from lava_sc._report.notes import notes

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


def said(adata: AnnData) -> str:
    return "\n".join(notes(adata, "lava"))


def changed(adata: AnnData, change: Callable[[dict[str, Any]], object]) -> AnnData:
    adata = adata.copy()
    change(adata.uns["lava"])
    return adata


def evidence(n_modules: int, explained: float, *, exceeds: bool) -> pd.DataFrame:
    columns = {"explained": explained / n_modules, "exceeds_chance": [exceeds] * n_modules}
    return pd.DataFrame(columns, index=[str(m) for m in range(n_modules)])


def choice(n_modules: int, *, clear: bool) -> dict[str, Any]:
    return {"n_modules": n_modules, "clear": clear, "reason": "because", "elbow": n_modules}


def test_a_page_on_sure_ground_has_no_warning(explained: AnnData) -> None:
    """All that is left is what holds of this small example."""
    adata = changed(explained, lambda of: of.update(module_evidence=evidence(3, 0.9, exceeds=True)))
    adata.uns["lava"]["n_modules_choice"] = choice(3, clear=True)
    adata.uns["lava"]["params"]["locality_corr"]["covariates"] = np.array(["total_counts"])
    left = notes(adata, "lava")
    assert [sentence for sentence in left if "localities" not in sentence] == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda of: of.update(module_evidence=evidence(3, 0.9, exceeds=False)),
            "Modules 0, 1, 2 explain no more than twice",
        ),
        (lambda of: of.update(module_evidence=evidence(3, 0.2, exceeds=True)), "Together the modules explain 20%"),
        (lambda of: of.update(n_modules_choice=choice(3, clear=False)), "The number of modules is unclear"),
        (
            lambda of: of.update(n_modules_choice=choice(5, clear=True)),
            "3 modules were asked for, where the choice was 5",
        ),
        (lambda of: of["params"]["locality_corr"].pop("fdr"), "No correlation was tested"),
        (
            lambda of: of.update(evidence=of["evidence"].assign(n_kept_pairs=0)),
            r"In (\d+) of \1 localities no correlation was kept",
        ),
        (lambda of: of.update(placement=of["placement"] | {"loss_per_neighbor": 0.5}), "represent the cells badly"),
        (lambda of: of.update(runs=of["runs"].assign(converged=False)), "stopped before they converged"),
        (lambda of: of.update(runs=of["runs"].assign(overestimation=0.4)), "Overestimation makes up 40%"),
        (lambda of: of["params"]["localities"].update(n_neighbors=20), "has only 20 cells, .* deviation of 0.23"),
    ],
)
def test_warnings(explained: AnnData, change: Callable[[dict[str, Any]], object], sentence: str) -> None:
    assert not re.search(sentence, said(explained))
    assert re.search(sentence, said(changed(explained, change)))


def test_depth_that_was_left_in(explained: AnnData) -> None:
    assert "Sequencing depth was not taken out" in said(explained)
    without = explained.copy()
    del without.obs["total_counts"]
    assert "Sequencing depth" not in said(without)


def test_associations(explained: AnnData) -> None:
    adata = explained.copy()
    adata.obs["side"] = np.where(adata.obsm["X_umap"][:, 0] > 0, "east", "west")
    lava.tl.presence_association(adata, "side", n_permutations=20)
    assert "says nothing of other donors" in said(adata)
    table = adata.uns["lava"]["presence_association"]
    adata.uns["lava"]["presence_association"] = table.assign(test="donors", pearson_p=np.nan)
    assert "too few donors" in said(adata)
    assert "other donors" not in said(adata)
