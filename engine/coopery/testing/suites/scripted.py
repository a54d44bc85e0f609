"""An execution for tests of schedulers, which does as it was told and notes what breaks a rule."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from coopery.steps import Turn

Graph = Mapping[str, tuple[str, ...]]
PAUSE = 0.1
"""Seconds after which a step that is to be performed again is due."""


class Scripted:
    """An execution that does as it was told, and notes what it was asked.

    Steps in `done` are recalled, those in `failing` fail, and those in `again` that many times
    before they succeed; `free` says whether a step's resources are; `work` is what performing a
    step does. Whatever breaks the rules is in `wrong`.
    """

    def __init__(
        self,
        needs: Graph,
        *,
        jobs: int = 4,
        done: Sequence[str] = (),
        failing: Sequence[str] = (),
        again: Mapping[str, int] | None = None,
        priorities: Mapping[str, int] | None = None,
        free: Callable[[str], bool] = lambda name: True,
        work: Callable[[str], object] = lambda name: None,
    ) -> None:
        self.needs, self.jobs = needs, jobs
        self.priorities = priorities or {}
        self.again, self.free = dict(again or {}), free
        self.dues: dict[str, float] = {}
        self.reserved: set[str] = set()
        self.done, self.failing, self.work = set(done), set(failing), work
        self.stopped = threading.Event()
        self.wrong: list[str] = []
        self.decided: set[str] = set()
        self.succeeded: set[str] = set()
        self.skipped: set[str] = set()
        self.order: list[str] = []
        """The steps that were performed, as they began."""
        self.given_up: list[str] = []
        self.running = self.most = self.deciding = 0
        self.lock = threading.Lock()

    @property
    def stopping(self) -> bool:
        """See `coopery.steps.Execution.stopping`."""
        return self.stopped.is_set()

    def cancel(self) -> None:
        """See `coopery.steps.Execution.cancel`."""
        self.stopped.set()

    def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
        """See `coopery.steps.Execution.decide`."""
        with self.lock:
            self.deciding += 1
            if self.deciding > 1:
                self.wrong.append("two threads decided at once")
            for name in names:
                missing = set(self.needs[name]) - self.succeeded
                if missing:
                    self.wrong.append(f"{name} was decided before {sorted(missing)}")
                if name in self.decided:
                    self.wrong.append(f"{name} was decided twice")
                if name in self.skipped:
                    self.wrong.append(f"{name} was decided though skipped")
                self.decided.add(name)
        with self.lock:
            self.deciding -= 1
            self.succeeded |= self.done & set(names)
        return {name: name in self.done for name in names}

    def reserve(self, name: str) -> bool:
        """See `coopery.steps.Execution.reserve`."""
        with self.lock:
            if name not in self.decided or name in self.done:
                self.wrong.append(f"{name} was reserved without being decided so")
            granted = self.free(name)
            if granted:
                self.reserved.add(name)
            return granted

    def due(self, name: str) -> float:
        """See `coopery.steps.Execution.due`."""
        return self.dues.get(name, 0.0)

    def perform(self, name: str) -> Turn:
        """See `coopery.steps.Execution.perform`."""
        with self.lock:
            if name not in self.reserved:
                self.wrong.append(f"{name} was performed without being reserved")
            if name in self.order and name not in self.dues:
                self.wrong.append(f"{name} was performed twice")
            if time.monotonic() < self.dues.pop(name, 0.0):
                self.wrong.append(f"{name} was performed again before it was due")
            self.reserved.discard(name)
            self.order.append(name)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self.work(name)
        finally:
            with self.lock:
                self.running -= 1
        with self.lock:
            if self.again.get(name):
                self.again[name] -= 1
                self.dues[name] = time.monotonic() + PAUSE
                return Turn.AGAIN
            if name in self.failing:
                return Turn.FAILED
            self.succeeded.add(name)
            return Turn.SUCCEEDED

    def give_up(self, name: str) -> Sequence[str]:
        """See `coopery.steps.Execution.give_up`."""
        with self.lock:
            self.given_up.append(name)
            found, stack = [], [name]
            while stack:
                gone = stack.pop()
                for reader, needs in self.needs.items():
                    if gone in needs and reader not in self.skipped:
                        self.skipped.add(reader)
                        found.append(reader)
                        stack.append(reader)
            return found
