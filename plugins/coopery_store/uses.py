"""When bytes were last used, and by how much the home has grown: noted in bulk, never synced."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coopery_store.entries import Change
from coopery_store.index import Index
from coopery_store.options import Limits

_COARSE = 3600
"""Seconds. A use so shortly after the one on record is not written: eviction thinks in days."""
_STEP = 20
"""What could not free enough is tried again after a growth of budget / this."""
_USED = """INSERT INTO uses(name, used) VALUES(?, ?)
    ON CONFLICT(name) DO UPDATE SET used = max(used, excluded.used)"""
_SIZED = """INSERT INTO uses(name, used, size) VALUES(?, 0, ?)
    ON CONFLICT(name) DO UPDATE SET size = excluded.size"""
_GREW = """INSERT INTO meta(name, value) VALUES('grown', ?)
    ON CONFLICT(name) DO UPDATE SET value = value + excluded.value"""
_META = "INSERT OR REPLACE INTO meta(name, value) VALUES(?, ?)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The size of the home when it was last looked through (bytes, seconds since the epoch), and
    by how many bytes it has grown since, as far as that was told.
    """

    size: int
    at: int
    grown: int


class Uses:
    """The table `uses`: objects by digest, places by `place:KEY`. Safe from several threads."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._noted: set[str] = set()
        self._pending: set[str] = set()
        self._grown = 0

    def note(self, names: Iterable[str]) -> None:
        """These are used now."""
        new = set(names) - self._noted
        if new:
            with self._lock:
                self._noted |= new
                self._pending |= new

    def grew(self, size: int) -> None:
        """The home has grown by so many bytes."""
        with self._lock:
            self._grown += size

    def changes(self) -> list[Change]:
        """What was noted since this was last asked, to be kept by the index."""
        with self._lock:
            names, self._pending = sorted(self._pending), set()
            grown, self._grown = self._grown, 0
        now = int(time.time())
        sql = "SELECT name, used FROM uses WHERE name IN ({})"
        fresh = {n for n, used in self._index.select_in(sql, names) if used > now - _COARSE}
        rows = [(name, now) for name in names if name not in fresh]
        return [(_USED, rows), (_GREW, [(grown,)] if grown else [])]

    def known(self) -> Mapping[str, tuple[float, int | None]]:
        """By name: when it was last used, and its size where it was measured."""
        rows = self._index.select("SELECT name, used, size FROM uses")
        return {name: (float(used), size) for name, used, size in rows}

    def last(self, name: str) -> float:
        """When this was last used, as far as is on record; 0 if never."""
        rows = self._index.select("SELECT used FROM uses WHERE name = ?", (name,))
        return float(rows[0][0]) if rows else 0.0

    def sized(self, sizes: Mapping[str, int]) -> None:
        """Keep these sizes."""
        self._index.apply([(_SIZED, sizes.items())])

    def forget(self, names: Iterable[str]) -> None:
        """These are gone."""
        self._index.apply([("DELETE FROM uses WHERE name = ?", [(name,) for name in names])])

    def due(self, home: Path, limits: Limits) -> bool:
        """Whether an automatic eviction is worth a look around; without one, this is quick."""
        self._index.apply(self.changes())
        with os.scandir(home / "runs") as entries:
            if sum(1 for _ in entries) > limits.keep_runs * 1.1:
                return True
        if limits.budget is None:
            return False
        known = self.measured()
        if known is None:
            return True
        size, since = known.size + known.grown, time.time() - known.at
        if size > limits.budget:
            return known.grown > limits.budget / _STEP or since > 3600
        # Not all that grows is told of (logs, build environments).
        return size > limits.budget / 2 and since > 86400

    def measured(self) -> Measured | None:
        """What is known of the home's size; None if nothing is."""
        rows = self._index.select(
            "SELECT name, value FROM meta WHERE name IN ('measured', 'measured_at', 'grown')"
        )
        found = dict(rows)
        if "measured" not in found:
            return None
        return Measured(
            size=found["measured"], at=found.get("measured_at", 0), grown=found.get("grown", 0)
        )

    def note_measured(self, size: int, at: float) -> None:
        """The home was looked through and is so large."""
        rows = [("measured", size), ("measured_at", int(at)), ("grown", 0)]
        self._index.apply([(_META, rows)])
