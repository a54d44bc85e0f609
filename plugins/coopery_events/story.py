"""The story of one run after the other: who is told what, and when."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from coopery.steps import Event, Outcome, State
from coopery_events.lines import failures, line_of
from coopery_events.modes import Volume, has_color, is_live, volume_of
from coopery_events.output import Output
from coopery_events.progress import Progress

if TYPE_CHECKING:
    from coopery.options import Settings
    from coopery_events import EventOptions
    from coopery_events.display import Display


class Story:
    """Tells events on a stream, in any thread: with a live display while a run is under way."""

    def __init__(self, stream: TextIO | None, settings: Settings, options: EventOptions) -> None:
        """Raises RecipeError (`contradicting-options`)."""
        self.stream = stream
        self.settings = settings
        if stream is not None and stream.closed:
            stream = None
        self._volume = volume_of(settings, options)
        color = stream is not None and has_color(stream, options.color, os.environ)
        self._output = Output(stream, color=color)
        moves = stream is not None and is_live(stream, os.environ)
        self._live = moves and self._volume is not Volume.QUIET
        self._lock = threading.Lock()
        self._display: Display | None = None
        self._begin()

    def _begin(self) -> None:
        self._progress = Progress()
        self._failed: list[Event] = []
        self._since = 0
        """How many lines had been said after the first failure."""

    def tell(self, events: Sequence[Event]) -> None:
        """Events happened."""
        with self._lock:
            for event in events:
                self._tell(event)

    def _tell(self, event: Event) -> None:
        if event.kind == "run-started":
            self._begin()
        self._progress.note(event)
        if event.outcome is not None and self._only_counts(event.outcome):
            return
        match event.kind:
            case "run-started" if self._live:
                from coopery_events.display import Display

                self._display = Display(self._output, self._progress, self._prepare)
                self._display.start()
            case "run-ended":
                if self._display is not None:
                    self._display.stop()
                    self._display = None
            case "recorded":
                self._end(event)
            case _ if self._display is not None:
                self._display.add(event)
            case _:
                self._output.write(self._prepare(event))

    def _only_counts(self, outcome: Outcome) -> bool:
        """Whether nothing is said of how a step ended, of which there may be thousands.

        A person at a terminal, having stopped a run, is not told what else did not begin.
        """
        if self._volume is Volume.VERBOSE:
            return False
        if self._display is not None and self._progress.stopping:
            return outcome.started is None and outcome.state is not State.FAILED
        return outcome.cached

    def _prepare(self, event: Event) -> str:
        """What stays to be read of an event, ready to be written; nothing for most."""
        text = line_of(event, self._volume, live=self._display is not None)
        prepared = self._output.prepare(text) if text else ""
        if event.outcome is not None and event.outcome.state is State.FAILED:
            self._failed.append(event)
            if len(self._failed) == 1:
                self._since = self._output.lines
        return prepared

    def _end(self, event: Event) -> None:
        """The summary; before it the failures, when they have gone out of sight."""
        run = str((event.record or {}).get("run", ""))
        _, height = self._output.size
        if self._failed and self._output.lines - self._since + len(self._failed) > height // 2:
            self._output.say(failures(self._failed, run))
        self._output.say(self._progress.summary(run))
