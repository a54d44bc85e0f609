"""What files and folders are: one canonical digest of contents, exec bits and relative names.

Owner, times, umask and all other permissions never matter (semantics 1). Names are bytes: whatever
the file system holds has an identity.
"""

# Paths are bytes here, which pathlib does not know.
# ruff: noqa: PTH115, PTH116, PTH118

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from coopery.errors import StepError, problem

_SMALL = 1 << 16  # up to here one read is faster than a loop
_BUFFER = 1 << 18  # stays in the second-level cache between reading and hashing
_HOPS = 40  # as many links as Linux follows before it calls them a loop
_FILE = b"coopery file 1\n"
_FOLDER = b"coopery folder 1\n"


class Entry(NamedTuple):
    """One entry of a folder: `kind` is f(ile), l(ink) or d(irectory); `target` is a link's."""

    name: bytes
    kind: str
    stat: os.stat_result
    target: bytes = b""


class Hashed(NamedTuple):
    """A file's identity and the stat it had when hashing began.

    `steady` is False when the file was written to meanwhile.
    """

    digest: str
    stat: os.stat_result
    steady: bool


def scan(root: Path | bytes) -> list[Entry]:
    """All entries beneath a folder, by name.

    Raises StepError: `special-file` for devices, sockets and FIFOs, `link-outside` for symbolic
    links that are absolute or lead out of the folder.
    """
    top = os.fsencode(root)
    found: list[Entry] = []
    folders = [b""]
    while folders:
        prefix = folders.pop()
        with os.scandir(os.path.join(top, prefix)) as entries:
            for item in entries:
                entry = _entry(top, prefix + item.name, item.stat(follow_symlinks=False))
                found.append(entry)
                if entry.kind == "d":
                    folders.append(entry.name + b"/")
    found.sort()  # names are distinct, so nothing but names is compared
    check_links(top, found)
    return found


def scan_chosen(root: Path | bytes, files: Iterable[str]) -> list[Entry]:
    """As `scan`, of a folder that would hold exactly these files and the folders they imply.

    Raises FileNotFoundError besides.
    """
    top = os.fsencode(root)
    base = top + b"/"
    found: dict[bytes, Entry] = {}
    for file in files:
        name = os.fsencode(file)
        found[name] = _entry(top, name, os.lstat(base + name))
        parent = name.rpartition(b"/")[0]
        while parent and parent not in found:
            found[parent] = Entry(parent, "d", os.stat(base + parent))
            parent = parent.rpartition(b"/")[0]
    entries = sorted(found.values())
    check_links(top, entries)
    return entries


def _entry(top: bytes, name: bytes, status: os.stat_result) -> Entry:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return Entry(name, "f", status)
    if stat.S_ISDIR(mode):
        return Entry(name, "d", status)
    if stat.S_ISLNK(mode):
        return Entry(name, "l", status, os.readlink(os.path.join(top, name)))
    raise special_file(os.path.join(top, name), mode)


def special_file(path: Path | bytes, mode: int) -> StepError:
    """The error for what is neither a file nor a folder nor a link."""
    kinds = (
        (stat.S_ISLNK, "symbolic link"),
        (stat.S_ISFIFO, "FIFO"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISBLK, "block device"),
    )
    kind = next((word for test, word in kinds if test(mode)), "character device")
    return StepError(
        problem(
            "special-file",
            f"{os.fsdecode(path)} is a {kind}; only files, folders and links can be kept",
            hint="remove it, or put it elsewhere than among inputs and outputs",
        )
    )


def link_outside(path: Path | bytes, target: bytes) -> StepError:
    """The error for a symbolic link that means something only where it stands now."""
    where = f"{os.fsdecode(path)} is a symbolic link to {os.fsdecode(target)}"
    return StepError(
        problem(
            "link-outside",
            f"{where}, outside of its folder",
            hint="put a copy there, or a relative link that stays inside the folder",
        )
    )


def check_links(root: bytes, entries: Sequence[Entry]) -> None:
    """Raise StepError (`link-outside`) if a link among the entries leads out of the folder."""
    links = {entry.name: entry.target for entry in entries if entry.kind == "l"}
    for name, target in links.items():
        if _leads_out(name, links):
            raise link_outside(os.path.join(root, name), target)


def _leads_out(name: bytes, links: Mapping[bytes, bytes]) -> bool:
    """Follow a link as the kernel would, through other links; `a/..` is not always nothing."""
    at: list[bytes] = []
    ahead = name.split(b"/")[::-1]
    hops = 0
    while ahead:
        part = ahead.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not at:
                return True
            at.pop()
            continue
        target = links.get(b"/".join([*at, part]))
        if target is None:
            at.append(part)
            continue
        hops += 1
        if target.startswith(b"/"):
            return True
        if hops > _HOPS:
            return False  # a loop leads nowhere, so not out
        ahead.extend(target.split(b"/")[::-1])
    return False


def hash_file(path: Path | bytes, *, follow: bool = True) -> Hashed:
    """Read a file and return its identity. Raises OSError, and StepError (`special-file`)."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not make us wait
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise special_file(os.fsencode(path), before.st_mode)
        content = hashlib.sha256()
        if before.st_size <= _SMALL:
            while block := os.read(descriptor, _SMALL + 1):
                content.update(block)
        else:
            buffer = bytearray(_BUFFER)
            view = memoryview(buffer)
            while count := os.readv(descriptor, [buffer]):
                content.update(view[:count])
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    steady = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return Hashed(identity_of(content.hexdigest(), is_executable(before)), before, steady)


def is_executable(status: os.stat_result) -> bool:
    """The exec bit that counts: the owner's, which no umask takes away."""
    return bool(status.st_mode & stat.S_IXUSR)


def identity_of(content: str, executable: bool) -> str:
    """A file's identity, from the sha256 (hex) of its contents and its exec bit."""
    return hashlib.sha256(_FILE + (b"x" if executable else b"-") + content.encode()).hexdigest()


def file_digest(path: Path | bytes) -> tuple[str, int]:
    """The identity and the size in bytes of a file; a link is followed."""
    hashed = hash_file(path)
    return hashed.digest, hashed.stat.st_size


def tree_digest(entries: Iterable[Entry], digests: Mapping[bytes, str]) -> str:
    """The identity of a folder, from its entries (sorted by name) and its files' identities."""
    lines = [_FOLDER]
    for name, kind, _, target in entries:
        if kind == "f":
            lines.append(b"f\0%b\0%b\0" % (name, digests[name].encode()))
        else:
            lines.append(b"%b\0%b\0%b\0" % (kind.encode(), name, target))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def folder_digest(path: Path | bytes) -> tuple[str, int]:
    """The identity of a folder and the sum of its files' sizes. Raises as `scan` does."""
    top = os.fsencode(path)
    entries = scan(top)
    files = [entry for entry in entries if entry.kind == "f"]
    digests = {
        entry.name: hash_file(os.path.join(top, entry.name), follow=False).digest for entry in files
    }
    return tree_digest(entries, digests), sum(entry.stat.st_size for entry in files)


def listing_of(entries: Iterable[Entry], digests: Mapping[bytes, str]) -> dict[str, str]:
    """Relative path -> digest of each file, `-> target` of each link; folders end in `/`."""
    listed: dict[str, str] = {}
    for name, kind, _, target in entries:
        shown = os.fsdecode(name)
        match kind:
            case "f":
                listed[shown] = digests[name]
            case "l":
                listed[shown] = f"-> {os.fsdecode(target)}"
            case _:
                listed[f"{shown}/"] = ""
    return listed
