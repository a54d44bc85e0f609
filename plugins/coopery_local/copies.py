"""Where no mounts are allowed: inputs are copies, and what a task did to what it read is found out.

Write bits are taken away, but stop nobody who owns the files. So after the task its copies are
compared with what they were, and its environment is looked over for files that are not as they
were made. Environments share no inode with uv's cache there (`seal`). Folders `__pycache__` are
left out of all that: Python writes there as it likes.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SEAL = "coopery-seal.json"
"""In an environment that was made without mounts: what its files were."""

_TICK = 0.02
"""Seconds within which two changes may bear the same time stamp."""
_RECENT = 2.0
"""Seconds: an input that is younger is compared byte by byte, whatever its time stamps say."""
_COMPILED = "__pycache__"

Stamp = tuple[int, int, int, int]
"""Inode, size, and times of the last change of a file's contents and of anything, in nanoseconds;
of a folder nothing."""

_seals: dict[Path, Mapping[str, Stamp]] = {}
_looking = threading.Lock()


@dataclass(frozen=True)
class Copies:
    """The copies of one task's inputs: the source of each, and the stamps of its files."""

    sources: dict[Path, Path] = field(default_factory=dict)
    stamps: dict[Path, Mapping[str, Stamp]] = field(default_factory=dict)
    names: dict[Path, frozenset[str]] = field(default_factory=dict)
    """What the folders have to hold that copies lie in."""

    def add(self, source: Path, target: Path) -> None:
        """Copy a file or folder, without write bits."""
        _copy_read_only(source, target)
        self.sources[target] = source
        self.stamps[target] = _stamps(target)

    def frame(self, source: Path, target: Path) -> None:
        """Take the write bits of the folders of a frame, the copies in which are made already."""
        for folder, _, _ in os.walk(source):
            here = target / Path(folder).relative_to(source)
            if not any(copied == here or copied in here.parents for copied in self.sources):
                here.mkdir(parents=True, exist_ok=True)  # of a matrix without instances
                self.names[here] = _names(here)
                _take_write_bits(here)

    def changed(self) -> Path | None:
        """The first copy that is not as it was, by name, contents or exec bit; else None."""
        for folder, names in self.names.items():
            if not folder.is_dir() or _names(folder) != names:
                return folder
        for target, source in self.sources.items():
            if not os.path.lexists(target):
                return target
            stamps = self.stamps[target]
            now = _stamps(target)
            settled = time.time_ns() - int(_RECENT * 1e9)
            if now == stamps and all(written < settled for _, _, written, _ in now.values()):
                continue
            if now.keys() != stamps.keys() or not _is_equal(source, target):
                return target
        return None


def seal(environment: Path) -> None:
    """Note what the files of a new environment are, none of which anything else may share."""
    time.sleep(_TICK)  # a change from now on bears a later time
    stamps = _own(environment)
    (environment / SEAL).write_text(json.dumps(stamps), "utf-8")


def damage(environment: Path) -> str | None:
    """What of an environment is not as it was made; None if all is.

    One that was made where there are mounts bears no seal: then what it is at the first look is
    what it must stay, once nothing else shares its files.
    """
    try:
        with _looking:
            before = _seals.get(environment)
            if before is None:
                before = _seals[environment] = _read_seal(environment) or _own(environment)
        now = _files_of(environment)
    except FileNotFoundError as error:
        return str(error.filename)  # it is being changed right now, or was set aside
    if now == before:
        return None
    return min(name for name in {*now, *before} if now.get(name) != before.get(name))


def set_aside(environment: Path, scratch: Path) -> None:
    """Take a damaged environment out of its place, so that it is made anew when it is wanted."""
    with _looking:
        _seals.pop(environment, None)
    try:
        environment.rename(scratch / "damaged")
    except FileNotFoundError:
        return  # another task of this run has done it


def _read_seal(environment: Path) -> Mapping[str, Stamp] | None:
    try:
        text = (environment / SEAL).read_text("utf-8")
    except FileNotFoundError:
        return None
    stamps: dict[str, Sequence[int]] = json.loads(text)
    return {name: (a, b, c, d) for name, (a, b, c, d) in stamps.items()}


def _own(environment: Path) -> Mapping[str, Stamp]:
    """Give an environment files of its own where it shares some, as with uv's cache."""
    for entry in _walk(environment, compiled=True):
        if entry.is_file(follow_symlinks=False) and entry.stat().st_nlink > 1:
            beside = Path(f"{entry.path}.own-{os.getpid()}")
            shutil.copy2(entry.path, beside)
            beside.replace(entry.path)
    return _files_of(environment)


def _files_of(environment: Path) -> Mapping[str, Stamp]:
    """The stamps of what an environment holds, folders and the seal aside."""
    stamps = _stamps(environment)
    return {name: stamp for name, stamp in stamps.items() if any(stamp) and name != SEAL}


def _stamps(path: Path) -> Mapping[str, Stamp]:
    """The stamps of a file, or of all in a folder by relative name."""
    if path.is_symlink() or not path.is_dir():
        return {"": _stamp(path.lstat())}
    cut = len(os.fspath(path)) + 1
    return {e.path[cut:]: _stamp(e.stat(follow_symlinks=False)) for e in _walk(path)}


def _stamp(status: os.stat_result) -> Stamp:
    if stat.S_ISDIR(status.st_mode):
        return 0, 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _walk(top: Path, *, compiled: bool = False) -> Iterator[os.DirEntry[str]]:
    """All that is in a folder, at any depth."""
    stack = [os.fspath(top)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield entry
                elif compiled or entry.name != _COMPILED:
                    yield entry
                    stack.append(entry.path)


def _is_equal(source: Path, target: Path) -> bool:
    """Whether a copy has the contents, links, names and exec bits of its source."""
    if target.is_symlink():
        return source.is_symlink() and source.readlink() == target.readlink()
    if not target.is_dir():
        same_bit = bool(_mode(source) & 0o100) == bool(_mode(target) & 0o100)
        return source.is_file() and same_bit and filecmp.cmp(source, target, shallow=False)
    if not source.is_dir():
        return False
    names, others = ({p.name for p in x.iterdir()} - {_COMPILED} for x in (source, target))
    return names == others and all(_is_equal(source / name, target / name) for name in names)


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir()) - {_COMPILED}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _copy_read_only(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
        for folder, _, names in os.walk(target):
            for name in names:
                _take_write_bits(Path(folder, name))
            _take_write_bits(Path(folder))
    else:
        shutil.copy2(source, target)
        _take_write_bits(target)


def _take_write_bits(path: Path) -> None:
    if not path.is_symlink():
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
