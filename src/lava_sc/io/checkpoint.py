"""Checkpoints in a folder: ``checkpoint.json`` says which runs they are of, a folder in it has a file with the state of each.

The name of the inner folder is not to be guessed, and removing a checkpoint begins by renaming it. So a run that was given up, at
a worker that the scheduler has lost sight of, can put nothing into the next checkpoint at this path, nor leave anything behind.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
import zipfile
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._logging import logger, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike
    from typing import BinaryIO

    from numpy.typing import NDArray

_CONTENTS: Final = "checkpoint.json"
_STATES: Final = "states_" + 32 * "[0-9a-f]" + "*"
_FORMAT: Final = 3
_HASH: Final = "_hash"  # ending of the names in an identity whose values say nothing to a reader
_BROKEN: Final = (OSError, ValueError, TypeError, LookupError, EOFError, NotImplementedError, zipfile.BadZipFile)


@dataclass(frozen=True)
class StateStore:
    """File with the latest state of one run; a copy in another process writes to the same file.

    Attributes
    ----------
    path
        The file.
    failures
        Why states could not be written, shared with the checkpoint.
    """

    path: Path
    failures: list[str]

    def reached(self) -> bool:
        """Tell whether the checkpoint is found at its path from here, not another one or none."""
        return self.path.parent.is_dir()

    def read(self) -> tuple[dict[str, Any], Mapping[str, NDArray[Any]]] | None:
        """Plain values, and arrays that are read when asked for; ``None`` if there is no state yet."""
        if not self.path.exists():
            return None
        arrays = np.load(self.path, allow_pickle=False)  # stays open: all are of one state, even if it is replaced
        return json.loads(str(arrays["facts"])), arrays

    def write(self, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the state. If that fails the run goes on, and the reason is kept for the end."""
        content: dict[str, Any] = {**arrays, "facts": np.array(json.dumps(facts))}
        try:
            with replacing(self.path) as file:
                np.savez(file, **content)
        except OSError as error:
            logger.warning("could not write %s: %s", self.path, error)
            self.failures.append(str(error))


@dataclass(frozen=True)
class Checkpoint:
    """Folder with the states of runs.

    Attributes
    ----------
    folder
        That of the user.
    states
        The one in it with the files of states.
    prefix
        Beginning of their names.
    failures
        Why states could not be written, shared with all parts.
    """

    folder: Path
    states: Path
    prefix: str = ""
    failures: list[str] = field(default_factory=list)

    def state_store(self, name: str) -> StateStore:
        """File of one run."""
        return StateStore(self.states / f"{self.prefix}{name}.npz", self.failures)

    def part(self, name: str) -> Checkpoint:
        """Files of runs that belong together."""
        return replace(self, prefix=f"{self.prefix}{name}.")

    def conclude(self, *, complete: bool) -> None:
        """Say so if states could not be written, and be done with runs that are complete."""
        if self.failures:
            warn(
                f"{len(self.failures)} states could not be written to the checkpoint {str(self.folder)!r} "
                f"({self.failures[-1]}); had the process been killed, work would have been lost."
            )
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
        try:
            self.states.rename(self.states.with_suffix(".removed"))  # from here on nobody finds it
            for ignore_errors in (*[True] * 20, False):  # system calls that were under way may still put files there
                for states in self.folder.glob(_STATES):  # that of a removal that was broken off, too
                    shutil.rmtree(states, ignore_errors=ignore_errors)
            (self.folder / _CONTENTS).unlink()
        except OSError as error:
            warn(f"The checkpoint {str(self.folder)!r} is not needed any more but could not be removed ({error}).")
        with suppress(OSError):  # something else is in it
            self.folder.rmdir()


