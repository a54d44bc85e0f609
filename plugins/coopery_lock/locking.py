"""The lock as a whole: which entries hold, which are resolved anew, what is written."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.dependencies import DependencySet, Lock
from coopery.errors import MachineError, Place, Problem, RecipeError
from coopery.model import Recipe
from coopery.options import LockPolicy
from coopery.secret import Secrets
from coopery_lock.bases import Inspect, Tell, find_bases, keep_bases, outdated_bases, wanted_bases
from coopery_lock.lines import name_of
from coopery_lock.lockfile import Entry, Package, asked_lines, write_lock
from coopery_lock.platforms import own_platform
from coopery_lock.reading import Reading, read_lock

if TYPE_CHECKING:
    from coopery_lock.processes import Processes

AT_A_TIME = 4
"""How many sets are resolved at a time; fewer where there are fewer cores."""

_TELLING = dict.fromkeys(LockPolicy, ("lock", "locked")) | {
    LockPolicy.PREVIEW: ("resolve", "resolved")
}
"""What a resolution is told as: nothing is locked where nothing is written."""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A dependency set, and the images that share it."""

    dependencies: DependencySet
    images: tuple[str, ...]
    asked: tuple[str, ...]

    @property
    def shown(self) -> str:
        """What is resolved, for people."""
        count = sum(not r.constraint for r in self.dependencies.requirements)
        counts = [_count(count, "requirement")] if count else []
        own = len(self.dependencies.locals)
        counts += [_count(own, "local distribution")] if own else []
        return f"{', '.join(self.images)}: {', '.join(counts)}"

    def held_by(self, entry: Entry) -> bool:
        """Whether an entry is the answer here."""
        return own_platform() in entry.platforms and self.asks_what(entry)

    def asks_what(self, entry: Entry) -> bool:
        """Whether an entry answers this question, on whatever platform."""
        return entry.python == self.dependencies.python and self.asks_lines(entry)

    def asks_lines(self, entry: Entry) -> bool:
        """Whether an entry answers this question, on whatever platform and Python."""
        locals_ = {f"{local.name} {local.version}" for local in self.dependencies.locals}
        return entry.asked == self.asked and {*entry.held} <= locals_


def lock_sets(
    recipe: Recipe,
    sets: Sequence[DependencySet],
    policy: LockPolicy,
    limit: float,
    tell: Tell,
    inspect: Inspect,
    secrets: Secrets,
) -> Lock:
    """Pins for every set, and its base: recorded ones where they hold, else resolved, or asked of
    `inspect`, as `policy` allows.

    `tell` gets a line for each resolution and inspection as it begins and ends.
    """
    old = _read(recipe, policy, tell)
    wanted = _group(sets, recipe.root)
    known = () if policy is LockPolicy.UPGRADE else old.entries
    current = {item: next(filter(item.held_by, known), None) for item in wanted}
    missing = [item for item, entry in current.items() if entry is None]
    based = wanted_bases(sets)
    if policy is LockPolicy.LOCKED:
        problems = [_outdated(item, old.entries, recipe) for item in missing]
        problems += outdated_bases(based, old.bases, recipe)
        if problems:
            raise RecipeError(*problems)
    fresh = _resolve(missing, old.all, policy, recipe.root, limit, tell, secrets) if missing else {}
    found = {item: entry or fresh[item] for item, entry in current.items()}
    # After the resolutions: a contradiction is told before anything large is fetched.
    bases, stories = find_bases(based, old.bases, policy, inspect, tell)
    if policy not in (LockPolicy.LOCKED, LockPolicy.PREVIEW):
        kept = _kept(old.entries, wanted, sets, recipe, policy)
        ours = [replace(entry, images=item.images) for item, entry in found.items()]
        if policy is not LockPolicy.UPGRADE:
            ours = [_beside(entry, kept) for entry in ours]
        together = keep_bases(old.bases, bases, sets, recipe)
        write_lock(recipe.lock_file, _merge((*kept, *ours)), together)
    pins = {name: entry.pins for item, entry in found.items() for name in item.images}
    return Lock(
        pins={s.image: pins.get(s.image, ()) for s in sets},
        index={s.image: s.index for s in sets},
        bundled={
            s.image: frozenset(name_of(r.line) for r in s.requirements if r.bundled) for s in sets
        },
        bases={s.image: bases[s.base].base for s in sets if s.base is not None},
        changed=(*(_story(item, old.all, fresh[item]) for item in missing), *stories),
    )


