"""The lock as a whole: which entries hold, which are resolved anew, what is written."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.dependencies import DependencySet, Lock
from coopery.errors import MachineError, Place, Problem, RecipeError
from coopery.model import Recipe
from coopery.options import LockPolicy
from coopery.repositories import repository_of
from coopery.secrets import Secrets
from coopery_lock.bases import (
    Inspect,
    Tell,
    find_bases,
    keep_bases,
    known_bases,
    outdated_bases,
    wanted_bases,
)
from coopery_lock.gits import Commits, accesses_of, clean, known_commits
from coopery_lock.lines import name_of
from coopery_lock.lockfile import Entry, Package, write_lock
from coopery_lock.reading import Reading, read_lock
from coopery_lock.wanted import Wanted, counted, group

if TYPE_CHECKING:
    from coopery_lock.processes import Processes
    from coopery_lock.solver import Solution

AT_A_TIME = 4
"""How many sets are resolved at a time; fewer where there are fewer cores."""

_TELLING = dict.fromkeys(LockPolicy, ("lock", "locked")) | {
    LockPolicy.PREVIEW: ("resolve", "resolved")
}
"""What a resolution is told as: nothing is locked where nothing is written."""


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
    sets = _clean(sets)
    based = wanted_bases(sets)
    wanted = group(sets, recipe.root, known_bases(based, old.bases, policy))
    known = () if policy is LockPolicy.UPGRADE else old.entries
    if policy is LockPolicy.LOCKED:
        missing = [item for item in wanted if not any(map(item.held_by, known))]
        problems = [_outdated(item, old.entries, recipe) for item in missing]
        problems += outdated_bases(based, old.bases, recipe)
        if problems:
            raise RecipeError(*problems)
        found = {item: next(filter(item.held_by, known)) for item in wanted}
    resolver = _Resolver(
        old=old.all, policy=policy, root=recipe.root, limit=limit, tell=tell, secrets=secrets
    )
    if policy is not LockPolicy.LOCKED:
        found = resolver.answers(wanted, known)
    # After the resolutions: a contradiction is told before anything large is fetched.
    bases, stories = find_bases(based, old.bases, policy, inspect, tell, pinned=recipe.locked)
    if policy is not LockPolicy.LOCKED:
        there = {reference: entry.base for reference, entry in bases.items()}
        if (again := group(sets, recipe.root, there)) != wanted:
            # A base that was not known is for a platform of its own.
            wanted, found = again, resolver.answers(again, known)
    if policy not in (LockPolicy.LOCKED, LockPolicy.PREVIEW):
        kept = _kept(old.entries, wanted, sets, recipe, policy)
        ours = [(item, _ours(item, entry)) for item, entry in found.items()]
        if policy is not LockPolicy.UPGRADE:
            ours = [(item, _beside(item, entry, kept)) for item, entry in ours]
        together = keep_bases(old.bases, bases, sets, recipe)
        entries = [_with_targets(entry, old.entries) for _, entry in ours]
        write_lock(recipe.lock_file, _merge((*kept, *entries)), together)
    pins = {name: entry.pins for item, entry in found.items() for name in item.images}
    fresh = [item for item, entry in found.items() if entry not in known]
    return Lock(
        pins={s.image: pins.get(s.image, ()) for s in sets},
        index={s.image: s.index for s in sets},
        bundled={
            s.image: frozenset(
                [name_of(r.line) for r in s.requirements if r.bundled]
                + [p.name for p in pins.get(s.image, ()) if repository_of(p.url or "")]
            )
            for s in sets
        },
        access={s.image: accesses_of(s) for s in sets},
        bases={s.image: bases[s.base].base for s in sets if s.base is not None},
        changed=(*(_story(item, old.all, found[item]) for item in fresh), *stories),
    )


def _read(recipe: Recipe, policy: LockPolicy, tell: Tell) -> Reading:
    """The lock file. What is wrong with it is an error, save where the lock is to be mended."""
    found = read_lock(recipe.lock_file)
    if found.problems and policy not in (LockPolicy.MEND, LockPolicy.UPGRADE):
        raise RecipeError(*found.problems)
    for problem in found.problems:
        tell(f"mend     {problem.place}: {problem.message}")
    return found


@dataclass(frozen=True, kw_only=True)
class _Resolver:
    """Answers to what is wanted, from entries that hold or by resolving; nothing is solved twice.

    `solved` has what was resolved so far, with all that was found of it.
    """

    old: Sequence[Entry]
    policy: LockPolicy
    root: Path
    limit: float
    tell: Tell
    secrets: Secrets
    solved: list[tuple[Entry, Solution]] = field(default_factory=list)

    def answers(self, wanted: Sequence[Wanted], known: Sequence[Entry]) -> dict[Wanted, Entry]:
        """An entry for each; see `_resolve` for what is raised."""
        found = {item: self._held(item, known) for item in wanted}
        missing = [item for item, entry in found.items() if entry is None]
        fresh: dict[Wanted, Entry] = {}
        if missing:
            solved = _resolve(missing, self)
            fresh = {item: entry for item, (entry, _) in solved.items()}
            self.solved.extend(solved.values())
        return {item: entry or fresh[item] for item, entry in found.items()}

    def _held(self, item: Wanted, known: Sequence[Entry]) -> Entry | None:
        for entry in known:
            if item.held_by(entry) and item.fits(entry):
                return entry
        for entry, solution in reversed(self.solved):
            python = item.dependencies.python
            from coopery_lock.wheels import has_wheels

            fit = all(has_wheels(solution, target, python) for target in item.targets)
            if item.held_by(entry) and fit:
                return replace(entry, targets=tuple(target.uv for target in item.targets))
        return None


def _clean(sets: Sequence[DependencySet]) -> tuple[DependencySet, ...]:
    """See `gits.clean`; every problem at once."""
    problems: list[Problem] = []
    found = []
    for item in sets:
        try:
            found.append(clean(item))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(*dict.fromkeys(problems))
    return tuple(found)


def _resolve(missing: Sequence[Wanted], asking: _Resolver) -> dict[Wanted, tuple[Entry, Solution]]:
    """New entries, several resolved at a time. Raises the problems of all sets together, the
    recipe's first. An interrupt leaves no process behind.
    """
    old, policy, tell = asking.old, asking.policy, asking.tell
    from concurrent.futures import ThreadPoolExecutor, as_completed

    from coopery_lock.processes import Processes

    began = time.monotonic()
    processes = Processes()
    kept = () if policy is LockPolicy.UPGRADE else old
    formers = [former for item in missing if (former := _former(item, kept))]
    commits = known_commits(kept, formers, asking.root)
    fresh: dict[Wanted, tuple[Entry, Solution]] = {}
    wrong: dict[str, list[Problem]] = {}
    lacking: dict[str, list[Problem]] = {}
    pool = ThreadPoolExecutor(min(AT_A_TIME, len(os.sched_getaffinity(0)), len(missing)))
    with processes.interruptible():
        try:
            futures = {}
            for item in missing:
                tell(f"{_TELLING[policy][0]:<8} {item.shown}")
                preferred = () if policy is LockPolicy.UPGRADE else _preferred(item, old)
                futures[pool.submit(_solve, item, preferred, asking, processes, commits)] = item
            for future in as_completed(futures):
                item = futures[future]
                try:
                    entry, solution = future.result()
                except RecipeError as error:
                    wrong[item.images[0]] = [*error.problems]
                except MachineError as error:
                    lacking[item.images[0]] = [*error.problems]
                else:
                    fresh[item] = (entry, solution)
                    for warning in solution.warnings:
                        tell(f"warning: image {item.images[0]!r}: {warning}")
                    took = f" in {time.monotonic() - began:.1f} s"
                    tell(_story(item, old, entry, took, _TELLING[policy][1]))
        finally:
            processes.stop()
            pool.shutdown(cancel_futures=True)
    if wrong:
        raise RecipeError(*dict.fromkeys(p for name in sorted(wrong) for p in wrong[name]))
    if lacking:
        raise MachineError(*dict.fromkeys(p for name in sorted(lacking) for p in lacking[name]))
    return fresh


def _solve(
    item: Wanted,
    preferred: tuple[Package, ...],
    asking: _Resolver,
    processes: Processes,
    commits: Commits,
) -> tuple[Entry, Solution]:
    """The entry of a set, and what was found of it. Raises also `wheel-unavailable`."""
    from coopery_lock.solver import solve
    from coopery_lock.wheels import check_wheels

    solution = solve(
        item.dependencies,
        preferred,
        asking.root,
        asking.limit,
        processes,
        commits=commits,
        secrets=asking.secrets,
        target=next(iter(item.targets), None),
    )
    check_wheels(item, solution)
    entry = Entry(
        python=item.dependencies.python,
        platforms=solution.platforms,
        images=item.images,
        asked=item.asked,
        packages=solution.packages,
        held=solution.held,
        targets=tuple(target.uv for target in item.targets),
        variant=item.variant,
    )
    return entry, solution


def _ours(item: Wanted, entry: Entry) -> Entry:
    """An entry as it is written for what it answers now: what the recipe says is no variant."""
    return replace(entry, images=item.images, variant=entry.variant if item.variant else "")


def _preferred(item: Wanted, old: Sequence[Entry]) -> tuple[Package, ...]:
    """The versions that these images have now, so that a changed line moves nothing else."""
    former = _former(item, old)
    return former.packages if former else ()


def _former(item: Wanted, old: Sequence[Entry]) -> Entry | None:
    """The entry that these images have now: that of this Python and platform, else another's."""
    found = [entry for entry in old if {*entry.images} & {*item.images}]
    found.sort(key=lambda entry: entry.variant != item.variant)
    found.sort(key=lambda entry: item.platform not in entry.platforms)
    found.sort(key=lambda entry: entry.python != item.dependencies.python)
    return found[0] if found else None


