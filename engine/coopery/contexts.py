"""Build contexts: what a part of an image takes along, as a deterministic stream of tar entries."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

EPOCH = 315532800
"""When every file of an image was changed: 1980-01-01, the first day that zip files can tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file, folder or link of a context: at `path` (relative), from `content` or from `file`.

    `mode` holds the permission bits alone; a folder has neither content nor file, a link a
    `target`. `size` is in bytes.
    """

    path: str
    mode: int
    content: bytes | None = None
    file: Path | None = None
    target: str | None = None
    size: int = 0


def entries_of(source: Path, path: str, *, writable: bool = False) -> Iterator[Entry]:
    """A file or a folder with all that is in it, at `path`, sorted by name.

    Of a file's mode only the exec bit matters (semantics 1); what is `writable` anybody in the
    container may change, all else its owner alone. `.` is the root of the context.
    """
    if source.is_symlink() or not source.is_dir():
        yield _entry(source, path, writable)
        return
    if path != ".":
        yield Entry(path=path, mode=0o777 if writable else 0o755)
    with os.scandir(source) as found:
        names = sorted(entry.name for entry in found)
    for name in names:
        inner = name if path == "." else f"{path}/{name}"
        yield from entries_of(source / name, inner, writable=writable)


def _entry(source: Path, path: str, writable: bool) -> Entry:
    status = source.lstat()
    if source.is_symlink():
        return Entry(path=path, mode=0o777, target=str(source.readlink()))
    executable = status.st_mode & 0o100
    mode = (0o777 if executable else 0o666) if writable else (0o755 if executable else 0o644)
    return Entry(path=path, mode=mode, file=source, size=status.st_size)


def write_tar(entries: Iterable[Entry], target: IO[bytes]) -> None:
    """Write entries as a tar stream: the same entries are always the same bytes.

    Parents that are not among the entries come before what is in them: writable where that is,
    save the outermost, which names the part of the context alone. Owners are root, times `EPOCH`.
    """
    made: set[str] = set()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            for parent in reversed(_parents(entry.path)):
                if parent not in made:
                    made.add(parent)
                    open_to_all = entry.target is None and entry.mode & 0o002 and "/" in parent
                    mode = 0o777 if open_to_all else 0o755
                    archive.addfile(_info(Entry(path=parent, mode=mode)))
            if entry.path in made:
                continue
            made.add(entry.path)
            info = _info(entry)
            if entry.content is not None:
                info.size = len(entry.content)
                archive.addfile(info, io.BytesIO(entry.content))
            elif entry.file is not None:
                with entry.file.open("rb") as file:
                    info.size = os.fstat(file.fileno()).st_size
                    archive.addfile(info, file)
            else:
                archive.addfile(info)


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in reversed(range(len(parts)))]


def _info(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.path)
    info.mode, info.mtime = entry.mode, EPOCH
    if entry.target is not None:
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    elif entry.content is None and entry.file is None:
        info.type = tarfile.DIRTYPE
    return info
