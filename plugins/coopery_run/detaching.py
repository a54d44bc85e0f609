"""`run --detach`: the run goes on in a process of its own, once it has begun.

That process does all that a run does, from reading the recipe on; this one hands on what it tells
until the run has begun, and ends with its exit code if it does not come to that. So nothing that
is wrong is told anywhere else, or otherwise, than without `--detach`.
"""

from __future__ import annotations

import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from coopery.errors import MachineError, Problem
from coopery.options import CoreOptions

if TYPE_CHECKING:
    from coopery.commands import Context

VARIABLE = "COOPERY_DETACHED_BY"
"""Tells a run that it is detached, and on which file descriptor to say that it has begun."""

# -- the run --------------------------------------------------------------------------------------


def caller() -> int | None:
    """The descriptor on which the command that detached this run listens, if there is one.

    No process that is started from here on inherits it, or the variable.
    """
    given = os.environ.pop(VARIABLE, None)
    if given is None:
        return None
    os.set_inheritable(int(given), False)
    return int(given)


def tell_caller(descriptor: int, document: Mapping[str, Any]) -> None:
    """Say that the run has begun."""
    # Where nobody listens any more, the run goes on by itself all the same.
    with suppress(BrokenPipeError), os.fdopen(descriptor, "w") as pipe:
        json.dump(document, pipe)


# -- the command ----------------------------------------------------------------------------------


def detach(context: Context) -> int:
    """Start the run in a process of its own, and answer with its id once it has begun.

    The exit code is 0 then, and else that of the run that did not begin.
    Raises MachineError (`run-lost`) where its process was killed.
    """
    said, child = b"", _Child()
    with child.told(), _pipe() as (begun, told), _pipe() as (printed, prints):
        with told, prints:
            child.start(told.fileno(), prints.fileno())
        said = _listen(begun.fileno(), printed.fileno())
        if not said or child.stopped:
            code = child.wait()
            _hand_on(printed.fileno())
            if said:
                context.tell(f"run {json.loads(said)['run']} had begun, and was interrupted")
            if code < 0 and not child.stopped:
                raise _lost(code)
            return code if code >= 0 else 130
    document = json.loads(said)
    context.answer(document, document["run"])
    sys.stdout.flush()
    context.tell(f"to follow it: {'; '.join(_ways(context, document['run']))}")
    return 0


def _ways(context: Context, run: str) -> Iterator[str]:
    """Command lines that find the run from here."""
    named = run
    home: list[str] = []
    if context.arguments.output is not None:
        path = context.arguments.output
        named = path if "/" in path or path.endswith(".json") else f"./{path}"
    elif context.settings.source(CoreOptions, "home") == "flag":
        home = ["--home", context.settings.get(CoreOptions).home]
    for words in (("logs", "-f"), ("status",), ("stop",)):
        yield shlex.join(("coopery", *words, *home, named))


def _lost(code: int) -> MachineError:
    how = signal.Signals(-code).name
    message = f"the process of the run was killed by {how} before the run had begun"
    return MachineError(Problem(slug="run-lost", message=message, hint="run again"))


class _Child:
    """The process of the run, and what this one is told while it waits for it.

    They share no terminal, so that what closes or interrupts the one does not reach the other:
    until the run has begun, it is handed on.
    """

    def __init__(self) -> None:
        self.stopped = False
        """Whether this process was told to end."""
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    @contextmanager
    def told(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)

    def start(self, told: int, prints: int) -> None:
        # Started as this one was: what lies in the current folder is no module of the program's.
        as_module = Path(sys.argv[0]).name == "__main__.py"
        self._process = subprocess.Popen(
            [sys.executable, *(() if as_module else ("-P",)), "-m", "coopery", *sys.argv[1:]],
            env={**os.environ, VARIABLE: str(told)},
            stdin=subprocess.DEVNULL,
            stdout=prints,
            stderr=prints,
            pass_fds=[told],
            start_new_session=True,
        )
        for number in self._early:
            self._process.send_signal(number)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait()


def _listen(begun: int, printed: int) -> bytes:
    """Hand on what is printed until the run says that it has begun, or its process is gone.

    What it says; empty if nothing.
    """
    said = b""
    with selectors.DefaultSelector() as selector:
        for descriptor in (begun, printed):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        over = False
        while not over:
            for key, _ in selector.select():
                if key.fd == printed:
                    if not _hand_on(printed):
                        selector.unregister(printed)
                elif chunk := os.read(begun, 1 << 16):
                    said += chunk
                else:
                    over = True
    # All that was printed before it said so is in the pipe by now.
    _hand_on(printed)
    return said


def _hand_on(printed: int) -> bool:
    """Print what there is to be read, on stderr; False once nothing more can come."""
    while True:
        try:
            chunk = os.read(printed, 1 << 16)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        with suppress(OSError, ValueError):  # whoever reads it went away
            sys.stderr.flush()
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    reading, writing = os.pipe()
    with FileIO(reading, "r") as here, FileIO(writing, "w") as there:
        yield here, there
