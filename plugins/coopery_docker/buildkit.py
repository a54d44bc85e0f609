"""What BuildKit tells while it builds: its trace, decoded, as lines that a person expects.

Each is a `StatusResponse` of moby/buildkit's `api/services/control/control.proto`, of which a few
fields matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUMBERED = re.compile(r"\[(?:\S+ )?(\d+)/\d+\] ")

_EXIT = re.compile(r"(?:exit code: |returned a non-zero code: |exit status )(\d+)\s*$")
"""How builders say with what code a program ended, after its whole command."""
_LONGEST = 400
"""Characters of a builder's error that are shown."""
SAID = 4000
"""Characters of a program's last output that are kept."""

Fields = dict[int, list[int | bytes]]


def exit_code_of(error: str) -> int | None:
    """The code with which a program ended that a builder's error tells of; None for another."""
    found = _EXIT.search(error)
    return int(found[1]) if found else None


def shown_error(error: str) -> str:
    """A builder's error in a line, without the command, which the log has before it."""
    code = exit_code_of(error)
    text = " ".join(error.split()) if code is None else f"exit code {code}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def fields_of(data: bytes) -> Fields:
    """A message of Protocol Buffers: by number, the values of each field. Raises ValueError."""
    found: Fields = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == _VARINT:
            value, position = _varint(data, position)
        elif kind in (_BYTES, _FIXED64, _FIXED32):
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
            if kind == _BYTES:
                size, position = _varint(data, position)
            if position + size > len(data):
                raise ValueError("the message ends within a field")
            value, position = data[position : position + size], position + size
        else:
            raise ValueError(f"there is no wire type {kind}")
        found.setdefault(number, []).append(value)
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    raise ValueError("a number does not end")


@dataclass
class Vertex:
    """A step of a build: of its instructions those have one that do something."""

    name: str = ""
    started: float = 0.0
    completed: float = 0.0
    cached: bool = False
    error: str = ""
    told: str = ""
    """What was said of it last."""
    printed: str = ""
    """The end of what its program printed."""

    @property
    def instruction(self) -> int | None:
        """Which instruction it is, of those that do something, from 1; None for other steps."""
        found = _NUMBERED.match(self.name)
        return int(found[1]) if found else None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(self.completed - self.started, 0.0) if self.completed else 0.0


class Trace:
    """A build's trace so far."""

    def __init__(self) -> None:
        self.vertices: dict[str, Vertex] = {}
        self._speaker = ""
        self._midline = False

    def read(self, data: bytes) -> Iterator[bytes]:
        """Take in a message; what there is to say now. Raises ValueError when it is none."""
        message = fields_of(data)
        for part in _messages(message, 1):
            yield from self._vertex(part)
        for part in _messages(message, 3):
            vertex, printed = _text(part, 1), part.get(4, [b""])[-1]
            if isinstance(printed, bytes) and printed:
                yield from self._speak(vertex)
                self._midline = not printed.endswith(b"\n")
                if vertex in self.vertices:
                    said = self.vertices[vertex].printed + printed.decode("utf-8", "replace")
                    self.vertices[vertex].printed = said[-SAID:]
                yield printed

    def _vertex(self, part: Fields) -> Iterator[bytes]:
        digest = _text(part, 1)
        vertex = self.vertices.setdefault(digest, Vertex())
        vertex.name = _text(part, 3) or vertex.name
        vertex.cached = bool(part.get(4, [0])[-1]) or vertex.cached
        vertex.started = _time(part, 5) or vertex.started
        vertex.completed = _time(part, 6) or vertex.completed
        vertex.error = _text(part, 7) or vertex.error
        if vertex.name.startswith("[internal]") and not vertex.error:
            return
        state = ""
        if vertex.error:
            state = f"ERROR: {shown_error(vertex.error)}"
        elif vertex.cached:
            state = "CACHED"
        elif vertex.completed:
            state = f"done in {vertex.seconds:.1f} s"
        if vertex.started or state:
            yield from self._speak(digest)
        if state and vertex.told != state:
            vertex.told = state
            yield f"{state}\n".encode()

    def _speak(self, digest: str) -> Iterator[bytes]:
        """The name of the step that speaks, where it is not the one that spoke last."""
        if self._speaker == digest:
            return
        self._speaker = digest
        if self._midline:
            yield b"\n"
            self._midline = False
        name = self.vertices[digest].name if digest in self.vertices else digest
        yield f"{name}\n".encode()


def _messages(message: Fields, number: int) -> Iterator[Fields]:
    for value in message.get(number, ()):
        if isinstance(value, bytes):
            yield fields_of(value)


def _text(message: Fields, number: int) -> str:
    value = message.get(number, [b""])[-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _time(message: Fields, number: int) -> float:
    """Seconds since the epoch, of a Timestamp; 0 where there is none."""
    value = message.get(number, [b""])[-1]
    if not isinstance(value, bytes) or not value:
        return 0.0
    parts = fields_of(value)
    seconds, nanos = (parts.get(n, [0])[-1] for n in (1, 2))
    return (seconds if isinstance(seconds, int) else 0) + (
        nanos / 1e9 if isinstance(nanos, int) else 0
    )
