from __future__ import annotations

import doctest
import os
import sys
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pytest

import lava_sc as lava

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = [f"{space}.{name}" for space in ("pp", "tl", "get", "pl", "datasets") for name in getattr(lava, space).__all__]


@pytest.fixture
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, no windows, and one core: two that others use as well take far longer over so small examples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(plt, "show", lambda *_, **__: None)
    plt.switch_backend("agg")


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_place")
@pytest.mark.parametrize("name", [*PUBLIC, "report.report"])
def test_examples_in_docstrings_work(name: str) -> None:
    module = sys.modules[f"lava_sc.{name}" if name in PUBLIC else "lava_sc._report.report"]
    function = getattr(module, name.split(".")[1])
    found = doctest.DocTestFinder(recurse=False).find(function, name, module, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    lines: list[str] = []
    for example in found:
        runner.run(example, out=lines.append)
    plt.close("all")
    assert not runner.failures, "".join(lines)
