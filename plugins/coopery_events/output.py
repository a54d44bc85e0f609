"""The stream that is told to, which may go away at any time."""

from __future__ import annotations

import os
from functools import cache
from typing import TextIO

from coopery.errors import visible
from coopery_events.lines import STYLES

SIZE = (80, 24)
"""Columns and lines of a terminal that does not say, and of what is no terminal."""


class Output:
    """Writes to a stream until that fails; from then on nothing is told, and nothing fails.

    Not safe for several threads at once: who tells sees to that.
    """

    def __init__(self, stream: TextIO | None, *, color: bool) -> None:
        """`stream` is None where the process was started without one."""
        self._stream = stream
        self._color = color
        self.lines = 0
        """How many lines were said so far."""

    def say(self, text: str) -> None:
        """Write lines that stay."""
        self.write(self.prepare(text))

    def prepare(self, text: str) -> str:
        """Lines that stay as they are written: harmless, coloured, counted."""
        text = visible(text)
        self.lines += text.count("\n") + 1
        word = text.split(" ", 1)[0]
        return f"{self.paint(word, STYLES.get(word, ''))}{text[len(word) :]}\n"

    def paint(self, text: str, style: str) -> str:
        """The text in a style (`bold red`), if colours are wanted."""
        return _paint(text, style) if self._color and style else text

    def write(self, data: str) -> None:
        """Write as it is, in one piece: other processes may write to the same terminal."""
        if self._stream is None:
            return
        try:
            self._stream.write(data)
            self._stream.flush()
        except (OSError, ValueError):  # gone: EIO of a closed terminal, EPIPE; or closed by us
            self._silence(self._stream)
            self._stream = None

    @staticmethod
    def _silence(stream: TextIO) -> None:
        """What else is written to it goes nowhere, also what is still buffered for it.

        Else it would fail in whoever writes next, and at the latest when Python ends.
        """
        try:
            number = stream.fileno()
        except (OSError, ValueError):
            return  # closed, or not of a file: nothing is left to be written
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)

    @property
    def encoding(self) -> str:
        """The encoding of the stream; other characters are written as escapes."""
        return (self._stream.encoding if self._stream else None) or "utf-8"

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal, as they are now."""
        if self._stream is None:
            return SIZE
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return SIZE
        return columns or SIZE[0], lines or SIZE[1]


@cache
def _style(style: str) -> tuple[str, str]:
    from rich.color import ColorSystem
    from rich.style import Style

    before, after = Style.parse(style).render("\0", color_system=ColorSystem.STANDARD).split("\0")
    return before, after


def _paint(text: str, style: str) -> str:
    before, after = _style(style)
    return f"{before}{text}{after}"
