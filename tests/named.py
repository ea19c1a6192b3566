"""What of the package a piece of code names."""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING, Any

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Iterator


def calls(code: str) -> Iterator[tuple[str, list[str]]]:
    """Names of the package in a piece of code, as in ``tl.amf``, and the keywords that they are called with."""
    tree = ast.parse(code)
    keywords = {
        id(node.func): [one.arg for one in node.keywords if one.arg]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = re.fullmatch(
                r"(?:lava|lava_sc)\.(\w+(?:\.\w+)*)|((?:tl|pp|pl|get|datasets)\.\w+)", ast.unparse(node)
            )
            if name:
                yield name[1] or name[2], keywords.get(id(node), [])


def assert_there(code: str) -> None:
    """All functions that are named exist, and take the keywords that they are called with."""
    for name, keywords in calls(code):
        target: Any = lava
        for part in name.split("."):
            assert hasattr(target, part), code
            target = getattr(target, part)
        if keywords:
            assert set(keywords) <= set(inspect.signature(target).parameters), code
