"""The picture of a choice: every number of the table is drawn, the choice is marked, nothing overlaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def chosen() -> AnnData:
    """A table that was made up, of 1 to 8 modules."""
    n = np.arange(1, 9)
    falling = np.maximum(1 - n / 5, 0.01)
    columns: dict[str, Any] = {"n_modules": n, "loss": falling, "cosine": 1 - falling, "cosine_sd": 0.01}
    columns |= {"overestimation": 0.1, "overestimation_sd": 0.02, "silhouette": [np.nan, *[0.9] * 7]}
    columns |= {"held_out": 0.9 - falling, "n_beyond_null": np.minimum(n, 5), "n_replicated": np.minimum(n, 6)}
    columns |= {"other_cells": 0.8 - falling, "other_cells_se": 0.01, "explained": 0.7 - falling / 2}
    columns |= {"weakest": 0.3 / n, "most_alike": [np.nan, *np.linspace(0.1, 0.9, 7)]}
    for name in ("loss", "cosine", "overestimation", "silhouette", "other_cells"):
        columns |= {f"{name}_null": 0.5 - 0.05 * n, f"{name}_null_sd": 0.03}
    adata = lava.datasets.planted(n_cells=20, n_genes=100)
    choice = {"n_modules": 5, "clear": True, "reason": "5: because of what was found, in a sentence that is long. " * 2}
    adata.uns["lava"] = {"n_modules": pd.DataFrame(columns, index=n.astype(str)), "n_modules_choice": choice}
    return adata


def test_numbers_are_drawn(chosen: AnnData) -> None:
    fig = lava.pl.n_modules(chosen, show=False)
    table = chosen.uns["lava"]["n_modules"]
    drawn = [np.asarray(line.get_ydata(), dtype=float) for ax in fig.axes for line in ax.lines]
    names = ["loss", "cosine", "held_out", "other_cells", "overestimation", "silhouette", "n_beyond_null"]
    names += ["n_replicated", "explained", "weakest", "most_alike"]
    names += [f"{name}_null" for name in ("loss", "cosine", "overestimation", "silhouette", "other_cells")]
    for name in names:
        assert any(np.array_equal(line, table[name], equal_nan=True) for line in drawn), name
    for ax in fig.axes:
        assert any(np.array_equal(line.get_xdata(), [5, 5]) for line in ax.lines)  # the choice
    assert len({ax.get_title(loc="left") for ax in fig.axes}) == 6


def test_no_choice_is_marked_when_there_is_none(chosen: AnnData) -> None:
    chosen.uns["lava"]["n_modules_choice"]["n_modules"] = 0
    fig = lava.pl.n_modules(chosen, show=False)
    assert not any(len(line.get_xdata()) == 2 for ax in fig.axes for line in ax.lines)


def test_without_splits_there_are_no_other_cells(chosen: AnnData) -> None:
    table = chosen.uns["lava"]["n_modules"]
    chosen.uns["lava"]["n_modules"] = table.assign(**{name: np.nan for name in table if name.startswith("other_cells")})
    others = lava.pl.n_modules(chosen, show=False).axes[1]
    assert others.get_legend() is None
    assert [text.get_text() for text in others.texts] == ["cells were not split"]


def test_texts_stay_apart(chosen: AnnData) -> None:
    fig = lava.pl.n_modules(chosen, show=False)
    fig.draw_without_rendering()
    reason = fig.texts[0].get_window_extent()
    assert reason.x1 <= fig.bbox.x1
    for ax in fig.axes:
        assert not ax.get_tightbbox().overlaps(reason)
        for other in fig.axes:
            assert ax is other or not ax.get_tightbbox().overlaps(other.get_tightbbox())
