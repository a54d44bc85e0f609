"""The files that a watch looks at: which differ from how they were last seen.

They are looked at, rather than that the kernel is asked to tell of them: that works on every file
system, needs no package, and takes at most one part in `RESTRAINT` of one core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coopery.errors import visible

PULSE = 0.2
"""Seconds between two looks; what changed must be the same for as long before a run starts."""

RESTRAINT = 10
MANY = 20_000
"""No more files are looked at than these while it is not known which ones count."""

SOON = 1.0
"""Seconds after a run within which what changes may be what the run wrote."""

SLACK = 10_000_000
"""Nanoseconds by which the time stamps of files may be behind the clock."""

Stat = tuple[int, ...] | tuple[str, ...] | None
"""A file's size, times, inode and mode; a folder's names; None for what is not there."""


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What a plan read: single `files`, whole `trees`, and `folders` where a new file counts.

    `own` are those that a run writes too. What is beneath the folders `written`, which are outputs
    where they stay, is no change, though an input may be the same folder, or around it.
    """

    files: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


def several(paths: Iterable[str]) -> str:
    """The first of some files, from here, and how many more there are."""
    shown = [visible(os.path.relpath(path)) for path in sorted(paths)]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return f"{', '.join(shown[:3])}{more}"


@dataclass
class Watched:
    """The files that count, and how they were when last looked at."""

    root: Path
    recipe: Path | None
    home: Path
    deaf: frozenset[str] = frozenset()
    """Files that never count: what this process prints goes there."""
    reads: Reads | None = None
    broken: bool = False
    _seen: Mapping[str, Stat] = field(default_factory=dict)
    _soon: set[str] = field(default_factory=set)
    _noise: set[str] = field(default_factory=set)

    def know(self, reads: Reads | None) -> None:
        """From now on these count. Without any, the recipe is wrong: then the project's all do."""
        self.broken = reads is None
        self.reads = reads or self.reads
        if not self.broken:
            self._soon, self._noise = set(), set()
        self._seen = self._look()

    def changed_since(self, moment: int) -> list[str]:
        """The files that changed after a moment (ns), so that the run may have missed it."""
        own = self.reads.own if self.reads else ()
        return self._meant(
            path
            for path, found in self._seen.items()
            if path not in own
            and found is not None
            and isinstance(found[0], int)
            and max(found[1:3]) > moment
        )

    def _meant(self, changed: Iterable[str]) -> list[str]:
        """What of this changed with a run counts.

        Where all files of a project do, one that changed with the run before as well is what runs
        write, as through `| tee log`: it would keep them running for ever.
        """
        found = set(changed)
        if self.broken:
            self._noise |= (found & self._soon) - {str(self.recipe)}
            self._soon = found
            self._seen = {p: each for p, each in self._seen.items() if p not in self._noise}
        return sorted(found - self._noise)

    def describe(self) -> str:
        """How many files are looked at."""
        if self.broken:
            but = f" (not {several(self._noise)}, which each run changes)" if self._noise else ""
            return f"{visible(str(self.root))}{but} until the recipe can be read"
        count = sum(found is None or isinstance(found[0], int) for found in self._seen.values())
        return f"{count} files"

    def wait(self) -> list[str]:
        """Wait until something differs, and then until nothing more does; what it is."""
        soon = time.monotonic() + SOON
        while True:
            began = time.monotonic()
            found = self._look()
            if found == self._seen:
                time.sleep(max(PULSE, RESTRAINT * (time.monotonic() - began)))
                continue
            time.sleep(PULSE)
            while found != (again := self._look()):
                found = again
                time.sleep(PULSE)
            names = found.keys() | self._seen.keys()
            changed = [name for name in names if found.get(name) != self._seen.get(name)]
            if began > soon or (changed := self._meant(changed)):
                return changed
            self._seen = self._look()

    def _look(self) -> Mapping[str, Stat]:
        found: dict[str, Stat] = {}
        if self.reads is not None:
            for path in (*self.reads.files, *self.reads.own):
                found[path] = _stat(path)
            for path in self.reads.folders:
                found[path] = _names(path)
            for path in self.reads.trees:
                found.update(_tree(path, self.reads.written))
        if self.broken:
            found.update(_project(self.root, self.home))
        for path in (*self.deaf, *self._noise):
            found.pop(path, None)
        return found


def _stat(path: str) -> Stat:
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of them
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode)


def _names(path: str) -> Stat:
    """What is in a folder, without what tools leave behind."""
    try:
        names = os.listdir(path)  # noqa: PTH208
    except OSError:
        return None
    kept = (name for name in names if not name.startswith(".") and name != "__pycache__")
    return ("", *sorted(kept))


def _tree(top: str, without: Sequence[str] = ()) -> Iterator[tuple[str, Stat]]:
    """Every file below a folder, `without` those below some others."""
    if any(top == other or top.startswith(f"{other}/") for other in without):
        return
    for folder, inner, names in os.walk(top):
        inner[:] = [name for name in inner if f"{folder}/{name}" not in without]
        for name in names:
            yield f"{folder}/{name}", _stat(f"{folder}/{name}")


def _project(root: Path, home: Path) -> Iterator[tuple[str, Stat]]:
    """The files below a project's folder, `MANY` at most; none that are hidden, nor the home's."""
    count = 0
    home = home.resolve()
    for folder, inner, names in os.walk(root):
        skipped = {"__pycache__", home.name if Path(folder) == home.parent else ""}
        inner[:] = [name for name in inner if not name.startswith(".") and name not in skipped]
        for name in names:
            yield f"{folder}/{name}", _stat(f"{folder}/{name}")
            count += 1
            if count == MANY:
                return
