"""uv's processes: each in a session of its own, ended at its time limit or when all are stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coopery.confiding import confided
from coopery.indexes import redact, uv_binary
from coopery.masking import masked
from coopery.processes import kept, lifeline
from coopery.secrets import known_to_children


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a process ended: `story` is what it said on stderr, without credentials; `answer` is
    what a program other than uv wrote to stdout.
    """

    code: int
    story: str
    answer: str = ""


class Stopped(Exception):
    """No further process is started, since the whole resolution was stopped."""


class Processes:
    """What runs at a time, from several threads; `stop` ends all of it, builds included."""

    def __init__(self) -> None:
        # Of one thread's own, since a signal may come while it is held.
        self._lock = threading.RLock()
        self._live: set[subprocess.Popen[str]] = set()
        self._uv = uv_binary()
        self._stopped = False

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path,
        limit: float,
        program: str | None = None,
        told: str = "",
    ) -> Finished:
        """Run `uv`, or a `program`, with a command to its end, `limit` seconds at most; it alone is
        `told` what is confided to it (see `coopery.confiding`).

        Raises TimeoutExpired and Stopped. The code is 127 for a program that is not there.
        """
        with lifeline() as line, confided(command, told) as (words, handed):
            with self._lock:
                if self._stopped:
                    raise Stopped
                # Builds that it starts belong to its session and end with it.
                process = subprocess.Popen(
                    kept([program or self._uv, *words]),
                    env=known_to_children(environment),
                    cwd=cwd,
                    stdin=line,
                    stdout=subprocess.PIPE if program else subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                    pass_fds=handed,
                )
                self._live.add(process)
            try:
                answer, story = process.communicate(timeout=limit)
            finally:
                _end(process)
                with self._lock:
                    self._live.discard(process)
        story = masked(redact(story))
        return Finished(code=process.returncode, story=story, answer=answer or "")

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a closed terminal end every process, and raise KeyboardInterrupt."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(number: int, frame: object) -> None:
            # Told directly too: an exception in whatever the thread is at just now may get lost.
            self.stop()
            raise KeyboardInterrupt

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, interrupt) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def stop(self) -> None:
        """End every process, and start none from now on."""
        with self._lock:
            self._stopped = True
            live = tuple(self._live)
        for process in live:
            _kill(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Leave nothing of a process's session behind, whether it ended or not."""
    if process.poll() is None:
        _kill(process)
        process.communicate()


def _kill(process: subprocess.Popen[str]) -> None:
    # It is waited for by another thread, which may just have done so.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
