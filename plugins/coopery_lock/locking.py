"""The lock as a whole: which entries hold, which are resolved anew, what is written."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from coopery.dependencies import DependencySet, Lock, LockPolicy
from coopery.errors import MachineError, Place, Problem, RecipeError
from coopery.model import Recipe
from coopery_lock.lockfile import Entry, Package, asked_lines, digest_of, read_lock, write_lock


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A dependency set, the images that share it, and the digest its entry would have."""

    dependencies: DependencySet
    images: tuple[str, ...]
    asked: tuple[str, ...]
    digest: str


def lock_sets(
    recipe: Recipe, sets: Sequence[DependencySet], policy: LockPolicy, limit: float
) -> Lock:
    """Pins for every set: recorded ones where they hold, else resolved as `policy` allows."""
    platform = sysconfig.get_platform()
    old = read_lock(recipe.lock_file)
    wanted = _group(sets, recipe.root, platform)
    entries = {} if policy is LockPolicy.UPGRADE else {entry.digest: entry for entry in old}
    missing = [item for item in wanted if item.digest not in entries]
    if missing and policy is LockPolicy.LOCKED:
        raise RecipeError(*(_outdated(item, old, recipe, platform) for item in missing))
    fresh = _resolve(missing, old, policy, recipe.root, platform, limit) if missing else {}
    current = {item.digest: entries.get(item.digest) or fresh[item.digest] for item in wanted}
    if policy in (LockPolicy.RENEW, LockPolicy.UPGRADE):
        kept = _kept(old, sets, recipe)
        ours = tuple(replace(current[item.digest], images=item.images) for item in wanted)
        write_lock(recipe.lock_file, _merge((*kept, *ours)))
    pins = {name: current[item.digest].pins for item in wanted for name in item.images}
    return Lock(
        pins={s.image: pins.get(s.image, ()) for s in sets},
        index={s.image: s.index for s in sets},
        changed=tuple(_story(item, old, fresh[item.digest]) for item in missing),
    )


def _group(sets: Sequence[DependencySet], root: Path, platform: str) -> tuple[_Wanted, ...]:
    """The distinct sets, with what asks for nothing left out, in an order of their own."""
    found: dict[str, _Wanted] = {}
    for item in sorted(sets, key=lambda s: s.image):
        if not item.locals and not any(not r.constraint for r in item.requirements):
            continue
        asked = asked_lines(item, root)
        digest = digest_of(asked, item.python, platform)
        first = found.get(digest) or _Wanted(
            dependencies=item, images=(), asked=asked, digest=digest
        )
        found[digest] = replace(first, images=(*first.images, item.image))
    return tuple(found.values())


def _resolve(
    missing: Sequence[_Wanted],
    old: Sequence[Entry],
    policy: LockPolicy,
    root: Path,
    platform: str,
    limit: float,
) -> dict[str, Entry]:
    """New entries by digest. Raises the problems of all sets together, the recipe's first."""
    from coopery_lock.solver import solve

    fresh: dict[str, Entry] = {}
    wrong: list[Problem] = []
    lacking: list[Problem] = []
    for item in missing:
        preferred = () if policy is LockPolicy.UPGRADE else _preferred(item, old)
        try:
            packages = solve(item.dependencies, preferred, root, limit)
        except RecipeError as error:
            wrong += error.problems
            continue
        except MachineError as error:
            lacking += error.problems
            continue
        fresh[item.digest] = Entry(
            digest=item.digest,
            python=item.dependencies.python,
            platform=platform,
            images=item.images,
            asked=item.asked,
            packages=packages,
        )
    if wrong:
        raise RecipeError(*dict.fromkeys(wrong))
    if lacking:
        raise MachineError(*dict.fromkeys(lacking))
    return fresh


def _preferred(item: _Wanted, old: Sequence[Entry]) -> tuple[Package, ...]:
    """The versions that these images have now, so that a changed line moves nothing else."""
    former = next((e for e in old if set(e.images) & set(item.images)), None)
    return former.packages if former else ()


def _kept(old: Sequence[Entry], sets: Sequence[DependencySet], recipe: Recipe) -> tuple[Entry, ...]:
    """What stays as it is: entries of the recipe's images that were not asked for now, and those
    of another platform that still hold.
    """
    by_image = {s.image: s for s in sets}
    kept = []
    for entry in old:
        images = []
        for name in entry.images:
            asked = by_image.get(name)
            if asked is None:
                images += [name] if name in recipe.images else []
            elif digest_of(asked_lines(asked, recipe.root), asked.python, entry.platform) == (
                entry.digest
            ):
                images += [name] if entry.platform != sysconfig.get_platform() else []
        if images:
            kept.append(replace(entry, images=tuple(images)))
    return tuple(kept)


def _merge(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """One entry per digest: the later one's packages, the images of all."""
    merged: dict[str, Entry] = {}
    for entry in entries:
        before = merged.get(entry.digest)
        images = {*entry.images, *(before.images if before else ())}
        merged[entry.digest] = replace(entry, images=tuple(sorted(images)))
    return tuple(merged.values())


def _outdated(item: _Wanted, old: Sequence[Entry], recipe: Recipe, platform: str) -> Problem:
    names = ", ".join(item.images)
    former = next((e for e in old if set(e.images) & set(item.images)), None)
    if former is None:
        why = "it has no entry"
    elif former.python != item.dependencies.python:
        why = f"it was resolved for Python {former.python}, not {item.dependencies.python}"
    elif former.platform != platform:
        why = f"it was resolved for {former.platform}, not {platform}"
    else:
        new = [f"+ {line}" for line in item.asked if line not in former.asked]
        gone = [f"- {line}" for line in former.asked if line not in item.asked]
        why = "it was resolved for other requirements:" + "".join(f"\n    {x}" for x in new + gone)
    return Problem(
        slug="lock-outdated",
        message=f"{recipe.lock_file.name} does not hold for {names}: {why}",
        place=recipe.locate(("image", item.images[0])) or Place(),
        hint="run `coopery lock` and keep the file in version control",
    )


def _story(item: _Wanted, old: Sequence[Entry], entry: Entry) -> str:
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
    count = f"{len(now)} package{'' if len(now) == 1 else 's'}"
    return f"locked {', '.join(item.images)}: {count}" + (f" ({shown})" if shown else "")
