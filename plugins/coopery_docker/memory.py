"""How much memory a container has held at most."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coopery_docker.client import Engine

_TOP = Path("/sys/fs/cgroup")
_COUNTERS = {1: ("memory.max_usage_in_bytes",), 2: ("memory.peak", "memory.current")}
"""What the kernel calls the highest so far: control groups of version 1 and 2; in kernels before
5.19, version 2 tells only what there is just now."""
_EVERY = 1.0
"""Seconds between two questions to an engine, where the kernel cannot be asked."""


class Peak:
    """Looks at a running container from time to time; `seen` are the most bytes, 0 if unknown.

    The kernel keeps the highest value, so a look shortly before the end tells all.
    """

    def __init__(self, engine: Engine, ident: str) -> None:
        self.seen = 0
        self._engine = engine
        self._ident = ident
        self._file: Path | None = None
        self._due = 0.0
        self._asks = True
        self._files = tuple(_files(ident)) if engine.is_local else ()

    def look(self) -> None:
        """Note the value as it is now; one that has not begun, or has ended, has none."""
        if self._file is None:
            self._file = next(filter(Path.exists, self._files), None)
        if self._file is None:
            self._ask()
            return
        try:
            self.seen = max(self.seen, int(self._file.read_bytes()))
        except OSError:
            return  # it has ended, and its counters went with it

    def _ask(self) -> None:
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException

        now = time.monotonic()
        if not self._due:
            self._due = now + _EVERY  # the kernel may yet tell
        if not self._asks or now < self._due:
            return
        self._due = now + _EVERY
        try:
            told = self._engine.api.stats(self._ident, stream=False, one_shot=True)
        except (APIError, DockerException, RequestException, OSError, ValueError):
            self._asks = False  # it is not told here; how the container ends, others find out
            return
        memory = told.get("memory_stats") or {}
        self.seen = max(self.seen, *(int(memory.get(n) or 0) for n in ("max_usage", "usage")))


def _files(ident: str) -> Iterator[Path]:
    """Where engines of this machine put a container's control group."""
    scope = (f"docker-{ident}.scope", f"libpod-{ident}.scope")
    groups = [f"docker/{ident}", f"machine.slice/{scope[1]}", f"libpod_parent/libpod-{ident}"]
    groups += [f"system.slice/{name}" for name in scope]
    version = 2 if (_TOP / "cgroup.controllers").exists() else 1
    top = _TOP if version == 2 else _TOP / "memory"
    for group in groups:
        for counter in _COUNTERS[version]:
            yield top / group / counter