def _kept(
    old: Sequence[Entry],
    wanted: Sequence[Wanted],
    sets: Sequence[DependencySet],
    recipe: Recipe,
    policy: LockPolicy,
) -> tuple[Entry, ...]:
    """What stays as it is: entries of the recipe's images that were not asked for now, those of
    other variants, those of other platforms that still hold there, and those of other Pythons for
    images that name none.

    An upgrade leaves no other Python or variant its older versions: whoever runs on it takes the
    new ones.
    """
    names = {s.image for s in sets}
    asking = {name: item for item in wanted for name in item.images}

    def stays(entry: Entry, name: str) -> bool:
        if name not in recipe.images or name not in names:
            return name in recipe.images
        item = asking.get(name)
        if item is None:
            return False
        if entry.variant != item.variant and not item.asks_what(entry):
            return policy is not LockPolicy.UPGRADE
        if entry.python != item.dependencies.python:
            free = recipe.images[name].python is None and policy is not LockPolicy.UPGRADE
            return free and item.asks_lines(entry)
        return item.platform not in entry.platforms and item.asks_what(entry)

    kept = []
    for entry in old:
        images = tuple(name for name in entry.images if stays(entry, name))
        if images:
            kept.append(replace(entry, images=images))
    return tuple(kept)


def _beside(item: Wanted, entry: Entry, kept: Sequence[Entry]) -> Entry:
    """An entry without the platforms for which another one is kept."""
    others = {p for other in kept if other.question == entry.question for p in other.platforms}
    ours = [p for p in entry.platforms if p == item.platform or p not in others]
    return replace(entry, platforms=tuple(ours))


