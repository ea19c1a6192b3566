"""The ritual of a public step: check, resolve, compute, copy, store. A step's function computes and returns its fields."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec

import numpy as np

from lava_sc._docs import document_parameters
from lava_sc._settings import settings
from lava_sc.stored import checks
from lava_sc.stored.fields import all_or_nothing, check_key, own, store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData

    from lava_sc.stored.fields import Fields
    from lava_sc.stored.registry import StepName

P = ParamSpec("P")

#: Arguments that say where results go and what computes them, not what they are.
_NOT_KEPT: Final = frozenset(
    {"adata", "copy", "key", "key_added", "n_jobs", "client", "callback", "checkpoint", "store"}
)


@dataclass(frozen=True)
class Result:
    """Fields of a step, and the values that stand for arguments in its stored parameters: what was chosen, what files can hold."""

    fields: Fields
    params: Mapping[str, Any] = field(default_factory=dict)
    when_stored: Callable[[], object] | None = None


def step(name: StepName, *, in_place: bool = False) -> Callable[[Callable[P, Result]], Callable[P, AnnData | None]]:
    """Make a public step of a function that returns its fields.

    Parameters
    ----------
    name
        Step of :data:`lava_sc.stored.registry.STEPS`.
    in_place
        The function stores results of other steps on its way. It is then handed the copy, if one is asked for, and what it has
        stored is taken back should it fail.
    """

    def write(adata: AnnData, arguments: Mapping[str, Any], params: Mapping[str, Any], found: Result) -> None:
        store(adata, _key(arguments), name, found.fields, {**params, **found.params})
        if found.when_stored is not None:
            found.when_stored()

    return _ritual(write, in_place=in_place)


def column_step(container: Literal["obs", "var"]) -> Callable[[Callable[P, Any]], Callable[P, AnnData | None]]:
    """Make a public step of a function that returns a column, stored under ``key_added`` in ``obs`` or ``var``."""

    def write(adata: AnnData, arguments: Mapping[str, Any], params: Mapping[str, Any], found: Any) -> None:  # noqa: ARG001
        own(adata)
        getattr(adata, container)[arguments["key_added"]] = found

    return _ritual(write, check_name=lambda _, name: checks.column(name))


def pipeline(function: Callable[P, None]) -> Callable[P, AnnData | None]:
    """Make a public function of one that calls several steps: if one of them fails, ``adata`` is left as it was."""
    return _ritual(lambda *_: None, in_place=True)(function)


def _ritual(
    write: Callable[[AnnData, Mapping[str, Any], Mapping[str, Any], Any], None],
    *,
    check_name: Callable[[AnnData, str], None] = check_key,
    in_place: bool = False,
) -> Callable[[Callable[P, Any]], Callable[P, AnnData | None]]:
    def decorate(compute: Callable[P, Any]) -> Callable[P, AnnData | None]:
        computed: Callable[..., Any] = compute
        signature = inspect.signature(compute).replace(return_annotation="AnnData | None")

        @wraps(compute)
        def call(*args: P.args, **kwargs: P.kwargs) -> AnnData | None:
            arguments = _bound(signature, args, kwargs)
            adata, copy = arguments["adata"], arguments["copy"]
            checks.annotated(adata)
            checks.writable(adata, copy=copy)
            if "key_added" in arguments:
                check_name(adata, arguments["key_added"])
            params = {name: _kept(value) for name, value in arguments.items() if name not in _NOT_KEPT}
            _resolve(arguments)
            if in_place:
                adata = arguments["adata"] = adata.copy() if copy else adata
                with all_or_nothing(adata):
                    write(adata, arguments, params, computed(**arguments))
            else:
                found = computed(**arguments)
                adata = adata.copy() if copy else adata
                write(adata, arguments, params, found)
            return adata if copy else None

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__annotations__ = {**compute.__annotations__, "return": "AnnData | None"}
        return document_parameters(call)

    return decorate


def _kept(value: Any) -> Any:
    """Value of an argument as it is kept: a generator as its state, from which the same numbers can be drawn again."""
    if isinstance(value, np.random.Generator):
        return json.dumps(value.bit_generator.state, default=str)
    return value


def _key(arguments: Mapping[str, Any]) -> str:
    return str(arguments["key_added"] if "key_added" in arguments else arguments["key"])


def _bound(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _resolve(arguments: dict[str, Any]) -> None:
    """Settings in place of execution arguments that are ``None``."""
    for name in ("n_jobs", "client"):
        if name in arguments and arguments[name] is None:
            arguments[name] = getattr(settings, name)
    if "n_jobs" in arguments:
        checks.in_range("n_jobs", 1 if arguments["n_jobs"] is None else arguments["n_jobs"], 1, np.inf, integer=True)
