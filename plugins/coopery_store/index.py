"""The index: an SQLite file for quick answers, made anew from the journal whenever it is lost.

SQLite does not sync each transaction (the journal does, where it matters); after a power cut the
index may be behind, and `catch_up` reads the rest of the journal.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from coopery.errors import MachineError, problem
from coopery_store import entries
from coopery_store.entries import Change
from coopery_store.home import disk_full, has_no_room, machine_errors
from coopery_store.journal import Journal
from coopery_store.locks import held

if TYPE_CHECKING:
    from coopery_store.comparing import MemoryState

T = TypeVar("T")

_SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE results(
    key TEXT PRIMARY KEY, step TEXT, kind TEXT, run TEXT, finished REAL,
    outputs BLOB, rest BLOB, crc INTEGER);
CREATE TABLE latest(
    recipe BLOB, step TEXT, key TEXT, keeps TEXT, run TEXT, PRIMARY KEY(recipe, step)
) WITHOUT ROWID;
CREATE TABLE kept(digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE stats(
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    mode INTEGER, digest TEXT, hashed_at INTEGER) WITHOUT ROWID;
CREATE TABLE folders(digest TEXT PRIMARY KEY, listing BLOB);
CREATE TABLE objects(digest TEXT PRIMARY KEY, fingerprint TEXT) WITHOUT ROWID;
CREATE TABLE deliveries(destination BLOB PRIMARY KEY, digest TEXT) WITHOUT ROWID;
CREATE TABLE uses(name TEXT PRIMARY KEY, used INTEGER, size INTEGER) WITHOUT ROWID;
"""
_CHUNK = 500
_WORTH = 0.9
"""The journal is only written anew where that leaves less than this part of it."""
_PATIENCE = 60.0  # seconds to wait for another process's transaction
_SHORT_READ = 522  # SQLITE_IOERR_SHORT_READ: the file was cut off


class _Damaged(Exception):
    """The index file is not what it was; it is set aside and made anew."""


