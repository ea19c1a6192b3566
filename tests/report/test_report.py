from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import lava_sc as lava

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


class Page(HTMLParser):
    """Text, images and unclosed elements of a page."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.without_text: list[str] = []
        self.downloads: dict[str, str] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        attributes = dict(attrs)
        if tag == "img":
            self.images.append(attributes["src"])
            if not attributes.get("alt"):
                self.without_text.append(attributes["src"])
        if "download" in attributes:
            self.downloads[attributes["download"]] = attributes["href"]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(explained, tmp_path_factory):
    path = lava.report(explained, tmp_path_factory.mktemp("report") / "page.html", groupby="region")
    return Page(path.read_text(encoding="utf-8"))


def test_page_is_well_formed_and_self_contained(page):
    assert page.open == []
    assert page.without_text == []
    assert len(page.images) == 3 + 3 * 3  # of the whole, and of each module: presence, genes, network
    for source in page.images:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")
    assert len(page.ids) == len(set(page.ids))
    for link in set(page.links) - set(page.images) - set(page.downloads.values()):
        assert link.startswith("#")
        assert link[1:] in page.ids
    assert {f"#module-{m}" for m in range(3)} <= set(page.links)


def test_tables_to_take_along(page, explained):
    stored = explained.uns["lava"]
    assert set(page.downloads) == {"module_genes.csv", "runs.csv", "evidence.csv", "presences.csv"}
    for name, expected in (("module_genes", stored["module_genes"]), ("runs", stored["runs"])):
        kind, _, content = page.downloads[f"{name}.csv"].partition(",")
        assert kind == "data:text/csv;base64"
        table = pd.read_csv(io.BytesIO(base64.b64decode(content)))
        for column in expected.columns:
            found, there = table[column].to_numpy(), expected[column].to_numpy()
            if there.dtype.kind == "f":  # the parser may err in the last digit
                np.testing.assert_allclose(found, there, rtol=1e-12)
            else:
                np.testing.assert_array_equal(found, there)
    content = base64.b64decode(page.downloads["presences.csv"].partition(",")[2])
    np.testing.assert_allclose(pd.read_csv(io.BytesIO(content), index_col=0), stored["presences"], rtol=1e-6)


def test_long_tables_are_cut_and_said_to_be(explained, tmp_path):
    adata = explained.copy()
    rows = adata.uns["lava"]["module_genes"]
    adata.uns["lava"]["module_genes"] = pd.concat([rows] * (6000 // len(rows) + 1), ignore_index=True)
    path = lava.report(adata, tmp_path / "page.html")
    assert f"5,000 of {len(adata.uns['lava']['module_genes']):,} rows" in text_of(path)


def test_page_names_genes_groups_and_numbers(page, explained):
    text = re.sub(r"\s+", " ", page.text)
    presences = np.asarray(explained.uns["lava"]["presences"])
    for m in range(presences.shape[1]):
        assert f"{(presences[:, m] > 0.01).sum()} of {len(presences)}" in text
        strongest = lava.get.module(explained, m).index[0]
        assert strongest in text
    assert f"{explained.uns['lava']['C'].nnz:,}" in text
    assert "not held against chance" in text
    assert "given, not chosen" in text
    assert plt.get_fignums() == []


def test_in_a_notebook_no_picture_of_the_page_is_left_to_be_shown(explained, tmp_path):
    plt.ion()
    try:
        mine = plt.figure()
        lava.report(explained, tmp_path / "page.html")
        assert plt.get_fignums() == [mine.number]
    finally:
        plt.ioff()
        plt.close("all")


def test_names_of_modules_follow_their_numbers(explained, tmp_path):
    adata = lava.tl.name_modules(explained, labels={1: "my <module>"}, copy=True)
    text = text_of(lava.report(adata, tmp_path / "page.html"))
    for m in (0, 2):
        assert f"Module {m} {' · '.join(lava.get.module(explained, m).index[:3])}" in text
    assert "Module 1 my <module>" in text


def test_group_named_first_is_where_the_module_is_planted(page, explained):
    rows = re.findall(r"M(\d)_\d\d", page.text)
    assert set(rows) == {str(i + 1) for i in range(explained.varm["planted_modules"].shape[1])}
    for m in range(explained.uns["lava"]["presences"].shape[1]):
        planted = lava.get.module(explained, m).index[0][1]
        by_region = lava.get.presences(explained)[m].groupby(explained.obs["region"], observed=True).mean()
        assert by_region.idxmax() == f"R{planted}"


def test_names_are_escaped(explained, tmp_path):
    adata = explained.copy()
    adata.obs["group"] = "<script>alert(1)</script>"
    html = lava.report(adata, tmp_path / "page.html", groupby="group").read_text(encoding="utf-8")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_unknown_group_lists_those_there_are(explained, tmp_path):
    with pytest.raises(ValueError, match=r"'nothing'.*'region'"):
        lava.report(explained, tmp_path / "page.html", groupby="nothing")
    assert list(tmp_path.iterdir()) == []


def test_report_before_the_modules_says_what_to_call(tmp_path):
    adata = lava.datasets.planted(n_cells=50)
    with pytest.raises(ValueError, match=r"lava_sc\.tl\.module_genes"):
        lava.report(adata, tmp_path / "page.html")


def text_of(path) -> str:
    return re.sub(r"\s+", " ", Page(path.read_text(encoding="utf-8")).text)


@pytest.mark.filterwarnings("ignore:Number of modules")
def test_choice_and_evidence_are_told(explained, tmp_path):
    adata = explained.copy()
    lava.tl.choose_n_modules(adata, [1, 2, 3], n_runs=2, n_permutations=2)
    lava.tl.amf(adata, n_runs=2)
    lava.tl.module_genes(adata)
    lava.tl.module_evidence(adata, n_permutations=2, n_decoys=1)
    text = text_of(lava.report(adata, tmp_path / "page.html"))
    assert adata.uns["lava"]["n_modules_choice"]["reason"] in text
    exceeding, all_of_them = adata.uns["lava"]["module_evidence"]["exceeds_chance"].agg(["sum", "size"])
    assert all_of_them == len(adata.uns["lava"]["presences"].T)
    assert f"modules, {exceeding} beyond chance" in text
    assert "not held against chance" not in text
    assert f"{adata.uns['lava']['module_evidence']['explained'].iloc[0]:.1%}".replace("%", " %") in text


@pytest.mark.filterwarnings("ignore:Number of modules")
def test_page_without_modules(tmp_path):
    rng = np.random.default_rng(0)
    adata = lava.datasets.planted(n_cells=400, n_modules=0, n_genes=60)
    adata.X = rng.uniform(size=adata.shape).astype(np.float32)
    lava.tl.localities(adata, n_neighbors=100)
    lava.tl.locality_corr(adata, fdr=0.5)
    lava.tl.choose_n_modules(adata, [1, 2], n_runs=2, n_permutations=10)
    choice = adata.uns["lava"]["n_modules_choice"]
    assert choice["n_modules"] == 0
    text = text_of(lava.report(adata, tmp_path / "page.html"))
    assert choice["reason"] in text
    assert "No modules" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*stopped at max_epochs")
def test_fifteen_modules_and_200_000_cells_are_a_page_to_send(tmp_path):
    adata = lava.datasets.planted(n_cells=2000, n_modules=15, genes_per_module=12, n_genes=300)
    lava.tl.localities(adata, n_neighbors=80, max_evals=2)
    lava.tl.locality_corr(adata)
    lava.tl.amf(adata, 15, n_runs=1, max_epochs=40)
    lava.tl.module_genes(adata)
    many = ad.concat([adata] * 100, merge="same", uns_merge="first", index_unique="-")
    assert many.n_obs == 200_000
    path = lava.report(many, tmp_path / "page.html", groupby="region")
    assert path.stat().st_size < 15e6
    assert "Module 14" in text_of(path)


def test_modules_of_other_data(explained, tmp_path):
    other = lava.datasets.planted(
        n_cells=600, n_genes=80, genes_per_module=10, n_modules=3, markers_per_region=2, rng=1
    )
    lava.tl.localities(other, n_neighbors=80)
    lava.tl.project(other, explained, n_permutations=60)
    text = text_of(lava.report(other, tmp_path / "page.html"))
    preserved = int((other.uns["lava"]["preservation"]["p_adj"] <= 0.05).sum())
    assert f"modules of other data, {preserved} preserved" in text
    assert "The number of modules was given" not in text
    assert "not held against chance" not in text
    row = other.uns["lava"]["preservation"].iloc[0]
    assert f"{row['cosine']:.2f}cosine with the correlations here; {row['cosine_reference']:.2f} where" in text


def test_a_picture_that_is_registered_is_a_section_of_the_page(
    stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A toy one: one entry of the registry, drawn where its field is stored, and only there."""
    from lava_sc._report.pictures import PICTURES, PagePicture

    def draw(adata: AnnData, on: Any) -> Any:
        return plt.figure(figsize=(adata.n_obs / adata.n_obs, 1))

    monkeypatch.setitem(PICTURES, "toy", PagePicture("presences", draw, "A toy", "All about it.", "Nothing"))
    monkeypatch.setitem(PICTURES, "absent", PagePicture("stability", draw, "Not computed"))
    page = lava.report(stages["module_genes"], tmp_path / "page.html").read_text()
    assert '<a href="#toy">A toy</a>' in page
    assert re.search(
        r'<section id="toy">\s*<h2>A toy</h2>\s*<p>All about it.</p>\s*<img alt="Nothing" src="data:image/png', page
    )
    assert "Not computed" not in page
