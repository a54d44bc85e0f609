"""Results in place: folders at an address made from the key, whole once they are marked so."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from coopery_store.copying import remove
from coopery_store.home import machine_errors, safe_name
from coopery_store.leases import Leases
from coopery_store.leaving import restore, withdraw
from coopery_store.locks import held, lock_file
from coopery_store.uses import Uses

MARK = ".complete"


class Places:
    """`places/<key>`, with `places/<key>.complete` beside what is complete."""

    def __init__(self, home: Path, leases: Leases, uses: Uses) -> None:
        self._home = home
        self._leases = leases
        self._uses = uses
        self.unsettled: set[str] = set()
        """Keys of places that are complete but not known to be durable."""
        self.made = False
        """Whether any was completed through this store."""

    def _paths(self, key: str) -> tuple[Path, Path]:
        folder = self._home / "places" / safe_name(key)
        return folder, folder.with_name(f"{folder.name}{MARK}")

    def place(self, key: str) -> Path:
        """An empty folder for this key. The caller holds the claim on it: what was there goes."""
        folder, mark = self._paths(key)
        with machine_errors(self._home):
            self._leases.take([key])
            with self._alone(key):
                mark.unlink(missing_ok=True)
                remove(folder)
                folder.mkdir(mode=0o755)
        return folder

    def _alone(self, key: str) -> AbstractContextManager[None]:
        """Hold off every other one that would make room for this place, or take it away."""
        return held(place_lock(self._home, safe_name(key)))

    def complete(self, key: str) -> None:
        """Mark a place as whole; the mark says how many files it has."""
        folder, mark = self._paths(key)
        with machine_errors(self._home):
            files, size = measure(folder)
            # Made durable with all it vouches for, before any record.
            beside = mark.with_name(f"{mark.name}.new")
            beside.write_text(f"{files}\n", "ascii")
            beside.replace(mark)
        self.unsettled.add(key)
        self.made = True
        self._uses.note([f"place:{key}"])
        self._uses.grew(size)

    def find(self, key: str) -> Path | None:
        """The folder, if it is there and whole."""
        folder, mark = self._paths(key)
        if not mark.exists():
            return None
        if not folder.is_dir() and self._leases.mine(key):
            # Another process may have it in its hands, only to find that it is leased.
            with machine_errors(self._home), self._alone(key):
                restore(folder)
        if not folder.is_dir():
            return None
        self._uses.note([f"place:{key}"])
        return folder

    def drop(self, key: str) -> bool:
        """Remove a place; False if another process uses it."""
        folder, mark = self._paths(key)
        with machine_errors(self._home), self._alone(key):
            gone = withdraw(folder, lambda: self._leases.elsewhere(key))
            if gone is None:
                return False
            mark.unlink(missing_ok=True)
        remove(gone)
        return True


def place_lock(home: Path, name: str) -> Path:
    """The lock on the place `places/NAME`."""
    return lock_file(home / "locks", f"place {name}")


def measure(path: Path) -> tuple[int, int]:
    """How many files and links are in a folder (compiled Python aside), and the bytes it takes on
    the disk: of a file with several names, each name bears its share.
    """
    status = path.lstat()
    size = status.st_blocks * 512
    if not path.is_dir() or path.is_symlink():
        return 1, size // max(1, status.st_nlink)
    files = 0
    stack = [os.fspath(path)]
    while stack:
        folder = stack.pop()
        compiled = folder.endswith("/__pycache__")
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        size += status.st_blocks * 512
                        stack.append(entry.path)
                    else:
                        size += status.st_blocks * 512 // max(1, status.st_nlink)
                        files += not compiled
        except FileNotFoundError:
            continue  # it is being removed
    return files, size
