"""Processes under supervision: started, seen through, stopped, and gone with all they started.

Each thread has a supervisor of its own, a small process that lives as long as the thread. See
`coopery_local.supervisor` for what it does.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.errors import MachineError, Problem, StepError, problem
from coopery.piping import masked_log
from coopery.staging import GRACE, timed_out, was_cancelled
from coopery_local.namespaces import View, light_program, not_seen
from coopery_local.strays import end_marked
from coopery_local.supervisor import LINGER, receive, send

if TYPE_CHECKING:
    from coopery_local.supervisor import Message

_PULSE = 100
"""Milliseconds between two looks at the clock and at whether the run was cancelled."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended: `exit_code` is negative for a signal, memory is in bytes.

    `over` is what it and all below it held when they were killed for exceeding their limit, else
    0. `starved`: it was killed while the kernel killed processes for want of memory.
    """

    exit_code: int
    peak_memory: int
    over: int = 0
    starved: bool = False


def run_process(
    command: Sequence[str],
    *,
    program: str,
    environ: Mapping[str, str],
    cwd: Path,
    log: Path,
    folder: Path,
    cancelled: threading.Event,
    killed: threading.Event | None = None,
    view: View | None = None,
    timeout: float | None = None,
    memory: int | None = None,
    secrets: Path | None = None,
) -> Ended:
    """Run a process to its end; when this returns or raises, nothing that it started lives.

    Its output is appended to `log`; it sees files as `view` says, where `has_mounts`. `folder` is
    the scratch folder that its HOME or TMPDIR is in, by which it is found should the supervisor be
    killed. Once `cancelled` is set it must stop and has `GRACE` for it; with `killed` it loses what
    is left. All that it started may hold `memory` bytes together, and is killed when it is seen to
    hold more. What it prints is masked where anything confidential is known. With `secrets`, the
    folder of its files, it leaves no memory behind when it crashes, and the folder goes also when
    coopery is killed.

    Raises OSError when it cannot be started, and StepError when it did not end by itself
    (`cancelled`, `task-timeout`), leaves behind what cannot be killed (`not-ended`), or lost its
    supervisor (`supervisor-lost`), and MachineError when there is no such view (`no-mounts`,
    `no-shm`).
    """
    supervisor = _supervisor()
    request: Message = {
        "command": [os.fsencode(item) for item in command],
        "program": os.fsencode(program),
        "environ": {os.fsencode(name): os.fsencode(value) for name, value in environ.items()},
        "cwd": os.fsencode(cwd),
        "view": None if view is None else view.plan(),
        "memory": memory,
        "secrets": None if secrets is None else os.fsencode(secrets),
    }
    try:
        with masked_log(log, folder) as opened:
            supervisor.tell({**request, "log": os.fsencode(opened)})
            answer, reason = supervisor.wait(cancelled, killed, timeout)
            if answer is None:
                end_marked(folder)
                raise _lost()
    except BaseException:
        _dismiss(supervisor)
        raise
    if "unseen" in answer:
        raise not_seen(*answer["unseen"])
    if "error" in answer:
        raise OSError(*answer["error"])
    if answer["left"]:
        _dismiss(supervisor)
        raise _not_ended(answer["left"])
    if reason is not None:
        raise reason
    return Ended(
        exit_code=os.waitstatus_to_exitcode(answer["status"]),
        peak_memory=max(answer["peak"], answer["over"]),
        over=answer["over"],
        starved=answer["starved"],
    )


def has_mounts() -> bool:
    """Whether what this thread runs can have a view of the file system of its own."""
    return _supervisor().private


def _lost() -> StepError:
    message = "the supervisor of the task was killed, so the task was stopped"
    return StepError(problem("supervisor-lost", message, hint="was memory short? run again"))


def _not_ended(left: Sequence[int]) -> StepError:
    numbers = ", ".join(map(str, left))
    message = f"the task left processes that cannot be killed: {numbers}"
    return StepError(problem("not-ended", message, hint="`ps` tells what they are; end them"))


class _Handle:
    """This side of a supervisor. Dropping it ends the supervisor and all below it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        names = ("PATH", "LD_LIBRARY_PATH")
        with theirs:
            self._process = subprocess.Popen(
                light_program("supervisor", "main"),
                stdin=theirs.fileno(),
                # Its standard error is ours, for the traceback of a defect.
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={name: os.environ[name] for name in names if name in os.environ},
                # Out of the terminal's and of every group's reach: it outlives a kill of those.
                start_new_session=True,
            )
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self.dismiss = weakref.finalize(self, _end, self._socket, self._process)
        _all.add(self)
        hello = receive(self._socket.fileno())
        self.private = hello is not None and bool(hello["private"])
        """Whether what it starts can have mounts of its own."""

    def tell(self, message: Message) -> None:
        try:
            send(self._socket.fileno(), message)
        except ConnectionError:
            return  # it is dead, which `wait` finds out

    def wait(
        self, cancelled: threading.Event, killed: threading.Event | None, timeout: float | None
    ) -> tuple[Message | None, StepError | None]:
        """The answer, None if the supervisor died; and why an end was asked for, if it was."""
        deadline = None if timeout is None else time.monotonic() + timeout
        reason: StepError | None = None
        while not self._poll.poll(_PULSE):
            if reason is None:
                if cancelled.is_set():
                    reason = was_cancelled()
                elif deadline is not None and time.monotonic() > deadline:
                    reason = timed_out(timeout or 0)
                else:
                    continue
                self.tell({"stop": GRACE})
            if killed is not None and killed.is_set():
                self.tell({"stop": 0.0})
                killed = None
        return receive(self._socket.fileno()), reason

    def abandon(self) -> None:
        """In a fork of this process: let go, so that the supervisor still sees ours die."""
        self.dismiss.detach()
        self._socket.close()


def _end(channel: socket.socket, process: subprocess.Popen[bytes]) -> None:
    channel.close()
    try:
        process.wait(2 * LINGER)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_thread = threading.local()
_all: weakref.WeakSet[_Handle] = weakref.WeakSet()


def _supervisor() -> _Handle:
    """This thread's supervisor; started at the first call."""
    if not hasattr(_thread, "supervisor"):
        try:
            _thread.supervisor = _Handle()
        except OSError as error:
            text = f"the supervisor of tasks could not be started: {error.strerror}"
            raise MachineError(Problem(slug="machine-error", message=text)) from error
    supervisor: _Handle = _thread.supervisor
    return supervisor


def _dismiss(supervisor: _Handle) -> None:
    """End a supervisor, and with it all that it has started; the next task gets another."""
    del _thread.supervisor
    supervisor.dismiss()


def _after_fork() -> None:
    for supervisor in list(_all):
        supervisor.abandon()
    _thread.__dict__.clear()


os.register_at_fork(after_in_child=_after_fork)
