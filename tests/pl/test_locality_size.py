from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from tests import helpers
from tests.pl.pictures import assert_readable, texts

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture(scope="module")
def sized() -> AnnData:
    """Shared: copy it before changing anything."""
    adata = helpers.toy()
    adata.obs["region"] = np.repeat(["a", "b", "c", "d"], [7, 40, 60, 193])
    lava.tl.locality_size(adata, groupby="region")
    lava.tl.locality_size(adata, key_added="plain")
    return adata


def lines(ax: Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in ax.lines}


def test_curves_are_those_of_the_table(sized: AnnData) -> None:
    found = sized.uns["lava"]["locality_size"]
    table = found["table"]
    ax = lava.pl.locality_size(sized)
    drawn = lines(ax)
    np.testing.assert_array_equal(drawn["similarity"], table[["n", "jaccard"]])
    np.testing.assert_array_equal(drawn["above chance"], table[["n", "adjusted"]])
    (chance,) = (area for area in ax.collections if area.get_label() == "by chance")
    outline = {tuple(at) for at in chance.get_paths()[0].vertices.tolist()}
    assert {(float(n), c) for n, c in table[["n", "chance"]].itertuples(index=False)} <= outline
    assert ax.get_xscale() == "log"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["similarity", "above chance", "by chance"]
    assert_readable(ax.figure)


def test_the_suggested_size_is_marked(sized: AnnData) -> None:
    adata = sized.copy()
    for suggested, is_peak, remark in ((75, True, "peak: "), (60, False, "default, no peak: ")):
        adata.uns["lava"]["locality_size"] |= {"suggested": suggested, "is_peak": is_peak}
        ax = lava.pl.locality_size(adata)
        markers = [line.get_xydata() for line in ax.lines if line.get_marker() == "o"]
        assert [marker[0, 0] for marker in markers] == [suggested]
        table = adata.uns["lava"]["locality_size"]["table"]
        assert table["jaccard"].min() < markers[0][0, 1] < table["jaccard"].max()
        assert ax.get_title(loc="left") == f"n = {suggested}"
        assert any(text.get_text().startswith(remark) for text in ax.texts)


def test_groups_are_spanned_by_a_box(sized: AnnData) -> None:
    sizes = sized.uns["lava"]["locality_size"]["group_sizes"]["n_cells"]
    ax = lava.pl.locality_size(sized)
    whiskers, median = (line.get_xdata() for line in ax.lines if line.get_transform() == ax.get_xaxis_transform())
    np.testing.assert_array_equal(whiskers, sizes[["min", "max"]])
    np.testing.assert_array_equal(median, sizes[["50%", "50%"]])
    assert "cells per region" in [text.get_text() for text in texts(ax.figure)]
    low, high = ax.get_xlim()
    assert low < sizes["min"] < sizes["max"] < high
    plain = lava.pl.locality_size(sized, key="plain")
    assert "cells per region" not in [text.get_text() for text in texts(plain.figure)]


@pytest.mark.parametrize("font_size", [6, 10, 18])
@pytest.mark.parametrize("key", ["lava", "plain"])
@pytest.mark.parametrize(("largest", "is_peak"), [(150, True), (30_000, False), (400_000, True)])
def test_no_text_meets_another(sized: AnnData, key: str, font_size: int, largest: int, is_peak: bool) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True})
    adata = sized.copy()
    found = adata.uns[key]["locality_size"]
    found["table"]["n"] = np.geomspace(10, largest, len(found["table"])).astype(int)
    found |= {"suggested": largest // 2, "is_peak": is_peak}
    ax = lava.pl.locality_size(adata, key=key)
    assert_readable(ax.figure)
    legend = ax.get_legend().get_window_extent()
    top = ax.transData.transform((1, found["table"]["jaccard"].max()))[1]
    assert top < legend.y0


@pytest.mark.parametrize("sizes", [[20], [2, 299], [10, 11, 12]])
def test_few_sizes_are_drawn(sized: AnnData, sizes: list[int]) -> None:
    adata = sized.copy()
    lava.tl.locality_size(adata, sizes=sizes)
    assert_readable(lava.pl.locality_size(adata).figure)


def test_perfect_agreement_has_no_ticks_beyond_one(sized: AnnData) -> None:
    adata = sized.copy()
    adata.obsm["X_copy"] = adata.obsm["X_umap"].copy()
    lava.tl.locality_size(adata, feature_rep="copy")
    assert lava.pl.locality_size(adata).get_yticks().max() == 1


def test_axes_are_taken_and_left_to_their_owner(sized: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown before its owner is done"))
    plt.ion()
    fig, axes = plt.subplots(1, 2)
    assert lava.pl.locality_size(sized, ax=axes[1]) is axes[1]
    assert not axes[0].lines
    assert plt.get_fignums() == [fig.number]
    plt.close(fig)


@pytest.mark.parametrize(
    ("show", "interactive", "shown"),
    [(None, False, False), (None, True, True), (True, False, True), (False, False, False)],
)
def test_shown_once_or_returned(
    sized: AnnData, monkeypatch: pytest.MonkeyPatch, *, show: bool | None, interactive: bool, shown: bool
) -> None:
    calls = []
    monkeypatch.setattr(plt, "show", lambda: (calls.append(plt.get_fignums()), plt.close("all")))
    plt.interactive(interactive)
    result = lava.pl.locality_size(sized, show=show)
    assert calls == ([[1]] if shown else [])
    assert result is None if shown else isinstance(result, Axes)


def test_subset_is_drawn_and_nothing_changes(sized: AnnData) -> None:
    before = sized.copy()
    lava.pl.locality_size(sized[::9])
    lava.pl.locality_size(sized)
    helpers.assert_unchanged(sized, before)


def test_missing_result_names_the_call(sized: AnnData) -> None:
    with pytest.raises(ValueError, match=r"lava_sc\.tl\.locality_size; call it first, with key 'other'"):
        lava.pl.locality_size(sized, key="other")