def _read(recipe: Recipe, policy: LockPolicy, tell: Tell) -> Reading:
    """The lock file. What is wrong with it is an error, save where the lock is to be mended."""
    found = read_lock(recipe.lock_file)
    if found.problems and policy not in (LockPolicy.MEND, LockPolicy.UPGRADE):
        raise RecipeError(*found.problems)
    for problem in found.problems:
        tell(f"mend     {problem.place}: {problem.message}")
    return found


def _group(sets: Sequence[DependencySet], root: Path) -> tuple[_Wanted, ...]:
    """The distinct sets, with what asks for nothing left out, in an order of their own."""
    found: dict[tuple[object, ...], _Wanted] = {}
    for item in sorted(sets, key=lambda s: s.image):
        if not item.locals and not any(not r.constraint for r in item.requirements):
            continue
        asked = asked_lines(item, root)
        versions = sorted((local.name, local.version) for local in item.locals)
        key = (item.python, asked, *versions)
        first = found.get(key) or _Wanted(dependencies=item, images=(), asked=asked)
        found[key] = replace(first, images=(*first.images, item.image))
    return tuple(found.values())


def _resolve(
    missing: Sequence[_Wanted],
    old: Sequence[Entry],
    policy: LockPolicy,
    root: Path,
    limit: float,
    tell: Tell,
    secrets: Secrets,
) -> dict[_Wanted, Entry]:
    """New entries, several resolved at a time. Raises the problems of all sets together, the
    recipe's first. An interrupt leaves no process behind.
    """
    from concurrent.futures import ThreadPoolExecutor, as_completed

    from coopery_lock.processes import Processes

    began = time.monotonic()
    processes = Processes()
    fresh: dict[_Wanted, Entry] = {}
    wrong: dict[str, list[Problem]] = {}
    lacking: dict[str, list[Problem]] = {}
    pool = ThreadPoolExecutor(min(AT_A_TIME, len(os.sched_getaffinity(0)), len(missing)))
    with processes.interruptible():
        try:
            futures = {}
            for item in missing:
                tell(f"{_TELLING[policy][0]:<8} {item.shown}")
                preferred = () if policy is LockPolicy.UPGRADE else _preferred(item, old)
                futures[pool.submit(_solve, item, preferred, root, limit, processes, secrets)] = (
                    item
                )
            for future in as_completed(futures):
                item = futures[future]
                try:
                    fresh[item], warnings = future.result()
                except RecipeError as error:
                    wrong[item.images[0]] = [*error.problems]
                except MachineError as error:
                    lacking[item.images[0]] = [*error.problems]
                else:
                    for warning in warnings:
                        tell(f"warning: image {item.images[0]!r}: {warning}")
                    took = f" in {time.monotonic() - began:.1f} s"
                    tell(_story(item, old, fresh[item], took, _TELLING[policy][1]))
        finally:
            processes.stop()
            pool.shutdown(cancel_futures=True)
    if wrong:
        raise RecipeError(*dict.fromkeys(p for name in sorted(wrong) for p in wrong[name]))
    if lacking:
        raise MachineError(*dict.fromkeys(p for name in sorted(lacking) for p in lacking[name]))
    return fresh


def _solve(
    item: _Wanted,
    preferred: tuple[Package, ...],
    root: Path,
    limit: float,
    processes: Processes,
    secrets: Secrets,
) -> tuple[Entry, tuple[str, ...]]:
    """The entry of a set, and the warnings that came with it."""
    from coopery_lock.solver import solve

    solution = solve(item.dependencies, preferred, root, limit, processes, secrets)
    entry = Entry(
        python=item.dependencies.python,
        platforms=solution.platforms,
        images=item.images,
        asked=item.asked,
        packages=solution.packages,
        held=solution.held,
    )
    return entry, solution.warnings


def _preferred(item: _Wanted, old: Sequence[Entry]) -> tuple[Package, ...]:
    """The versions that these images have now, so that a changed line moves nothing else."""
    former = _former(item, old)
    return former.packages if former else ()


def _former(item: _Wanted, old: Sequence[Entry]) -> Entry | None:
    """The entry that these images have now: that of this Python and platform, else another's."""
    found = [entry for entry in old if {*entry.images} & {*item.images}]
    found.sort(key=lambda entry: own_platform() not in entry.platforms)
    found.sort(key=lambda entry: entry.python != item.dependencies.python)
    return found[0] if found else None


