"""An image's `git`: packages in repositories, as requirements that are brought as wheels."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Iterator
from urllib.parse import urlsplit

from coopery.dependencies import IndexOptions, Lock, Pin, Requirement
from coopery.errors import KeyPath, Problem, RecipeError, problem
from coopery.model import HOST_PYTHON, Git, Image, Recipe, Secret
from coopery.recipes import located
from coopery.repositories import (
    Access,
    BadRepository,
    Repository,
    accesses_for,
    check_ref,
    check_subdirectory,
    read_item_url,
    repository_of,
)
from coopery.steps import Step
from coopery_wheels.metadata import canonical
from coopery_wheels.nouns import Gits
from coopery_wheels.work import Origin, WheelGit

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check(image: Image) -> Iterator[Problem]:
    """What is wrong with an image's `git`, before anybody is asked."""
    facet = image.facet(Gits)
    first: dict[str, int] = {}
    for number, item in enumerate(facet.items if facet else ()):
        key: KeyPath = ("image", image.name, "git", number)
        found = yield from _check(item, key)
        if found is None:
            continue
        name = name_of(item, found)
        if name in first:
            message = f"image {image.name!r} has {name} twice: also in git[{first[name]}]"
            yield problem("duplicate-distribution", message, key=key, hint="leave one of them out")
        first.setdefault(name, number)


def _check(item: Git, key: KeyPath) -> Generator[Problem, None, Repository | None]:
    """Also returns the repository, if it is one."""
    try:
        repository, _ = repository_in(item)
    except BadRepository as error:
        part = "url" if error.slug == "credentials-in-file" else _part(item)
        where = (*key, part) if part else key
        yield problem(error.slug, error.reason, key=where, hint=error.hint)
        return None
    name = item.package or repository.name
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no name of a package"
        where = (*key, "package") if item.package else key
        hint = 'name the package: package = "NAME"'
        yield problem("wrong-value", message, key=where, hint=hint)
    for number, extra in enumerate(item.extras):
        if not _NAME.fullmatch(extra):
            message = f"{extra!r} is no name of an extra"
            hint = "write its name alone, without brackets"
            yield problem("wrong-value", message, key=(*key, "extras", number), hint=hint)
    yield from _check_login(item, repository, key)
    return repository


def _part(item: Git) -> str | None:
    """The key whose value is not understood."""
    for part, value, check_value in (
        ("url", item.url, read_item_url),
        ("ref", item.ref, check_ref),
        ("subdirectory", item.subdirectory, check_subdirectory),
    ):
        try:
            if value is not None:
                check_value(value)
        except BadRepository:
            return part
    return None


def _check_login(item: Git, repository: Repository, key: KeyPath) -> Iterator[Problem]:
    parts = urlsplit(repository.url)
    web = parts.scheme in ("http", "https")
    if item.token is not None and not web:
        message = f"a token lets nobody in over {parts.scheme}"
        hint = "take it out, or write the https URL; ssh logs in with keys, from your agent"
        yield problem("git-token", message, key=(*key, "token"), hint=hint)
    elif item.token is not None and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        message = f"the token goes to {parts.hostname} over http, which everybody between can read"
        found = problem("git-token", message, key=(*key, "token"), hint="write the https URL")
        yield Problem(
            slug=found.slug, message=message, place=found.place, hint=found.hint, warning=True
        )
    if item.username is None:
        return
    if not isinstance(item.username, str) and (item.token is None or not web):
        message = "a username that is a secret goes with a token, over http or https"
        hint = 'add token = { secret = "NAME" }, or write the name'
        yield problem("git-token", message, key=(*key, "username"), hint=hint)
    elif isinstance(item.username, str) and not re.fullmatch(r"[\w.@+~-]+", item.username):
        message = "it is no name of a user"
        hint = "write the name alone; a password belongs in `token`"
        yield problem("wrong-value", message, key=(*key, "username"), hint=hint)


def repository_in(item: Git) -> tuple[Repository, str | None]:
    """The repository that an item names, with its defaults, and the credentials in its URL.

    Raises BadRepository.
    """
    url, userinfo = read_item_url(item.url)
    ref = check_ref(item.ref) if item.ref is not None else None
    if ref is None and item.url.strip().startswith("github:"):
        ref = "main"
    where = check_subdirectory(item.subdirectory) if item.subdirectory is not None else None
    if url.startswith("ssh://") and isinstance(item.username, str) and "@" not in url:
        url = url.replace("ssh://", f"ssh://{item.username}@", 1)
    return Repository(url=url, ref=ref, subdirectory=where), userinfo


