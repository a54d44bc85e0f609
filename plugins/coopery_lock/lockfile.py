"""The lock file: dependency sets and bases as TOML; the same pins are always the same bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from coopery.dependencies import DependencySet, Pin
from coopery.digests import digest
from coopery.errors import MachineError, Place, Problem
from coopery.files import LOCK_HEAD
from coopery.images import Base
from coopery.indexes import redact
from coopery.writing import write_atomically

SETS = 2
"""The format of a lock that holds sets alone."""
BASES = 3
"""The format of one that holds bases too. A coopery that knows only the former would call them
damage, and drop them when it mends that; of a higher number it says that it is too old. A lock
without bases stays what it was, byte for byte, and readable for both."""
GITS = 4
"""The format of one that holds packages of git repositories: for the same reason."""
VERSION = 5
"""The format of one that holds variants: for the same reason."""
_HEADER = f"""\
{LOCK_HEAD} This is a source file: keep it in version control.
# `coopery lock` renews it, `coopery lock --upgrade` takes newer versions; do not edit it by hand.
"""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A pin as it is written: `hashes` are those of all files that its Python could install."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    url: str | None = None
    ref: str | None = None
    """What led to the commit that is in `url`, for one of a git repository: a branch, a tag."""

    @property
    def in_git(self) -> bool:
        """Whether it comes from a git repository."""
        return self.url is not None and self.url.startswith("git+")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One resolved dependency set.

    It holds for what asks for the same lines and Python X.Y on one of its platforms; and where
    `held` names local distributions (`NAME VERSION`), on whose versions other packages depend,
    while they have these versions. `targets` are the bases' platforms, in uv's terms, for which all
    packages are known to have wheels. A `variant` is what an option, such as `--wheels`, makes of
    what the recipe says; it is kept beside the recipe's own answer.
    """

    python: str
    platforms: tuple[str, ...]
    images: tuple[str, ...]
    asked: tuple[str, ...]
    packages: tuple[Package, ...] = ()
    held: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    variant: str = ""

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The packages as the engine's values."""
        return tuple(
            Pin(name=p.name, version=p.version, hashes=p.hashes, url=p.url) for p in self.packages
        )

    @property
    def question(self) -> tuple[object, ...]:
        """What it answers; on any platform there is one answer."""
        return (self.python, self.asked, self.held)

    @property
    def digest(self) -> str:
        """Stands for all that the entry says, so that an edit or a careless merge shows."""
        packages = [
            [p.name, p.version, p.url, sorted(p.hashes), *([p.ref] if p.ref else [])]
            for p in sorted(self.packages, key=lambda p: (p.name, p.version))
        ]
        lists = [sorted(self.images), sorted(self.platforms), sorted(self.held), self.asked]
        lists += [sorted(self.targets)] if self.targets else []
        lists += [["variant", self.variant]] if self.variant else []
        return digest(["lock", SETS, self.python, lists, packages])


@dataclass(frozen=True, kw_only=True)
class BaseEntry:
    """A base image as it was found, and the images of the recipe that begin with it.

    `machine` is the platform of the engine that found it, where the base is for another one.
    """

    base: Base
    images: tuple[str, ...]
    machine: str | None = None

    @property
    def question(self) -> tuple[str, str]:
        """What it answers: a reference may mean another image on another platform."""
        return (self.base.reference, self.machine or self.base.platform)

    @property
    def digest(self) -> str:
        """Stands for all that the entry says, so that an edit or a careless merge shows."""
        base = self.base
        found = [base.digest, base.id, base.python, base.executable, base.libc]
        found += [base.platform] if self.machine else []
        return digest(["base", *self.question, sorted(self.images), found])


