"""What is in the home folder: each thing that could be evicted, its size and its last use.

Plugins may keep folders of their own in the home, which the store does not write to. Of those
named here it knows how they may be taken away: of a *shelf*, `SHELF/NAME` is a folder that whoever
uses it holds `SHELF/NAME.lock` for, shared, and whose file `complete` has the time of last use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coopery_store.home import FOLDERS
from coopery_store.leaving import is_debris
from coopery_store.places import MARK, measure

SHELVES = {"build-envs": "build-env", "git": "git", "bundles": "bundle"}
"""Folders of shelves, with the kind of what is in each."""
PAPERS = ("metadata", "bases", "specifications")
"""Folders of small files that are made anew when they are missed; changed when used."""
DIGEST = re.compile(r"[0-9a-f]{64}")

Known = Mapping[str, tuple[float, int | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing that may go. `name` is its row's in the table `uses`, where it has one."""

    kind: str
    name: str
    path: Path
    size: int
    used: float


@dataclass(kw_only=True)
class Survey:
    """What was found. `fixed` are the sizes of what never goes, by kind; `fresh` newly measured."""

    items: list[Item] = field(default_factory=list)
    fixed: dict[str, int] = field(default_factory=dict)
    fresh: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    """Rows of `uses` for what is not there any more."""

    @property
    def size(self) -> int:
        """Bytes on the disk, all together."""
        return sum(item.size for item in self.items) + sum(self.fixed.values())

    def of(self, kind: str) -> Sequence[Item]:
        """The items of a kind."""
        return [item for item in self.items if item.kind == kind]


def survey(home: Path, known: Known) -> Survey:
    """Look through the home; what was measured before is only listed, not walked."""
    found = Survey()
    found.items += _objects(home, known, found.fresh)
    found.items += places(home, known, found.fresh)
    found.items += _runs(home)
    for name in SHELVES:
        found.items += _shelf(home / name)
    for name in PAPERS:
        found.items += _files(home / name, "metadata")
    found.items += _files(home / "quarantine", "quarantine")
    records = [home / "records", *home.glob("index.sqlite*")]
    found.fixed["memory"] = sum(measure(path)[1] for path in records if path.exists())
    found.fixed["scratch"] = _size(home / "scratch")
    ours = {*FOLDERS, *SHELVES, *PAPERS, "version"}
    rest = (e for e in home.iterdir() if e.name not in ours and not e.name.startswith("index."))
    found.fixed["other"] = sum(_size(path) for path in rest) + _size(home / "locks")
    names = {item.name for item in found.items}
    found.gone = [name for name in known if name not in names]
    return found


def _size(path: Path) -> int:
    try:
        return measure(path)[1]
    except FileNotFoundError:
        return 0  # it went just now


def _entries(folder: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return


def _objects(home: Path, known: Known, fresh: dict[str, int]) -> Iterator[Item]:
    for number in range(256):
        for entry, status in _entries(home / "objects" / f"{number:02x}"):
            if DIGEST.fullmatch(entry.name):
                yield _item("object", entry.name, Path(entry.path), status, known, fresh)


def places(home: Path, known: Known, fresh: dict[str, int]) -> Iterator[Item]:
    """The results in place; sizes that were not `known` are put into `fresh`."""
    entries = list(_entries(home / "places"))
    names = {entry.name for entry, _ in entries}
    for entry, status in entries:
        if entry.is_dir(follow_symlinks=False) and not is_debris(entry.name):
            whole = f"{entry.name}{MARK}" in names
            # What is being made still grows: its size is not for keeping.
            sizes = fresh if whole else {}
            before = known if whole else {}
            item = _item("place", f"place:{entry.name}", Path(entry.path), status, before, sizes)
            yield item


def _item(
    kind: str,
    name: str,
    path: Path,
    status: os.stat_result,
    known: Known,
    fresh: dict[str, int],
) -> Item:
    used, size = known.get(name, (0.0, None))
    if size is None:
        size = fresh[name] = _size(path)
    # The change time, which nobody can set, says when it came.
    return Item(kind=kind, name=name, path=path, size=size, used=max(used, status.st_ctime))


def _runs(home: Path) -> Iterator[Item]:
    for entry, status in _entries(home / "runs"):
        if entry.is_dir(follow_symlinks=False) and not is_debris(entry.name):
            path = Path(entry.path)
            used = max(status.st_mtime, _changed(path / "record.json"))
            name = f"run:{entry.name}"
            yield Item(kind="run", name=name, path=path, size=_size(path), used=used)


def _shelf(folder: Path) -> Iterator[Item]:
    for entry, status in _entries(folder):
        if entry.is_dir(follow_symlinks=False) and not is_debris(entry.name):
            path = Path(entry.path)
            used = _changed(path / "complete") or status.st_mtime
            name = f"{folder.name}:{entry.name}"
            yield Item(kind=SHELVES[folder.name], name=name, path=path, size=_size(path), used=used)


def _files(folder: Path, kind: str) -> Iterator[Item]:
    for entry, status in _entries(folder):
        path = Path(entry.path)
        used = max(status.st_mtime, status.st_ctime)
        name = f"{kind}:{entry.name}"
        yield Item(kind=kind, name=name, path=path, size=_size(path), used=used)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return 0.0
