"""An interactive shell in a task's place: what the task would see, for a person."""

from __future__ import annotations

import marshal
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from coopery.keeping import handed
from coopery.staging import greeting
from coopery.steps import Workspace
from coopery.tasks import TaskWork
from coopery_local.namespaces import can_mount, light_program
from coopery_local.strays import end_marked
from coopery_local.tasks import Layout, copy_inputs, lay_out, variables_of

_TERMINAL = ("TERM", "COLORTERM")
"""Variables about the terminal, which a task has none of."""
_AGAIN = 0.5
"""Seconds after which a shell that must end is told again."""
_TIMES = 10
"""How often it is told before it is killed."""


@dataclass
class _Shell:
    """The shell once it runs, for those who must tell it something."""

    process: subprocess.Popen[bytes] | None = None
    ended: bool = False
    """This process was told to end, and with it the shell."""


def run_shell(work: TaskWork, workspace: Workspace) -> int:
    """Open a shell as the task would run, and see it through; its exit code."""
    shell = _Shell()
    with handed(work, workspace.secrets) as given, _signals(shell):
        layout = lay_out(work, workspace, given)
        return _see_through(work, workspace, layout, shell)


def _see_through(work: TaskWork, workspace: Workspace, layout: Layout, shell: _Shell) -> int:
    environ = variables_of(work, workspace, layout)
    bash = shutil.which("bash", path=environ["PATH"])
    command = [bash, "--noprofile", "--norc", "-i"] if bash else ["/bin/sh", "-i"]
    environ |= {name: os.environ[name] for name in _TERMINAL if name in os.environ}
    environ["PS1"] = f"({workspace.step.name}) $ "
    sys.stderr.write(greeting(work, workspace, layout))
    sys.stderr.flush()
    plan = None
    if can_mount():
        plan = layout.view.plan()
    else:
        copy_inputs(layout)
    # A program that makes the mounts, and then becomes the shell: they end with it.
    request = marshal.dumps((plan, str(layout.folder / "cwd"), command, environ))
    with os.fdopen(os.memfd_create("shell"), "w+b") as file:  # secrets may be in it
        file.write(request)
        file.seek(0)
        program = [*light_program("mounting", "become"), str(file.fileno())]
        shell.process = subprocess.Popen(program, pass_fds=[file.fileno()])
    try:
        code = _wait(shell, shell.process)
    finally:
        shell.process = None
        end_marked(layout.folder)
    return code if code >= 0 else 128 - code


def _wait(shell: _Shell, process: subprocess.Popen[bytes]) -> int:
    """Wait for the shell; where it must end, until it has.

    A shell that is told to hang up while it prepares to read its next line may go on to read, so
    it is told again. One that does not listen at all is killed.
    """
    told = 0
    end = os.pidfd_open(process.pid)
    poller = select.poll()
    poller.register(end, select.POLLIN)
    try:
        # A signal that comes just before the wait is seen after it, so the wait is short.
        while not poller.poll(_AGAIN * 1000):
            if shell.ended:
                told += 1
                process.send_signal(signal.SIGHUP if told < _TIMES else signal.SIGKILL)
    finally:
        os.close(end)
    return process.wait()


@contextmanager
def _signals(shell: _Shell) -> Iterator[None]:
    """The terminal is the shell's: what is typed there is not for this process.

    The end of the terminal, or of this process, is the shell's end. Afterwards the terminal is
    given back, also by a shell that was killed.
    """

    def told(number: int, frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGHUP):
            shell.ended = True
            if shell.process is not None:
                shell.process.send_signal(signal.SIGHUP)

    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, told) for number in numbers}
    terminal = sys.stdin.fileno()
    try:
        yield
    finally:
        stopped = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            if os.isatty(terminal):
                os.tcsetpgrp(terminal, os.getpgrp())
        finally:
            signal.signal(signal.SIGTTOU, stopped)
            for number, handler in before.items():
                signal.signal(number, handler)
