"""What others print while the display is drawn: it goes above the rows, line by line."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO, cast

from coopery_events.output import Output

HandOn = Callable[[Output, str], None]
"""Takes whole lines, and where they are to be written."""


class Passing:
    """Stands for a stream of this process; whole lines are handed on, the rest waits for its end.

    In all but writing it is that stream.
    """

    def __init__(self, stream: TextIO, output: Output, hand_on: HandOn) -> None:
        self.passed = stream
        self._output = output
        self._hand_on = hand_on
        self._held = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """As a stream's."""
        with self._lock:
            whole, newline, self._held = (self._held + text).rpartition("\n")
            if newline:
                self._hand_on(self._output, whole + newline)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """As a stream's."""
        self.write("".join(lines))

    def flush(self) -> None:
        """What is handed on is written soon; half a line would be broken by the rows below it."""

    def end(self) -> None:
        """Nothing more follows: half a line is written as it is."""
        with self._lock:
            if self._held:
                self._hand_on(self._output, self._held)
            self._held = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.passed, name)


def current(name: str) -> TextIO | None:
    """`sys.stdout` or `sys.stderr` itself, whatever stands for it just now."""
    stream = getattr(sys, name)
    return stream.passed if isinstance(stream, Passing) else stream


class Passes:
    """Replaces the streams that are terminals, from `begin` to `end`."""

    def __init__(self, output: Output, hand_on: HandOn) -> None:
        """`output` is that of stderr."""
        self._output = output
        self._hand_on = hand_on
        self._placed: list[tuple[str, Passing]] = []

    def begin(self) -> None:
        """From now on, what is printed is handed on."""
        for name in ("stdout", "stderr"):
            stream = current(name)
            if stream is None or stream.closed or not stream.isatty():
                continue
            output = self._output if name == "stderr" else Output(stream, color=False)
            passing = Passing(stream, output, self._hand_on)
            setattr(sys, name, cast(TextIO, passing))
            self._placed.append((name, passing))

    def end(self) -> None:
        """The streams are themselves again, unless somebody replaced them meanwhile."""
        for name, passing in self._placed:
            if getattr(sys, name) is passing:
                setattr(sys, name, passing.passed)
            passing.end()
        self._placed.clear()
