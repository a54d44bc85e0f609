"""Stopping a run: asked once, tasks get time to end; asked twice, all is killed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue


@dataclass(frozen=True)
class Stop:
    """What a run was asked for.

    With `asked`, nothing new starts, and what runs gets SIGTERM and a grace time; with `forced`,
    the grace time is over.
    """

    asked: threading.Event = field(default_factory=threading.Event)
    forced: threading.Event = field(default_factory=threading.Event)
    _asks: SimpleQueue[bool | None] = field(default_factory=SimpleQueue)

    def ask(self, *, force: bool = False) -> None:
        """Ask to stop; the second time, or with `force`, without waiting for anybody."""
        if force or self.asked.is_set():
            self.forced.set()
        self.asked.set()
        # Of all queues, only this one may be put to by a signal handler (docs of `queue`).
        self._asks.put(self.forced.is_set())

    @contextmanager
    def told(self, tell: Callable[[bool], None]) -> Iterator[None]:
        """Within this context, `tell` is called once when stopping, and with True when killing.

        That is done by a thread: who asks may be a signal handler, in the middle of anything.
        """

        def follow() -> None:
            last = None
            for forced in iter(self._asks.get, None):
                if forced != last:
                    last = forced
                    tell(forced)

        thread = threading.Thread(target=follow, name="stopping", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._asks.put(None)
            thread.join()


@contextmanager
def signals(stop: Stop) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal ask to stop, so that no task outlives its run.

    The first signal only tells: whatever the program is doing just then ends in its own way. From
    the second on KeyboardInterrupt is raised too, for where it does not end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hung_up = False

    def told(number: int, frame: object) -> None:
        nonlocal hung_up
        if number == signal.SIGHUP:
            # Of a terminal that closes, the kernel tells and the shell again: that is once.
            if hung_up:
                return
            hung_up = True
        again = stop.asked.is_set()
        stop.ask()
        if again:
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, told) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
