"""A terminal: a pseudo-terminal whose other end keeps what is on the screen."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import pyte
import pytest

Opener = Callable[..., "Terminal"]


class Terminal:
    """What a person would see; `raw` is all that was written, byte for byte."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.master, self.slave = os.openpty()
        self._screen = pyte.HistoryScreen(columns, lines, history=20_000)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.raw = b""
        self.resize(columns, lines)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def resize(self, columns: int, lines: int) -> None:
        """As a window manager does; the screen's contents are not broken anew."""
        with self._lock:
            fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            self._screen.resize(lines, columns)

    def _read(self) -> None:
        while not self._closing.is_set():
            if not select.select([self.master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    @property
    def shown(self) -> list[str]:
        """The lines on the screen, without the blank ones at the end."""
        with self._lock:
            lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        """The lines on the screen as one text."""
        return "\n".join(self.shown)

    @property
    def cursor_hidden(self) -> bool:
        """Whether the cursor cannot be seen."""
        with self._lock:
            return bool(self._screen.cursor.hidden)

    def wait(self, condition: Callable[[str], bool], seconds: float = 30) -> str:
        """Wait until the screen's text is as wished."""
        deadline = time.monotonic() + seconds
        while not condition(text := self.text):
            assert time.monotonic() < deadline, f"the screen is:\n{text}"
            time.sleep(0.02)
        return text

    def open(self) -> TextIO:
        """The terminal as a stream of this process."""
        return os.fdopen(os.dup(self.slave), "w", encoding="utf-8")

    def start(
        self, *arguments: str, cwd: Path, env: Mapping[str, str], **streams: int
    ) -> subprocess.Popen[bytes]:
        """Start the command as a shell in this terminal does: Ctrl-C reaches it."""

        def control() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        return subprocess.Popen(
            [sys.executable, "-m", "coopery", *arguments],
            cwd=cwd,
            env=terminal_env(env),
            stdin=self.slave,
            stdout=streams.get("stdout", self.slave),
            stderr=streams.get("stderr", self.slave),
            start_new_session=True,
            preexec_fn=control,
        )

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self.master, keys)

    def close(self) -> None:
        """The window is closed."""
        if not self._closing.is_set():
            self._closing.set()
            self._thread.join()
            os.close(self.slave)
            os.close(self.master)


def terminal_env(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a person at a terminal, whatever runs these tests."""
    without = ("CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONUNBUFFERED")
    mine = {k: v for k, v in os.environ.items() if k not in without}
    return {**mine, "TERM": "xterm-256color", **env}


@pytest.fixture
def terminal() -> Iterator[Opener]:
    """Opens terminals of a size."""
    opened: list[Terminal] = []

    def make(columns: int = 80, lines: int = 24) -> Terminal:
        opened.append(Terminal(columns, lines))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
