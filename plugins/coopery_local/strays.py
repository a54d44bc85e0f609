"""Strays: processes of tasks whose run is dead, found by the scratch folder they were given.

There are none unless a run was killed together with its supervisors, which would have ended them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MARKS = (b"HOME=", b"TMPDIR=")
"""What every task has in its environment, pointing into its scratch folder; children inherit it."""

_STARTING = 0.02
"""Seconds in which a process that starts a program shows its environment again."""
_PATIENCE = 5.0
"""Seconds that killed processes have for disappearing."""


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A process; `folder` is where its task had its home or its temporary files."""

    pid: int
    command: str
    folder: Path


def has_abandoned(home: Path) -> bool:
    """Whether a run on this home died and was not yet cleared up after: a few lock files' look.

    Only then can there be strays, if this is asked before dead runs' scratch folders are removed.
    """
    return any(not _is_locked(lock) for lock in (home / "scratch").glob("*.lock"))


def find_strays(home: Path) -> tuple[Stray, ...]:
    """The processes of tasks of dead runs on this home folder.

    A run lives while it holds the lock on `scratch/<session>.lock`; its tasks' folders are in
    `scratch/<session>`. Processes of other users cannot be looked into, and are left out.
    """
    top = home.resolve() / "scratch"
    alive: dict[str, bool] = {}
    found = []
    for stray in _marked(top):
        session = next(iter(stray.folder.relative_to(top).parts), "")
        if session not in alive:
            alive[session] = _is_locked(top / f"{session}.lock")
        if not alive[session]:
            found.append(stray)
    return tuple(found)


def end_strays(home: Path) -> tuple[Stray, ...]:
    """Kill the strays of dead runs, so that none writes to what the next run does.

    Call it before anything clears scratch folders away. Returns those that were there; whoever
    wants to know whether one resisted (for five seconds) looks again with `find_strays`.
    """
    return _end(lambda: find_strays(home))


def end_marked(folder: Path) -> tuple[Stray, ...]:
    """Kill what was given this scratch folder, living run or not; as `end_strays`."""
    return _end(lambda: tuple(_marked(folder.resolve())))


def _end(find: Callable[[], tuple[Stray, ...]]) -> tuple[Stray, ...]:
    ended: dict[int, Stray] = {}
    deadline = time.monotonic() + _PATIENCE
    # Twice nothing, for one that is just starting its program has no environment to be seen.
    clear = 0
    while clear < 2 and time.monotonic() < deadline:
        found = find()
        clear = 0 if found else clear + 1
        for stray in found:
            ended.setdefault(stray.pid, stray)
            _kill(stray)
        if not found and clear < 2:
            time.sleep(_STARTING)
    return tuple(ended.values())


def _kill(stray: Stray) -> None:
    """Kill it, by a handle that cannot come to mean another process."""
    try:
        descriptor = os.pidfd_open(stray.pid)
    except ProcessLookupError:
        return
    try:
        if _folder_of(stray.pid, stray.folder) == stray.folder:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _marked(top: Path) -> Iterator[Stray]:
    own = os.getpid()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == own:
            continue
        pid = int(entry.name)
        folder = _folder_of(pid, top)
        if folder is not None:
            yield Stray(pid=pid, command=_command(pid), folder=folder)


def _folder_of(pid: int, top: Path) -> Path | None:
    """Where in `top` (a resolved path) a mark of the process points; None if nowhere or unseen."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    for item in environ.split(b"\0"):
        if item.startswith(MARKS):
            path = Path(os.fsdecode(item.partition(b"=")[2]))
            if path.is_absolute() and (path := path.resolve()).is_relative_to(top):
                return path
    return None


def _command(pid: int) -> str:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return os.fsdecode(line.replace(b"\0", b" ").strip())


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            # Shared, so that two that look do not take each other for the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
