"""States of runs in files of a folder, each replaced as a whole, by whatever process has the run."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lava_sc._logging import logger
from lava_sc.core.factorise.amf.record import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

#: The file that says what the runs of a folder are of, and the name in it of what tells the folder from another one at its path.
CONTENTS: Final = "checkpoint.json"
ID: Final = "id"
#: Endings of the files of states, and of what is not in its place yet.
STATE: Final = ".npz"
UNFINISHED: Final = ".unfinished"
_FACTS: Final = "facts"
_FOLDER: Final = "folder"
_GONE: Final = "its folder is gone or another one"
_BROKEN: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class StateFile:
    """State of one run; see :class:`lava_sc.core.factorise.amf.record.StateStore`."""

    path: Path
    failures: list[str]
    id: str

    def reached(self) -> bool:
        """Whether the folder is still that of this checkpoint."""
        try:
            return bool(contents(self.path.parent).get(ID) == self.id)
        except OSError:
            return False

    def read(self) -> State | None:
        """The state, ``None`` if there is none of this checkpoint."""
        if not self.path.exists():
            return None
        arrays = _Arrays(self.path)
        if str(arrays[_FOLDER]) != self.id:
            return None
        return State(json.loads(str(arrays[_FACTS])), arrays)

    def write(self, state: State) -> None:
        """A state that cannot be written is no reason to give up the run; it is told at the end.

        A run that was given up, at a worker, may still go on when the folder is removed, and when there is another checkpoint in its
        place: it begins no file there, and withdraws one that it was about to put there.
        """
        arrays: dict[str, Any] = {_FACTS: np.array(json.dumps(state.facts)), _FOLDER: np.array(self.id), **state.arrays}

        def write(file: BinaryIO) -> None:
            np.savez(file, **arrays)
            self._require_folder()

        try:
            self._require_folder()
            replace_file(self.path, write)
            if not self.reached():
                self.path.unlink(missing_ok=True)
                raise FileNotFoundError(_GONE)
        except OSError as error:
            logger.warning("could not write %s: %s", self.path, error)
            self.failures.append(str(error))
            with suppress(OSError):  # whoever leaves last removes the folder; one that holds anything stays
                self.path.parent.rmdir()

    def _require_folder(self) -> None:
        if not self.reached():
            raise FileNotFoundError(_GONE)


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


def contents(folder: Path) -> dict[str, Any]:
    """What the runs of a folder are of.

    Raises
    ------
    OSError
        If that cannot be read.
    """
    file = folder / CONTENTS
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return dict(found)
    except (OSError, ValueError, TypeError) as error:
        raise OSError(_unreadable(file, error, "delete the folder to begin anew")) from error


def check(file: Path) -> None:
    """Refuse a damaged file before hours of work, not after them.

    Raises
    ------
    OSError
        If it is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except _BROKEN as error:
        raise OSError(_unreadable(file, error)) from error
    if damaged is not None:
        raise OSError(_unreadable(file, zipfile.BadZipFile()))


def _unreadable(file: Path, error: Exception, remedy: str = "delete it to begin this run anew") -> str:
    return f"Found {str(file)!r} unreadable ({type(error).__name__}), expected an intact checkpoint; {remedy}."


def replace_file(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write beside a file, then put it in its place: whenever the process ends, one or the other is there.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}{UNFINISHED}")  # of no other process, on any machine
    try:
        with unfinished.open("wb") as target:
            write(target)
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
