"""Two streams into one log: a container's stdout and stderr come apart, in pieces of any size."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_PATIENCE = 0.3
"""Seconds that a stream waits for the other to end its line."""


class Interleaved:
    """Writes what comes as it is; only, a stream waits a moment where the other is in a line."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._open: int | None = None
        """The stream that has begun a line."""
        self._held: bytes = b""
        """What the other one has to say."""
        self._since = 0.0

    def take(self, stream: int, data: bytes) -> None:
        """Some bytes of stream 1 or 2."""
        with self._lock:
            self._take(stream, data)

    def _take(self, stream: int, data: bytes) -> None:
        while data:
            if self._open not in (None, stream):
                if not self._held:
                    self._since = time.monotonic()
                self._held += data
                return
            cut = data.rfind(b"\n") + 1 if self._held else len(data)
            if cut == 0:
                self._write(data)
                return
            self._write(data[:cut])
            self._open = None if data[cut - 1 : cut] in (b"\n", b"\r") else stream
            data = data[cut:]
            if self._open is None and self._held:
                held, self._held = self._held, b""
                self._take(3 - stream, held)

    def look(self, *, end: bool = False) -> None:
        """Write what has waited for too long; at the `end`, all."""
        with self._lock:
            if self._held and (end or time.monotonic() - self._since > _PATIENCE):
                self._write(self._held)
                self._held = b""


class Channel:
    """A socket to a container's streams, out of the answer that the client made it of.

    That holds the socket too: both are closed, or neither is.
    """

    def __init__(self, attached: Any) -> None:
        self._attached = attached
        self._socket = getattr(attached, "_sock", attached)
        self._socket.settimeout(None)
        self.recv, self.sendall = self._socket.recv, self._socket.sendall
        self.fileno = self._socket.fileno

    def close(self) -> None:
        """Close it."""
        response = getattr(self._attached, "_response", None)
        if response is not None:
            response.close()
        self._attached.close()
        self._socket.close()


def frames(channel: Channel) -> Iterator[tuple[int, bytes]]:
    """What comes through an attached socket: the stream (1 or 2) and some bytes, to its end.

    Each frame has a head of eight bytes: the stream, and the length of what follows
    (Docker Engine API, ContainerAttach).
    """
    buffer = bytearray()
    stream, rest = 1, 0
    while data := channel.recv(1 << 16):
        buffer += data
        while buffer:
            if rest == 0:
                if len(buffer) < 8:
                    break
                stream, rest = struct.unpack(">BxxxL", buffer[:8])
                del buffer[:8]
                continue
            part = bytes(buffer[:rest])
            del buffer[: len(part)]
            rest -= len(part)
            yield (2 if stream == 2 else 1), part
