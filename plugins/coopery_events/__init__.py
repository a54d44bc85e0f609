"""The story of a run on stderr: a live display on a terminal, else one plain line per event."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from coopery.hooks import hookimpl
from coopery.options import Settings, option

# This module is loaded for every command; what tells a story is imported once there is one.
if TYPE_CHECKING:
    from coopery.steps import Event
    from coopery_events.story import Story


@dataclass(frozen=True)
class EventOptions:
    """How much of the story is told, and how it looks."""

    quiet: bool = option(False, short="-q", help="tell only failures and how it ended")
    verbose: bool = option(False, short="-v", help="tell of cached steps one by one, with reasons")
    color: Literal["auto", "always", "never"] = option(
        "auto", help="colour the story: auto (on a terminal), always or never", metavar="WHEN"
    )


@hookimpl
def declare_options() -> Sequence[type]:
    """`--quiet`, `--verbose` and `--color`."""
    return [EventOptions]


@hookimpl
def observe(events: Sequence[Event], settings: Settings) -> None:
    """Tell what happened. Raises RecipeError (`contradicting-options`)."""
    _story_of(settings).tell(events)


_story: Story | None = None
_lock = threading.Lock()


def _story_of(settings: Settings) -> Story:
    """The story that is being told: there is one at a time, for there is one stderr."""
    global _story
    found = _story
    stream = getattr(sys.stderr, "passed", sys.stderr)  # itself, not what stands for it
    if found is None or found.settings is not settings or found.stream is not stream:
        from coopery_events.story import Story

        with _lock:
            found = _story = Story(stream, settings, settings.get(EventOptions))
    return found