def _kept(
    old: Sequence[Entry],
    wanted: Sequence[_Wanted],
    sets: Sequence[DependencySet],
    recipe: Recipe,
    policy: LockPolicy,
) -> tuple[Entry, ...]:
    """What stays as it is: entries of the recipe's images that were not asked for now, those of
    other platforms that still hold there, and those of other Pythons for images that name none.

    An upgrade leaves no other Python its older versions: whoever runs on it takes the new ones.
    """
    names = {s.image for s in sets}
    asking = {name: item for item in wanted for name in item.images}

    def stays(entry: Entry, name: str) -> bool:
        if name not in recipe.images or name not in names:
            return name in recipe.images
        item = asking.get(name)
        if item is None:
            return False
        if entry.python != item.dependencies.python:
            free = recipe.images[name].python is None and policy is not LockPolicy.UPGRADE
            return free and item.asks_lines(entry)
        return own_platform() not in entry.platforms and item.asks_what(entry)

    kept = []
    for entry in old:
        images = tuple(name for name in entry.images if stays(entry, name))
        if images:
            kept.append(replace(entry, images=images))
    return tuple(kept)


def _beside(entry: Entry, kept: Sequence[Entry]) -> Entry:
    """An entry without the platforms for which another one is kept."""
    others = {p for other in kept if other.question == entry.question for p in other.platforms}
    ours = [p for p in entry.platforms if p == own_platform() or p not in others]
    return replace(entry, platforms=tuple(ours))


def _merge(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """One answer to each question on each platform: the later one, for the images of both."""
    merged: list[Entry] = []
    for entry in entries:
        for before in [*merged]:
            if before.question == entry.question and {*before.platforms} & {*entry.platforms}:
                images = tuple(sorted({*before.images, *entry.images}))
                entry = replace(entry, images=images)
                rest = tuple(p for p in before.platforms if p not in entry.platforms)
                merged.remove(before)
                merged += [replace(before, platforms=rest, images=images)] if rest else []
        merged.append(entry)
    return tuple(merged)


def _outdated(item: _Wanted, old: Sequence[Entry], recipe: Recipe) -> Problem:
    former = _former(item, old)
    hint = "run `coopery lock` and keep the file in version control"
    image = recipe.images[item.images[0]]
    if former and former.python != item.dependencies.python and image.python is None:
        hint += f', or give the image `python = "{former.python}"`'
    return Problem(
        slug="lock-outdated",
        message=f"{recipe.lock_file.name} does not hold for {', '.join(item.images)}: "
        + (_difference(item, former) if former else "it has no entry"),
        place=recipe.locate(("image", item.images[0])) or Place(),
        hint=hint,
    )


def _difference(item: _Wanted, former: Entry) -> str:
    if former.python != item.dependencies.python:
        return f"it was resolved for Python {former.python}, not {item.dependencies.python}"
    if former.asked != item.asked:
        new = [f"+ {line}" for line in item.asked if line not in former.asked]
        gone = [f"- {line}" for line in former.asked if line not in item.asked]
        lines = "".join(f"\n    {line}" for line in new + gone)
        return f"it was resolved for other requirements:{lines}"
    if own_platform() not in former.platforms:
        return f"it was resolved for {', '.join(former.platforms)}, not {own_platform()}"
    return f"others depend on a version that changed: it was resolved for {', '.join(former.held)}"


def _story(
    item: _Wanted, old: Sequence[Entry], entry: Entry, took: str = "", done: str = "locked"
) -> str:
    """What a resolution changed, in a line."""
    former = {p.name: p.version for p in _preferred(item, old)}
    now = {p.name: p.version for p in entry.packages}
    moved = [
        f"{name} {former[name]} -> {now[name]}" if name in former and name in now
        else f"{'added' if name in now else 'removed'} {name} {now.get(name) or former[name]}"
        for name in sorted({*former, *now})
        if former.get(name) != now.get(name)
    ]  # fmt: skip
    shown = ", ".join(moved[:8]) + (f" and {len(moved) - 8} more" if len(moved) > 8 else "")
    counted = f"{done:<8} {', '.join(item.images)}: {_count(len(now), 'package')}{took}"
    return counted + (f" ({shown})" if shown else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
