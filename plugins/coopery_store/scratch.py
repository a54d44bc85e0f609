"""Scratch folders on the home's file system, which vanish with the process that made them.

Those of a process that was killed stay until somebody sweeps: by them strays are found.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from coopery_store.copying import remove
from coopery_store.home import machine_errors, safe_name
from coopery_store.locks import is_held, try_lock


class Scratch:
    """`scratch/<session>/…`, with a lock on `scratch/<session>.lock` that dies with its holder."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._top = home / "scratch"
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._descriptor = -1
        self._numbers = itertools.count(1)

    def new(self, name: str) -> Path:
        """A new empty folder, named after `name`."""
        with machine_errors(self._home):
            folder = self.session() / f"{next(self._numbers)}-{safe_name(name)[:80]}"
            folder.mkdir(mode=0o700)
            return folder

    def session(self) -> Path:
        """This process's folder."""
        with self._lock:
            if self._folder is None:
                token = f"{os.getpid()}-{os.urandom(4).hex()}"
                while (descriptor := try_lock(self._top / f"{token}.lock")) is None:
                    time.sleep(0.001)  # somebody's sweep looks at it
                self._descriptor = descriptor
                self._folder = self._top / token
                self._folder.mkdir(mode=0o700)
            return self._folder

    def others(self) -> Iterator[Path]:
        """The folders of the other processes that live."""
        mine = self._folder
        for lock in self._top.glob("*.lock"):
            folder = lock.with_suffix("")
            if folder != mine and is_held(lock):  # else a dead one's, for the next sweep
                yield folder

    def sweep(self) -> None:
        """Clear away the folders of processes that are dead.

        Only once the processes that their tasks left are ended: nobody could tell them from
        others afterwards.
        """
        for lock in self._top.glob("*.lock"):
            descriptor = try_lock(lock)
            if descriptor is None:
                continue
            try:
                # What a process of the dead run still writes to is left for the next sweep.
                with suppress(OSError):
                    remove(lock.with_suffix(""))
                    lock.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Remove this process's folder."""
        with self._lock:
            if self._folder is None:
                return
            folder, self._folder = self._folder, None
            try:
                with machine_errors(self._home):
                    remove(folder)
                    folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)
            finally:
                os.close(self._descriptor)
