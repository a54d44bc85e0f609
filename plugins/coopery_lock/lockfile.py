"""The lock file: resolved dependency sets as TOML; the same pins are always the same bytes."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coopery import shapes
from coopery.dependencies import DependencySet, Pin
from coopery.digests import digest
from coopery.errors import MachineError, Place, Problem, RecipeError
from coopery.indexes import redact

VERSION = 1
_HEADER = """\
# The exact packages of this recipe's images. This is a source file: keep it in version control.
# `coopery lock` renews it, `coopery lock --upgrade` takes newer versions; do not edit it by hand.
"""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A pin as it is written."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One resolved dependency set; it holds while `digest` is that of what the images ask for."""

    digest: str
    python: str
    platform: str
    images: tuple[str, ...]
    asked: tuple[str, ...]
    packages: tuple[Package, ...]

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The packages as the engine's values."""
        return tuple(
            Pin(name=p.name, version=p.version, hashes=p.hashes, url=p.url) for p in self.packages
        )


@dataclass(frozen=True, kw_only=True)
class _File:
    version: int
    set: tuple[Entry, ...] = ()


def asked_lines(dependencies: DependencySet, root: Path) -> tuple[str, ...]:
    """What a set asks for, as sorted lines without credentials; order and places do not matter."""
    lines = set()
    for item in dependencies.requirements:
        hashes = "".join(f" --hash={value}" for value in item.hashes)
        lines.add(f"{'-c ' if item.constraint else ''}{redact(item.line)}{hashes}")
    for local in dependencies.locals:
        extras = f"[{','.join(sorted(local.extras))}]" if local.extras else ""
        needs = f" on Python {local.requires_python}" if local.requires_python else ""
        lines.add(f"local {local.name}{extras} {local.version}{needs}")
        lines |= {f"local {local.name} requires {redact(r.line)}" for r in local.requires}
    index = dependencies.index
    if index.index_url:
        lines.add(f"--index-url {redact(index.index_url)}")
    # The order of these matters to no resolution, and two machines have different folders.
    lines |= {f"--extra-index-url {redact(url)}" for url in index.extra_index_urls}
    for link in index.find_links:
        lines.add(f"--find-links {redact(link if '://' in link else os.path.relpath(link, root))}")
    lines |= {"--no-index"} if index.no_index else set()
    lines |= {"--pre"} if index.pre else set()
    lines |= {f"--no-binary {name}" for name in index.no_binary}
    lines |= {f"--only-binary {name}" for name in index.only_binary}
    return tuple(sorted(lines))


def digest_of(asked: tuple[str, ...], python: str, platform: str) -> str:
    """The digest under which a set's resolution holds."""
    return digest({"lock": VERSION, "asked": asked, "python": python, "platform": platform})


def read_lock(file: Path) -> tuple[Entry, ...]:
    """The entries of a lock file; none if there is no file. Raises RecipeError (`lock-damaged`)."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as error:
        raise _damaged(file, f"not UTF-8 (byte {error.start})") from None
    except OSError as error:
        message = f"{file.name} cannot be read: {error.strerror}"
        place = Place(file=str(file))
        raise MachineError(Problem(slug="lock-unreadable", message=message, place=place)) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _damaged(file, str(error)) from None
    if isinstance(version := data.get("version"), int) and version > VERSION:
        message = f"{file.name} was written by a newer coopery (version {version})"
        place = Place(file=str(file))
        hint = "upgrade coopery"
        raise RecipeError(Problem(slug="lock-too-new", message=message, place=place, hint=hint))
    problems: list[Problem] = []
    found = shapes.convert(data, _File, (), problems)
    if problems:
        first = problems[0]
        raise _damaged(file, f"{first.place}: {first.message}".removeprefix(": "))
    entries: tuple[Entry, ...] = found.set
    for entry in entries:
        if entry.digest != digest_of(entry.asked, entry.python, entry.platform):
            raise _damaged(file, f"the entry of {', '.join(entry.images)} was edited")
    return entries


def _damaged(file: Path, reason: str) -> RecipeError:
    return RecipeError(
        Problem(
            slug="lock-damaged",
            message=f"{file.name} is damaged: {reason}",
            place=Place(file=str(file)),
            hint="restore it from version control, or remove it and run `coopery lock`",
        )
    )


def render(entries: tuple[Entry, ...]) -> str:
    """The lock file's text, the same for the same entries in any order."""
    parts = [_HEADER, f"version = {VERSION}\n"]
    for entry in sorted(entries, key=lambda e: (e.images, e.platform, e.digest)):
        parts.append("\n[[set]]\n")
        parts.append(_list("images", sorted(entry.images)))
        parts += [f"{k} = {_text(getattr(entry, k))}\n" for k in ("python", "platform", "digest")]
        parts.append(_list("asked", entry.asked))
        for package in sorted(entry.packages, key=lambda p: (p.name, p.version)):
            parts.append("\n[[set.packages]]\n")
            parts += [f"{k} = {_text(getattr(package, k))}\n" for k in ("name", "version")]
            parts += [f"url = {_text(package.url)}\n"] if package.url else []
            parts.append(_list("hashes", sorted(package.hashes)))
    return "".join(parts)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(name: str, values: Any) -> str:
    if not values:
        return f"{name} = []\n"
    return f"{name} = [\n{''.join(f'    {_text(value)},{chr(10)}' for value in values)}]\n"


def write_lock(file: Path, entries: tuple[Entry, ...]) -> bool:
    """Replace the lock file at once if its text would change; whether it did.

    Raises MachineError (`lock-unwritable`).
    """
    text = render(entries)
    try:
        if file.read_text("utf-8") == text:
            return False
    except (OSError, UnicodeDecodeError):
        if not entries:
            return False
    target = file.resolve()
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        message = f"{file.name} cannot be written: {error.strerror}"
        place = Place(file=str(file))
        raise MachineError(Problem(slug="lock-unwritable", message=message, place=place)) from None
    return True


def _umask() -> int:
    """The process's umask, read without changing it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022


__all__ = ["Entry", "Package", "asked_lines", "digest_of", "read_lock", "write_lock"]
