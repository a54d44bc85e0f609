"""Folders of bundles in the home, and who uses them: kernel locks, which die with their holder.

As the store has it of other shelves: `bundles/NAME` is a folder that whoever uses it holds
`bundles/NAME.lock` for, shared, and its file `complete`, made last, has the time of last use. What
has none was left by a process that was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coopery.errors import MachineError, Problem

COMPLETE = "complete"
_held: dict[Path, int] = {}
"""Locks that this process has until it ends, by the folders they are for."""


@contextmanager
def exclusive(folder: Path, tell: Callable[[str], None]) -> Iterator[Path]:
    """Within it, nobody else uses, makes or takes away the folder, which need not be there.

    `tell` hears of it where others have to be waited for.
    """
    with _machine_errors(folder):
        _make(folder.parent)
        if folder in _held:
            os.close(_held.pop(folder))  # or this process would wait for itself
        lock = _open(folder)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell(f"wait     another process makes or uses {folder}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(lock)


@contextmanager
def shared(folder: Path) -> Iterator[Callable[[], None]]:
    """Within it, nobody takes the folder away; what is given makes that last until the process
    ends.
    """
    try:
        lock = _open(folder)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        yield lambda: None  # who cannot write there is not who takes it away
        return
    stays = False

    def stay() -> None:
        nonlocal stays
        stays = True
        with suppress(OSError):
            os.utime(folder / COMPLETE)

    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield stay
    finally:
        if stays and folder not in _held:
            _held[folder] = lock
        else:
            os.close(lock)


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """A folder for what is about to be sent; those of processes that were killed go."""
    shelf = home / "bundles"
    with _machine_errors(shelf):
        _make(shelf)
        for path in shelf.glob("sending-*.lock"):
            _clear(path)
        folder, lock = _claim(shelf)
        try:
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _lock_of(folder).unlink(missing_ok=True)
            os.close(lock)


def _claim(shelf: Path) -> tuple[Path, int]:
    """A name of nobody's, with its lock; the lock file may be cleared away before it is held."""
    while True:
        folder = shelf / f"sending-{os.urandom(6).hex()}"
        lock = _open(folder)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return folder, lock
        os.close(lock)


def _clear(lock: Path) -> None:
    """Take away what a dead process was about to send."""
    with suppress(FileNotFoundError):
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()
        except BlockingIOError:
            return  # it lives
        finally:
            os.close(descriptor)


def _make(shelf: Path) -> None:
    shelf.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # as the store makes a home
    shelf.mkdir(mode=0o700, exist_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _open(folder: Path) -> int:
    return os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _machine_errors(where: Path) -> Iterator[None]:
    """Tell what the system refuses there as a MachineError; a full disk the engine tells of."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "`coopery doctor` tells more; or name another home with --home or COOPERY_HOME"
        message = f"the folder {where} cannot be used: {error.strerror or error}"
        raise MachineError(Problem(slug="home-unusable", message=message, hint=hint)) from error
