"""Checkpoints of AMF in a folder: a file for each run, replaced as a whole, and one that says what the runs are of."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lava_sc._logging import logger, warn
from lava_sc.core.factorise.problem import digest
from lava_sc.io.state_files import CONTENTS, ID, STATE, UNFINISHED, StateFile, check, contents, replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    import numpy as np

    from lava_sc.core.factorise.problem import Problem

_OWN: Final = re.compile(r"(checkpoint\.json|(gamma_[\w.+-]+\.)?run_\d+\.npz)(\.\w+\.unfinished)?")
_FORMAT: Final = 2
_HASH: Final = "_hash"  # ending of the names in an identity whose values say nothing to a reader


@dataclass
class Folder:
    """A checkpoint; see :class:`lava_sc.core.factorise.amf.record.Checkpoint`.

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

    def state_store(self, name: str) -> StateFile:
        """See :class:`lava_sc.core.factorise.amf.record.Checkpoint`."""
        return StateFile(self.path / f"{self.prefix}{name}{STATE}", self.failures, self.id)

    def part(self, name: str) -> Folder:
        """See :class:`lava_sc.core.factorise.amf.record.Checkpoint`."""
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
            renamed = {**contents(self.path), ID: uuid.uuid4().hex}
            replace_file(self.path / CONTENTS, lambda file: file.write(json.dumps(renamed).encode()))
        try:
            for file in (*_own_files(self.path, STATE), *_own_files(self.path, UNFINISHED), self.path / CONTENTS):
                file.unlink(missing_ok=True)
        except OSError as error:
            warn(f"The checkpoint {str(self.path)!r} is not needed any more but could not be removed ({error}).")
            return
        with suppress(OSError):  # something else is in it, or a run that was given up writes, and will remove it
            self.path.rmdir()


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
    own = uuid.uuid4().hex
    if (folder / CONTENTS).exists():
        found = contents(folder)
        _refuse_others(folder, found, identity)
        own = str(found.get(ID, own))
        for file in _own_files(folder, STATE):
            check(file)
        logger.info("going on from the checkpoint %s", folder)
    try:
        folder.mkdir(exist_ok=True)
        for file in _own_files(folder, UNFINISHED):
            file.unlink(missing_ok=True)
        replace_file(folder / CONTENTS, lambda file: file.write(json.dumps(identity | {ID: own}, indent=1).encode()))
    except OSError as error:
        msg = (
            f"Found no way to write to checkpoint={str(folder)!r} ({error.strerror}), expected a folder that is writable, or "
            f"a new one in an existing folder; pass another path."
        )
        raise OSError(msg) from error
    return Folder(folder, id=own)


def identity(problem: Problem, arguments: Mapping[str, Any], rng: np.random.Generator, device: str) -> dict[str, Any]:
    """What decides on the numbers of runs, as JSON has it.

    Parameters
    ----------
    problem
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
    return {"correlations_hash": digest(problem), "seed_hash": seed, **arguments, "device": device, "rng": None}


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
    strange = sorted({*folder.iterdir()} - {*_own_files(folder, UNFINISHED)})
    if strange and not (folder / CONTENTS).exists():
        msg = (
            f"Found {strange[0].name!r} but no checkpoint in checkpoint={str(folder)!r}, expected a checkpoint, an empty folder or "
            f"none; pass another path."
        )
        raise ValueError(msg)


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
