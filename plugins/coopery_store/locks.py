"""Kernel locks on files: they hold between threads and processes, and die with their holder."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from coopery.errors import StepError, problem

_LONGEST_NAP = 0.05


def try_lock(path: Path) -> int | None:
    """An open descriptor that holds the lock on `path`, or None if another one does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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


@contextmanager
def held(
    path: Path, cancelled: threading.Event | None = None, *, keep: bool = False
) -> Iterator[None]:
    """Hold the lock on `path`, waiting for it; without `keep` its file is removed at the end.

    Waiting in naps, since a thread that sleeps in the kernel cannot be told to stop. Raises
    StepError (`cancelled`) when `cancelled` is set meanwhile.
    """
    nap = 0.001
    while (descriptor := try_lock(path)) is None:
        if cancelled is None:
            time.sleep(nap)
        elif cancelled.wait(nap):
            raise StepError(problem("cancelled", "stopped while another run made the same"))
        nap = min(nap * 1.5, _LONGEST_NAP)
    try:
        yield
    finally:
        # Removed while still held: who waits on the old file finds that it has no name any more.
        if not keep:
            path.unlink(missing_ok=True)
        os.close(descriptor)


def lock_file(folder: Path, name: str) -> Path:
    """Where the lock for any name is."""
    return folder / sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
