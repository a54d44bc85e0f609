"""Which base image an image begins with, and what can be wrong with that (C1, C12)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from coopery.errors import KeyPath, Problem, RecipeError, nearest, problem
from coopery.images import Base
from coopery.model import HOST_PYTHON, Image, Recipe
from coopery.recipes import located
from coopery_images.nouns import (
    BUILTIN,
    DEFAULT,
    GPU_FAMILY,
    BaseChoice,
    Families,
    Family,
    Gpu,
    Prebuilt,
)
from coopery_images.references import check_reference, check_tag

OLDEST = (3, 8)
"""The oldest Python that functions run in, and that installers make trees for."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_SLOTS = ("version", "python")


def families_of(recipe: Recipe) -> Mapping[str, Family]:
    """The families that there are, by name: the recipe's own win."""
    own = recipe.facet(Families)
    return {**BUILTIN, **(own.items if own else {})}


def check(recipe: Recipe) -> Iterator[Problem]:
    """What is wrong with families and bases, whatever the machine has installed."""
    own = recipe.facet(Families)
    for defined, family in own.items.items() if own else ():
        yield from _check_family(defined, family)
    for image in recipe.images.values():
        if prebuilt := image.facet(Prebuilt):
            yield from _check_prebuilt(image, prebuilt)
        choice = image.facet(BaseChoice)
        if choice is None:
            continue
        key: KeyPath = ("image", image.name, "base")
        if (choice.reference is None) == (choice.family is None):
            message = "a base is either a reference or a family"
            hint = 'write base = "python:3.12-slim", or base = { family = "NAME" }'
            yield problem("wrong-value", message, key=key, hint=hint)
        elif choice.family is not None and choice.family not in families_of(recipe):
            message = f"there is no base family {choice.family!r}"
            near = nearest(choice.family, families_of(recipe))
            yield problem("unknown-family", message, key=(*key, "family"), hint=near)
        elif choice.reference is not None:
            try:
                check_reference(choice.reference)
            except ValueError as error:
                yield _bad_reference(choice.reference, error, key)


def _check_prebuilt(image: Image, prebuilt: Prebuilt) -> Iterator[Problem]:
    key: KeyPath = ("image", image.name, "prebuilt")
    try:
        check_reference(prebuilt.reference)
    except ValueError as error:
        yield _bad_reference(prebuilt.reference, error, key)
        return
    told = (prebuilt.platform, prebuilt.python, prebuilt.executable, prebuilt.libc)
    if any(told) and not ("@" in prebuilt.reference and prebuilt.platform):
        message = "what is in an image is told of one digest and platform"
        hint = "name it by its digest and give its `platform`, or leave all but `reference` away"
        yield problem("wrong-value", message, key=key, hint=hint)


def prebuilt_base(prebuilt: Prebuilt) -> str | Base:
    """The reference of an image that is used as it is; all of it where the recipe tells that."""
    name, at, digest = prebuilt.reference.partition("@")
    if not at:
        return prebuilt.reference
    # A tag says nothing beside a digest, and not every engine takes both.
    head, colon, tag = name.rpartition(":")
    reference = f"{head if colon and '/' not in tag else name}@{digest}"
    if prebuilt.platform is None:
        return reference
    return Base(
        reference=reference,
        id=digest,
        digest=digest,
        platform=prebuilt.platform,
        python=prebuilt.python,
        executable=prebuilt.executable,
        libc=prebuilt.libc or "",
    )


def _check_family(name: str, family: Family) -> Iterator[Problem]:
    key: KeyPath = ("family", name)
    slots = _PLACEHOLDER.findall(family.template)
    for slot in slots:
        if slot not in _SLOTS:
            message = f"{{{slot}}} is filled in nowhere"
            hint = nearest(slot, _SLOTS)
            yield problem("bad-family", message, key=(*key, "template"), hint=hint)
    if all(slot in _SLOTS for slot in slots):
        tried = _fill(family.template, "1.0", "3.11")
        try:
            check_reference(tried)
        except ValueError as error:
            yield _bad_reference(tried, error, (*key, "template"))
    if "version" in slots and family.package is None and family.version is None:
        message = "nothing says what {version} is"
        hint = "name the `package` whose installed version it is, or give a `version`"
        yield problem("bad-family", message, key=key, hint=hint)
    if family.minimum is not None:
        from packaging.version import InvalidVersion, Version

        if family.package is None:
            message = "a minimum is of the installed version of a `package`, and none is named"
            yield problem("bad-family", message, key=(*key, "minimum"))
        try:
            Version(family.minimum)
        except InvalidVersion:
            message = f"{family.minimum!r} is no version"
            yield problem("bad-family", message, key=(*key, "minimum"))
    if family.version is not None:
        try:
            check_tag(family.version)
        except ValueError as error:
            message = f"{family.version!r} is no version of an image: {error}"
            yield problem("bad-family", message, key=(*key, "version"))