def name_of(item: Git, repository: Repository) -> str:
    """The canonical name of an item's package."""
    return canonical(item.package or repository.name)


def requirements(recipe: Recipe, image: Image) -> tuple[Requirement, ...]:
    """What an image's `git` asks the resolver for. Raises RecipeError."""
    problems = [p for p in check(image) if not p.warning]
    if problems:
        raise RecipeError(*(located(p, recipe.locate) for p in problems))
    facet = image.facet(Gits)
    found = []
    for number, item in enumerate(facet.items if facet else ()):
        repository, userinfo = repository_in(item)
        place = recipe.locate(("image", image.name, "git", number))
        extras = f"[{','.join(sorted(set(item.extras)))}]" if item.extras else ""
        given = item.token or userinfo or isinstance(item.username, str)
        access = Access(
            url=repository.url,
            username=item.username,
            token=item.token,
            userinfo=None if item.token else userinfo,
            place=place,
        )
        found.append(
            Requirement(
                line=f"{name_of(item, repository)}{extras} @ {repository.text}",
                place=place,
                bundled=True,
                access=access if given else None,
            )
        )
    return tuple(found)


def steps(recipe: Recipe, image: Image, lock: Lock) -> Iterator[Step]:
    """The steps that build the wheels of all that an image has from repositories."""
    for pin in lock.pins.get(image.name, ()):
        repository = repository_of(pin.url) if pin.url else None
        if repository is not None:
            yield _step(recipe, image, lock, pin, repository)


def _step(recipe: Recipe, image: Image, lock: Lock, pin: Pin, repository: Repository) -> Step:
    commit = repository.ref or ""
    python = image.python or HOST_PYTHON
    known = dict.fromkeys(a for name in sorted(lock.access) for a in lock.access[name])
    accesses = tuple(accesses_for(repository.url, known))
    forced = tuple(sorted({(s.name, str(s.rotation)) for a in accesses[:1] for s in _rotated(a)}))
    work = WheelGit(
        distribution=pin.name,
        release=pin.version or None,
        commit=commit,
        subdirectory=repository.subdirectory,
        python=python,
        platform=_platform(),
        rotated=forced,
        repository=repository.absolute(recipe.root),
        accesses=accesses,
        origin=Origin(index=_index(lock, pin), recipe=recipe.root),
    )
    # Named alike from commit to commit, so that `why` can tell what changed.
    several = {p.url for pins in lock.pins.values() for p in pins if p.name == pin.name}
    apart = f" {commit[:10]}" if len(several) > 1 else ""
    suffix = "" if python == HOST_PYTHON else f", {python}"
    return Step(
        name=f"wheel {pin.name} (git{apart}{suffix})",
        subject=pin.name,
        work=work,
        outputs=("wheel",),
        notes=("git",),
        key_path=_first_key(recipe, lock, pin),
    )


def _rotated(access: Access) -> Iterator[Secret]:
    """The secrets of an access that are to be taken for others than before."""
    for given in (access.username, access.token):
        if isinstance(given, Secret) and given.rotation is not None:
            yield given


def _platform() -> str:
    return f"{sys.platform}-{os.uname().machine}"


def _index(lock: Lock, pin: Pin) -> IndexOptions:
    """The index options for its build: those of the first image that has the pin and says any, so
    that all images with it share one step.
    """
    for name in sorted(lock.pins):
        found = lock.index.get(name, IndexOptions())
        if found != IndexOptions() and pin in lock.pins[name]:
            return found
    return IndexOptions()


def _first_key(recipe: Recipe, lock: Lock, pin: Pin) -> KeyPath:
    """Where a recipe first names this package, or the first image that has it."""
    having = [name for name in recipe.images if pin in lock.pins.get(name, ())]
    for name in having:
        facet = recipe.images[name].facet(Gits)
        for number, item in enumerate(facet.items if facet else ()):
            if name_of(item, repository_in(item)[0]) == pin.name:
                return ("image", name, "git", number)
    return ("image", having[0]) if having else ()
