"""Descriptions of parameters that mean the same in every public function, written once."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., object]")

#: Parameter → its description, lines as they stand below its name.
SHARED_PARAMETERS: Final[Mapping[str, str]] = {
    "n_jobs": "Number of threads; ``None`` takes ``lava_sc.settings.n_jobs``, all cores by default. Changes no number.",
    "key": "Key under which the results it builds on are stored, and under which it stores its own.",
    "key_added": "Key under which results are stored.",
    "copy": "Return a changed copy instead of changing ``adata``.",
}


def document_parameters(function: F) -> F:
    """Fill in, from :data:`SHARED_PARAMETERS`, each parameter that the docstring names without describing it.

    Raises
    ------
    KeyError
        If there is no shared description of such a parameter: it has to be described in the docstring.
    """
    if function.__doc__:  # there is none under python -OO
        function.__doc__ = _filled(inspect.cleandoc(function.__doc__))
    return function


def _filled(doc: str) -> str:
    lines, found, inside = doc.split("\n"), [], False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found.append(line)
        if following and set(following) == {"-"}:
            inside = line == "Parameters"
        elif inside and line and not line.startswith((" ", "-")) and not following.startswith(" "):
            found += [f"    {SHARED_PARAMETERS[name]}" for name in line.split(", ")]
    return "\n".join(found)
