"""How much memory a container has held: looked at from a thread of its own, while it lives."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coopery_docker import cgroups

if TYPE_CHECKING:
    from coopery_docker.cgroups import Group
    from coopery_docker.client import Engine

_PAUSES = (0.01, 0.05, 0.25)
"""Seconds between two looks at a group: in the first second; later; and later where the kernel
keeps the most by itself and tells when a process has ended."""
_ASKED = (0.1, 1.0)
"""Seconds between two questions to an engine that has to be asked: at first, and at most."""
_LAST = 1.0
"""Seconds that a look under way has when the container has ended."""
_LATE = 0.05
"""Seconds that an answer under way has then, which may well say nothing by now."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of a container's memory, in bytes; None where nothing is.

    `peak` is the most it held, files in its cache included: `complete` if it is the kernel's own
    count, up to the end; else it may have been more. `taken` is the most that was seen of what is
    no copy of a file: allocated, or shared. In between the looks it may have been more.
    """

    peak: int | None = None
    complete: bool = False
    taken: int | None = None


class Peak:
    """Measures one container from `begin` to `end`, by the group `own` as well if it has one.

    Where the kernel's counters can be read, they are looked at from time to time, and at once when
    the last process has ended: a moment later they are gone. Where not, the engine is asked.
    """

    def __init__(
        self, engine: Engine, ident: str, started: Callable[[], bool], own: str | None = None
    ) -> None:
        self._engine = engine
        self._ident = ident
        self._started = started
        self._own = own
        self._seen = self._taken = 0
        self._complete = self._asking = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def begin(self) -> None:
        """Look from now on; the container need not have been started."""
        self._thread.start()

    def end(self) -> Measured:
        """Look no more: the container has ended, or is given up."""
        self._stop.set()
        self._thread.join(_LATE if self._asking else _LAST)
        if self._own is not None and (group := cgroups.own(self._own)).keeps_peak:
            total = group.peak() or 0
            # Less than that only where the engine put the container elsewhere.
            self._complete |= bool(total) and total >= self._seen
            self._seen = max(self._seen, total)
        return Measured(
            peak=self._seen or None,
            complete=self._complete,
            taken=self._taken or None,
        )

    def _watch(self) -> None:
        if (group := self._find()) is not None:
            self._follow(group)
        elif not self._stop.is_set():
            self._ask()

    def _find(self) -> Group | None:
        """The container's group, once it is there; None where it cannot be seen."""
        while not self._stop.is_set():
            started = self._started()
            if self._engine.is_local:
                if (group := cgroups.find(self._ident, self._own)) is not None:
                    return group
                if started:
                    state = self._told(lambda api: api.inspect_container(self._ident)["State"])
                    return cgroups.of_process(int((state or {}).get("Pid") or 0), self._ident)
            elif started:
                return None
            self._stop.wait(_PAUSES[0])
        return None

    def _follow(self, group: Group) -> None:
        """Until the last process has ended, or the group is gone."""
        begun = time.monotonic()
        ended: set[int] = set()
        keeps = group.keeps_peak
        living: tuple[int, int] | None = None
        try:
            while self._note(group) and not self._stop.is_set():
                if living is None:
                    pids = [pid for pid in group.processes() if pid not in ended]
                    if ended and not pids:
                        self._complete = self._note(group) and keeps
                        return
                    living = _opened(pids, ended)
                young = time.monotonic() - begun < 1
                pause = _PAUSES[0 if young else 2 if keeps and living else 1]
                if living is None:
                    self._stop.wait(pause)
                elif _has_ended(living[1], pause):
                    ended.add(living[0])
                    os.close(living[1])
                    living = None
        finally:
            if living is not None:
                os.close(living[1])

    def _note(self, group: Group) -> bool:
        """Note the values as they are now; whether there are any."""
        peak = group.peak()
        if peak is None:
            return False
        self._seen = max(self._seen, peak)
        self._taken = max(self._taken, group.taken())
        return True

    def _ask(self) -> None:
        """Ask the engine from time to time."""
        from docker.utils import version_lt

        # Without it, an engine takes two seconds for an answer.
        old = version_lt(self._engine.api.api_version, "1.41")
        options = {"stream": False, **({} if old else {"one_shot": True})}
        pause, longest = _ASKED
        while not self._stop.wait(pause):
            pause = min(2 * pause, longest)
            told = self._told(lambda api: api.stats(self._ident, **options))
            if told is None:
                return  # it is not told here; how the container ends, others find out
            memory = told.get("memory_stats") or {}
            # With version 2 of control groups, and in Podman, there is no `max_usage`.
            held = [int(memory.get(name) or 0) for name in ("max_usage", "usage")]
            self._seen = max(self._seen, *held)
            self._taken = max(self._taken, _taken(memory.get("stats") or {}))

    def _told(self, ask: Callable[[Any], Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """What the engine answers, None if it does not."""
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException

        self._asking = True
        try:
            return ask(self._engine.api)
        except (APIError, DockerException, RequestException, OSError, ValueError):
            return None
        finally:
            self._asking = False


def _taken(stats: Mapping[str, Any]) -> int:
    """As `Group.taken`, as engines hand it on: with version 1 without what is shared."""
    return sum(int(stats.get(name) or 0) for name in ("total_rss", "anon", "shmem"))


def _opened(pids: list[int], ended: set[int]) -> tuple[int, int] | None:
    """One of the processes, and a descriptor that tells of its end; those that have `ended`."""
    for pid in pids:
        try:
            return pid, os.pidfd_open(pid)
        except ProcessLookupError:
            ended.add(pid)
        except OSError:  # it is in another name space, or the kernel has no such descriptors
            return None
    return None


def _has_ended(descriptor: int, within: float) -> bool:
    """Wait for a process to end, so many seconds at most; whether it has."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(within * 1000))
