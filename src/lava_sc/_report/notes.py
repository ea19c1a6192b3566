"""Cautions for a reader of the page, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc.stored import inputs
from lava_sc.stored.fields import all_params, has, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anndata import AnnData

    from lava_sc.stored.registry import StepName

_FEW_LOCALITIES: Final = 20
_FEW_CELLS: Final = 50
_MISPLACED: Final = 0.3  # L/n
_LITTLE: Final = 0.3  # of Σ C²
_HALF: Final = 0.5  # of a module's weight
_MUCH_OVER: Final = 0.3  # of the absolute error


def notes(adata: AnnData, key: str) -> list[str]:
    """Sentences, the weightiest first."""
    params = all_params(adata, key)
    parts = (_of_modules, _of_number, _of_correlations, _of_localities, _of_fit, _of_association)
    return [sentence for part in parts for sentence in part(adata, key, params)]


def _of_modules(adata: AnnData, key: str, _: Mapping[StepName, Any]) -> Iterator[str]:
    if not has(adata, key, "modules"):
        return
    if has(adata, key, "preservation"):
        lost = load(adata, key, "preservation")["weight_defined"] < _HALF
        if lost.any():
            yield f"Less than half of {_modules(lost.sum()).lower()} {', '.join(lost.index[lost])} can be found here at all."
        return
    if not has(adata, key, "module_evidence"):
        yield (
            "The modules were not held against chance. AMF finds modules in shuffled genes, too: call "
            "lava_sc.tl.module_evidence before building on them."
        )
        return
    evidence = load(adata, key, "module_evidence")
    weak = np.flatnonzero(~evidence["exceeds_chance"].to_numpy(dtype=bool))
    if len(weak):
        names = ", ".join(map(str, weak))
        yield (
            f"{_modules(weak.size)} {names} explain{'s' if weak.size == 1 else ''} no more than twice what the best module of "
            f"shuffled genes does."
        )
    if evidence["explained"].sum() < _LITTLE:
        yield (
            f"Together the modules explain {evidence['explained'].sum():.0%} of the squared correlations; most of what varies "
            f"within localities is not in them. Try more modules, or a larger gamma."
        )


def _of_number(adata: AnnData, key: str, params: Mapping[StepName, Any]) -> Iterator[str]:
    if has(adata, key, "preservation"):
        return
    if not has(adata, key, "n_modules_choice"):
        yield "The number of modules was given, not chosen: lava_sc.tl.choose_n_modules says what speaks for it."
        return
    choice = load(adata, key, "n_modules_choice")
    taken = params.get("amf", {}).get("n_modules")
    if taken is not None and taken != choice["n_modules"]:
        yield f"{taken} modules were asked for, where the choice was {choice['n_modules']}."
    elif not choice["clear"]:
        yield "The number of modules is unclear: the data would support its neighbours as well."


def _of_correlations(adata: AnnData, key: str, params: Mapping[StepName, Any]) -> Iterator[str]:
    arguments, evidence = params["locality_corr"], load(adata, key, "evidence")
    empty = int((evidence["n_kept_pairs"] == 0).sum())
    if empty:
        yield f"In {empty} of {len(evidence)} localities no correlation was kept; nothing can be said of these places."
    if "fdr" not in arguments:
        yield "No correlation was tested (fdr=None): a part of them, most in sparse data, is chance."
    known = inputs.depth_column(adata)
    if known is not None and len(arguments.get("covariates", [])) == 0:
        yield f"Sequencing depth was not taken out of the correlations; adata.obs has {known!r}, which covariates= takes."


def _of_localities(adata: AnnData, key: str, params: Mapping[StepName, Any]) -> Iterator[str]:
    n, n_localities = int(params["localities"]["n_neighbors"]), len(load(adata, key, "evidence"))
    loss = float(load(adata, key, "placement")["loss_per_neighbor"])
    if n_localities < _FEW_LOCALITIES:
        yield f"There are only {n_localities} localities; a larger overlap or a smaller n_neighbors gives more."
    if n < _FEW_CELLS:
        yield f"A locality has only {n} cells, of which a correlation has a standard deviation of {(n - 1) ** -0.5:.2f} by chance."
    if loss > _MISPLACED:
        yield f"Localities represent the cells badly (L/n = {loss:.2f}; 0 is perfect, 2 is disjoint)."


def _of_fit(adata: AnnData, key: str, _: Mapping[StepName, Any]) -> Iterator[str]:
    if not has(adata, key, "runs"):
        return
    runs = load(adata, key, "runs")
    unconverged = int((~runs["converged"].to_numpy(dtype=bool)).sum())
    if unconverged:
        yield f"{unconverged} of {len(runs)} runs of AMF stopped before they converged; raise max_epochs."
    over = float(runs.loc[runs["best"].to_numpy(dtype=bool), "overestimation"].iloc[0])
    if over > _MUCH_OVER:
        yield f"Overestimation makes up {over:.0%} of the error, so modules are closer to averages; raise gamma."


def _of_association(adata: AnnData, key: str, _: Mapping[StepName, Any]) -> Iterator[str]:
    if not has(adata, key, "presence_association"):
        return
    table = load(adata, key, "presence_association")
    if (table["test"] == "overlap").any():
        yield (
            "Presences were tested against groups of cells without donors: the result holds for these cells and says nothing "
            "of other donors."
        )
    if table["pearson_p"].isna().all():
        yield "Presences were not tested against groups of cells: there are too few donors in a group."


def _modules(n: int) -> str:
    return "Module" if n == 1 else "Modules"
