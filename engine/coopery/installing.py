"""The installer: uv as steps call it, and why it failed, told one way everywhere.

uv's words come from a step's log. Nothing of a credential is ever told.
"""

from __future__ import annotations

import os
import re
import textwrap
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from coopery.dependencies import IndexOptions
from coopery.errors import MachineError, Place, Problem
from coopery.indexes import configured_at, installer_environment, redact, uv_binary
from coopery.processes import call
from coopery.secrets import Secrets

DENIED = re.compile(
    r"\((?:401|403|407) [A-Z]\w*|lack of valid authentication"
    r"|Missing credentials|40[13] (?:Unau|Forb)"
)
"""How uv says that an index wants other credentials."""
_URL = re.compile(r"https?://[^\s`'\"<>()]+")
_UNKNOWN = re.compile(r"was not found in (?:the|an|any) ")
_UNAUTHORISED = re.compile(r"\b40[17]\b|Missing credentials")
_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|\(os error (?:28|122)\)|\[Errno (?:28|122)\]"
)
_ROOM = 64 << 10
"""Bytes of free space below which a disk counts as full: a log on it cannot tell so itself."""
_LINES, _CHARACTERS = 20, 600


@dataclass(frozen=True, kw_only=True)
class Installer:
    """uv with the user's own configuration of indexes, and what is asked of it for one step.

    It appends to `log`, ends early when `cancelled`, and ends with coopery, however that dies.
    `folder` is where it is to install; `flags` are what its commands that ask an index are told,
    `confided` what these tell to it alone; it `asks` that index first.
    """

    environment: Mapping[str, str]
    flags: tuple[str, ...]
    confided: str = field(repr=False)
    asks: str
    log: Path
    folder: Path
    cancelled: threading.Event
    index: IndexOptions
    root: Path | None

    def run(self, *arguments: str) -> Installing | None:
        """Run uv with these arguments; what is known of it if it failed.

        Raises StepError (`cancelled`).
        """
        start = size_of(self.log)
        command = (uv_binary(), *arguments)
        code = call(
            command,
            self.environment,
            log=self.log,
            cancelled=self.cancelled,
            told=self.confided,
        )
        if code == 0:
            return None
        return Installing(
            command=command,
            environment=self.environment,
            confided=self.confided,
            log=self.log,
            folder=self.folder,
            cancelled=self.cancelled,
            start=start,
            index=self.index,
            root=self.root,
        )


def installer(
    index: IndexOptions,
    root: Path | None,
    *,
    log: Path,
    folder: Path,
    cancelled: threading.Event,
    secrets: Secrets | None = None,
    without: Collection[str] = (),
    more: Mapping[str, str] = MappingProxyType({}),
) -> Installer:
    """uv for a step: `without` are variables of the caller's that it shall not see.

    `root` is the folder that a project's own configuration of uv is looked for from. Raises
    MachineError (`pip-config`, `index-credentials`).
    """
    settings = installer_environment(index, root=root, secrets=secrets)
    given = {name: value for name, value in os.environ.items() if name not in without}
    return Installer(
        environment={**given, **settings.variables, **more},
        flags=settings.flags,
        confided=settings.confided,
        asks=settings.index,
        log=log,
        folder=folder,
        cancelled=cancelled,
        index=index,
        root=root,
    )


