"""The builtin scheduler: threads of this process, each step the moment its needs have succeeded."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from coopery.hooks import hookimpl

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from coopery.steps import Execution, Turn

_PULSE = 0.5
"""Seconds that a wait lasts at most."""
_MOMENT = 0.2
"""Seconds after which resources that other runs may have given back are asked for again."""


@hookimpl(trylast=True)
def schedule(execution: Execution) -> bool:
    """Drive a plan with at most `execution.jobs` steps performed at a time (O4)."""
    # Imported where a plan is driven, for it takes long: it brings in `logging`.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(execution.jobs, thread_name_prefix="step") as pool:
        try:
            _Drive(execution, pool).run()
        except BaseException:
            # Leaving the pool waits for its threads, so what they run must be told to stop first.
            execution.cancel()
            raise
    return True


class _Drive:
    """One plan on its way."""

    def __init__(self, execution: Execution, pool: ThreadPoolExecutor) -> None:
        self.execution = execution
        self.pool = pool
        needs = execution.needs
        self.order = {name: number for number, name in enumerate(needs)}
        self.waiting = {name: len(before) for name, before in needs.items()}
        self.readers: dict[str, list[str]] = {name: [] for name in needs}
        for name, before in needs.items():
            for need in before:
                self.readers[need].append(name)
        self.undecided = [name for name, count in self.waiting.items() if count == 0]
        self.ready: list[tuple[int, int, str]] = []
        """A heap: the highest priority first, and in the plan's order."""
        self.delayed: list[tuple[float, str]] = []
        """A heap of what is to be tried again, by when."""
        self.running: dict[Future[Turn], str] = {}

    def run(self) -> None:
        """See the plan through, or what runs once it is to stop."""
        while self.undecided or self.ready or self.delayed or self.running:
            if self.execution.stopping and not self.running:
                return
            if self.undecided and not self.execution.stopping:
                self._decide()
                continue
            self._put_due()
            blocked = not self.execution.stopping and self._start()
            self._wait(blocked)

    def _decide(self) -> None:
        # All that is ready is decided in one batch; what that makes ready is the next.
        batch, self.undecided = self.undecided, []
        for name, done in self.execution.decide(batch).items():
            if done:
                self._succeeded(name)
            else:
                self._push(name)

    def _push(self, name: str) -> None:
        priority = self.execution.priorities.get(name, 0)
        heapq.heappush(self.ready, (-priority, self.order[name], name))

    def _succeeded(self, name: str) -> None:
        for reader in self.readers[name]:
            self.waiting[reader] -= 1
            if self.waiting[reader] == 0:
                self.undecided.append(reader)

    def _put_due(self) -> None:
        now = time.monotonic()
        while self.delayed and self.delayed[0][0] <= now:
            self._push(heapq.heappop(self.delayed)[1])

    def _start(self) -> bool:
        """Start what may be; whether something is left for want of resources."""
        blocked = []
        while self.ready and len(self.running) < self.execution.jobs:
            item = heapq.heappop(self.ready)
            name = item[2]
            if self.execution.reserve(name):
                self.running[self.pool.submit(self.execution.perform, name)] = name
            else:
                blocked.append(item)
        for item in blocked:
            heapq.heappush(self.ready, item)
        return bool(blocked)

    def _wait(self, blocked: bool) -> None:
        """Until something ends, comes due, or may have got resources.

        Never for long: a signal that comes just before a wait does not end it, and Python tells of
        it only afterwards.
        """
        from concurrent.futures import FIRST_COMPLETED, wait

        limits = [_MOMENT if blocked else _PULSE]
        if self.delayed:
            limits.append(max(0.0, self.delayed[0][0] - time.monotonic()))
        if not self.running:
            # In naps, so that it is soon seen when the run is to stop.
            time.sleep(min([*limits, _MOMENT]))
            return
        finished, _ = wait(self.running, min(limits), return_when=FIRST_COMPLETED)
        for name, turn in self._results(list(finished)):
            match turn:
                case "succeeded":
                    self._succeeded(name)
                case "again":
                    heapq.heappush(self.delayed, (self.execution.due(name), name))
                case _:
                    self.execution.give_up(name)

    def _results(self, finished: Sequence[Future[Turn]]) -> Iterator[tuple[str, Turn]]:
        for future in finished:
            yield self.running.pop(future), future.result()
