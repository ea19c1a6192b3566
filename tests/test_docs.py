"""The documentation names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lava_sc as lava
from lava_sc._slots import STEPS, Slots

DOCS = Path(__file__).parents[1] / "docs"

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
