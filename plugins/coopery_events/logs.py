"""The ends of logs, made harmless: whatever a task prints, it cannot steer the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from coopery.errors import visible

LINES = 12
"""How many of a failed task's last log lines are shown."""
FAR = 64 * 1024
"""How many bytes from its end a failed task's log is read."""
NEAR = 4 * 1024
"""How many bytes from its end a running task's log is read."""
LONGEST = 500
"""How many characters of a line are shown; the log has them all."""

# ECMA-48: control sequences (CSI), strings (OSC, DCS, SOS, PM, APC), other escapes. A string that
# nobody ended goes on to the end of the line.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]|\x1b$"
)


def last_lines(log: Path) -> Sequence[str]:
    """The last lines of a log; control characters and escape sequences are written out."""
    lines = _text(log, FAR).rstrip("\n").split("\n")[-LINES:]
    if lines == [""]:
        return ()
    return [_shortened(visible(_segment(line).expandtabs())) for line in lines]


def last_line(log: Path) -> str:
    """What a terminal would show as the last line, without its colours; empty if there is none."""
    for line in reversed(_text(log, NEAR).split("\n")):
        text = _ESCAPES.sub("", _segment(line)).expandtabs().strip()
        if text:
            return visible(text)[:LONGEST]
    return ""


def _text(log: Path, size: int) -> str:
    """The end of a log, beginning with a whole line where the part that is read has one."""
    with log.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - size))
        data = file.read(size)
    if end > size:
        _, newline, rest = data.partition(b"\n")
        if newline and rest:
            return rest.decode("utf-8", "replace")
        # One long line: what is left of the character that was cut is no error of the task.
        return "…" + data.decode("utf-8", "replace").lstrip("\ufffd")
    return data.decode("utf-8", "replace")


def _segment(line: str) -> str:
    """What the last carriage return leaves to be seen: progress bars write over themselves."""
    return next((part for part in reversed(line.split("\r")) if part.strip()), "")


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
