from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACES = ("pp", "tl", "get", "pl", "datasets")
WRITERS = ("pp", "tl")
#: Answer a question and store nothing.
READERS = ("tl.estimate",)
#: The first steps name the key; all others read what is under it.
FIRST_STEPS = ("pp.select_genes", "pp.total_counts", "tl.locality_size", "tl.localities", "tl.explain")
API = Path(__file__).resolve().parents[1] / "docs" / "api.md"

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
PUBLIC: dict[str, Callable[..., object]] = {
    f"{namespace}.{name}": getattr(getattr(lava, namespace), name)
    for namespace in NAMESPACES
    for name in getattr(lava, namespace).__all__
} | {"report": lava.report}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_function_keeps_the_conventions(name: str) -> None:
    function = PUBLIC[name]
    namespace = name.partition(".")[0]
    kind = "reader" if name in READERS else namespace
    wrong = [*wrong_signature(function, kind), *wrong_key(function, name), *wrong_docstring(function, kind)]
    wrong += wrong_place(function, name)
    assert not wrong, "\n".join([name, *wrong])


def wrong_signature(function: Callable[..., object], namespace: str) -> list[str]:
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    positional = [p.name for p in parameters if p.kind in POSITIONAL]
    wrong = [f"{p.name} is not annotated" for p in parameters if p.annotation is inspect.Parameter.empty]
    wrong += [f"{p.name} collects arguments" for p in parameters if p.kind.name.startswith("VAR_")]
    if signature.return_annotation is inspect.Signature.empty:
        wrong.append("the result is not annotated")
    if namespace == "datasets":
        return wrong + [f"{argument} is positional" for argument in positional]
    if positional[:1] != ["adata"] or parameters[0].default is not inspect.Parameter.empty:
        wrong.append("adata is not the first argument")
    if len(positional) > 3:
        wrong.append(f"more than two positional arguments after adata: {positional[1:]}")
    if namespace in WRITERS:
        if str(parameters[-1]) != "copy: 'bool' = False":
            wrong.append(f"the last argument is {parameters[-1]}, not copy: bool = False")
        if signature.return_annotation != "AnnData | None":
            wrong.append(f"returns {signature.return_annotation}, not AnnData | None")
    return wrong


def wrong_key(function: Callable[..., object], name: str) -> list[str]:
    if name.startswith("datasets.") or name in READERS:
        return []
    found = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.name.startswith("key")}
    default = {"pp.select_genes": "lava_genes", "pp.total_counts": "total_counts"}.get(name, "lava")
    expected = {"key_added" if name in FIRST_STEPS else "key": default}
    return [] if found == expected else [f"has {found}, expected {expected}"]


def sections(function: Callable[..., object]) -> dict[str, list[str]]:
    """Lines of each section of a numpydoc docstring."""
    lines = (inspect.getdoc(function) or "").splitlines()
    starts = [i for i in range(len(lines) - 1) if lines[i] and re.fullmatch(r"-+", lines[i + 1])]
    ends = [*starts[1:], len(lines)]
    return {lines[start]: lines[start + 2 : end] for start, end in zip(starts, ends, strict=True)}


def wrong_docstring(function: Callable[..., object], namespace: str) -> list[str]:
    found = sections(function)
    summary = (inspect.getdoc(function) or "").split("\n\n")[0]
    wrong = [] if summary.endswith(".") and "\n" not in summary else ["no summary of one line"]
    entries = [line for line in found.get("Parameters", []) if line and not line.startswith(" ")]
    wrong += [f"type in the docstring: {entry}" for entry in entries if ":" in entry]
    documented = [argument for entry in entries for argument in entry.partition(":")[0].strip().split(", ")]
    arguments = list(inspect.signature(function).parameters)
    if documented != arguments:
        wrong.append(f"documents {documented}, takes {arguments}")
    if "Returns" not in found:
        wrong.append("no section Returns")
    if namespace in WRITERS and not re.search(r"Sets\sthe\s(following\s)?field", "\n".join(found.get("Returns", []))):
        wrong.append("Returns does not list the fields that are set")
    if namespace != "pl" and not any(line.startswith(">>> ") for line in found.get("Examples", [])):
        wrong.append("no section Examples")
    return wrong


def wrong_place(function: Callable[..., object], name: str) -> list[str]:
    namespace, _, short = name.rpartition(".")
    expected = f"lava_sc.{namespace or '_' + short}.{short}"
    if function.__module__ != expected:
        return [f"is in {function.__module__}, expected {expected}"]
    module = importlib.import_module(expected)
    public = [
        other
        for other, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == expected and not other.startswith("_")
    ]
    wrong = [] if public == [function.__name__] == [short] else [f"{expected} has the public functions {public}"]
    if API.is_file() and not re.search(rf"\b{re.escape(name)}\b", API.read_text(encoding="utf-8")):
        wrong.append("is not listed in docs/api.md")
    return wrong


def test_everything_public_is_walked() -> None:
    assert {name for name in lava.__all__ if isinstance(getattr(lava, name), ModuleType)} == set(NAMESPACES)
    assert set(lava.__all__) == {*NAMESPACES, "report", "settings"}
    for namespace in NAMESPACES:
        module = getattr(lava, namespace)
        functions = {name for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"}
        assert functions == set(module.__all__), namespace
        files = {path.stem for path in Path(module.__file__).parent.glob("*.py") if path.stem[0] != "_"}
        assert files == set(module.__all__), namespace


def test_the_checks_see_what_is_wrong() -> None:
    def unkind(adata, a: int, b: int, c: int, *, key: str = "other", copy: bool = True, **rest):
        """Do something

        Parameters
        ----------
        adata : AnnData
            Data.
        a, c
            Numbers.
        """

    assert len(wrong_signature(unkind, "tl")) == 7
    assert wrong_key(unkind, "tl.amf") == ["has {'key': 'other'}, expected {'key': 'lava'}"]
    assert len(wrong_docstring(unkind, "tl")) == 6
    assert len(wrong_place(unkind, "tl.amf")) == 1
