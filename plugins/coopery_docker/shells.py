"""An interactive shell in a task's place: in a container like the task's, for a person."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from coopery.keeping import Handed
from coopery.staging import greeting, stage
from coopery.steps import Workspace
from coopery.tasks import TaskWork
from coopery_docker import variables
from coopery_docker.client import Engine, connect
from coopery_docker.containers import Job, attach, create, remove, start
from coopery_docker.giving import give_back
from coopery_docker.notes import noted
from coopery_docker.streams import Channel
from coopery_docker.tasks import ROOM, body_of, handed_to

_SHELL = "command -v bash > /dev/null && exec bash --noprofile --norc -i; exec sh -i"
_TERMINAL = ("TERM", "COLORTERM")
"""Variables about the terminal, which a task has none of."""


def run_shell(work: TaskWork, workspace: Workspace) -> int:
    """Open a shell as the task would run, and see it through; its exit code."""
    engine = connect()
    with handed_to(work, workspace) as given:
        return _run_shell(engine, work, workspace, given)


def _run_shell(engine: Engine, work: TaskWork, workspace: Workspace, given: Handed) -> int:
    staged = stage(work, workspace, ROOM, given)
    body = body_of(engine, work, workspace, staged, given)
    own = [f"{name}={os.environ[name]}" for name in _TERMINAL if name in os.environ]
    first = variables.NO_DUMP if work.secrets else ""
    first += variables.READ if given.variables else ""
    body |= {
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", f"{first}{{ {_SHELL}; }}"],
        "Env": [*body["Env"], *own, f"PS1=({workspace.step.name}) $ "],
        **dict.fromkeys(("Tty", "OpenStdin", "StdinOnce", "AttachStdin"), True),
    }
    sys.stderr.write(greeting(work, workspace, staged))
    sys.stderr.flush()
    run, name = workspace.run or "shell", workspace.step.name
    with noted(workspace.home, run) as note:
        told = sys.stderr.buffer.write
        job = Job(home=workspace.home, run=run, name=name, body=body, write=told)
        ident = create(engine, job, note)
        try:
            return _see_through(engine, ident)
        finally:
            remove(engine, ident, note)
            give_back(engine, workspace, run, staged, body, sys.stderr.buffer.write)


def _see_through(engine: Engine, ident: str) -> int:
    channel = attach(engine, ident, stdin=1, stdout=1, stderr=1)
    try:
        start(engine, ident)
        with _terminal(engine, ident) as wakened:
            _pass_on(channel, wakened)
    finally:
        channel.close()
    with engine.asked("did not say how the shell ended"):
        # It has ended, unless the terminal has, or this process was told to.
        engine.api.stop(ident, timeout=1)
        return int(engine.api.wait(ident)["StatusCode"])


def _pass_on(channel: Channel, wakened: int) -> None:
    """Between the terminal and the container, until either ends or a byte comes on `wakened`."""
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    poller = select.poll()
    for descriptor in (keyboard, channel.fileno(), wakened):
        poller.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == wakened:
                return
            if descriptor == keyboard:
                typed = os.read(keyboard, 4096)
                if not typed:
                    return
                channel.sendall(typed)
                continue
            shown = channel.recv(65536)
            if not shown:
                return
            while shown:
                shown = shown[os.write(screen, shown) :]


@contextmanager
def _terminal(engine: Engine, ident: str) -> Iterator[int]:
    """The terminal is the container's, and has its size; a descriptor that wakes at the end."""
    keyboard = sys.stdin.fileno()
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def resize(*_: object) -> None:
        with suppress(Exception):  # a shell of the wrong width is a shell
            size = os.get_terminal_size(keyboard)
            engine.api.resize(ident, height=size.lines, width=size.columns)

    def told(number: int, frame: object) -> None:
        os.write(writing, b"x")

    handlers: dict[signal.Signals, Any] = {signal.SIGWINCH: resize}
    handlers |= dict.fromkeys((signal.SIGTERM, signal.SIGHUP, signal.SIGINT), told)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    settings = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        resize()
        yield reading
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(keyboard, termios.TCSADRAIN, settings)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
