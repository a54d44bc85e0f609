"""The journal: what the index must not lose, as checked lines in one file that only grows.

A line is a CRC-32 (8 hex digits), a space and a JSON value. The index can be made from it anew.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from coopery.writing import write_atomically
from coopery_store.locks import held


class Journal:
    """`records/journal.jsonl` in the home folder. Whoever appends holds `locked()`."""

    def __init__(self, home: Path) -> None:
        self.path = home / "records" / "journal.jsonl"
        self._lock = home / "locks" / "journal"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and processes from appending."""
        with held(self._lock, keep=True):
            yield

    def size(self) -> int:
        """Its length in bytes."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, texts: Iterable[str], *, durable: bool) -> int:
        """Add lines and return the new length; with `durable` they outlive a power cut."""
        lines = [checked(text) for text in texts]
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines.insert(0, b"\n")  # a writer died within its line
            content = memoryview(b"".join(lines))
            while content:
                content = content[os.write(descriptor, content) :]
            if durable:
                os.fsync(descriptor)
            end = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if new and durable:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return end

    def replace(self, texts: Iterable[str]) -> int:
        """Put a journal of these lines in its place, durably; returns its length."""
        content = b"".join(checked(text) for text in texts)
        write_atomically(self.path, content)
        return len(content)

    def read(self, start: int = 0) -> tuple[list[str], int]:
        """The undamaged lines from a byte position on, and where the last whole line ends."""
        lines, end = self.lines(start)
        return [text for text in lines if text is not None], end

    def lines(self, start: int = 0) -> tuple[list[str | None], int]:
        """As `read`, with None for each damaged line."""
        texts: list[str | None] = []
        end = start
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return texts, 0
        with file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # somebody is writing it, or died doing so
                end += len(line)
                if line != b"\n":  # put there to end what a dead writer had begun
                    texts.append(_unchecked(line))
        return texts, end


def checked(text: str) -> bytes:
    """A line of the journal."""
    content = text.encode("ascii")
    return b"%08x %b\n" % (zlib.crc32(content), content)


def _unchecked(line: bytes) -> str | None:
    """What a line says, or None if it is damaged or was cut off."""
    content = line[9:].rstrip(b"\n")
    if line[:9] != b"%08x " % zlib.crc32(content):
        return None
    return content.decode("ascii")
