"""Identities of the project's files and folders: one stat each, hashed only when changed."""

# Paths are bytes here, which pathlib does not know.
# ruff: noqa: PTH100, PTH115, PTH116

from __future__ import annotations

import os
import stat
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import dumps, loads
from pathlib import Path

from coopery.errors import StepError, problem
from coopery.steps import Identity
from coopery.trees import (
    Entry,
    hash_file,
    link_outside,
    listing_of,
    scan,
    scan_chosen,
    special_file,
    tree_digest,
)
from coopery_store.entries import Change
from coopery_store.index import Index

Row = tuple[int, int, int, int, int, str, int]
"""size, mtime_ns, ctime_ns, inode, mode, digest, hashed_at (ns)."""

_GRANULARITY = 2_000_000_000
"""Nanoseconds. A file written to this shortly before it was hashed may change once more without
showing it: FAT counts in two seconds, others in ticks of the kernel's clock (semantics 7)."""
_MODE = 0o170000 | stat.S_IXUSR  # the type, and the exec bit that counts
_LOAD = """SELECT path, size, mtime_ns, ctime_ns, inode, mode, digest, hashed_at
    FROM stats WHERE path IN ({})"""
_KEEP = "INSERT OR REPLACE INTO stats VALUES(?, ?, ?, ?, ?, ?, ?, ?)"
_KEEP_LISTING = "INSERT OR IGNORE INTO folders(digest, listing) VALUES(?, ?)"


def name_of(path: Path) -> bytes:
    """The absolute path as bytes, `..` taken out; most are in that form already."""
    name = os.fsencode(path)
    plain = name.startswith(b"/") and b"/." not in name
    return name if plain else os.path.abspath(name)


def _unreadable(error: OSError, name: bytes) -> StepError:
    shown = os.fsdecode(error.filename or name)
    hint = "make it readable for the user who runs coopery"
    return StepError(problem("unreadable", f"{shown} cannot be read", hint=hint))


@contextmanager
def _readable(name: bytes) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise _unreadable(error, name) from error


class Stats:
    """What was hashed before, by absolute path. Rows are read in bulk and kept in memory."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._rows: dict[bytes, Row | None] = {}
        self._changed: set[bytes] = set()
        self._listings: dict[str, bytes] = {}
        self._listed: set[str] = set()

    # -- identities -------------------------------------------------------------------------------

    def identify(self, path: Path) -> Identity:
        """See `coopery.steps.Store.identify`; raises FileNotFoundError."""
        name = name_of(path)
        with _readable(name):
            return self._identity(name, os.stat(name), follow=True)

    def identify_many(self, paths: Sequence[Path], *, follow: bool = True) -> dict[Path, Identity]:
        """See `coopery.steps.Store.identify_many`.

        Without `follow`, what is a symbolic link itself is refused (StepError, `link-outside`).
        """
        look = os.stat if follow else os.lstat
        there: list[tuple[Path, bytes, os.stat_result]] = []
        for path in paths:
            name = name_of(path)
            try:
                there.append((path, name, look(name)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except PermissionError as error:
                raise _unreadable(error, name) from error
        self._load([name for _, name, status in there if stat.S_ISREG(status.st_mode)])
        found = {}
        for path, name, status in there:
            try:
                found[path] = self._identity(name, status, follow)
            except FileNotFoundError:
                continue  # it went just now
            except PermissionError as error:
                raise _unreadable(error, name) from error
        return found

    def identify_set(self, root: Path, files: Sequence[str]) -> Identity:
        """See `coopery.steps.Store.identify_set`; raises FileNotFoundError."""
        top = name_of(root)
        with _readable(top):
            return self._folder(top, scan_chosen(top, files))

    def _identity(self, name: bytes, status: os.stat_result, follow: bool) -> Identity:
        mode = status.st_mode
        if stat.S_ISREG(mode):
            return Identity(
                digest=self._file(name, status, follow), kind="file", size=status.st_size
            )
        if stat.S_ISDIR(mode):
            return self._folder(name, scan(name))
        if stat.S_ISLNK(mode):
            raise link_outside(name, os.readlink(name))
        raise special_file(name, mode)

    def _file(self, name: bytes, status: os.stat_result, follow: bool) -> str:
        if name not in self._rows:
            self._load([name])
        row = self._rows.get(name)
        if (
            row is not None
            and row[1] == status.st_mtime_ns
            and row[2] == status.st_ctime_ns
            and row[0] == status.st_size
            and row[3] == status.st_ino
            and row[4] == status.st_mode & _MODE
            and max(row[1], row[2]) + _GRANULARITY < row[6]
        ):
            return row[5]
        now = time.time_ns()
        hashed = hash_file(name, follow=follow)
        with self._lock:
            # A file in the middle of being written has no identity that is worth keeping.
            found = hashed.stat
            self._rows[name] = (
                (
                    found.st_size,
                    found.st_mtime_ns,
                    found.st_ctime_ns,
                    found.st_ino,
                    found.st_mode & _MODE,
                    hashed.digest,
                    now,
                )
                if hashed.steady
                else None
            )
            self._changed.add(name)
        return hashed.digest

    def _folder(self, top: bytes, entries: Sequence[Entry]) -> Identity:
        base = top.rstrip(b"/") + b"/"
        files = [entry for entry in entries if entry.kind == "f"]
        self._load([base + entry.name for entry in files])
        digests = {
            entry.name: self._file(base + entry.name, entry.stat, follow=False) for entry in files
        }
        digest = tree_digest(entries, digests)
        self.note_listing(digest, entries, digests)
        size = sum(entry.stat.st_size for entry in files)
        return Identity(digest=digest, kind="folder", size=size)

    # -- listings ---------------------------------------------------------------------------------

    def note_listing(
        self, digest: str, entries: Iterable[Entry], digests: Mapping[bytes, str]
    ) -> None:
        """Keep what a folder holds, so that `why` can name the file that changed."""
        if digest in self._listed:
            return
        known = self._index.select("SELECT 1 FROM folders WHERE digest = ?", (digest,))
        with self._lock:
            self._listed.add(digest)
            if not known:
                text = dumps(listing_of(entries, digests), separators=(",", ":"))
                self._listings[digest] = zlib.compress(text.encode(), 1)

    def listing(self, digest: str) -> Mapping[str, str] | None:
        """See `coopery.steps.Store.listing`; None too for one that was damaged."""
        with self._lock:
            content = self._listings.get(digest)
        if content is None:
            rows = self._index.select("SELECT listing FROM folders WHERE digest = ?", (digest,))
            if not rows:
                return None
            content = rows[0][0]
        try:
            listed: Mapping[str, str] = loads(zlib.decompress(content))
        except (zlib.error, ValueError):
            return None
        return listed

    # -- keeping ----------------------------------------------------------------------------------

    def _load(self, names: Sequence[bytes]) -> None:
        rows = self._rows
        missing = [name for name in names if name not in rows]
        if not missing:
            return
        found = {row[0]: row[1:] for row in self._index.select_in(_LOAD, missing)}
        with self._lock:
            for name in missing:
                rows.setdefault(name, found.get(name))

    def changes(self) -> list[Change]:
        """What has been learnt since this was last asked, to be kept by the index."""
        with self._lock:
            known = [(name, self._rows[name]) for name in self._changed]
            listings = list(self._listings.items())
            self._changed.clear()
            self._listings.clear()
        return [
            (_KEEP, [(name, *row) for name, row in known if row is not None]),
            ("DELETE FROM stats WHERE path = ?", [(name,) for name, row in known if row is None]),
            (_KEEP_LISTING, listings),
        ]
