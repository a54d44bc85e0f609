"""Leases: which bytes each living process uses, so that no other one drops them meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from coopery_store.scratch import Scratch

_FILE = "leases"


class Leases:
    """`scratch/<session>/leases`: a line for each digest; they end with the session.

    Who uses bytes writes its line first and looks for them then; who drops bytes moves them away
    first and looks for lines then, and puts them back if there is one. So one of the two always
    sees the other.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._lock = threading.Lock()
        self._mine: set[str] = set()
        self._descriptor = -1
        self._read: dict[Path, tuple[int, set[bytes]]] = {}
        """Of each other session: how much of its file was read, and what stands there."""

    def take(self, digests: Iterable[str]) -> None:
        """Lease these until the store is closed."""
        new = set(digests) - self._mine
        if not new:
            return
        with self._lock:
            if self._descriptor < 0:
                file = self._scratch.session() / _FILE
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._descriptor = os.open(file, flags, 0o600)
            content = memoryview("".join(f"{digest}\n" for digest in new).encode())
            while content:
                content = content[os.write(self._descriptor, content) :]
            self._mine |= new

    def mine(self, digest: str) -> bool:
        """Whether this process leases it."""
        return digest in self._mine

    def elsewhere(self, digest: str) -> bool:
        """Whether another living process leases it."""
        line = digest.encode()
        with self._lock:
            return any(line in self._lines(session) for session in self._scratch.others())

    def _lines(self, session: Path) -> set[bytes]:
        """What another session leases; files only grow, so only what is new is read."""
        position, lines = self._read.setdefault(session, (0, set()))
        try:
            with (session / _FILE).open("rb") as file:
                file.seek(position)
                # A line that is not whole is one whose writer has not looked for the bytes yet.
                content = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return lines  # it leases nothing, or has ended just now
        if content:
            lines.update(content.split(b"\n"))
            self._read[session] = (position + len(content) + 1, lines)
        return lines

    def close(self) -> None:
        """Let go of the file; the session's folder goes with all that is in it."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1
            self._mine = set()
