"""Kernel locks on files: they hold between threads and processes, and die with their holder."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from coopery.errors import MachineError, StepError, problem
from coopery_store.home import disk_full

_LONGEST_NAP = 0.05
_SOON = 0.3
"""Seconds that nobody needs to hear of."""


def try_lock(path: Path) -> int | None:
    """An open descriptor that holds the lock on `path`, or None if another one does.

    Raises MachineError (`lock-unusable`, `disk-full`) where there can be no such file.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path) from error
        message = f"the lock file {path} cannot be used: {error.strerror}"
        hint = "`coopery doctor --mend` sets aside what is no lock file"
        raise MachineError(problem("lock-unusable", message, hint=hint)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    # Whoever held it before may have removed the file: then this lock guards a name nobody uses.
    try:
        same = os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        same = False
    if not same:
        os.close(descriptor)
        return try_lock(path)
    return descriptor


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock on `path`; asking stands in nobody's way."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def held(
    path: Path,
    cancelled: threading.Event | None = None,
    *,
    keep: bool = False,
    holder: str = "",
    waiting: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold the lock on `path`, waiting for it; without `keep` its file is removed at the end.

    Waiting in naps, since a thread that sleeps in the kernel cannot be told to stop. `holder`
    names this one to those who wait; `waiting` is told once whom this one waits for. Raises
    StepError (`cancelled`) when `cancelled` is set meanwhile.
    """
    nap = 0.001
    patience = time.monotonic() + _SOON
    while (descriptor := try_lock(path)) is None:
        if waiting is not None and time.monotonic() > patience:
            waiting(_holder(path))
            waiting = None
        if cancelled is None:
            time.sleep(nap)
        elif cancelled.wait(nap):
            raise StepError(problem("cancelled", "stopped while another run made the same"))
        nap = min(nap * 1.5, _LONGEST_NAP)
    try:
        if holder:
            os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        # Removed while still held: who waits on the old file finds that it has no name any more.
        if not keep:
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _holder(path: Path) -> str:
    """Who holds it, as far as it says."""
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""


def lock_file(folder: Path, name: str) -> Path:
    """Where the lock for any name is."""
    return folder / sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
