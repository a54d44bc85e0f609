"""What a process prints, on its way to a log: through a pipe, masked, as long as it prints.

Only where something confidential is known: else processes write to the log themselves.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from coopery.masking import Mask, is_needed

_PULSE = 50
"""Milliseconds between two looks at whether more can come."""
_CHUNK = 1 << 16


class Pump:
    """A thread that reads a pipe, which does not block, to its end, and appends to a log.

    Where the log cannot be written, it goes on reading: nobody is to wait for it in vain.
    """

    def __init__(self, reading: int, log: Path) -> None:
        self._reading = reading
        self._log = log
        self._over = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Whoever wrote is gone: take what is left. Raises OSError where the log was not written.

        What is still held open, by a process that cannot be killed, is not waited for.
        """
        self._over.set()
        self._thread.join()
        os.close(self._reading)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        mask = Mask()
        try:
            with self._log.open("ab", buffering=0) as log:
                for chunk in self._chunks():
                    _write(log.write, mask.feed(chunk))
                _write(log.write, mask.end())
        except OSError as error:
            self._error = error
            for _ in self._chunks():
                pass

    def _chunks(self) -> Iterator[bytes]:
        poller = select.poll()
        poller.register(self._reading, select.POLLIN)
        while True:
            over = self._over.is_set()
            ready = poller.poll(0 if over else _PULSE)
            if not ready:
                if over:
                    return
                continue
            try:
                chunk = os.read(self._reading, _CHUNK)
            except BlockingIOError:
                continue
            if not chunk:
                return
            yield chunk


def _write(write: Callable[[memoryview], int | None], content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[write(view) or 0 :]


@contextmanager
def masked_end(log: Path) -> Iterator[IO[bytes]]:
    """What a child process is to print to: the log itself, or the end of a pipe to it.

    Raises OSError where the log was not written.
    """
    if not is_needed():
        with log.open("ab") as file:
            yield file
        return
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    pump = Pump(reading, log)
    try:
        with os.fdopen(writing, "wb") as file:
            yield file
    finally:
        pump.end()


@contextmanager
def masked_log(log: Path, folder: Path) -> Iterator[Path]:
    """The path that a process is to open for what it prints: a pipe in `folder`, if need be.

    Raises OSError where the log was not written.
    """
    if not is_needed():
        yield log
        return
    pipe = folder / f"log-{os.urandom(6).hex()}"
    os.mkfifo(pipe, 0o600)
    try:
        pump = Pump(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), log)
        try:
            yield pipe
        finally:
            pump.end()
    finally:
        pipe.unlink(missing_ok=True)
