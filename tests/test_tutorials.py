"""Tutorials are stored as they ran, without traces of a machine, and name what there is; `.ci/run` runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.named import assert_there, calls

FOLDER = Path(__file__).parents[1] / "tutorials"
NOTEBOOKS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.ipynb"))}

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the tutorials are not beside the tests")


def code_cells(name: str) -> list[dict[str, Any]]:
    return [cell for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == "code"]


def test_there_are_five() -> None:
    assert [name[:2] for name in NOTEBOOKS] == ["01", "02", "03", "04", "05"]
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\((\d\d_\w+\.ipynb)\)", listed) == list(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_as_it_ran(name: str) -> None:
    cells = code_cells(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [one for cell in cells for one in cell["outputs"]]
    assert {one["output_type"] for one in outputs} <= {"display_data", "execute_result", "stream"}
    assert any("image/png" in one.get("data", {}) for one in outputs)
    assert (FOLDER / name).stat().st_size < 400_000


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_trace_of_a_machine(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    without_images = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"/(home|root|tmp|work|Users)/|stderr|\d{4}-\d\d-\d\dT", without_images)
    assert set(NOTEBOOKS[name]["metadata"]) == {"kernelspec", "language_info", "lava_sc"}
    assert all(cell["metadata"] == {} for cell in NOTEBOOKS[name]["cells"])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_code_names_functions_and_arguments_that_there_are(name: str) -> None:
    code = ["".join(cell["source"]) for cell in code_cells(name)]
    for one in code:
        assert_there(one)
    assert sum(len(list(calls(one))) for one in code) > 4
