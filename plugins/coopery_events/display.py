"""The live display: rows at the lower end that a thread keeps up to date, lines that stay above.

Between two drawings the cursor stands at the beginning of the first row, not behind the last one:
when a terminal becomes narrower it may break rows in two, and how many there are then nobody
knows; from the first row on, all that was drawn can be erased. (This is why `rich.live` does not
serve here: it counts upwards, and leaves remains when the terminal is resized.)
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from coopery.steps import Event
from coopery_events.frames import Row, frame
from coopery_events.logs import last_line
from coopery_events.output import Output
from coopery_events.passing import Passes
from coopery_events.progress import Progress

PERIOD = 0.1
"""Seconds between two looks at the run; nothing is drawn unless something changed."""
PATIENCE = 0.5
"""Seconds after which a run is shown in which nothing is performed yet."""

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
ERASE_ROW, ERASE_BELOW = "\x1b[K", "\x1b[J"


class Tails:
    """The last lines of logs; one that has not grown is not read again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, str]] = {}

    def __call__(self, log: Path) -> str:
        try:
            size = log.stat().st_size
            known = self._known.get(log)
            if known is None or known[0] != size:
                known = self._known[log] = (size, last_line(log))
        except OSError:
            return ""  # it is not there before the step has printed anything
        return known[1]


class Display:
    """Draws a run until it is stopped; the thread is the only one that writes meanwhile."""

    def __init__(self, output: Output, progress: Progress, prepare: Callable[[Event], str]) -> None:
        """`prepare` makes of an event the lines that stay, ready to be written."""
        self._output = output
        self._progress = progress
        self._prepare = prepare
        self._above: deque[Event | tuple[Output, str]] = deque()
        """What is to be told above the rows: events, and lines that others printed."""
        self._passes = Passes(output, lambda output, lines: self._above.append((output, lines)))
        self._rows: tuple[Row, ...] = ()
        self._size = (0, 0)
        self._hidden = False
        self._tails = Tails()
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)

    def start(self) -> None:
        """Begin; whatever becomes of this process, the cursor is given back."""
        atexit.register(self.stop)
        self._passes.begin()
        self._thread.start()

    def add(self, event: Event) -> None:
        """An event to be told above the rows."""
        self._above.append(event)

    def stop(self) -> None:
        """Tell what is left, clear the rows away, and give the cursor back. Twice does no harm."""
        self._passes.end()
        self._over.set()
        self._thread.join()
        atexit.unregister(self.stop)

    def _run(self) -> None:
        try:
            while not self._over.wait(PERIOD):
                self._draw(over=False)
            self._draw(over=True)
        except Exception as error:
            # The run does not depend on being seen.
            self._restore()
            self._output.say(f"warning: the live display broke: {type(error).__name__}: {error}")
            while not self._over.wait(PERIOD):
                self._tell_above()
            self._tell_above()
        finally:
            self._restore()

    def _draw(self, *, over: bool) -> None:
        size = self._output.size
        rows: tuple[Row, ...] = ()
        waited = time.monotonic() - self._begun > PATIENCE
        if not over and (self._rows or self._progress.under_way or waited):
            snapshot = self._progress.snapshot(size[1])
            rows = frame(snapshot, time.time(), size, self._tails, self._output.encoding)
        drawn = self._tell_above()
        if drawn and rows == self._rows and size == self._size:
            return
        erased = f"\r{ERASE_BELOW}" if drawn and self._rows and not rows else ""
        self._rows, self._size = rows, size
        self._output.write(erased + (self._painted(rows) if rows else ""))

    def _tell_above(self) -> bool:
        """Tell what is to stay; False when the rows were erased for that."""
        erase = f"\r{ERASE_BELOW}" if self._rows else ""
        drawn, own = True, ""
        for _ in range(len(self._above)):
            match self._above.popleft():
                case Event() as event:
                    own += self._prepare(event)
                case (output, lines) if output is self._output:
                    own += lines
                case (output, lines):
                    self._output.write(erase + own)
                    output.write(lines)
                    drawn, erase, own = False, "", ""
        if own:
            self._output.write(erase + own)
            drawn = False
        return drawn

    def _painted(self, rows: tuple[Row, ...]) -> str:
        """The rows, and the cursor at their beginning again."""
        lines = ["".join(self._output.paint(text, style) for text, style in row) for row in rows]
        text = f"{ERASE_ROW}\n".join(lines)
        up = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
        hide = "" if self._hidden else HIDE
        self._hidden = True
        return f"{hide}{NO_WRAP}{text}{ERASE_ROW}{ERASE_BELOW}{WRAP}\r{up}"

    def _restore(self) -> None:
        if self._hidden:
            self._hidden = False
            self._output.write((f"\r{ERASE_BELOW}" if self._rows else "") + SHOW)
            self._rows = ()
