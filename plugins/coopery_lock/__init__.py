"""Dependencies from package indexes, and base images: one lock file, a layer of pins out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from coopery.commands import Command, Context, table
from coopery.errors import Problem, RecipeError
from coopery.hooks import hookimpl
from coopery.model import Index
from coopery.options import option
from coopery.recipes import Facet

if TYPE_CHECKING:
    import argparse

    from coopery.dependencies import Contribution, DependencySet, Layer, Lock, Requirement
    from coopery.findings import Finding
    from coopery.images import Base
    from coopery.model import Image, Recipe
    from coopery.options import LockPolicy, Settings
    from coopery.secrets import Secrets


@dataclass(frozen=True)
class LockOptions:
    """How long a resolution may take."""

    resolve_timeout: float = option(
        120.0, help="seconds that resolving one image may take", metavar="SECONDS"
    )


@dataclass(frozen=True, kw_only=True)
class Packages:
    """An image's packages: PEP 508 lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """An image's requirements files: paths relative to the recipe."""

    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Indexes:
    """An image's package indexes, with the names of their credentials."""

    items: tuple[Index, ...]


@hookimpl
def declare_options() -> Sequence[type]:
    return [LockOptions]


@hookimpl
def declare_facets() -> Sequence[Facet]:
    # Not keyed: what a task's key takes of these are its image's pins.
    return [
        Facet(
            noun="image",
            key="packages",
            type=tuple[str, ...],
            wrap=lambda lines: Packages(lines=lines),
            keyed=False,
            doc="Packages from an index, as PEP 508 lines.",
        ),
        Facet(
            noun="image",
            key="requirements",
            type=tuple[str, ...] | str,
            wrap=lambda files: Requirements(files=(files,) if isinstance(files, str) else files),
            keyed=False,
            doc="Requirements files in pip's format, relative to the recipe.",
        ),
        Facet(
            noun="image",
            key="indexes",
            type=tuple[Index, ...],
            wrap=lambda items: Indexes(items=items),
            keyed=False,
            doc="Package indexes; credentials are named, never written here.",
        ),
    ]


@hookimpl
def check(recipe: Recipe) -> Iterator[Problem]:
    seen = set()
    for image in recipe.images.values():
        for found in _read(recipe, image)[1]:
            # Two images may name one file.
            same = (found.slug, found.message, str(found.place))
            if same not in seen:
                seen.add(same)
                yield found


@hookimpl
def collect_requirements(recipe: Recipe, image: Image) -> Contribution | None:
    from coopery.dependencies import IndexOptions

    contribution, problems = _read(recipe, image)
    if problems:
        raise RecipeError(*problems)
    empty = not contribution.requirements and contribution.index == IndexOptions()
    return None if empty else contribution


def _read(recipe: Recipe, image: Image) -> tuple[Contribution, list[Problem]]:
    """What an image's lines and files ask for, and all that is wrong with them."""
    from coopery.dependencies import Contribution

    packages, requirements = image.facet(Packages), image.facet(Requirements)
    own = image.facet(Indexes)
    indexes = own.items if own else recipe.defaults.indexes
    if packages is None and requirements is None and not indexes:
        return Contribution(), []
    from coopery_lock.files import Reading, read_file
    from coopery_lock.lines import Refusals, read_requirement

    reading = Reading(root=recipe.root)
    for i, line in enumerate(packages.lines if packages else ()):
        place = recipe.locate(("image", image.name, "packages", i))
        found = read_requirement(line, Refusals(place=place, problems=reading.problems))
        reading.requirements += [found] if found else []
    for i, file in enumerate(requirements.files if requirements else ()):
        place = recipe.locate(("image", image.name, "requirements", i))
        read_file(reading, file, recipe.root, place)
    _spare(reading.requirements)
    if indexes:
        from coopery_lock.naming import name_indexes

        top = ("image", image.name) if own else ("defaults",)
        name_indexes(reading, indexes, lambda i: recipe.locate((*top, "indexes", i)))
    return reading.contribution, reading.problems


def _spare(requirements: Sequence[Requirement]) -> None:
    """What uv fills in by itself, in the URL of a package, it must find in its environment."""
    names = {
        name
        for found in requirements
        if "${" in found.line
        for name in re.findall(r"\$\{([A-Z0-9_]+)\}", found.line)
    }
    if names:
        from coopery.secrets import spare

        spare(names)


@hookimpl(trylast=True)
def resolve(
    recipe: Recipe,
    sets: Sequence[DependencySet],
    policy: LockPolicy,
    settings: Settings,
    tell: Callable[[str], None],
    inspect: Callable[[str], Base],
    secrets: Secrets,
) -> Lock:
    from coopery_lock.locking import lock_sets

    limit = settings.get(LockOptions).resolve_timeout
    return lock_sets(recipe, sets, policy, limit, tell, inspect, secrets)


@hookimpl
def add_layers(recipe: Recipe, image: Image, lock: Lock) -> Iterable[Layer]:
    from coopery.dependencies import IndexOptions, Layer, Stage

    bundled = lock.bundled.get(image.name, frozenset())
    pins = tuple(pin for pin in lock.pins.get(image.name, ()) if pin.name not in bundled)
    index = lock.index.get(image.name, IndexOptions())
    if pins:
        yield Layer(stage=Stage.DEPENDENCIES, name="dependencies", pins=pins, index=index)


@hookimpl
def diagnose(quick: bool) -> Iterable[Finding]:
    """Whether the package index answers."""
    if quick:
        return ()
    from coopery_lock.diagnosing import look

    return (look(),)


@hookimpl
def add_commands() -> Sequence[Command]:
    return [
        Command(
            name="lock",
            help="resolve the images' dependencies into recipe.lock",
            run=_run_lock,
            configure=_configure_lock,
            json=True,
            options=(LockOptions,),
        )
    ]


def _configure_lock(parser: argparse.ArgumentParser) -> None:
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    either.add_argument(
        "--check", action="store_true", help="write nothing; fail where the lock does not hold"
    )


def _run_lock(context: Context) -> int:
    from coopery.options import LockPolicy
    from coopery.session import lock_recipe

    policy = LockPolicy.MEND
    if context.settings.from_environment("locked") and not context.arguments.check:
        message = "COOPERY_LOCKED forbids to renew the lock"
        hint = "unset it, or see with `coopery lock --check` whether the lock holds"
        raise RecipeError(Problem(slug="lock-outdated", message=message, hint=hint))
    if context.arguments.upgrade:
        policy = LockPolicy.UPGRADE
    elif context.arguments.check:
        policy = LockPolicy.LOCKED
    lock = lock_recipe(context, policy)
    rows: list[tuple[str, ...]] = [
        (name, f"{len(pins)} package{'' if len(pins) == 1 else 's'}")
        for name, pins in sorted(lock.pins.items())
    ]
    if lock.bases:
        from coopery_lock.bases import short

        told = {name: (base.reference, short(base)) for name, base in lock.bases.items()}
        rows = [(*row, *told.get(row[0], ("", ""))) for row in rows]
    document = {
        "changed": list(lock.changed),
        "images": {
            name: [
                {"name": p.name, "version": p.version, "url": p.url, "hashes": list(p.hashes)}
                for p in pins
            ]
            for name, pins in sorted(lock.pins.items())
        },
        "bases": {name: asdict(base) for name, base in sorted(lock.bases.items())},
    }
    context.answer(document, table(rows))
    return 0


__all__ = ["LockOptions", "Packages", "Requirements"]
