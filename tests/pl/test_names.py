"""What modules are called in pictures, once they have names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from tests.pl.pictures import assert_readable

import lava_sc as lava
from lava_sc.pl._plot_names import gene_names, module_titles
from lava_sc.stored import inputs

if TYPE_CHECKING:
    from anndata import AnnData

LABELS = ["IFIT3 · CXCL10 · IFIT2", "Interferon alpha response to nothing", "a" * 60]


@pytest.fixture
def named(explained: AnnData) -> AnnData:
    return lava.tl.name_modules(explained, labels=LABELS, copy=True)


def inches(text: str) -> float:
    return TextPath((0, 0), text, prop=FontProperties(size="medium", weight="bold")).get_extents().width / 72


def test_without_names_there_are_numbers(explained: AnnData) -> None:
    assert module_titles(explained, [2, 0], "lava", room=0.1) == ["module 2", "module 0"]


def test_names_follow_numbers(named: AnnData) -> None:
    assert module_titles(named, [2, 0], "lava", room=99) == [f"2 · {LABELS[2]}", f"0 · {LABELS[0]}"]


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("room", [0.8, 1.2, 1.6, 2.4, 4.0])
def test_names_are_shortened_to_fit(named: AnnData, room: float, font_size: int) -> None:
    plt.rcParams["font.size"] = font_size
    for m, title in enumerate(module_titles(named, range(3), "lava", room=room)):
        whole = f"{m} · {LABELS[m]}"
        assert title == str(m) or inches(title) <= room
        assert title.startswith(str(m))
        assert whole.startswith(title.rstrip("…").rstrip())
        assert title == whole or title.endswith("…") or title == str(m)


def test_names_lose_whole_genes_and_words_first(named: AnnData) -> None:
    room = max(inches("0 · IFIT3 · CXCL10 …"), inches("1 · Interferon alpha …")) * 1.08
    genes, words, letters = module_titles(named, range(3), "lava", room=room)
    assert genes == "0 · IFIT3 · CXCL10 …"
    assert words == "1 · Interferon alpha …"
    assert letters.rstrip("…").rstrip("a") == "2 · "


def test_names_with_dollars_are_no_formulas(explained: AnnData) -> None:
    adata = lava.tl.name_modules(explained, labels={0: "$x_1$ and $\\oops$"}, copy=True)
    fig = lava.pl.presences(adata, 0)
    assert_readable(fig)
    assert fig.axes[0].get_title(loc="left") == "0 · $x_1$ and $\\oops$"


@pytest.mark.parametrize(("n_modules", "font_size"), [(1, 18), (2, 7), (9, 18)])
def test_named_modules_in_every_picture(named: AnnData, n_modules: int, font_size: int) -> None:
    plt.rcParams["font.size"] = font_size
    chosen = [m % 3 for m in range(n_modules)]
    for draw in (lava.pl.modules, lava.pl.presences, lava.pl.module_genes):
        fig = draw(named, chosen)
        titles = [ax.get_title(loc="left") for ax in fig.axes if ax.get_title(loc="left")]
        assert [title.split()[0].rstrip("…") for title in titles] == [str(m) for m in chosen]
        assert_readable(fig)


def test_parts_of_a_locality_are_named(named: AnnData) -> None:
    locality = int(named.uns["lava"]["presences"].max(axis=1).argmax())
    fig = lava.pl.reconstruction(named, locality)
    assert_readable(fig)
    strongest = named.uns["lava"]["presences"][locality].argmax()
    assert fig.axes[1].get_title(loc="left").startswith(f"{strongest} · {LABELS[strongest][:3]}")


def test_genes_are_named_by_symbol_and_kept_short(explained: AnnData) -> None:
    adata = explained.copy()
    first = adata.var_names[0]
    adata.var["symbol"] = ["x" * 30, *(f"s{name}" for name in adata.var_names[1:])]
    assert gene_names(adata, [adata.var_names[1], "gone", first], "symbol") == [
        f"s{adata.var_names[1]}",
        "gone",
        "x" * 17 + "…",
    ]


def test_appended_ids_are_written_only_where_they_tell_genes_apart(explained: AnnData) -> None:
    adata = explained.copy()
    symbols = ["HLA-DRA", "CD52", "CD52", *adata.var_names[3:]]
    adata.var["symbol"] = [f"{name}_ENSG{i:011d}" if i < 3 else name for i, name in enumerate(symbols)]
    expected = ["HLA-DRA", *adata.var["symbol"].iloc[1:]]
    assert inputs.labels(adata, "symbol") == dict(zip(adata.var_names, expected, strict=True))
    assert gene_names(adata, adata.var_names[[0, 3]], "symbol") == ["HLA-DRA", adata.var_names[3]]
    lava.tl.name_modules(adata, gene_symbols="symbol", n_genes=adata.n_vars)
    assert any("HLA-DRA" in name for name in adata.uns["lava"]["module_names"])
    assert not any("HLA-DRA_" in name for name in adata.uns["lava"]["module_names"])
