"""What this process prints goes through a screen: what is confidential gets no further.

The screen is between a stream of text and its file, so that nothing that is printed passes by it:
answers, the story, errors, tracebacks of any thread. Until something confidential is known it does
nothing, and nothing is imported for it.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from coopery.masking import Mask

_STDERR = 2


class Screened(io.FileIO):
    """A file of which what is written is masked, also where two writes share a value.

    What may be the beginning of a value waits for what comes next, or for `end`.
    """

    _mask: Mask | None = None
    stream: TextIO | None = None
    """The stream of text that writes to it."""

    def write(self, data: ReadableBuffer, /) -> int:
        """As a file's; what is told to be written is all of `data`."""
        masking = sys.modules.get("coopery.masking")
        if masking is None or not masking.is_needed():
            return super().write(data)
        if self._mask is None:
            import atexit

            self._mask = masking.Mask()
            atexit.register(self._end_with, os.getpid())
        content = bytes(data)
        self._pass_on(self._mask.feed(content))
        return len(content)

    def end(self) -> None:
        """Nothing more is written: what has waited is."""
        if self._mask is not None and not self.closed:
            self._pass_on(self._mask.end())

    def _end_with(self, process: int) -> None:
        """Python ends, and nothing is written any more."""
        if self.stream is None or self.stream.closed or os.getpid() != process:
            return
        try:
            self.stream.flush()
            self.end()
        except Exception:
            # As Python itself at its end: who reads it went away, and nobody is left to be told.
            return

    def _pass_on(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            written = super().write(view)
            if written is None:  # it does not block, and has no room just now
                import select

                select.select((), (self.fileno(),), ())
                continue
            view = view[written:]


def guard_stderr() -> None:
    """Have stderr screened from here on, unless somebody has put something else in its place."""
    before: TextIO | None = sys.stderr
    ours: object = sys.__stderr__
    if before is None or before is not ours or before.fileno() != _STDERR:
        return
    before.flush()
    sys.stderr = over(Screened(_STDERR, "w", closefd=False), before, line_buffering=True)


def over(raw: Screened, before: TextIO | None, *, line_buffering: bool) -> TextIO:
    """A stream of text over a file, like the one that was there before; it ends with Python."""
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors=before.errors if before else "backslashreplace",
        line_buffering=line_buffering,
        write_through=bool(getattr(before, "write_through", False)),
    )
    raw.stream = stream
    return stream