@dataclass(frozen=True, kw_only=True)
class Installing:
    """A call of uv that failed: where it wrote, and how it may be asked once more.

    `command` is the program with its arguments, `environment` all its variables, `confided` what it
    alone is told. `log` is what it
    said since `start` (in bytes), with whatever went before; `folder` is where it was to install.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    folder: Path
    cancelled: threading.Event
    confided: str = field(default="", repr=False)
    start: int = 0
    index: IndexOptions = field(default_factory=IndexOptions)
    root: Path | None = None
    """The recipe's folder, from which a project's own configuration of uv is looked for."""

    @property
    def said(self) -> str:
        """Its own words."""
        return said_in(self.log, self.start)

    def why(self) -> MachineError | None:
        """What of the machine or its configuration is to blame; None if nothing of them is.

        Errors: `disk-full`, `index-credentials`. Raises StepError (`cancelled`).
        """
        return full_disk(self.said, self.folder) or self._refused()

    def _refused(self) -> MachineError | None:
        found = refusal_in(self.said, self.environment, self._again)
        return denied(found, self.index, self.root) if found else None

    def _again(self, environment: Mapping[str, str]) -> str:
        start = size_of(self.log)
        call(
            self.command,
            environment,
            log=self.log,
            cancelled=self.cancelled,
            told=self.confided,
        )
        return said_in(self.log, start)


def refusal_in(
    said: str, environment: Mapping[str, str], ask: Callable[[Mapping[str, str]], str]
) -> str | None:
    """The line in which uv says that an index refuses credentials; None if none does.

    Where it takes the best version over all indexes, it passes over those that refuse, and then
    finds nothing. So it is asked once more, with the given variables, to take the indexes one
    after the other: then it says which refuses. `ask` returns what it says.
    """
    if found := denial(said):
        return found
    one_by_one = environment.get("UV_INDEX_STRATEGY", "first-index") == "first-index"
    if one_by_one or "No solution found" not in said:
        return None
    found = denial(ask({**environment, "UV_INDEX_STRATEGY": "first-index"}))
    # Some indexes answer 403 for whatever they do not have. Where another has the package, that
    # is no reason.
    if found and (_UNKNOWN.search(said) or _UNAUTHORISED.search(found)):
        return found
    return None


def denial(said: str) -> str | None:
    """The line of a denial; all that was said where that line names no index."""
    line = next((line for line in said.splitlines() if DENIED.search(line)), None)
    return line if line is None or _URL.search(line) else said


def asked(said: str, index: IndexOptions, root: Path | None) -> tuple[str, Place]:
    """The index that uv's words are about, and where it is configured."""
    match = _URL.search(said)
    if match is None:
        return "an index", Place()
    host = urlsplit(match.group()).netloc.rpartition("@")[2]
    own = index.place_of(match.group())
    return f"the index at {host}", own or configured_at(match.group(), root=root) or Place()


def denied(said: str, index: IndexOptions, root: Path | None) -> MachineError:
    """The index that uv's words are about refuses (`index-credentials`)."""
    what, place = asked(said, index, root)
    hint = "set them in netrc, in a keyring, in pip's configuration or UV_INDEX_NAME_PASSWORD"
    message = f"{what} refuses the credentials it was given, or wants some"
    return MachineError(Problem(slug="index-credentials", message=message, place=place, hint=hint))


def full_disk(said: str, folder: Path) -> MachineError | None:
    """`disk-full`, if a program said so, or if nothing is left for what is in `folder`."""
    lines = (line.strip().removeprefix("cause: ") for line in said.splitlines())
    line = next((line for line in lines if _FULL.search(line)), None)
    message = f"the disk is full: {last_words(line)}" if line else f"no space is left in {folder}"
    if line is None and not _no_room(folder):
        return None
    hint = "free some space, then run again: finished work is kept"
    return MachineError(Problem(slug="disk-full", message=message, hint=hint))


def _no_room(folder: Path) -> bool:
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is None:
        return False
    found = os.statvfs(there)
    # File systems without a fixed number of files say that they have none.
    return found.f_bavail * found.f_frsize < _ROOM or (found.f_files > 0 and found.f_favail == 0)


def size_of(log: Path) -> int:
    """How many bytes a log has."""
    return log.stat().st_size if log.exists() else 0


def said_in(log: Path, start: int = 0) -> str:
    """What a log says from `start` on, without credentials."""
    if not log.exists():
        return ""
    return redact(log.read_bytes()[start:].decode("utf-8", "replace"))


def last_words(said: str, lines: int = _LINES, characters: int = _CHARACTERS) -> str:
    """The last whole lines of a log, as many as there is room for; of the last one whole words."""
    kept: list[str] = []
    left = characters
    for line in reversed([line.rstrip() for line in said.splitlines() if line.strip()][-lines:]):
        if kept and len(line) > left:
            break
        short = line if len(line) <= left else textwrap.shorten(line, characters, placeholder=" …")
        kept.append(short)
        left -= len(short) + 1
    return "\n".join(reversed(kept))
