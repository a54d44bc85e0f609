"""Watches over a scheduler: whatever it does, what the run reports is true."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from coopery.errors import CooperyError, MachineError, Problem

if TYPE_CHECKING:
    from coopery.steps import Execution, Turn

_SLACK = 0.01
"""Seconds by which clocks may be apart."""
A = TypeVar("A")
R = TypeVar("R")


class Guard:
    """An `Execution` that refuses what breaks the rules of one, and notes it.

    A step is decided once, after all it needs has succeeded; it is performed after it was decided
    and reserved, and again only when it is due for that. What the engine itself raises is noted as
    well, so that nobody blames the scheduler.
    """

    def __init__(self, execution: Execution, plugin: str = "") -> None:
        self._execution = execution
        self.plugin = plugin
        """Who schedules, for the errors."""
        self.jobs = execution.jobs
        self.needs = execution.needs
        self.priorities = execution.priorities
        self.broken: MachineError | None = None
        """The first rule that was broken."""
        self.failure: BaseException | None = None
        """What the engine raised when it was asked to decide, perform or give up."""
        self._waiting = {name: len(set(needs)) for name, needs in self.needs.items()}
        self._readers: dict[str, list[str]] = {name: [] for name in self.needs}
        for name, needs in self.needs.items():
            for need in set(needs):
                self._readers[need].append(name)
        self._decided: set[str] = set()
        """Decided, and to be performed."""
        self._reserved: set[str] = set()
        self._performing: set[str] = set()
        self._failed: set[str] = set()
        """Failed, and not given up yet."""
        self._over: set[str] = set()
        self.begun = False
        """Whether the scheduler asked for anything."""
        self._closed = False
        self._deciding = threading.Lock()
        self._changed = threading.Condition()

    @property
    def stopping(self) -> bool:
        """See `coopery.steps.Execution.stopping`."""
        return self._execution.stopping

    def cancel(self) -> None:
        """See `coopery.steps.Execution.cancel`."""
        self._execution.cancel()

    def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
        """See `coopery.steps.Execution.decide`."""
        self.begun = True
        with self._deciding:
            with self._changed:
                for name in names:
                    self._check_ready(name)
            answer = self._engine(self._execution.decide, names)
            with self._changed:
                for name, done in answer.items():
                    if done:
                        self._succeeded(name)
                    else:
                        self._decided.add(name)
            return answer

    def _check_ready(self, name: str) -> None:
        if self._closed:
            raise self._break(f"it went on with {name} after it had returned")
        if name not in self._waiting:
            raise self._break(f"it asked for {name!r}, which the plan does not have")
        if name in self._over or name in self._decided or name in self._performing:
            raise self._break(f"it asked for {name} twice")
        if self._waiting[name]:
            needed = next(n for n in self.needs[name] if n not in self._over or n in self._failed)
            raise self._break(f"it asked for {name} before {needed} had succeeded")

    def reserve(self, name: str) -> bool:
        """See `coopery.steps.Execution.reserve`."""
        with self._changed:
            self._check_decided(name, "reserved")
        granted = self._engine(self._execution.reserve, name)
        if granted:
            with self._changed:
                self._reserved.add(name)
        return granted

    def due(self, name: str) -> float:
        """See `coopery.steps.Execution.due`."""
        return self._execution.due(name)

    def _check_decided(self, name: str, verb: str) -> None:
        if self._closed:
            raise self._break(f"it went on with {name} after it had returned")
        if name not in self._decided:
            twice = name in self._over or name in self._performing
            why = f"{name} twice" if twice else f"{name!r} without having it decided"
            raise self._break(f"it {verb} {why}")

    def perform(self, name: str) -> Turn:
        """See `coopery.steps.Execution.perform`."""
        with self._changed:
            self._check_decided(name, "performed")
            if name not in self._reserved:
                raise self._break(f"it performed {name} without having it reserved")
            if self._execution.due(name) > time.monotonic() + _SLACK:
                raise self._break(f"it performed {name} again before that was due")
            self._decided.remove(name)
            self._reserved.remove(name)
            self._performing.add(name)
        turn = ""
        try:
            turn = found = self._engine(self._execution.perform, name)
        finally:
            with self._changed:
                self._performing.remove(name)
                match turn:
                    case "succeeded":
                        self._succeeded(name)
                    case "again":
                        self._decided.add(name)
                    case _:
                        self._over.add(name)
                        self._failed.add(name)
                self._changed.notify_all()
        return found

    def _succeeded(self, name: str) -> None:
        self._over.add(name)
        for reader in self._readers[name]:
            self._waiting[reader] -= 1

    def give_up(self, name: str) -> Sequence[str]:
        """See `coopery.steps.Execution.give_up`."""
        with self._changed:
            if name not in self._failed:
                raise self._break(f"it gave up {name!r}, which did not fail")
            self._failed.remove(name)
        skipped = self._engine(self._execution.give_up, name)
        with self._changed:
            self._over.update(skipped)
        return skipped

    def _engine(self, function: Callable[[A], R], argument: A) -> R:
        try:
            return function(argument)
        except BaseException as error:
            self.failure = self.failure or error
            raise

    def _break(self, what: str) -> MachineError:
        error = MachineError(
            Problem(
                slug="bad-schedule",
                message=f"plugin {self.plugin!r} broke the rules of schedule: {what}",
                hint=f"a defect of the plugin; go on without it: --without {self.plugin}",
            )
        )
        self.broken = self.broken or error
        return error

    def end(self, raised: BaseException | None = None) -> None:
        """The scheduler has returned, or `raised`; waits for what it left running.

        Raises what went wrong first: a rule that was broken (MachineError, `bad-schedule`), what
        the engine itself raised; returns if that is what the scheduler raised, or nothing. Steps
        that were left undone though nothing stopped the run break a rule.
        """
        with self._changed:
            if self._performing and not self._execution.stopping and raised is None:
                self._break(f"it returned while {min(self._performing)} was performed")
            self._closed = True
        if self.broken or self.failure or raised:
            self._execution.cancel()
        with self._changed:
            while self._performing:
                self._changed.wait()
            failed = sorted(self._failed)
        for name in failed:
            self.give_up(name)
        left = [name for name in self.needs if name not in self._over]
        if left and raised is None and not self._execution.stopping:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            self._break(f"it returned without having done {left[0]}{more}")
        if isinstance(raised, KeyboardInterrupt):
            return
        if self.broken:
            raise self.broken
        if self.failure:
            raise engine_failure(self.failure) from self.failure


def engine_failure(error: BaseException) -> BaseException:
    """What to raise for what the engine's own side of a run raised."""
    if isinstance(error, CooperyError) or not isinstance(error, Exception):
        return error
    message = f"unexpected {type(error).__name__} while the run was driven: {error}"
    hint = "a defect of coopery, or of the plugin that keeps results; --debug shows where"
    return MachineError(Problem(slug="defect", message=message, hint=hint))
