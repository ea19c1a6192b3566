"""Results by name: written, read and dropped together with what builds on them.

No module but this one and :mod:`lava_sc.stored.registry`, which lists them, spells a name in ``obs``, ``obsm``, ``varm`` or ``uns``:
writers call :func:`store`, readers :func:`load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from anndata.experimental.backed import Dataset2D

from lava_sc.io.arrays import in_memory
from lava_sc.io.correlation_store import open_store
from lava_sc.stored import checks
from lava_sc.stored.registry import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from lava_sc.stored.registry import Container, FieldName, StepName

Fields: TypeAlias = "Mapping[FieldName, Any]"
#: Gene mask written by :func:`lava_sc.pp.select_genes`, read by :func:`lava_sc.tl.locality_corr`.
GENE_MASK: Final = "lava_genes"
_PARAMS: Final = "params"
_STEP_OF: Final = {name: step for step, spec in STEPS.items() for name in spec.fields}


@dataclass(frozen=True)
class Slots:
    """Names derived from one ``key_added``."""

    key: str

    @property
    def in_degree(self) -> str:
        """``obs``: in-degree centrality of the cell."""
        return f"{self.key}_in_degree"

    @property
    def locality_in_degree(self) -> str:
        """``obs``: fraction of the localities that contain the cell."""
        return f"{self.key}_locality_in_degree"

    @property
    def localities(self) -> str:
        """``obsm``: membership, cells × localities."""
        return f"{self.key}_localities"

    @property
    def cell_presences(self) -> str:
        """``obsm``: mean presence over the localities that contain the cell."""
        return f"{self.key}_presences"

    @property
    def cell_gene_set_scores(self) -> str:
        """``obsm``: mean score of gene sets over the localities that contain the cell."""
        return f"{self.key}_gene_set_scores"

    @property
    def gene_weights(self) -> str:
        """``varm``: weight of each gene in each module."""
        return f"{self.key}_gene_weights"

    @property
    def gene_q(self) -> str:
        """``varm``: q-value of each gene in each module."""
        return f"{self.key}_gene_q"

    def name(self, field_name: FieldName) -> str:
        """The name of a field within its container."""
        return field_name if _container_kind(field_name) == "uns" else str(getattr(self, field_name))

    def where(self, field_name: FieldName) -> str:
        """Field as a user reaches it, for messages."""
        kind = _container_kind(field_name)
        return f'uns["{self.key}"]["{field_name}"]' if kind == "uns" else f'{kind}["{self.name(field_name)}"]'


def check_key(adata: AnnData, key: str) -> None:
    """Refuse a key under which results cannot be stored.

    Raises
    ------
    ValueError
        If files cannot hold it, something else is there, or names would be those of another key's results.
    """
    checks.column(key)
    _results(adata, key)
    names = {Slots(key).name(field_name) for field_name in _STEP_OF if _container_kind(field_name) != "uns"}
    for other in adata.uns:
        if other != key and isinstance(adata.uns[other], Mapping) and _PARAMS in adata.uns[other]:
            shared = names & {Slots(other).name(field_name) for field_name in _STEP_OF}
            if shared:
                msg = f"Found results of key {other!r} that key {key!r} would overwrite ({sorted(shared)[0]}); choose another key."
                raise ValueError(msg)


def _results(adata: AnnData, key: str) -> Mapping[str, Any]:
    found = adata.uns.get(key, {})
    if not isinstance(found, Mapping):
        msg = (
            f"Found {type(found).__name__} in adata.uns[{key!r}], expected results of lava_sc or nothing; choose another "
            f"key or delete it."
        )
        raise ValueError(msg)
    return found


def _container_kind(field_name: FieldName) -> Container:
    return STEPS[_STEP_OF[field_name]].fields[field_name]


def _container(adata: AnnData, slots: Slots, field_name: FieldName) -> Any:
    kind = _container_kind(field_name)
    return _results(adata, slots.key) if kind == "uns" else getattr(adata, kind)


def has(adata: AnnData, key: str, field_name: FieldName) -> bool:
    """Tell whether a field is stored."""
    slots = Slots(key)
    return slots.name(field_name) in _container(adata, slots, field_name)


def load(adata: AnnData, key: str, field_name: FieldName) -> Any:
    """Read a field.

    Raises
    ------
    ValueError
        If the step that stores it has not been run; the message names that step.
    """
    slots = Slots(key)
    if not has(adata, key, field_name):
        msg = (
            f"adata.{slots.where(field_name)} is missing: expected the result of "
            f"{STEPS[_STEP_OF[field_name]].function}; call it first, with key {key!r}."
        )
        raise ValueError(msg)
    reference = stored_at(adata, key, field_name)
    if reference is not None:
        return open_store(reference)
    return in_memory(_container(adata, slots, field_name)[slots.name(field_name)])


def stored_at(adata: AnnData, key: str, field_name: FieldName) -> dict[str, str] | None:
    """Reference by which :func:`lava_sc.io.correlation_store.open_store` finds a field, ``None`` if the object itself holds it."""
    slots = Slots(key)
    value = _container(adata, slots, field_name)[slots.name(field_name)]
    if field_name != "C" or not isinstance(value, Mapping):
        return None
    return {name: str(part) for name, part in value.items()}


def load_params(adata: AnnData, key: str, step: StepName) -> dict[str, Any]:
    """The arguments of a step as it was last run; arguments that were ``None`` are absent.

    Raises
    ------
    ValueError
        If the step has not been run.
    """
    load(adata, key, next(iter(STEPS[step].fields)))
    return dict(adata.uns[key].get(_PARAMS, {}).get(step, {}))


def all_params(adata: AnnData, key: str) -> dict[StepName, dict[str, Any]]:
    """The arguments of every step that was run, in the order of the steps."""
    params = adata.uns.get(key, {}).get(_PARAMS, {})
    return {step: dict(params[step]) for step in STEPS if step in params}


def store(adata: AnnData, key: str, step: StepName, fields: Fields, params: Mapping[str, Any]) -> None:
    """Write all fields of a step and its arguments, after dropping what it and later steps had stored before."""
    expected = set(STEPS[step].fields) | STEPS[step].replaces
    if set(fields) | STEPS[step].optional != expected:
        msg = f"step {step!r} stores {sorted(expected)}, got {sorted(fields)}"
        raise RuntimeError(msg)
    own(adata)
    _own_uns(adata, key)
    slots = Slots(key)
    _drop_from(adata, slots, step)
    for name, value in fields.items():
        _container(adata, slots, name)[slots.name(name)] = value
    plain = {name: _writable(value) for name, value in params.items() if value is not None}
    adata.uns[key][_PARAMS][step] = plain


@contextmanager
def all_or_nothing(adata: AnnData) -> Iterator[None]:
    """Put everything back that steps stored within the block, should one of them fail.

    Steps replace what they store and change none of it in place, so remembering references is enough.
    """
    own(adata)
    frames = {name: getattr(adata, name).copy() for name in ("obs", "var")}
    mappings = {name: dict(getattr(adata, name)) for name in ("obsm", "varm", "uns")}
    try:
        yield
    except BaseException:
        for name, frame in frames.items():
            setattr(adata, name, frame)
        for name, before in mappings.items():
            holder = getattr(adata, name)
            for added in set(holder) - set(before):
                del holder[added]
            for field_name, value in before.items():
                holder[field_name] = value
        raise


def own(adata: AnnData) -> None:
    """Make an object of its own of a view before something is written to it, as scanpy does."""
    if adata.is_view:
        adata._init_as_actual(adata.copy())


def _own_uns(adata: AnnData, key: str) -> None:
    """Give this object dictionaries of its own: ``concat`` and shallow copies may share theirs with another object."""
    own = dict(_results(adata, key))
    own[_PARAMS] = dict(own.get(_PARAMS, {}))
    adata.uns[key] = own


def _drop_from(adata: AnnData, slots: Slots, step: StepName) -> None:
    for field_name in STEPS[step].fields:
        holder = _container(adata, slots, field_name)
        if slots.name(field_name) in holder:
            del (holder.ds if isinstance(holder, Dataset2D) else holder)[slots.name(field_name)]
    adata.uns[slots.key][_PARAMS].pop(step, None)
    for later, spec in STEPS.items():
        if spec.builds_on == step:
            _drop_from(adata, slots, later)


def _writable(value: Any) -> Any:
    """A value that h5ad and zarr hold: scalars, strings and arrays as they are, sequences as arrays, the rest as text."""
    if isinstance(value, bool | int | float | str | np.generic | np.ndarray):
        return value
    if isinstance(value, list | tuple):
        return np.array(value if all(isinstance(v, bool | int | float) for v in value) else [str(v) for v in value])
    return str(value)