class Index:
    """One connection for all threads of this process. Raises MachineError (`disk-full`, …)."""

    def __init__(self, home: Path, *, in_memory: bool = False) -> None:
        """With `in_memory`, it is made from the journal for this process alone: to look into a home
        that cannot be written to.
        """
        self._home = home
        self.in_memory = in_memory
        self._path = home / "index.sqlite"
        self._journal = Journal(home)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self.remade = False
        """Whether the file was found damaged and made anew."""
        with machine_errors(home):
            if not in_memory and self._position() != self._journal.size():
                self.catch_up()

    def select(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._attempt(lambda c: c.execute(sql, parameters).fetchall())

    def select_in(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """All rows of a query in which `{}` stands for a list of `values`, asked in chunks."""

        def ask(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = []
            for start in range(0, len(values), _CHUNK):
                chunk = values[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                rows += connection.execute(sql.format(marks), chunk).fetchall()
            return rows

        return self._attempt(ask) if values else []

    def apply(self, changes: Iterable[Change]) -> None:
        """Make these changes, all or none; they need not survive a power cut."""
        prepared = [(sql, list(rows)) for sql, rows in changes]
        if any(rows for _, rows in prepared):
            self._attempt(lambda c: _transact(c, prepared))

    def append(
        self, texts: Sequence[str], changes: Iterable[Change] = (), *, durable: bool
    ) -> None:
        """Journal these entries, then make the changes they and `changes` amount to."""
        others = [(sql, list(rows)) for sql, rows in changes]
        with machine_errors(self._home), self._journal.locked():
            # Under this lock nobody else is between journal and index, so what the index lacks
            # now was left by a process that died there.
            self._catch_up()
            end = self._journal.append(texts, durable=durable)
            self.apply([*entries.changes(texts), *others, entries.position(end)])

    def catch_up(self) -> None:
        """Take in what the journal holds beyond the index."""
        with machine_errors(self._home), self._journal.locked():
            self._catch_up()

    def _catch_up(self) -> None:
        position, size = self._position(), self._journal.size()
        if size < position:  # the journal was lost or cut: write what the index still knows
            self._replace_journal(self._all_known())
        elif size > position:
            texts, end = self._journal.read(position)
            self.apply([*entries.changes(texts), entries.position(end)])

    def compact(self, choose: Callable[[Sequence[str]], list[str]]) -> int:
        """Write the journal anew with the lines that `choose` keeps of its undamaged ones.

        Returns by how many bytes it became shorter; it stays as it is where that is little.
        """
        with machine_errors(self._home), self._journal.locked():
            self._catch_up()
            before = self._journal.size()
            texts, _ = self._journal.read()
            chosen = choose(texts)
            if sum(len(text) + 10 for text in chosen) > before * _WORTH:
                return 0
            return before - self._replace_journal(chosen)

    def restore_journal(self) -> None:
        """Write the journal anew with its undamaged lines, and what only the index knows."""
        with machine_errors(self._home), self._journal.locked():
            self._catch_up()
            self._replace_journal(self._all_known())

    def _all_known(self) -> list[str]:
        """What the journal says and what the index knows, which has the last word."""
        texts, _ = self._journal.read()
        known = [*texts, *entries.exported(self.select)]
        return list(dict.fromkeys(reversed(known)))[::-1]

    def _replace_journal(self, texts: Sequence[str]) -> int:
        """Under its lock; returns its new length.

        Killed before the position is noted: the next one finds the journal shorter than the index
        thinks, or longer, and catches up.
        """
        end = self._journal.replace(texts)
        self.apply([entries.position(end)])
        return end

    def _position(self) -> int:
        rows = self.select("SELECT value FROM meta WHERE name = 'journal'")
        return int(rows[0][0]) if rows else 0

    def rebuild(self) -> None:
        """Set the index aside and make it anew from the journal."""
        with self._lock, machine_errors(self._home):
            self.close()
            with held(self._home / "locks" / "index", keep=True):
                self._set_aside()
                try:
                    self._create()
                except sqlite3.DatabaseError as error:
                    raise self._explained(error) from error

    def check(self) -> MemoryState:
        """Read all of it, and the journal, and compare."""
        from coopery_store.comparing import compare

        with machine_errors(self._home), self._journal.locked():
            self._catch_up()
            lines, end = self._journal.lines()
            integrity = self.select("PRAGMA integrity_check")
            rows = self.select(f"SELECT {entries.COLUMNS} FROM results")
        return compare(lines, rows, integrity, end)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # -- the connection ---------------------------------------------------------------------------

    def _attempt(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """Ask; if the file turns out to be damaged, make it anew and ask once more."""
        with self._lock, machine_errors(self._home):
            try:
                return self._ask(ask)
            except _Damaged:
                pass
            try:
                self.rebuild()
                self.remade = True
                return self._ask(ask)
            except _Damaged as error:
                message = f"the index in {self._home} is damaged again as soon as it is made"
                hint = "check the disk, or name another home folder with --home"
                raise MachineError(problem("home-unusable", message, hint=hint)) from error

    def _ask(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return ask(self._connected())
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def _connected(self) -> sqlite3.Connection:
        if self.in_memory:
            if self._connection is None:
                self._connection, _ = _open(Path(":memory:"))
                self._fill(self._connection)
            return self._connection
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            inode = 0
        if self._connection is not None and inode == self._inode:
            return self._connection
        self.close()  # another process, or a person, replaced or removed the file
        if not inode:
            with held(self._home / "locks" / "index", keep=True):
                if not self._path.exists():
                    self._create()
            inode = self._path.stat().st_ino
        connection, version = _open(self._path)
        if version != _SCHEMA_VERSION:
            connection.close()
            raise _Damaged
        self._connection, self._inode = connection, inode
        return connection

    def _create(self) -> None:
        """Make the file from the journal, beside and then by rename, so that it is whole."""
        beside = self._path.with_name("index.sqlite.new")
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{beside}{suffix}").unlink(missing_ok=True)
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        connection, _ = _open(beside)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            self._fill(connection)
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        finally:
            connection.close()
        beside.replace(self._path)

    def _fill(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_SCHEMA)
        texts, end = self._journal.read()
        _transact(connection, [*entries.changes(texts), entries.position(end)])

    def _set_aside(self) -> None:
        stamp = time.time_ns()
        for suffix in ("", "-wal", "-shm"):
            file = Path(f"{self._path}{suffix}")
            if os.path.lexists(file):
                file.rename(self._home / "quarantine" / f"index-{stamp}.sqlite{suffix}")

    def _explained(self, error: sqlite3.DatabaseError) -> Exception:
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        text = str(error)
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == _SHORT_READ:
            return _Damaged(text)
        if "no such table" in text or "no such column" in text or "decode to UTF-8" in text:
            return _Damaged(text)
        unable = primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        if primary == sqlite3.SQLITE_FULL or (unable and has_no_room(self._home)):
            return disk_full(self._home)
        slug = "store-busy" if primary == sqlite3.SQLITE_BUSY else "home-unusable"
        message = f"the index {self._path} cannot be used: {text}"
        hint = "another process may hold it; or name another home folder with --home"
        if self._path.is_dir():
            message = f"the index {self._path} is a folder"
            hint = "move it away; the index is made anew from the journal"
        return MachineError(problem(slug, message, hint=hint))


def _open(path: Path) -> tuple[sqlite3.Connection, int]:
    """A connection, and the version of the schema found there (0 for a new file)."""
    connection = sqlite3.connect(
        path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except BaseException:
        connection.close()
        raise
    return connection, version


def _transact(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, rows in changes:
            connection.executemany(sql, rows)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
