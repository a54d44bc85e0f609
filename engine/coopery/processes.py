"""Programs that a step calls: their output goes to its log, and they end when it is cancelled.

They end with coopery too, however it dies: see `coopery.keeper`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from coopery.confiding import confided
from coopery.errors import Problem, StepError
from coopery.piping import masked_end
from coopery.secrets import known_to_children

_GRACE = 2.0
"""Seconds between asking a process to stop and killing it."""
_KEEPER = Path(__file__).with_name("keeper.py")


def call(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    log: Path,
    cancelled: threading.Event,
    cwd: str | Path | None = None,
    told: str = "",
) -> int:
    """Run a process group to its end, appending what it prints to `log`; its exit code.

    It alone is `told` what is confided to it (see `coopery.confiding`).

    What is known to be confidential is masked there, and variables that hold secrets are handed
    over only where `environment` has them under another name.

    Nothing of it lives when this returns or raises, nor once coopery was killed. A signal is 128
    and its number, and 127 what cannot be started. Raises StepError (`cancelled`).
    """
    if cancelled.is_set():
        raise stopped()
    with (
        masked_end(log) as output,  # until it has ended: what it says is read meanwhile
        lifeline() as line,
        confided(command, told) as (words, handed),
    ):
        process = subprocess.Popen(
            kept(words),
            cwd=cwd,
            env=known_to_children(environment),
            stdin=line,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=handed,
        )
        ended = os.pidfd_open(process.pid)
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        try:
            while not poller.poll(100):
                if cancelled.is_set():
                    raise stopped()
        finally:
            _stop(process, poller)
            os.close(ended)
        return process.returncode


def kept(command: Sequence[str]) -> list[str]:
    """A command that runs this one, and ends all of it with its standard input, a `lifeline`."""
    return [sys.executable, "-I", "-S", str(_KEEPER), *command]


@contextlib.contextmanager
def lifeline() -> Iterator[int]:
    """A pipe's reading end, the other end of which is this process's alone, and ends with it."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def stopped() -> StepError:
    """What a step that was cancelled fails with."""
    return StepError(Problem(slug="cancelled", message="the build was stopped"))


def _stop(process: subprocess.Popen[bytes], poller: select.poll) -> None:
    """End what is left of a process group, and collect its first process."""
    if not poller.poll(0):
        os.killpg(process.pid, signal.SIGTERM)
        poller.poll(int(_GRACE * 1000))
    # The first process is not waited for yet, so its id cannot be another group's by now.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