def open_checkpoint(path: str | PathLike[str], identity: Mapping[str, Any]) -> Checkpoint:
    """Make a checkpoint of certain runs, or open the one to go on from.

    Parameters
    ----------
    path
        Folder, made if it does not exist.
    identity
        All that decides on the runs, as JSON has it.

    Raises
    ------
    ValueError
        If a checkpoint of other runs is there, or something else.
    OSError
        If it cannot be written, or is not readable any more.
    """
    folder = Path(path).absolute()
    contents = {"format": _FORMAT, "lava_sc": version("lava-sc"), **identity, "id": uuid.uuid4().hex}
    if (folder / _CONTENTS).exists():
        contents["id"] = _id_of(folder, contents)
        logger.info("going on from the checkpoint %s", folder)
    else:
        _refuse_other_things(folder)
    states = folder / f"states_{contents['id']}"
    for file in states.glob("*.npz"):  # before hours of work, not after them
        with _refusing_damage(file, "delete it to begin this run anew"), zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None or "facts.npy" not in archive.namelist():
                raise zipfile.BadZipFile
    try:
        folder.mkdir(exist_ok=True)
        for unfinished in (*folder.glob(f"{_CONTENTS}.*"), *states.glob("*.unfinished")):
            unfinished.unlink(missing_ok=True)
        with replacing(folder / _CONTENTS) as target:
            target.write(json.dumps(contents, indent=1).encode())
        states.mkdir(exist_ok=True)
    except OSError as error:
        msg = (
            f"Found no way to write to checkpoint={str(folder)!r} ({error.strerror}), expected a folder that is writable, or "
            f"a new one in an existing folder; pass another path."
        )
        raise OSError(msg) from error
    return Checkpoint(folder, states)


def identity(data: str, arguments: Mapping[str, Any], rng: np.random.Generator, device: str) -> dict[str, Any]:
    """All that decides on the numbers of runs, as JSON has it.

    Parameters
    ----------
    data
        Digest of the correlations.
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
    return {"correlations_hash": data, "seed_hash": seed, **arguments, "device": device, "rng": None}


@contextmanager
def removed_at_the_end() -> Iterator[None]:
    """Keep checkpoints that calls in this block are done with until it ends, and for good if it fails."""
    waiting: list[Checkpoint] = []
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
    for checkpoint in waiting:
        checkpoint.done()  # handed on to an outer block, if there is one


_waiting: ContextVar[list[Checkpoint] | None] = ContextVar("waiting", default=None)


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """Write beside a file, then put it in its place: whenever the process ends, one or the other is there."""
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}.unfinished")  # of no other process, on any machine
    try:
        with unfinished.open("wb") as target:
            yield target
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _id_of(folder: Path, wanted: Mapping[str, Any]) -> str:
    """Id of a checkpoint, which is refused if it is of other runs."""
    with _refusing_damage(folder / _CONTENTS, "delete the folder to begin anew"):
        found = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
        own = uuid.UUID(found["id"]).hex  # it becomes part of a path
    different = [name for name in wanted if name != "id" and found.get(name) != wanted[name]]
    differences = [f"other {name.removesuffix(_HASH)}" for name in different if name.endswith(_HASH)]
    plain = [name for name in different if not name.endswith(_HASH)]
    differences += [f"{name}={found.get(name)!r} instead of {wanted[name]!r}" for name in plain]
    if different:
        msg = (
            f"Found a checkpoint of {' and '.join(differences)} in {str(folder)!r}, "
            f"expected one of the same data and arguments; delete it or pass another path."
        )
        raise ValueError(msg)
    return own


def _refuse_other_things(folder: Path) -> None:
    things = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    strange = [name for name in things if not name.startswith(_CONTENTS)]
    if folder.exists() and not folder.is_dir():
        found, expected = "a file at", "a folder or nothing"
    elif strange:
        found, expected = f"{strange[0]!r} but no checkpoint in", "a checkpoint, an empty folder or none"
    else:
        return
    msg = f"Found {found} checkpoint={str(folder)!r}, expected {expected}; pass another path."
    raise ValueError(msg)


@contextmanager
def _refusing_damage(file: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        reason = type(error).__name__
        msg = f"Found {str(file)!r} unreadable ({reason}), expected an intact checkpoint; {remedy}."
        raise OSError(msg) from error
