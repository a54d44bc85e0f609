"""What pictures are made of: runs that are kept, and the ends of their logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.errors import visible

if TYPE_CHECKING:
    pass

LINES, BYTES = 40, 8 * 1024
"""How much of a log's end is shown."""
_COLOURS = re.compile(r"\x1b\[[0-9;:?]*[A-Za-z]")


def log_end(step: Mapping[str, Any]) -> str:
    """The last lines of a step's log, without colours, control characters written out.

    Empty when there are none; the log of an older run may not be kept any more.
    """
    if not step.get("log"):
        return ""
    try:
        with Path(step["log"]).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - BYTES))
            text = file.read(BYTES).decode("utf-8", "replace")
    except OSError:
        return "(its log cannot be read any more)"
    lines = _COLOURS.sub("", text).splitlines()
    cut = size > BYTES or len(lines) > LINES
    lines = [visible(line) for line in lines[-LINES:]]
    return "\n".join(["…", *lines] if cut and lines else lines)


def seconds(entry: Mapping[str, Any]) -> float | None:
    """How long a run or step took; None when it did not run, or has not ended."""
    if not entry.get("started") or not entry.get("ended"):
        return None
    span = datetime.fromisoformat(entry["ended"]) - datetime.fromisoformat(entry["started"])
    return max(0.0, span.total_seconds())
