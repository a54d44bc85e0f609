"""How far a run is: what is running, and how many steps ended how."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from coopery.quantities import show_seconds
from coopery.steps import Event, State

WORDS = ("done", "cached", "failed", "skipped", "cancelled")
"""How steps end, as the story calls it, in the order in which they are told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A step that is performed, or `waiting` for something, since a time."""

    step: str
    since: float
    log: Path | None = None
    waiting: str = ""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run at one moment; `shown` are the steps that run longest, of `running` in all."""

    total: int
    ended: int
    running: int
    waiting: int
    counts: dict[str, int]
    shown: tuple[Running, ...]
    started: float
    stopping: bool


class Progress:
    """Takes in a run's events, in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = 0
        self._started = self._stopped = 0.0
        self._running: dict[str, Running] = {}
        self._waiting: dict[str, Running] = {}
        self._ended: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self.stopping = False
        """Whether the run was asked to stop."""

    def note(self, event: Event) -> None:
        """An event happened."""
        step = event.step
        with self._lock:
            match event.kind:
                case "ended" if event.outcome is not None:
                    outcome = event.outcome
                    word = str(outcome.state)
                    if outcome.state is State.SUCCEEDED:
                        word = "cached" if outcome.cached else "done"
                    # A step whose bytes are made again ends once more.
                    before = self._ended.get(step)
                    if before is not None:
                        self._counts[before] -= 1
                    self._ended[step] = word
                    self._total = max(self._total, event.total)
                    self._counts[word] += 1
                    self._running.pop(step, None)
                    self._waiting.pop(step, None)
                case "started":
                    self._waiting.pop(step, None)
                    self._running[step] = Running(step=step, since=event.time, log=event.log)
                case "waiting":
                    self._waiting[step] = Running(
                        step=step, since=event.time, waiting=event.message
                    )
                case "run-started":
                    self._total, self._started = event.total, event.time
                case "run-ended":
                    self._stopped = event.time
                case "stopping" | "killing":
                    self.stopping = True

    @property
    def under_way(self) -> bool:
        """Whether anything runs or waits."""
        return bool(self._running or self._waiting)

    def snapshot(self, most: int) -> Snapshot:
        """How far it is, with at most so many of the steps that run, then of those that wait."""
        with self._lock:
            shown = list(islice(self._running.values(), most))
            shown += islice(self._waiting.values(), most - len(shown))
            return Snapshot(
                total=self._total,
                ended=len(self._ended),
                running=len(self._running),
                waiting=len(self._waiting),
                counts={word: self._counts[word] for word in WORDS if self._counts[word]},
                shown=tuple(shown),
                started=self._started,
                stopping=self.stopping,
            )

    def summary(self, run: str) -> str:
        """The last line of a run: how many steps ended how, and the time."""
        counts = self.snapshot(0).counts
        shown = ", ".join(f"{count} {word}" for word, count in counts.items())
        took = show_seconds(self._stopped - self._started)
        return f"{shown or 'nothing to do'} in {took} (run {run})"