def choose(
    recipe: Recipe, image: Image, given: tuple[str, ...], warn: Callable[[str], None]
) -> str:
    """The reference of an image's base; `given` are overrides of versions, `FAMILY=VERSION`.

    Raises RecipeError (`unsupported-python`, `base-package`, `bad-option`), and for all that
    `check` finds.
    """
    try:
        return _choose(recipe, image, given, warn)
    except RecipeError as error:
        raise RecipeError(*(located(p, recipe.locate) for p in error.problems)) from None


def _choose(
    recipe: Recipe, image: Image, given: tuple[str, ...], warn: Callable[[str], None]
) -> str:
    families = families_of(recipe)
    overrides = read_overrides(given, families)
    python = image.python or HOST_PYTHON
    if tuple(map(int, python.split("."))) < OLDEST:
        message = f"Python {python} is too old for an image"
        hint = f"the oldest is {OLDEST[0]}.{OLDEST[1]}"
        raise RecipeError(
            problem("unsupported-python", message, key=("image", image.name, "python"), hint=hint)
        )
    choice, gpu = image.facet(BaseChoice), image.facet(Gpu)
    if choice is not None and choice.reference is not None:
        return choice.reference
    key: KeyPath = ("image", image.name, "base" if choice else "gpu")
    name = choice.family if choice else GPU_FAMILY if gpu and gpu.wanted else None
    if name is None:
        return _fill(DEFAULT, "", python)
    if name not in families:
        message = f"there is no base family {name!r}"
        raise RecipeError(problem("unknown-family", message, key=key))
    family = families[name]
    version: str | None = overrides.get(name) or family.version
    if version is None and "{version}" in family.template:
        version = _installed(name, family, key, warn)
    reference = _fill(family.template, version or "", python)
    try:
        check_reference(reference)
    except ValueError as error:
        raise RecipeError(_bad_reference(reference, error, key)) from None
    return reference


def _installed(name: str, family: Family, key: KeyPath, warn: Callable[[str], None]) -> str:
    """The version of a family's package that is installed here, but at least the minimum."""
    from importlib import metadata

    from packaging.version import InvalidVersion, Version

    package = family.package or ""
    try:
        found = metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        message = f"base family {name!r}: {package or 'its package'} is not installed here"
        hint = (
            f"install {package} beside coopery, or say which version to take: "
            f"`version` of the family, or --base-version {name}=VERSION"
        )
        raise RecipeError(problem("base-package", message, key=key, hint=hint)) from None
    try:
        older = family.minimum is not None and Version(found) < Version(family.minimum)
    except InvalidVersion:
        message = f"base family {name!r}: {package} has the version {found!r}, which is none"
        hint = f"name one: --base-version {name}=VERSION"
        raise RecipeError(problem("base-package", message, key=key, hint=hint)) from None
    if older and family.minimum is not None:
        warn(
            f"base family {name!r}: {package} {found} is installed, older than the oldest base "
            f"image; {family.minimum} is taken"
        )
        return family.minimum
    # A tag has no `+`, which begins a local version.
    return found.replace("+", "-")


def read_overrides(given: tuple[str, ...], families: Mapping[str, Family]) -> dict[str, str]:
    """`NAME=VERSION` each. Raises RecipeError (`bad-option`, `unknown-family`)."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for text in given:
        name, equals, version = text.partition("=")
        if not equals:
            message = f"--base-version: {text!r} is not understood"
            hint = "write --base-version FAMILY=VERSION"
            problems.append(Problem(slug="bad-option", message=message, hint=hint))
            continue
        if name not in families:
            message = f"--base-version: there is no base family {name!r}"
            near = nearest(name, families)
            problems.append(Problem(slug="unknown-family", message=message, hint=near))
            continue
        if "version" not in _PLACEHOLDER.findall(families[name].template):
            message = f"--base-version: the template of {name!r} has no {{version}}"
            hint = f"it is {families[name].template!r}: write {{version}} where it belongs"
            problems.append(Problem(slug="bad-option", message=message, hint=hint))
            continue
        try:
            check_tag(version)
        except ValueError as error:
            message = f"--base-version {name}: {version!r} is no version of an image: {error}"
            problems.append(Problem(slug="bad-option", message=message))
        found[name] = version
    if problems:
        raise RecipeError(*problems)
    return found


def _fill(template: str, version: str, python: str) -> str:
    values = {"version": version, "python": python}
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def _bad_reference(reference: str, error: ValueError, key: KeyPath) -> Problem:
    message = f"{reference!r} is no reference to an image: {error}"
    hint = 'write it as docker does: "python:3.12-slim", "registry.example:5000/team/base:1.2"'
    return problem("bad-reference", message, key=key, hint=hint)
