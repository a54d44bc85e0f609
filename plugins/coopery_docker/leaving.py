"""Work with an engine that may never answer again: once a run must end, it is left alone.

No call of the SDK can be cut off from outside. So what talks with the engine for long does so in a
thread of its own, and whoever waits for it goes when that has lasted too long. The thread ends with
the process, or once the engine answers, and then clears up behind itself. Until then it holds the
note of the run, which stays when the process ends: the next run removes what is left.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from coopery.errors import CooperyError
from coopery.staging import was_cancelled
from coopery_docker.client import Engine

ASKED = 30.0
"""Seconds that the engine has for ending what it does, once the run was asked to stop: the grace
time of a task, then that of a killed one, and some for the rest."""
FORCED = 12.0
"""Seconds that it has once the run was asked twice."""
ANSWER = 20.0
"""Seconds that it has for a plain question of who cannot do anything without the answer."""
_PULSE = 0.1
"""Seconds between two looks at whether the run must end."""


T = TypeVar("T")


def unless_left(
    work: Callable[[], T],
    engine: Engine,
    cancelled: threading.Event | None,
    killed: threading.Event | None,
) -> T:
    """The result of `work`, or what it raises; MachineError (`engine-lost`) where it has not ended
    in time after the run was asked to stop. A KeyboardInterrupt asks for that too, if it comes.
    """
    limits = [(event, limit) for event, limit in ((cancelled, ASKED), (killed, FORCED)) if event]
    since: dict[float, float] = {}

    def late() -> bool:
        now = time.monotonic()
        set_now = [limit for event, limit in limits if event.is_set()]
        return any(now - since.setdefault(limit, now) > limit for limit in set_now)

    if not limits:
        return work()
    lost = engine.lost(TimeoutError("it does not answer"))
    return _in_thread(work, late, lost, [event for event, _ in limits])


def unless_cancelled(work: Callable[[], T], cancelled: threading.Event | None) -> T:
    """The result of `work`, or what it raises; StepError (`cancelled`) at once when the run must
    stop: for what leaves nothing behind that somebody had to remove.
    """
    if cancelled is None:
        return work()
    return _in_thread(work, cancelled.is_set, was_cancelled())


def within_reason(work: Callable[[], T], engine: Engine) -> T:
    """The result of `work`, or what it raises; MachineError (`engine-lost`) where a plain question
    is not answered in time. For what the user waits for before anything runs.
    """
    begun = time.monotonic()
    silent = engine.lost(TimeoutError(f"it was asked, and said nothing for {ANSWER:.0f} s"))
    return _in_thread(work, lambda: time.monotonic() - begun > ANSWER, silent)


def unless_interrupted(work: Callable[[threading.Event], T], engine: Engine) -> T:
    """The result of `work`, or what it raises. After a KeyboardInterrupt the event that it was
    given is set, and it is waited for no longer than for a run that is killed.
    """
    stop = threading.Event()
    return _in_thread(lambda: work(stop), lambda: False, engine.lost(), [stop])


def _in_thread(
    work: Callable[[], T],
    late: Callable[[], bool],
    reason: CooperyError,
    ask: Sequence[threading.Event] = (),
) -> T:
    done = threading.Event()
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # it is raised where it is waited for
            failed.append(error)
        finally:
            done.set()

    inner = contextvars.copy_context()
    threading.Thread(target=inner.run, args=(run,), name="engine", daemon=True).start()
    try:
        while not done.wait(_PULSE):
            if late():
                raise reason
    except KeyboardInterrupt:
        for event in ask:
            event.set()
        done.wait(FORCED if ask else 0)
        raise
    if failed:
        raise failed[0]
    return found[0]
