"""What dead processes left in the home: lock files, FIFOs, half-removed things, scratch folders.

All of it is harmless and small. Nothing here can hurt a living process: each leftover is taken
under the lock that its owner would hold.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from coopery_store.copying import remove
from coopery_store.leases import Leases
from coopery_store.leaving import is_debris, original, restore, withdraw
from coopery_store.locks import held, is_held, try_lock
from coopery_store.objects import object_lock
from coopery_store.places import MARK, place_lock
from coopery_store.scratch import Scratch
from coopery_store.survey import PAPERS, SHELVES

KEPT_LOCKS = ("journal", "index", "resources", "gc")
_OLD = 3600
"""Seconds. A temporary file, which is written in a moment, is a dead process's when so old."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """Something that a dead process left; `kind` is `lock`, `run`, `debris`, `scratch` or
    `strange` (what nobody makes here, such as a folder for a lock file).
    """

    kind: str
    path: Path


def find_leftovers(home: Path) -> Iterator[Leftover]:
    """What there is to tidy up. Changes nothing."""
    for path in _listed(home / "locks"):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue  # let go of just now
        if not stat.S_ISREG(mode):
            yield Leftover(kind="strange", path=path)
        elif path.name not in KEPT_LOCKS and not is_held(path):
            yield Leftover(kind="lock", path=path)
    for folder in _listed(home / "runs"):
        if is_debris(folder.name):
            continue
        names = {path.name for path in _listed(folder)}
        # A run that begins has no record before it has its lock.
        if "record.json" in names and not is_held(folder / "lock"):
            for name in sorted(names):
                if name in ("control", "lock") or name.startswith(".record.json."):
                    yield Leftover(kind="run", path=folder / name)
    for number in range(256):
        yield from _debris(home / "objects" / f"{number:02x}")
    for name in ("places", "runs", *SHELVES):
        yield from _debris(home / name)
    papers = (path for name in PAPERS for path in (home / name).glob("tmp*"))
    for path in (*papers, *home.glob(".version.*"), *home.glob("index.sqlite.new*")):
        if _is_old(path):
            yield Leftover(kind="debris", path=path)
    for path in home.glob("metadata-*"):
        if not _is_locked_folder(path):
            yield Leftover(kind="debris", path=path)
    for lock in (home / "scratch").glob("*.lock"):
        if not is_held(lock):
            yield Leftover(kind="scratch", path=lock.with_suffix(""))


def tidy(home: Path, leases: Leases, scratch: Scratch | None) -> list[Leftover]:
    """Clear away what dead processes left; dead runs' scratch folders only where `scratch` is
    given. Returns what was cleared.
    """
    cleared = []
    for leftover in list(find_leftovers(home)):
        match leftover.kind:
            case "scratch":
                continue  # all of them at once, below
            case "lock":
                done = _unlock(leftover.path)
            case "strange":
                _quarantine(home, leftover.path)
                done = True
            case "debris":
                done = _remove_debris(home, leftover.path, leases)
            case _:
                leftover.path.unlink(missing_ok=True)
                done = True
        if done:
            cleared.append(leftover)
    if scratch is not None:
        before = {lock.with_suffix("") for lock in (home / "scratch").glob("*.lock")}
        scratch.sweep()
        after = {lock.with_suffix("") for lock in (home / "scratch").glob("*.lock")}
        cleared += [Leftover(kind="scratch", path=path) for path in sorted(before - after)]
    return cleared


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _debris(folder: Path) -> Iterator[Leftover]:
    paths = _listed(folder)
    names = {path.name for path in paths}
    for path in paths:
        lonely = path.name.endswith(MARK) and path.name.removesuffix(MARK) not in names
        unwritten = path.name.endswith(f"{MARK}.new") and _is_old(path)
        if is_debris(path.name) or lonely or unwritten:
            yield Leftover(kind="debris", path=path)


def _is_old(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return time.time() - path.lstat().st_mtime > _OLD
    return False


def _is_locked_folder(path: Path) -> bool:
    """Whether a process holds the lock on this folder itself, or may be about to."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return time.time() - path.stat().st_ctime < 60


def _unlock(path: Path) -> bool:
    """Remove a lock file while holding its lock: who waits for it finds that it has no name."""
    descriptor = try_lock(path)
    if descriptor is None:
        return False
    path.unlink(missing_ok=True)
    os.close(descriptor)
    return True


def _quarantine(home: Path, path: Path) -> None:
    with suppress(FileNotFoundError):
        path.rename(home / "quarantine" / f"{path.name}-{time.time_ns()}")


def _remove_debris(home: Path, path: Path, leases: Leases) -> bool:
    """What was gone for good is removed; what was only aside is decided about once more."""
    if path.name.endswith(MARK):
        return _remove_mark(home, path)
    place = original(path)
    if place is None:
        remove(path)
        return True
    kind = place.parent.name
    if kind in SHELVES:
        return _remove_from_shelf(place)
    if kind == "runs":
        remove(path)  # nobody uses a run again
        return True
    lock = place_lock if kind == "places" else object_lock
    with held(lock(home, place.name)):
        if os.path.lexists(place):
            remove(path)
            return True
        gone = withdraw(place, lambda: leases.mine(place.name) or leases.elsewhere(place.name))
    if gone is not None:
        remove(gone)
    return True


def _remove_mark(home: Path, mark: Path) -> bool:
    """Of a place that is gone."""
    place = mark.with_name(mark.name.removesuffix(MARK))
    with held(place_lock(home, place.name)):
        restore(place)
        if os.path.lexists(place):
            return False
        mark.unlink(missing_ok=True)
    return True


def _remove_from_shelf(place: Path) -> bool:
    """Under its lock; False if somebody uses it."""
    with hold_shelf(place) as free:
        if not free:
            return False
        gone = withdraw(place)
    remove(gone or place)
    return True


class hold_shelf:
    """The lock on `SHELF/NAME`, for taking it away; entering says whether it was free."""

    def __init__(self, place: Path) -> None:
        self._path = place.with_name(f"{place.name}.lock")
        self._descriptor = -1

    def __enter__(self) -> bool:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