def asked_lines(dependencies: DependencySet, root: Path) -> tuple[str, ...]:
    """What a set asks for, as sorted lines without credentials; order and places do not matter.

    Of a local distribution only its metadata counts, and that without its version: a version that
    a repository gives would outdate the lock with each commit.
    """
    lines = set()
    for item in dependencies.requirements:
        hashes = "".join(f" --hash={value}" for value in item.hashes)
        lines.add(f"{'-c ' if item.constraint else ''}{redact(item.line)}{hashes}")
    for local in dependencies.locals:
        extras = f"[{','.join(sorted(local.extras))}]" if local.extras else ""
        needs = f" on Python {local.requires_python}" if local.requires_python else ""
        lines.add(f"local {local.name}{extras}{needs}")
        lines |= {f"local {local.name} requires {redact(r.line)}" for r in local.requires}
    index = dependencies.index
    if index.index_url:
        lines.add(f"--index-url {redact(index.index_url)}")
    # The order of these matters to no resolution, and two machines have different folders.
    lines |= {f"--extra-index-url {redact(url)}" for url in index.extra_index_urls}
    lines |= {
        f"{'--extra-index-url' if named.extra else '--index-url'} {named.url}"
        for named in index.named
    }
    for link in index.find_links:
        lines.add(f"--find-links {redact(link if '://' in link else os.path.relpath(link, root))}")
    lines |= {"--no-index"} if index.no_index else set()
    lines |= {"--pre"} if index.pre else set()
    lines |= {f"--no-binary {name}" for name in index.no_binary}
    lines |= {f"--only-binary {name}" for name in index.only_binary}
    return tuple(sorted(lines))


def render(entries: Iterable[Entry], bases: Collection[BaseEntry] = ()) -> str:
    """The lock file's text, the same for the same entries in any order."""
    entries = tuple(entries)
    if not bases:  # of which targets tell
        entries = tuple(replace(entry, targets=()) for entry in entries)
    gits = any(package.in_git for entry in entries for package in entry.packages)
    version = GITS if gits else BASES if bases else SETS
    version = VERSION if any(entry.variant for entry in entries) else version
    parts = [_HEADER, f"version = {version}\n"]
    for found in sorted(bases, key=lambda found: found.question):
        parts.append("\n[[base]]\n")
        parts.append(_list("images", sorted(found.images)))
        base = found.base
        said = {"reference": base.reference, "platform": base.platform, "machine": found.machine}
        said |= {"manifest": base.digest}
        said |= {"id": base.id, "python": base.python, "executable": base.executable}
        said |= {"libc": base.libc, "digest": found.digest}
        parts += [f"{key} = {_text(value)}\n" for key, value in said.items() if value]
    for entry in sorted(entries, key=lambda e: (sorted(e.images), e.python, e.platforms, e.digest)):
        parts.append("\n[[set]]\n")
        parts.append(_list("images", sorted(entry.images)))
        parts.append(f"python = {_text(entry.python)}\n")
        parts.append(_list("platforms", sorted(entry.platforms)))
        parts += [f"variant = {_text(entry.variant)}\n"] if entry.variant else []
        parts.append(f"digest = {_text(entry.digest)}\n")
        parts.append(_list("asked", entry.asked))
        parts += [_list("held", sorted(entry.held))] if entry.held else []
        parts += [_list("targets", sorted(entry.targets))] if entry.targets else []
        for package in sorted(entry.packages, key=lambda p: (p.name, p.version)):
            parts.append("\n[[set.packages]]\n")
            parts += [f"{k} = {_text(getattr(package, k))}\n" for k in ("name", "version")]
            parts += [f"url = {_text(package.url)}\n"] if package.url else []
            parts += [f"ref = {_text(package.ref)}\n"] if package.ref else []
            parts.append(_list("hashes", sorted(package.hashes)))
    return "".join(parts)


def _text(value: str) -> str:
    # A literal string is read several times faster, and there may be thousands.
    if value.isprintable() and "'" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(name: str, values: Iterable[str]) -> str:
    lines = "".join(f"    {_text(value)},\n" for value in values)
    return f"{name} = [\n{lines}]\n" if lines else f"{name} = []\n"


def write_lock(file: Path, entries: tuple[Entry, ...], bases: tuple[BaseEntry, ...] = ()) -> bool:
    """Replace the lock file at once if its text would change; whether it did.

    Raises MachineError (`lock-unwritable`).
    """
    text = render(entries, bases)
    try:
        if file.read_text("utf-8") == text:
            return False
    except (OSError, UnicodeDecodeError):
        if not entries and not bases:
            return False
    try:
        write_atomically(file.resolve(), text.encode("utf-8"))
    except OSError as error:
        message = f"{file.name} cannot be written: {error.strerror}"
        place = Place(file=str(file))
        raise MachineError(Problem(slug="lock-unwritable", message=message, place=place)) from None
    return True


__all__ = ["BaseEntry", "Entry", "Package", "asked_lines", "render", "write_lock"]
