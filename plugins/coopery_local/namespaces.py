"""What a task sees of the file system: what it reads is mounted read-only, in a view of its own.

The mounts are made by whoever starts the task (`coopery_local.mounting`). Where the system does not
allow any, `coopery_local.copies` does what can be done without.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.errors import MachineError, Problem
from coopery.quantities import show_bytes
from coopery.staging import Mount

if TYPE_CHECKING:
    from coopery_local.mounting import Plan

_SHM = Path("/dev/shm")
_PROGRAM = """
import sys
package = sys.modules["coopery_local"] = type(sys)("coopery_local")
package.__path__ = sys.argv[1:2]
from coopery_local import {module}
{module}.{function}()
"""
"""Imports one module alone: without what this package's first module would bring along."""

NO_MOUNTS = (
    "a channel with a fixed path needs a mount namespace, which this system does not allow",
    "run as root or where user namespaces are allowed, use -r docker, or drop `mount`",
)
"""The message and the hint of `no-mounts`."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What a process sees: these mounts, and a /dev/shm of so many bytes if that is given.

    Where there are fixed mounts it sees `folder` as `/`, which is made for it.
    """

    mounts: Sequence[Mount]
    folder: Path
    shm: float | None = None

    def plan(self) -> Plan:
        """As `mounting.set_up` wants it."""
        return {
            "mounts": [
                (os.fsencode(m.source), os.fsencode(m.target), m.fixed, m.read_only)
                for m in self.mounts
            ],
            "root": os.fsencode(self.folder) if self.is_fixed else None,
            "shm": None if self.shm is None else int(self.shm),
        }

    @property
    def is_fixed(self) -> bool:
        """Whether any mount is at a fixed path."""
        return any(mount.fixed for mount in self.mounts)


def light_program(module: str, function: str) -> list[str]:
    """A command that calls a function of a light module of this package; arguments may follow."""
    text = _PROGRAM.format(module=module, function=function)
    return [sys.executable, "-I", "-S", "-c", text, str(Path(__file__).parent)]


@functools.cache
def can_mount() -> bool:
    """Whether processes can have mounts of their own here: a process tries it, once."""
    command = light_program("mounting", "probe")
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False, cwd="/").returncode == 0


def not_seen(reason: str, where: bytes) -> MachineError:
    """The error for a view that could not be set up."""
    path = Path(os.fsdecode(where))
    if path == _SHM:
        message = f"no {_SHM} could be made: {reason}"
        return MachineError(Problem(slug="no-shm", message=message, hint="drop `shm`"))
    message = f"what the task is to see could not be mounted at {path}: {reason}"
    return MachineError(Problem(slug="no-mounts", message=message))


def lacks_shm(size: float) -> tuple[str, str] | None:
    """What is wrong with the machine's /dev/shm for a task that needs so many bytes, and a hint."""
    there = 0
    if _SHM.is_dir():
        told = os.statvfs(_SHM)
        there = told.f_blocks * told.f_frsize
    if there >= size:
        return None
    message = f"{_SHM} of this machine has {show_bytes(there)}, not the {show_bytes(size)} of `shm`"
    return message, "where mounts are allowed, tasks get one of their own; or lower `shm`"
