"""Base images in the lock: which are recorded, which are asked for, which entries stay."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from coopery.dependencies import DependencySet
from coopery.errors import MachineError, Place, Problem, RecipeError
from coopery.images import Base
from coopery.model import Recipe
from coopery.options import LockPolicy
from coopery_lock.lockfile import BaseEntry

Tell = Callable[[str], None]
Inspect = Callable[[str], Base]

_TELLING = dict.fromkeys(LockPolicy, ("lock", "locked")) | {
    LockPolicy.PREVIEW: ("inspect", "found")
}
"""What an inspection is told as: nothing is locked where nothing is written."""
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "386",
    "armv7l": "arm",
    "armv6l": "arm",
}
"""OCI's names of machines, where they are not the kernel's."""


def engine_platform() -> str:
    """What the images of this machine's engine are made for, in OCI's terms: `linux/amd64`.

    Containers are Linux's on every system. The engine itself must not be asked: it would have to
    run for a run in which all is remembered.
    """
    machine = os.uname().machine.lower()
    return f"linux/{_MACHINES.get(machine, machine)}"


def wanted_bases(sets: Sequence[DependencySet]) -> dict[str, tuple[str, ...]]:
    """The references of the sets' bases, each with the images that begin with it."""
    found: dict[str, tuple[str, ...]] = {}
    for item in sorted(sets, key=lambda s: s.image):
        if item.base is not None:
            found[item.base] = (*found.get(item.base, ()), item.image)
    return found


def find_bases(
    wanted: Mapping[str, tuple[str, ...]],
    old: Sequence[BaseEntry],
    policy: LockPolicy,
    inspect: Inspect,
    tell: Tell,
    *,
    pinned: bool = True,
) -> tuple[dict[str, BaseEntry], tuple[str, ...]]:
    """An entry for each reference: the recorded one, else what `inspect` says; and in words, what
    was inspected. Where they are to be `pinned`, what cannot be is warned of.

    An upgrade inspects all. Raises the problems of all references together.
    """
    found: dict[str, BaseEntry] = {}
    stories = []
    wrong: list[Problem] = []
    lacking: list[Problem] = []
    for reference, images in wanted.items():
        recorded = _recorded(reference, old)
        if recorded is not None and policy is not LockPolicy.UPGRADE:
            found[reference] = replace(recorded, images=images)
            continue
        began = time.monotonic()
        tell(f"{_TELLING[policy][0]:<8} base image {reference}")
        try:
            base = replace(inspect(reference), reference=reference)
        except RecipeError as error:
            wrong += error.problems
            continue
        except MachineError as error:
            lacking += error.problems
            continue
        here = None if _is_for(base.platform) else engine_platform()
        found[reference] = entry = BaseEntry(base=base, images=images, machine=here)
        said = (base.reference, base.platform)
        former = next((o for o in old if (o.base.reference, o.base.platform) == said), None)
        if former is not None and policy is not LockPolicy.UPGRADE:
            # A base for another platform than this machine's: what is pinned holds.
            found[reference] = entry = replace(former, images=images, machine=here)
        took = f" in {time.monotonic() - began:.1f} s"
        tell(_story(entry, former, took, _TELLING[policy][1]))
        if entry.base.digest is None and pinned:
            tell(
                f"warning: unpinned base {reference}: it was only made on this machine, and another"
                " cannot get the same; push it to a registry, and take it from there"
            )
        stories.append(_story(entry, former))
    if wrong:
        raise RecipeError(*dict.fromkeys(wrong))
    if lacking:
        raise MachineError(*dict.fromkeys(lacking))
    return found, tuple(stories)


def keep_bases(
    old: Sequence[BaseEntry],
    found: Mapping[str, BaseEntry],
    sets: Sequence[DependencySet],
    recipe: Recipe,
) -> tuple[BaseEntry, ...]:
    """All entries that the lock is to have: those just found, and of the old ones those of other
    platforms, and of the recipe's images that were not asked for now or have no base now, as
    under a runtime that makes no images.
    """
    asking = {s.image: s.base for s in sets}
    answered = {entry.question: entry for entry in found.values()}

    def stays(entry: BaseEntry, name: str) -> bool:
        if name not in recipe.images:
            return False
        reference = asking.get(name)
        if reference is None:
            return True
        return reference == entry.base.reference and entry.question not in answered

    together = dict(answered)
    for entry in old:
        images = {name for name in entry.images if stays(entry, name)}
        if images:
            now = together.get(entry.question)
            images |= {*(now.images if now else ())}
            together[entry.question] = replace(now or entry, images=tuple(sorted(images)))
    return tuple(together.values())


def known_bases(
    wanted: Mapping[str, tuple[str, ...]], old: Sequence[BaseEntry], policy: LockPolicy
) -> dict[str, Base]:
    """Those that the lock has, by reference: what an upgrade will find is not known yet."""
    if policy is LockPolicy.UPGRADE:
        return {}
    recorded = {reference: _recorded(reference, old) for reference in wanted}
    return {reference: entry.base for reference, entry in recorded.items() if entry}


def outdated_bases(
    wanted: Mapping[str, tuple[str, ...]], old: Sequence[BaseEntry], recipe: Recipe
) -> list[Problem]:
    """What is wrong with a lock that may not change, where it lacks a base."""
    found = []
    for reference, images in wanted.items():
        if _recorded(reference, old):
            continue
        others = sorted(e.question[1] for e in old if e.base.reference == reference)
        reason = f"it has no entry of the base image {reference}"
        if others:
            reason = f"it has the base image {reference} for {', '.join(others)} only, "
            reason += f"not {engine_platform()}"
        problem = Problem(
            slug="lock-outdated",
            message=f"{recipe.lock_file.name} does not hold for {', '.join(images)}: {reason}",
            place=recipe.locate(("image", images[0])) or Place(),
            hint="run `coopery lock` with the same runtime (-r), and keep the file in version "
            "control",
        )
        found.append(problem)
    return found


def _recorded(reference: str, old: Sequence[BaseEntry]) -> BaseEntry | None:
    """What the lock says of a reference here."""
    return next((e for e in old if e.question[0] == reference and _is_for(e.question[1])), None)


def _is_for(platform: str) -> bool:
    """Whether it is this machine's; it may name a variant: `linux/arm64/v8`."""
    return f"{platform}/".startswith(f"{engine_platform()}/")


def _story(entry: BaseEntry, former: BaseEntry | None, took: str = "", done: str = "locked") -> str:
    """What was found, in a line, and whether it is another than before."""
    base = entry.base
    said = [base.platform, f"Python {base.python}" if base.python else "no Python", base.libc]
    said.append(short(base))
    text = f"{done:<8} base image {base.reference}: {', '.join(filter(None, said))}{took}"
    if former is None:
        return text
    was = former.base
    changed = f"was {short(was)}" if was.identity != base.identity else "as before"
    return f"{text} ({changed})"


def short(base: Base) -> str:
    """A base's identity, as long as people need it."""
    kind, _, value = base.identity.rpartition(":")
    return f"{kind}:{value[:12]}" if kind else value[:12]


__all__ = [
    "Inspect",
    "Tell",
    "engine_platform",
    "find_bases",
    "keep_bases",
    "known_bases",
    "outdated_bases",
    "short",
    "wanted_bases",
]
