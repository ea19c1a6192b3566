"""Checkpoints of AMF in a folder: a file for each run, replaced as a whole, and one that says what the runs are of."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._logging import logger, warn
from lava_sc.core.amf.record import State
from lava_sc.core.amf.target import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike
    from typing import BinaryIO

    from numpy.typing import NDArray

    from lava_sc.core.amf.target import Target

_CONTENTS: Final = "checkpoint.json"
_STATE: Final = ".npz"
_UNFINISHED: Final = ".unfinished"
_OWN: Final = re.compile(r"(checkpoint\.json|(gamma_[\w.+-]+\.)?run_\d+\.npz)(\.\w+\.unfinished)?")
_FACTS: Final = "facts"
_ID: Final = "id"
_GONE: Final = "it is not there any more"
_FORMAT: Final = 1
_HASH: Final = "_hash"  # ending of the names in an identity whose values say nothing to a reader
_BROKEN: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass
class Folder:
    """A checkpoint; see :class:`lava_sc.core.amf.record.Checkpoint`.

    Attributes
    ----------
    path
        The folder.
    prefix
        What the names of its files begin with.
    failures
        Why states could not be written, shared with all parts.
    id
        Tells it from a checkpoint at the same path of another machine.
    """

    path: Path
    prefix: str = ""
    failures: list[str] = field(default_factory=list)
    id: str = ""

    def drawer(self, name: str) -> _File:
        """See :class:`lava_sc.core.amf.record.Checkpoint`."""
        return _File(self.path / f"{self.prefix}{name}{_STATE}", self.failures, self.id)

    def part(self, name: str) -> Folder:
        """See :class:`lava_sc.core.amf.record.Checkpoint`."""
        return replace(self, prefix=f"{self.prefix}{name}.")

    def conclude(self, *, complete: bool) -> None:
        """Say so if states could not be written, and be done with runs that are complete."""
        if self.failures:
            msg = (
                f"{len(self.failures)} states could not be written to the checkpoint {str(self.path)!r} "
                f"({self.failures[-1]}); had the process been killed, work would have been lost."
            )
            warn(msg)
        if complete:
            self.done()

    def done(self) -> None:
        """Remove it, now or at the end of :func:`removed_at_the_end`."""
        waiting = _waiting.get()
        if waiting is None:
            self.remove()
        else:
            waiting.append(self)

    def remove(self) -> None:
        """Remove its files, and the folder if nothing else is in it."""
        with suppress(OSError):  # from here on runs that were given up, at workers, find that it is not theirs
            renamed = {**_contents(self.path), _ID: uuid.uuid4().hex}
            _replace(self.path / _CONTENTS, lambda file: file.write(json.dumps(renamed).encode()))
        try:
            for file in (*_own_files(self.path, _STATE), *_own_files(self.path, _UNFINISHED), self.path / _CONTENTS):
                file.unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()
        except OSError as error:
            warn(f"The checkpoint {str(self.path)!r} is not needed any more but could not be removed ({error}).")


@dataclass(frozen=True)
class _File:
    """State of one run; see :class:`lava_sc.core.amf.record.Drawer`."""

    path: Path
    failures: list[str]
    id: str

    def reached(self) -> bool:
        try:
            return bool(_contents(self.path.parent).get(_ID) == self.id)
        except OSError:
            return False

    def read(self) -> State | None:
        if not self.path.exists():
            return None
        arrays = _Arrays(self.path)
        return State(json.loads(str(arrays[_FACTS])), arrays)

    def write(self, state: State) -> None:
        """A state that cannot be written is no reason to give up the run; it is told at the end.

        A run that was given up for lost may still go on, at a worker, when there is another checkpoint in this place.
        """
        arrays: dict[str, Any] = {_FACTS: np.array(json.dumps(state.facts)), **state.arrays}
        try:
            if not self.reached():
                raise FileNotFoundError(_GONE)
            _replace(self.path, lambda file: np.savez(file, **arrays), provided=self.reached)
        except OSError as error:
            logger.warning("could not write %s: %s", self.path, error)
            self.failures.append(str(error))


class _Arrays(Mapping[str, "NDArray[Any]"]):
    """Arrays of a file, each read when it is asked for, so that no more than one is held twice.

    The file stays open: they are all of one state, though another process may put a later one in its place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = np.load(path, allow_pickle=False)
        except _BROKEN as error:
            raise OSError(_unreadable(path, error)) from error

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return np.asarray(self._file[name])
        except _BROKEN as error:
            raise OSError(_unreadable(self._path, error)) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __len__(self) -> int:
        return len(self._file)


