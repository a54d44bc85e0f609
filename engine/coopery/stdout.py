"""Stdout, whose troubles are nobody's defect: a full disk behind it, or that it is closed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from coopery import screening
from coopery.errors import MachineError, Problem

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_FILENO = 1


class _File(screening.Screened):
    """Raises MachineError (`no-stdout`) for what cannot be written; BrokenPipeError passes."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise  # the reader went away: that is told otherwise
        except OSError as error:
            raise _lost(error.strerror or str(error)) from error


def _lost(why: str) -> MachineError:
    message = f"the answer cannot be written to stdout: {why}"
    hint = "send it elsewhere; what was done is done"
    return MachineError(Problem(slug="no-stdout", message=message, hint=hint))


def guard() -> bool:
    """Have stdout raise declared errors from here on; False when it is closed.

    Then no file that is opened later may bear its number: all that is printed would end up in it.
    """
    before: TextIO | None = sys.stdout
    ours: object = sys.__stdout__
    if before is None:
        nowhere = os.open(os.devnull, os.O_RDONLY)  # so that to write there is an error
        os.dup2(nowhere, _FILENO)
        if nowhere != _FILENO:
            os.close(nowhere)
    elif before is not ours or before.fileno() != _FILENO:
        return True  # whoever calls this program as a function has put something else there
    raw = _File(_FILENO, "w", closefd=False)
    sys.stdout = screening.over(raw, before, line_buffering=bool(before and before.line_buffering))
    return before is not None


def refuse() -> None:
    """Raise what a closed stdout amounts to, before anything is done for an answer."""
    raise _lost("it is closed")


def forsake() -> None:
    """Drop what could not be written: it would be tried once more when the program ends."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
