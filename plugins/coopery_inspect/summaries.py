"""A run's record in short: how many steps are in which state, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from coopery.quantities import show_seconds

Document = Mapping[str, Any]

_WORDS = ("done", "cached", "failed", "skipped", "cancelled", "running", "pending")
"""What `counts` counts, in the order in which it is told."""


def counts(document: Document) -> dict[str, int]:
    """How many steps are done, cached, failed, skipped, cancelled, running and pending."""
    found = dict.fromkeys(_WORDS, 0)
    for step in document.get("steps", ()):
        word = "cached" if step["cached"] else step["state"]
        found["done" if word == "succeeded" else word] += 1
    return found


def counted(document: Document) -> str:
    """The counts in words: `3 done, 1 cached`; `-` when there is nothing to count."""
    return ", ".join(f"{n} {word}" for word, n in counts(document).items() if n) or "-"


def seconds(entry: Document, *, lives: bool) -> float | None:
    """How long a run or a step took; how long it has been under way, if it `lives`."""
    if not entry.get("started"):
        return None
    started = datetime.fromisoformat(entry["started"]).timestamp()
    if entry.get("ended"):
        return datetime.fromisoformat(entry["ended"]).timestamp() - started
    # A clock that was set back must not make it begin in the future.
    return max(0.0, time.time() - started) if lives else None


def took(entry: Document, *, lives: bool = False) -> str:
    """`seconds` in words."""
    found = seconds(entry, lives=lives)
    return "-" if found is None else show_seconds(found)


def lives(document: Document) -> bool:
    """Whether a run is under way."""
    return bool(document["state"] == "running")


def state(document: Document) -> str:
    """A run's state, with its exit code where it has one."""
    if "exit_code" in document:
        return f"{document['state']} (exit code {document['exit_code']})"
    return str(document["state"])


def summary(document: Document) -> dict[str, Any]:
    """What `status`, `runs` and `stop` answer of a run under `--json`."""
    return {
        "run": document["run"],
        "recipe": document["recipe"],
        "runtime": document["runtime"],
        "targets": document["targets"],
        "state": document["state"],
        "exit_code": document.get("exit_code"),
        "started": document["started"],
        "ended": document.get("ended"),
        "seconds": seconds(document, lives=lives(document)),
        "counts": counts(document),
    }


def moment(text: str) -> str:
    """A time stamp as people of this machine's time zone read it."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
