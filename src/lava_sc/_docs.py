"""Descriptions of parameters that mean the same in every public function, written once."""

from __future__ import annotations

import inspect
from textwrap import indent
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., object]")

#: Parameter → its description, lines as they stand below its name.
SHARED_PARAMETERS: Final[Mapping[str, str]] = {
    "key": "Key of the results: the ``key_added`` that was given to the first step.",
    "key_added": "Key under which results are stored; later steps find them by their ``key``.",
    "copy": "Return a changed copy instead of changing ``adata``.",
    "rng": "Seed or generator: the same seed gives the same result.",
    "n_jobs": "Number of threads; ``None`` takes ``lava_sc.settings.n_jobs``, every core by default. Changes no number.",
    "client": (
        "A ``dask.distributed.Client`` whose workers do the work; ``None`` takes ``lava_sc.settings.client`` or the client that\n"
        "is active, and threads where there is none. Changes no number."
    ),
    "layer": "Layer to take values from instead of ``X``.",
    "use_raw": "Take values from ``adata.raw``, by the names of the genes, instead of ``X``.",
    "show": "Show the figure. ``None`` shows it when matplotlib is interactive, as in notebooks, and no ``ax`` was given.",
    "ax": "Axes to draw in; ``None`` makes a figure.",
    "ncols": "Panels in a row; ``None`` fits a notebook.",
    "modules": "Number or numbers of the modules, from 0; all when ``None``.",
    "basis": "Key of ``adata.obsm`` to draw, see :func:`lava_sc.pl.modules`.",
    "gene_symbols": (
        "Column of ``adata.var`` with the names to write. ``None`` takes ``adata.var_names``, or ``feature_name`` when these are\n"
        "Ensembl ids. Appended ids are left out as in :func:`lava_sc.tl.name_modules`."
    ),
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
            found.append(indent(SHARED_PARAMETERS[line], "    "))
    return "\n".join(found)
