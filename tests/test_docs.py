"""The documentation names what there is."""

from __future__ import annotations

import argparse
import re
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pytest
from anndata import AnnData
from tests import helpers
from tests.named import assert_there, calls

import lava_sc as lava
from lava_sc.cli.arguments import make_parser
from lava_sc.stored.fields import STEPS, Slots

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    path.name: path.read_text(encoding="utf-8") for path in [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
}

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the docs are not beside the tests")


def stored(key: str = "lava") -> set[str]:
    """Every place in which a step stores something, as users reach it."""
    return {Slots(key).where(name) for step in STEPS.values() for name in step.fields}


def test_every_slot_is_in_the_storage_reference() -> None:
    text = (DOCS / "storage.md").read_text(encoding="utf-8")
    named = set(re.findall(r'\w+\[(?:key|f"\{key\}_\w+")\](?:\["\w+"\])?', text))
    plain = {re.sub(r'f"\{key\}', '"lava', name).replace("[key]", '["lava"]') for name in named}
    assert plain - {'uns["lava"]["params"]'} == stored()


def test_every_step_is_in_the_storage_reference() -> None:
    text = (DOCS / "storage.md").read_text(encoding="utf-8")
    assert {f"tl.{name}" for name in re.findall(r"^\| `tl\.(\w+)`", text, re.M)} == {
        step.function.removeprefix("lava_sc.") for step in STEPS.values()
    }


def test_every_public_function_is_in_the_reference() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^    ((?:pp|tl|get|pl|datasets)\.\w+)$", text, re.M))
    there = {
        f"{module}.{name}" for module in ("pp", "tl", "get", "pl", "datasets") for name in getattr(lava, module).__all__
    }
    assert listed == there


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)


def prose(page: str) -> str:
    return re.sub(r"^```.*?^```", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def inline(page: str) -> list[str]:
    """Code within sentences that names something of the package; ``f(a=)`` stands for any value."""
    found = re.findall(r"`([^`]+)`", prose(page))
    code = [
        re.sub(r"=(?=[,)])", "=None", one)
        for one in found
        if re.match(r"(lava|lava_sc|tl|pp|pl|get|datasets)\.\w", one)
    ]
    return [one for one in code if not re.search(r"\.(py|md|html|h5ad)\b|\*|…", one)]


@pytest.mark.parametrize("page", PAGES)
def test_code_names_functions_and_arguments_that_there_are(page: str) -> None:
    for code in [*fenced(page, "python"), *inline(page)]:
        assert_there(code)


def test_these_tests_see_code() -> None:
    found = {name: set(keywords) for page in PAGES for code in fenced(page, "python") for name, keywords in calls(code)}
    assert found["tl.score_gene_sets"] == set()
    assert "n_modules" in found["tl.explain"]
    assert sum(len(inline(page)) for page in PAGES) > 50


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_are_understood(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: argparse.ArgumentParser, message: str) -> None:
        raise AssertionError(message)

    monkeypatch.setattr(argparse.ArgumentParser, "error", refuse)
    lines = [line for block in fenced(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    whole = [code for code in re.findall(r"`(lava-sc [^`]+)`", prose(page)) if " run IN" in code and "…" not in code]
    for line in [*lines, *whole]:
        words = shlex.split(line, comments=True)
        if words[:1] == ["lava-sc"] and "--help" not in words:
            given = (
                words[1:]
                if "--dry-run" in words or "-o" in words or words[1] != "run"
                else [*words[1:], "-o", "OUT.h5ad"]
            )
            make_parser(print, print).parse_args(given)


def two_objects() -> dict[str, Any]:
    return {
        "healthy": lava.datasets.planted(n_cells=500, n_modules=2),
        "ill": lava.datasets.planted(n_cells=500, n_modules=2, rng=1),
    }


def placed() -> dict[str, Any]:
    """A toy with localities and correlations, and gene sets in a file."""
    import scanpy as sc

    genes = "\t".join(helpers.GENE_SETS["first"])
    Path("h.all.v7.5.1.symbols.gmt").write_text(f"HALLMARK_TNFA_SIGNALING_VIA_NFKB\t-\t{genes}\n", encoding="utf-8")
    return {"adata": helpers.run_steps(helpers.toy(), "localities", "locality_corr"), "sc": sc}


def file_from_cellxgene() -> dict[str, Any]:
    """Counts in raw, as many genes as a gene set needs, a column to group by."""
    adata = helpers.toy(n_cells=400)
    adata.raw = AnnData(adata.layers["counts"], var=adata.var)
    del adata.layers["counts"], adata.obs["total_counts"]
    adata.obs["cell_type"] = adata.obs["region"].astype("category")
    adata.write_h5ad("dataset.h5ad")
    return placed()


#: What the examples of each page begin with.
GIVEN: dict[str, list[Callable[[], dict[str, Any]]]] = {
    "README.md": [dict],
    "api.md": [dict],
    "biology.md": [two_objects, placed],
    "cellxgene.md": [file_from_cellxgene],
    "checkpoints.md": [placed, placed],
    "scaling.md": [placed],
}


@pytest.mark.parametrize("page", [page for page in PAGES if fenced(page, "python")])
def test_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda *_, **__: None)
    plt.switch_backend("agg")
    for code, given in zip(fenced(page, "python"), GIVEN[page], strict=True):
        with warnings.catch_warnings():  # of small data, and of scanpy's own plots
            warnings.simplefilter("ignore")
            exec(compile(code, page, "exec"), {"lava": lava} | given())
    plt.close("all")