def _with_targets(entry: Entry, others: Sequence[Entry]) -> Entry:
    """An entry that knows for which targets the very same packages are known to have wheels."""
    same = (o for o in others if o.question == entry.question and o.packages == entry.packages)
    targets = {*entry.targets, *(target for other in same for target in other.targets)}
    return replace(entry, targets=tuple(sorted(targets)))


def _merge(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """One answer to each question on each platform: the later one, for the images of both."""
    merged: list[Entry] = []
    for entry in entries:
        for before in [*merged]:
            if before.question == entry.question and {*before.platforms} & {*entry.platforms}:
                images = tuple(sorted({*before.images, *entry.images}))
                entry = replace(_with_targets(entry, [before]), images=images)
                rest = tuple(p for p in before.platforms if p not in entry.platforms)
                merged.remove(before)
                merged += [replace(before, platforms=rest, images=images)] if rest else []
        merged.append(entry)
    return tuple(merged)


def _outdated(item: Wanted, old: Sequence[Entry], recipe: Recipe) -> Problem:
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


def _difference(item: Wanted, former: Entry) -> str:
    if former.python != item.dependencies.python:
        return f"it was resolved for Python {former.python}, not {item.dependencies.python}"
    if former.asked != item.asked:
        new = [f"+ {line}" for line in item.asked if line not in former.asked]
        gone = [f"- {line}" for line in former.asked if line not in item.asked]
        lines = "".join(f"\n    {line}" for line in new + gone)
        return f"it was resolved for other requirements:{lines}"
    if item.platform not in former.platforms:
        return f"it was resolved for {', '.join(former.platforms)}, not {item.platform}"
    return f"others depend on a version that changed: it was resolved for {', '.join(former.held)}"


def _story(
    item: Wanted, old: Sequence[Entry], entry: Entry, took: str = "", done: str = "locked"
) -> str:
    """What a resolution changed, in a line."""
    before = _preferred(item, old)
    former = {p.name: _shown(p, entry.packages) for p in before}
    now = {p.name: _shown(p, before) for p in entry.packages}
    moved = [
        f"{name} {former[name]} -> {now[name]}" if name in former and name in now
        else f"{'added' if name in now else 'removed'} {name} {now.get(name) or former[name]}"
        for name in sorted({*former, *now})
        if former.get(name) != now.get(name)
    ]  # fmt: skip
    shown = ", ".join(moved[:8]) + (f" and {len(moved) - 8} more" if len(moved) > 8 else "")
    text = f"{done:<8} {', '.join(item.images)}: {counted(len(now), 'package')}{took}"
    return text + (f" ({shown})" if shown else "")


def _shown(package: Package, others: Sequence[Package]) -> str:
    """A package's version; with its commit, where another one has that version too."""
    repository = repository_of(package.url) if package.url else None
    if repository is None or repository.ref is None:
        return package.version
    same = any(
        p.name == package.name and p.version == package.version and p.url != package.url
        for p in others
    )
    return f"{package.version} ({repository.ref[:10]})" if same else package.version
