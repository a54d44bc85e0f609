"""Read a lock file, and tell what is coopery's from what was edited, merged or cut off."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coopery import shapes
from coopery.errors import MachineError, Place, Problem, RecipeError
from coopery.images import Base
from coopery_lock.lockfile import SETS, VERSION, BaseEntry, Entry, Package

_MARK = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?: .*)?$", re.MULTILINE)
_CONFLICT = re.compile(
    r"^<{7}(?: .*)?\n(?P<ours>(?:.*\n)*?)"
    r"(?:\|{7}(?: .*)?\n(?:.*\n)*?)?={7}\n(?:.*\n)*?>{7}(?: .*)?\n",
    re.MULTILINE,
)
_HINT = "`coopery lock` resolves it anew, and keeps the versions that still fit"


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """An entry as it stands in the file."""

    python: str
    platforms: tuple[str, ...]
    images: tuple[str, ...]
    digest: str
    asked: tuple[str, ...]
    packages: tuple[Package, ...] = ()
    held: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    variant: str = ""


@dataclass(frozen=True, kw_only=True)
class _RecordedBase:
    """A base as it stands in the file: `manifest` is the digest of the image's."""

    images: tuple[str, ...]
    reference: str
    platform: str
    id: str
    digest: str
    machine: str | None = None
    manifest: str | None = None
    python: str | None = None
    executable: str | None = None
    libc: str = ""

    @property
    def entry(self) -> BaseEntry:
        """What it says, without the digest of it."""
        base = Base(
            reference=self.reference,
            id=self.id,
            platform=self.platform,
            digest=self.manifest,
            python=self.python,
            executable=self.executable,
            libc=self.libc,
        )
        return BaseEntry(base=base, images=self.images, machine=self.machine)


@dataclass(frozen=True, kw_only=True)
class _File:
    version: int
    base: tuple[_RecordedBase, ...] = ()
    set: tuple[_Recorded, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a lock file says: entries and bases to trust, entries of which only the versions are of
    use, and what is wrong with the file.
    """

    entries: tuple[Entry, ...] = ()
    bases: tuple[BaseEntry, ...] = ()
    damaged: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def all(self) -> tuple[Entry, ...]:
        """Every entry that could be read, to take versions from."""
        return (*self.entries, *self.damaged)


def read_lock(file: Path) -> Reading:
    """What a lock file says; nothing if there is none, or one of an older format.

    Raises MachineError (`lock-unreadable`) and RecipeError (`lock-too-new`).
    """
    try:
        text = file.read_text("utf-8-sig")
    except FileNotFoundError:
        return Reading()
    except UnicodeDecodeError as error:
        return Reading(problems=(_damaged(file, f"not UTF-8 (byte {error.start})", None),))
    except OSError as error:
        message = f"{file.name} cannot be read: {error.strerror}"
        place = Place(file=str(file))
        hint = "see who may read it; without a lock, coopery lock writes a new one"
        if isinstance(error, IsADirectoryError):
            message = f"{file.name} is a folder"
            hint = "move it away; coopery lock writes the file"
        raise MachineError(
            Problem(slug="lock-unreadable", message=message, place=place, hint=hint)
        ) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _read_broken(file, text, str(error))
    if isinstance(version := data.get("version"), int) and not SETS <= version <= VERSION:
        if version < SETS:
            return Reading()
        message = f"{file.name} was written by a newer coopery (version {version})"
        place = Place(file=str(file))
        hint = "upgrade coopery"
        raise RecipeError(Problem(slug="lock-too-new", message=message, place=place, hint=hint))
    return _read_data(file, text, data)


def _read_broken(file: Path, text: str, reason: str) -> Reading:
    """A text that is no TOML: after a merge, the versions of one side are still of use."""
    mark = _MARK.search(text)
    if mark is None:
        line = re.search(r"\(at line (\d+)", reason)
        number = int(line[1]) if line else text.count("\n") + 1
        return Reading(problems=(_damaged(file, reason, number),))
    message = f"{file.name} holds the marks of a merge conflict"
    place = Place(file=str(file), line=text.count("\n", 0, mark.start()) + 1)
    found = Problem(slug="lock-conflict", message=message, place=place, hint=_HINT)
    ours = _CONFLICT.sub(lambda match: match["ours"], text)
    try:
        inner = _read_data(file, ours, tomllib.loads(ours))
    except tomllib.TOMLDecodeError:
        return Reading(problems=(found,))
    # A base that is whole needs no other's versions: it is as good as it was.
    return Reading(bases=inner.bases, damaged=inner.all, problems=(found,))


def _read_data(file: Path, text: str, data: Mapping[str, Any]) -> Reading:
    numbered = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    lines = {k: [n for n, line in numbered if line == f"[[{k}]]"] for k in ("base", "set")}
    problems: list[Problem] = []
    found = shapes.convert(data, _File, (), problems)
    if problems:
        first = problems[0]
        match first.place.key:
            case ["base" | "set" as kind, int(at), *_] if at < len(lines[kind]):
                number = lines[kind][at]
            case _:
                number = 1
        reason = f"{first.place.key and first.place}: {first.message}".removeprefix("(): ")
        return Reading(problems=(_damaged(file, reason, number),))
    entries: list[Entry] = []
    damaged: list[Entry] = []
    for recorded, number in zip(found.set, lines["set"], strict=False):
        entry = Entry(
            python=recorded.python,
            platforms=recorded.platforms,
            images=recorded.images,
            asked=recorded.asked,
            packages=recorded.packages,
            held=recorded.held,
            targets=recorded.targets,
            variant=recorded.variant,
        )
        reason = "; ".join(_wrong(entry, recorded.digest, entries))
        (damaged if reason else entries).append(entry)
        if reason:
            problems.append(_damaged(file, reason, number))
    bases: list[BaseEntry] = []
    for written, number in zip(found.base, lines["base"], strict=False):
        base = written.entry
        if reason := "; ".join(_wrong_base(base, written.digest, bases)):
            problems.append(_damaged(file, reason, number))
        else:
            bases.append(base)
    return Reading(
        entries=tuple(entries),
        bases=tuple(bases),
        damaged=tuple(damaged),
        problems=tuple(problems),
    )


def _wrong_base(entry: BaseEntry, recorded: str, others: Sequence[BaseEntry]) -> Iterator[str]:
    reference, platform = entry.question
    if entry.digest != recorded:
        yield f"the entry of the base image {reference} that begins here was edited, or merged"
    if any(other.question == entry.question for other in others):
        yield f"there are two entries of the base image {reference} for {platform}"


def _wrong(entry: Entry, recorded: str, others: Sequence[Entry]) -> Iterator[str]:
    names = ", ".join(entry.images)
    if entry.digest != recorded:
        yield f"the entry of {names} that begins here was edited, or merged from two"
    for other in others:
        if entry.question == other.question and {*entry.platforms} & {*other.platforms}:
            yield f"two entries, of {', '.join(other.images)} and {names}, answer one question"


def _damaged(file: Path, reason: str, line: int | None) -> Problem:
    return Problem(
        slug="lock-damaged",
        message=f"{file.name} is not as coopery wrote it: {reason}",
        place=Place(file=str(file), line=line),
        hint=_HINT,
    )


__all__ = ["Reading", "read_lock"]
