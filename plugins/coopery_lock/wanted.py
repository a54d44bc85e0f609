"""What is to be resolved: the distinct dependency sets, each for its bases' platforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from coopery.dependencies import DependencySet
from coopery.images import Base
from coopery.targets import Target, target_of
from coopery_lock.lockfile import Entry, asked_lines
from coopery_lock.platforms import own_platform


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A dependency set, and the images that share it.

    `targets` are those of the images' bases, all on one `platform`; without bases, or while
    nothing is known of them, there are none, and the platform is this machine's.
    """

    dependencies: DependencySet
    images: tuple[str, ...]
    asked: tuple[str, ...]
    platform: str
    targets: tuple[Target, ...] = ()

    @property
    def variant(self) -> str:
        """What an option made of it; see `DependencySet`."""
        return self.dependencies.variant

    @property
    def shown(self) -> str:
        """What is resolved, for people."""
        count = sum(not r.constraint for r in self.dependencies.requirements)
        counts = [counted(count, "requirement")] if count else []
        own = len(self.dependencies.locals)
        counts += [counted(own, "local distribution")] if own else []
        where = "" if self.platform == own_platform() else f" for {self.platform}"
        return f"{', '.join(self.images)}: {', '.join(counts)}{where}"

    def held_by(self, entry: Entry) -> bool:
        """Whether an entry is the answer here."""
        return self.platform in entry.platforms and self.asks_what(entry)

    def fits(self, entry: Entry) -> bool:
        """Whether all packages of an entry are known to have wheels for the images' bases."""
        return {target.uv for target in self.targets} <= {*entry.targets}

    def asks_what(self, entry: Entry) -> bool:
        """Whether an entry answers this question, on whatever platform."""
        return entry.python == self.dependencies.python and self.asks_lines(entry)

    def asks_lines(self, entry: Entry) -> bool:
        """Whether an entry answers this question, on whatever platform and Python."""
        locals_ = {f"{local.name} {local.version}" for local in self.dependencies.locals}
        return entry.asked == self.asked and {*entry.held} <= locals_


def group(
    sets: Sequence[DependencySet], root: Path, bases: Mapping[str, Base]
) -> tuple[Wanted, ...]:
    """The distinct sets, with what asks for nothing left out, in an order of their own.

    `bases` are those that are known already, by reference.
    """
    found: dict[tuple[object, ...], Wanted] = {}
    # The recipe's own question before an option's that is the same.
    for item in sorted(sets, key=lambda s: (s.variant, s.image)):
        if not item.locals and not any(not r.constraint for r in item.requirements):
            continue
        asked = asked_lines(item, root)
        base = bases.get(item.base) if item.base else None
        target = target_of(base) if base else None
        platform = target.kind if target else own_platform()
        versions = sorted((local.name, local.version) for local in item.locals)
        key = (item.python, platform, asked, *versions)
        first = found.get(key) or Wanted(
            dependencies=item, images=(), asked=asked, platform=platform
        )
        targets = {*first.targets, *([target] if target else [])}
        found[key] = replace(
            first,
            images=(*first.images, item.image),
            targets=tuple(sorted(targets, key=lambda target: target.uv)),
        )
    return tuple(found.values())


def counted(number: int, noun: str) -> str:
    """`2 packages`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
