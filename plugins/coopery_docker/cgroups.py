"""The kernel's control groups: where a container's is, what it has counted, and one of our own.

Version 1 and 2 are read, `TOP` being where they are mounted. What a group has counted goes with
it, and an engine removes a container's as soon as the last process has ended. A group of our own
around the container's outlives that, and its count of the most is that of all within it.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING

from coopery_docker.notes import home_id

if TYPE_CHECKING:
    from coopery_docker.client import Engine

TOP, PROC = Path("/sys/fs/cgroup"), Path("/proc")

_PEAKS = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}
"""Where the kernel keeps the most so far: with version 2 since Linux 5.19."""
_NOW = {1: "memory.usage_in_bytes", 2: "memory.current"}
_TAKEN = {1: (b"total_rss", b"total_shmem"), 2: (b"anon", b"shmem")}
"""Lines of memory.stat about what the kernel cannot take back without a place to swap it to."""
_GOING = 1.0
"""Seconds that an ended container's group has for disappearing."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """A control group's counters of memory, in bytes, those of all groups below it included."""

    folder: Path
    version: int

    @property
    def keeps_peak(self) -> bool:
        """Whether the kernel notes the most by itself."""
        return (self.folder / _PEAKS[self.version]).exists()

    def peak(self) -> int | None:
        """The most so far; where the kernel keeps none, what there is now. None: it is gone."""
        for names in (_PEAKS, _NOW):
            try:
                return int((self.folder / names[self.version]).read_bytes())
            except (OSError, ValueError):
                continue
        return None

    def taken(self) -> int:
        """What is held now that is no copy of a file; 0 if it is not told."""
        try:
            text = (self.folder / "memory.stat").read_bytes()
        except OSError:
            return 0
        lines = dict(line.split(b" ", 1) for line in text.splitlines() if b" " in line)
        return sum(int(lines.get(name, 0)) for name in _TAKEN[self.version])

    def processes(self) -> list[int]:
        """The ids of the processes in it or below it."""
        if found := _processes(self.folder):
            return found
        return [pid for folder, _, _ in os.walk(self.folder) for pid in _processes(Path(folder))]


def _processes(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_bytes().split()]
    except OSError:
        return []


def _at(path: str) -> Group:
    """The group of a path as the kernel writes it."""
    version = 2 if (TOP / "cgroup.controllers").exists() else 1
    top = TOP if version == 2 else TOP / "memory"
    return Group(folder=top / path.strip("/"), version=version)


def find(ident: str, own: str | None = None) -> Group | None:
    """A container's group, where it is in one of the places in which engines put it."""
    scope = (f"docker-{ident}.scope", f"libpod-{ident}.scope")
    paths = [f"docker/{ident}", f"machine.slice/{scope[1]}", f"libpod_parent/libpod-{ident}"]
    paths += [f"system.slice/{name}" for name in scope]
    groups = map(_at, [f"{own}/{ident}"] if own else paths)
    return next((group for group in groups if group.peak() is not None), None)


def of_process(pid: int, ident: str) -> Group | None:
    """The group of the container that a process is the first one of, wherever it is.

    None where the process is not one of this machine: somebody else has its number.
    """
    try:
        lines = (PROC / str(pid) / "cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # A container may have made groups below its own.
        upto = re.match(rf".*{ident}[^/]*", path)
        if upto and controllers in ("", "memory") and (group := _at(upto[0])).peak() is not None:
            return group
    return None


def make_own(engine: Engine, home: Path, run: str) -> str | None:
    """Make a group for one container of a run; its name, None where there can be none.

    The engine must be Docker's, of this machine, place containers itself, and put nothing but the
    container there: Podman adds its monitor. And we must have the right to.
    """
    if not engine.is_local or engine.is_podman or engine.is_rootless:
        return None
    told = engine.info
    if told.get("CgroupDriver") != "cgroupfs" or told.get("Name") != gethostname():
        return None
    name = f"{_prefix(home, run)}{secrets.token_hex(4)}"
    try:
        _at(name).folder.mkdir()
    except OSError:
        return None
    return name


def own(name: str) -> Group:
    """The group that `make_own` made."""
    return _at(name)


def _prefix(home: Path, run: str | None = None) -> str:
    of = f"coopery_{home_id(home)}_"
    return of if run is None else f"{of}{re.sub('[^A-Za-z0-9]', '', run)}_"


def left(home: Path, run: str | None = None) -> list[str]:
    """The names of groups that were made for a run of a home folder, or any run of it."""
    found = (path for pattern in _patterns(f"{_prefix(home, run)}*") for path in TOP.glob(pattern))
    return sorted({path.name for path in found})


def is_of(name: str, home: Path, run: str) -> bool:
    """Whether a group was made for this run."""
    return name.startswith(_prefix(home, run))


def _patterns(name: str) -> Iterator[str]:
    """An engine makes the group in every hierarchy that version 1 has."""
    yield from (name, f"*/{name}")


def remove(name: str) -> bool:
    """Remove a group in all hierarchies; whether it is gone. Its container must have ended."""
    deadline = time.monotonic() + _GOING
    while True:
        places = [path for pattern in _patterns(name) for path in TOP.glob(pattern)]
        removed = [_removed(path) for path in places]
        if all(removed):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _removed(top: Path) -> bool:
    """A group can be removed only where nothing is in it: there is nothing to be lost."""
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
