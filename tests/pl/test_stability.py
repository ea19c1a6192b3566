from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from tests import helpers
from tests.pl.pictures import assert_readable

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

COLORS = {"runs": "#0072b2", "end_to_end": "#e69f00", "resamples": "#009e73"}


def with_stability(adata: AnnData, n_modules: int, *, lowest: float = 0.1, donor: bool = False) -> AnnData:
    """Any comparisons, with tables as tl.stability makes them."""
    adata, rng = adata.copy(), np.random.default_rng(0)
    rows, singles = [], []
    groups = [("placement", overlap, -1) for overlap in (1.5, 3.0, 6.0)]
    groups += [("runs", 3.0, -1), *[("end_to_end", overlap, -1) for overlap in (1.5, 3.0, 6.0)]]
    groups += [("end_to_end", 6.0, m) for m in range(n_modules)]  # of another overlap: not drawn
    groups += [(part, 3.0, m) for part in COLORS for m in range(n_modules)]
    for part, overlap, module in groups:
        values, null = (rng.uniform(lowest, high, 6) for high in (1.0, (1 + lowest) / 2))
        low, median, high = np.quantile(values, [0.025, 0.5, 0.975])
        row = dict(part=part, overlap=overlap, module=module, cosine=median, low=low, high=high, n=6)
        rows.append(row | dict(null_cosine=np.median(null), null_high=np.quantile(null, 0.975)))
        for is_null, some in ((False, values), (True, null)):
            one = dict(part=part, overlap=overlap, first=-1, module=module, null=is_null)
            singles += [one | dict(second=k, cosine=value) for k, value in enumerate(some)]
    for name, table in (("stability", rows), ("stability_cosines", singles)):
        adata.uns["lava"][name] = pd.DataFrame(table, index=[str(i) for i in range(len(table))])
    adata.uns["lava"]["params"]["stability"] = {"donor_key": "donor"} if donor else {"rng": 0}
    return adata


def drawn(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the left and of the right panel."""
    left = table["part"].isin(["placement", "end_to_end"]) & (table["module"] < 0)
    return table[left], table[(table["part"] != "placement") & (table["overlap"] == 3)]


def of_part(table: pd.DataFrame, part: str) -> pd.DataFrame:
    return table[table["part"] == part]


def marks(ax: Axes) -> dict[str, np.ndarray]:
    """Positions, medians and ends of the intervals, by colour."""
    found = {}
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, (bars,) = container.lines
            ends = np.array([segment[:, 1] for segment in bars.get_segments()])
            found[to_hex(line.get_color())] = np.column_stack([line.get_xydata(), ends])
    return found


@pytest.mark.parametrize("n_modules", [2, 15])
def test_marks_are_medians_with_intervals(explained: AnnData, n_modules: int) -> None:
    adata = with_stability(explained, n_modules)
    table = adata.uns["lava"]["stability"]
    left, right = lava.pl.stability(adata).axes
    for part, found in zip(("placement", "end_to_end"), marks(left).values(), strict=True):
        expected = of_part(drawn(table)[0], part).sort_values("overlap")
        np.testing.assert_allclose(found[:, 1:], expected[["cosine", "low", "high"]], atol=1e-12)
    assert [text.get_text() for text in left.get_xticklabels()] == ["1.5", "3", "6"]
    assert [text.get_text() for text in right.get_xticklabels()] == ["mean", *map(str, range(n_modules))]
    found = marks(right)
    assert set(found) == set(COLORS.values())
    for part, color in COLORS.items():
        expected = of_part(drawn(table)[1], part).sort_values("module")
        np.testing.assert_allclose(found[color][:, 1:], expected[["cosine", "low", "high"]], atol=1e-12)
        np.testing.assert_array_equal(np.round(found[color][:, 0]), expected["module"] + 1)


def test_each_mark_stands_before_its_own_null(explained: AnnData) -> None:
    adata = with_stability(explained, 3)
    table = adata.uns["lava"]["stability"]
    parts_of = (["placement", "end_to_end"], list(COLORS))
    for ax, parts, rows in zip(lava.pl.stability(adata).axes, parts_of, drawn(table), strict=True):
        at = np.concatenate([found[:, 0] for found in marks(ax).values()])
        bars = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height() for bar in ax.patches}
        expected = np.concatenate([rows.loc[rows["part"] == part, "null_high"] for part in parts])
        assert len(bars) == len(at)
        np.testing.assert_allclose([bars[round(x, 6)] for x in at], expected)
        medians = np.concatenate([lines.get_segments() for lines in ax.collections if lines.get_zorder() == 2])
        expected = np.concatenate([rows.loc[rows["part"] == part, "null_cosine"] for part in parts])
        np.testing.assert_allclose(medians[:, 0, 1], expected)
        np.testing.assert_allclose(medians[:, :, 0].mean(axis=1), at)


def test_single_comparisons_are_those_of_the_data(explained: AnnData) -> None:
    adata = with_stability(explained, 3)
    cosines = adata.uns["lava"]["stability_cosines"]
    for ax, rows in zip(lava.pl.stability(adata).axes, drawn(cosines[~cosines["null"]]), strict=True):
        dots = np.concatenate([dots.get_offsets()[:, 1] for dots in ax.collections if dots.get_zorder() == 3])
        np.testing.assert_allclose(np.sort(dots), np.sort(rows["cosine"]))


@pytest.mark.parametrize("lowest", [0.0, 0.4, 0.9, 0.9999])
def test_everything_is_within_the_axes(explained: AnnData, lowest: float) -> None:
    fig = lava.pl.stability(with_stability(explained, 2, lowest=lowest))
    for ax in fig.axes:
        bottom, top = ax.get_ylim()
        assert bottom <= min(found[:, 2].min() for found in marks(ax).values())
        assert bottom <= min(np.min(lines.get_segments()[0][:, 1]) for lines in ax.collections if lines.zorder == 2)
        assert top > 1
    assert_readable(fig)


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("n_modules", [1, 2, 15])
def test_no_text_meets_another(explained: AnnData, n_modules: int, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True})
    assert_readable(lava.pl.stability(with_stability(explained, n_modules)))


@pytest.mark.parametrize("donor", [False, True])
def test_legend(explained: AnnData, donor: bool) -> None:
    _, right = lava.pl.stability(with_stability(explained, 2, donor=donor)).axes
    names = [text.get_text() for text in right.get_legend().get_texts()]
    assert names == [
        "correlations",
        "other runs",
        "other placements",
        "other donors" if donor else "other cells",
        "shuffled genes",
    ]


def test_a_dark_style(explained: AnnData) -> None:
    plt.style.use("dark_background")
    left, _ = lava.pl.stability(with_stability(explained, 2)).axes
    assert set(marks(left)) == {"#ffffff", COLORS["end_to_end"]}


def test_nothing_in_adata_changes(explained: AnnData) -> None:
    adata = with_stability(explained, 3)
    before = adata.copy()
    lava.pl.stability(adata)
    helpers.assert_unchanged(adata, before)


def test_without_a_result(explained: AnnData) -> None:
    with pytest.raises(ValueError, match=r"lava_sc\.tl\.stability; call it first, with key 'lava'"):
        lava.pl.stability(explained)
