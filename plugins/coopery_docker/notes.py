"""Notes of runs that have containers: while there are any, a locked file in the home says so.

The lock dies with its holder. So whether a run has left containers behind is a look at a folder;
the engine is asked only where a note is there that nobody holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

RUN, HOME, STEP = "coopery.run", "coopery.home", "coopery.step"
"""Labels of containers, and of images: whose they are."""
KEY, NOTE = "coopery.key", "coopery.note"
"""Labels of images: what they are the result of, and where in the home its note is."""
ON, OVER = "coopery.on", "coopery.over"
"""Labels of images: the key of what they are built on (empty for a base), and its size in bytes."""


def home_id(home: Path) -> str:
    """A home folder's name among those that share an engine; its path is nobody else's business."""
    return hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]


@dataclass
class Noted:
    """A note that is held: how many containers it is for, and whether it must outlive them."""

    path: Path
    descriptor: int
    count: int = 0
    keep: bool = False

    def add(self, container: str) -> None:
        """Note a container by its id, where it can bear no label."""
        os.write(self.descriptor, f"{container}\n".encode())


@dataclass
class _Notes:
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: dict[Path, Noted] = field(default_factory=dict)
    kept: set[Path] = field(default_factory=set)
    """Notes of this process that stay, whatever becomes of later containers."""


_notes = _Notes()


def folder_of(home: Path) -> Path:
    """Where the notes of a home folder are."""
    return home / "docker"


@contextmanager
def noted(home: Path, run: str) -> Iterator[Noted]:
    """Within this context the run may have containers; what is made there bears its label.

    Where `keep` is set, the note stays, for the next run to look after what could not be removed.
    """
    path = folder_of(home) / run
    with _notes.lock:
        note = _notes.held.get(path)
        if note is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            note = _notes.held[path] = Noted(path, _hold(path))
        note.count += 1
    try:
        yield note
    finally:
        with _notes.lock:
            note.count -= 1
            if note.count == 0:
                del _notes.held[path]
                if note.keep:
                    _notes.kept.add(path)
                if path not in _notes.kept:
                    path.unlink(missing_ok=True)
                os.close(note.descriptor)


def _hold(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # somebody who looked for the dead has just removed it


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def runs_noted(home: Path) -> list[str]:
    """The runs that have a note, living or not."""
    try:
        return sorted(entry.name for entry in folder_of(home).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def containers_in(note: Path) -> list[str]:
    """The ids of containers in a note; there may be more, which bear labels."""
    return note.read_text("ascii").split()


@contextmanager
def dead(home: Path, run: str) -> Iterator[Path | None]:
    """The note of a run that nobody holds, which is kept from all others meanwhile; else None.

    None too where there is none: a note is there before a container, and as long as that.
    """
    path = folder_of(home) / run
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield path if _is_at(descriptor, path) else None
    finally:
        os.close(descriptor)


def lives(home: Path, run: str) -> bool:
    """Whether a process holds the note of this run."""
    path = folder_of(home) / run
    try:
        with path.open("rb") as file:
            # Shared, so that two that look do not take each other for the holder.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
