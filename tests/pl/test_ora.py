"""Dots of gene sets: which are drawn, where, and how large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def tested() -> AnnData:
    """A table that was made up: three modules, twelve sets."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "module": m,
            "gene_set": f"GOBP_SET_{k:02d}",
            "n_hits": int(rng.integers(0, 9)),
            "set_size": 10,
            "expected": 1.0,
        }
        | {
            "pvalue": (p := 10.0 ** -rng.uniform(0, 6)),
            "pvalue_adj": min(3 * p, 1.0),
            "pvalue_adj_all": 1.0,
            "genes": "",
        }
        for m in range(3)
        for k in range(12)
    ]
    adata = lava.datasets.planted(n_cells=20, n_genes=100)
    table = pd.DataFrame(rows).sort_values(["module", "pvalue"])
    control = pd.DataFrame({"n_genes": 9, "n_significant": [4, 5, 6], "random_mean": 0.25, "random_high": 1.0})
    adata.uns["lava"] = {"ora": table, "ora_control": control, "presences": np.zeros((5, 3))}
    return adata


def test_the_strongest_sets_of_each_module(tested: AnnData) -> None:
    fig = lava.pl.ora(tested, n_sets=2, show=False)
    assert fig is not None
    ax, table = fig.axes[0], tested.uns["lava"]["ora"]
    strongest = table[table["pvalue_adj"] <= 0.05].groupby("module").head(2)["gene_set"]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == [name.replace("GOBP_SET_", "Set ") for name in dict.fromkeys(strongest)]
    drawn = table[table["gene_set"].isin(strongest) & (table["n_hits"] > 0)]
    dots = ax.collections[0]
    assert len(dots.get_offsets()) == len(drawn)
    np.testing.assert_allclose(dots.get_array(), -np.log10(drawn["pvalue_adj"]))
    order = np.argsort(drawn["n_hits"].to_numpy(), kind="stable")
    assert (np.diff(np.asarray(dots.get_sizes())[order]) >= 0).all()


def test_random_modules_are_told(tested: AnnData) -> None:
    fig = lava.pl.ora(tested, [2, 0], show=False)
    assert fig is not None
    assert [text.get_text() for text in fig.axes[0].texts] == ["6\n(0.2)", "4\n(0.2)"]


def test_nothing_passes(tested: AnnData) -> None:
    tested.uns["lava"]["ora"]["pvalue_adj"] = 1.0
    fig = lava.pl.ora(tested, show=False)
    assert fig is not None
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["no set passes 0.05"]


def test_long_names_stay_apart(tested: AnnData) -> None:
    table = tested.uns["lava"]["ora"]
    table["gene_set"] = "A_" + "VERY_" * 15 + "LONG_NAME_" + table["gene_set"]
    fig = lava.pl.ora(tested, show=False)
    assert fig is not None
    fig.draw_without_rendering()
    labels = fig.axes[0].get_yticklabels()
    assert len({text.get_text() for text in labels}) == len(labels)
    boxes = [text.get_window_extent() for text in labels]
    assert all(box.x0 >= 0 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