def open_checkpoint(path: str | PathLike[str], identity: Mapping[str, Any]) -> Folder:
    """A checkpoint of certain runs, new or to go on from.

    Parameters
    ----------
    path
        Folder, made if it does not exist.
    identity
        What decides on the runs, as JSON has it.

    Raises
    ------
    ValueError
        If a checkpoint of other runs is there, or something else.
    OSError
        If it cannot be written, or is not readable any more.
    """
    folder = Path(path).absolute()
    identity = {"format": _FORMAT, "lava_sc": version("lava-sc"), **identity}
    _refuse_other_things(folder)
    own = {_ID: uuid.uuid4().hex}
    if (folder / _CONTENTS).exists():
        found = _contents(folder)
        _refuse_others(folder, found, identity)
        own |= {name: found[name] for name in own if name in found}
        for file in _own_files(folder, _STATE):
            _check(file)
        logger.info("going on from the checkpoint %s", folder)
    try:
        folder.mkdir(exist_ok=True)
        for file in _own_files(folder, _UNFINISHED):
            file.unlink(missing_ok=True)
        _replace(folder / _CONTENTS, lambda file: file.write(json.dumps(identity | own, indent=1).encode()))
    except OSError as error:
        msg = (
            f"Found no way to write to checkpoint={str(folder)!r} ({error.strerror}), expected a folder that is writable, or "
            f"a new one in an existing folder; pass another path."
        )
        raise OSError(msg) from error
    return Folder(folder, id=own[_ID])


def identity(target: Target, arguments: Mapping[str, Any], rng: np.random.Generator, device: str) -> dict[str, Any]:
    """What decides on the numbers of runs, as JSON has it.

    Parameters
    ----------
    target
        What they factorise.
    arguments
        Of the call, plain values; ``rng`` is the one that the user gave.
    rng
        Draws the seeds, and has not drawn any.
    device
        Where they run.

    Raises
    ------
    ValueError
        If no other call would draw the same seeds.
    """
    if arguments["rng"] is None:
        msg = "Found rng=None with a checkpoint, expected a seed, without which no other call has the same runs; pass a number."
        raise ValueError(msg)
    seed = hashlib.blake2b(repr(rng.bit_generator.state).encode(), digest_size=16).hexdigest()
    return {"correlations_hash": digest(target), "seed_hash": seed, **arguments, "device": device, "rng": None}


@contextmanager
def removed_at_the_end() -> Iterator[None]:
    """Keep checkpoints that calls in this block are done with until it ends, and for good if it fails."""
    if _waiting.get() is not None:  # an outer block removes them
        yield
        return
    token = _waiting.set([])
    try:
        yield
        waiting = _waiting.get() or []
    finally:
        _waiting.reset(token)
    for checkpoint in waiting:
        checkpoint.remove()


_waiting: ContextVar[list[Folder] | None] = ContextVar("waiting", default=None)


def _own_files(folder: Path, ending: str) -> list[Path]:
    return [file for file in folder.iterdir() if file.name.endswith(ending) and _OWN.fullmatch(file.name)]


def _refuse_other_things(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        msg = f"Found a file at checkpoint={str(folder)!r}, expected a folder or nothing; pass another path."
        raise ValueError(msg)
    strange = sorted({*folder.iterdir()} - {*_own_files(folder, _UNFINISHED)})
    if strange and not (folder / _CONTENTS).exists():
        msg = (
            f"Found {strange[0].name!r} but no checkpoint in checkpoint={str(folder)!r}, expected a checkpoint, an empty folder or "
            f"none; pass another path."
        )
        raise ValueError(msg)


def _contents(folder: Path) -> dict[str, Any]:
    file = folder / _CONTENTS
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return dict(found)
    except (OSError, ValueError, TypeError) as error:
        raise OSError(_unreadable(file, error, "delete the folder to begin anew")) from error


def _refuse_others(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if not different:
        return
    values = [f"{name}={found.get(name)!r} instead of {wanted[name]!r}" for name in different if not _is_hash(name)]
    things = [name.removesuffix(_HASH) for name in different if _is_hash(name)]
    msg = (
        f"Found a checkpoint of {' and '.join([*(f'other {thing}' for thing in things), *values])} in {str(folder)!r}, "
        f"expected one of the same data and arguments; delete it or pass another path."
    )
    raise ValueError(msg)


def _is_hash(name: str) -> bool:
    return name.endswith(_HASH)


def _check(file: Path) -> None:
    """Refuse a damaged file before hours of work, not after them."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except _BROKEN as error:
        raise OSError(_unreadable(file, error)) from error
    if damaged is not None:
        raise OSError(_unreadable(file, zipfile.BadZipFile()))


def _unreadable(file: Path, error: Exception, remedy: str = "delete it to begin this run anew") -> str:
    return f"Found {str(file)!r} unreadable ({type(error).__name__}), expected an intact checkpoint; {remedy}."


def _replace(file: Path, write: Callable[[BinaryIO], object], provided: Callable[[], bool] = lambda: True) -> None:
    """Write beside a file, then put it in its place: whenever the process ends, one or the other is there.

    Raises
    ------
    OSError
        If it cannot be written, or is not to be put there when it is.
    """
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}{_UNFINISHED}")  # of no other process, on any machine
    try:
        with unfinished.open("wb") as target:
            write(target)
        if not provided():
            raise FileNotFoundError(_GONE)
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
