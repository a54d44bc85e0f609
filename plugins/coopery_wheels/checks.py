"""What is wrong with an image's projects and wheel files, found before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator

from coopery.errors import KeyPath, Place, Problem, RecipeError, nearest, problem
from coopery.installed import installed
from coopery.lengths import too_long
from coopery.model import Image, Project, Recipe
from coopery_wheels.metadata import Tree, fits, read_static, read_tree, unknown_extras
from coopery_wheels.nouns import Projects, Wheels
from coopery_wheels.planning import Local, no_tree, python_of, resolved, root_of


def check(recipe: Recipe, image: Image) -> Iterator[Problem]:
    """Every problem of an image's `projects` and `wheels`."""
    named: list[tuple[str, str, KeyPath]] = []
    projects = image.facet(Projects)
    for number, project in enumerate(projects.items if projects else ()):
        key: KeyPath = ("image", image.name, "projects", number)
        tree = yield from _check_project(recipe, image, project, key)
        if tree is not None and tree.name is not None:
            named.append((tree.name, project.path, key))
    wheels = image.facet(Wheels)
    for number, given in enumerate(wheels.items if wheels else ()):
        key = ("image", image.name, "wheels", number)
        distribution = yield from _check_wheel(recipe, image, given, key)
        if distribution is not None:
            named.append((distribution, given, key))
    yield from duplicates(image, named)


def duplicates(image: Image, named: list[tuple[str, str, KeyPath]]) -> Iterator[Problem]:
    """A problem for every distribution that an image has twice; `named` is (name, path, key)."""
    first: dict[str, str] = {}
    for name, path, key in named:
        other = first.get(name)
        if other is None:
            first[name] = path
        else:
            message = f"image {image.name!r} has {name} twice: from {other} and from {path}"
            hint = "leave one of them out"
            yield problem("duplicate-distribution", message, key=key, hint=hint)


def missing(given: str, path: object, key: KeyPath) -> Problem:
    """There is nothing at a path of the recipe, shown as given and as resolved."""
    hint = "paths are relative to the recipe file"
    return problem("missing-path", f"{given}: there is no {path}", key=key, hint=hint)


def _check_project(
    recipe: Recipe, image: Image, project: Project, key: KeyPath
) -> Generator[Problem, None, Tree | None]:
    root = root_of(recipe, project)
    if project.mode not in ("editable", "release"):
        near = nearest(str(project.mode), ("editable", "release"))
        message = f"{project.mode!r} is not one of editable, release"
        yield problem("unknown-value", message, key=(*key, "mode"), hint=near)
    if long := too_long(root, key):
        yield long
        return None
    if not root.exists():
        there = installed(project.path)
        if there is None:
            yield missing(project.path, root, key)
        elif project.mode != "release":
            yield no_tree(project, there, key)
        return None
    if not root.is_dir():
        wheel = root.suffix == ".whl"
        mend = "a wheel file belongs in `wheels`" if wheel else "name the folder that it is in"
        message = f"{project.path}: {root} is not a folder"
        yield problem("not-a-project", message, key=key, hint=mend)
        return None
    try:
        tree = read_tree(root)
    except RecipeError as error:
        yield from error.problems
        return None
    if tree is None:
        message = f"{project.path}: {root} is not a Python source tree"
        hint = "it needs a pyproject.toml with [project] or [build-system], or a setup.py"
        yield problem("not-a-project", message, key=key, hint=hint)
        return None
    yield from _check_static(image, project, tree, key)
    return tree


def _check_static(image: Image, project: Project, tree: Tree, key: KeyPath) -> Iterator[Problem]:
    yield from _check_version(tree)
    found = read_static(tree, project.extras)
    if found is None:
        return
    for extra, hint in unknown_extras(found, project.extras):
        message = f"{found.name} has no extra {extra!r}"
        yield problem("unknown-extra", message, key=(*key, "extras"), hint=hint)
    python = python_of(image)
    if python and found.requires_python and not fits(found.requires_python, python):
        yield unfit(found.name, found.requires_python, image, python, key)


def _check_version(tree: Tree) -> Iterator[Problem]:
    """A static version is one (PEP 440), or neither backend nor resolver takes the project."""
    given = tree.version
    if given is None or re.fullmatch(r"\d+(\.\d+)*", given):
        return
    from packaging.version import InvalidVersion, Version

    try:
        Version(given)
    except InvalidVersion:
        place = Place(file=str(tree.file), line=tree.number(given), key=("project", "version"))
        message = f"{given!r} is not a version"
        hint = "write numbers with dots, such as 1.2.0 or 1.2.0rc1"
        yield Problem(slug="wrong-value", message=message, place=place, hint=hint)


def unfit(name: str, wanted: str, image: Image, python: str, key: KeyPath) -> Problem:
    """A distribution does not run on the image's Python."""
    message = f"{name} requires Python {wanted}, image {image.name!r} has {python}"
    return problem("requires-python", message, key=key, hint="change the image's `python`")


def unpublished(recipe: Recipe, local: Local) -> Iterator[Problem]:
    """Why a project in release mode cannot be what is published: it was changed since."""
    name, version = local.metadata.name, local.metadata.version
    hint = 'write mode = "editable", which builds it from the tree as it is, or publish it'
    if "+" in version:
        message = f"release mode: {name} has the version {version}, which no index takes"
        yield problem("release-dirty", message, key=local.key, hint=hint)
        return
    if local.tree is None:
        return
    from coopery_wheels.trees import changed

    own = os.path.relpath(recipe.file, local.path)
    files = [name for name in changed(local.path, local.files) if name != own]
    if files:
        shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        message = f"release mode: {name} {version} has changes that are not committed: {shown}"
        hint = 'write mode = "editable", which builds it from the tree as it is, or commit them'
        yield problem("release-dirty", message, key=local.key, hint=hint)


_MENDS = {
    "wheel-name": "a wheel is called NAME-VERSION-PYTHON-ABI-PLATFORM.whl, as its index has it",
    "wheel-damaged": "fetch or build it again",
    "wheel-record": "fetch or build it again",
    "wheel-mismatch": "fetch or build it again, and keep the name that it then has",
    "wheel-tags": "take the wheel that fits, or change the image's `python`",
    "unsafe-wheel": "do not use it: take one from where you trust it",
}


def _check_wheel(
    recipe: Recipe, image: Image, given: str, key: KeyPath
) -> Generator[Problem, None, str | None]:
    from coopery_wheels.archives import faults, name_and_version

    path = resolved(recipe, given)
    if long := too_long(path, key):
        yield long
        return None
    if not path.exists():
        yield missing(given, path, key)
        return None
    if path.suffix != ".whl" or not path.is_file():
        hint = _MENDS["wheel-name"]
        if path.is_dir() or path.name.endswith((".tar.gz", ".zip")):
            hint = "a source tree belongs in `projects`"
        yield problem("wheel-name", f"{given} is not a wheel file", key=key, hint=hint)
        return None
    # Where the image has a base, its platform counts, which is looked at once it is known.
    elsewhere = any(getattr(facet, "has_base", False) for facet in image.facets)
    found = list(faults(path, python_of(image), elsewhere=elsewhere))
    for fault in found:
        mend = fault.hint or _MENDS.get(fault.slug)
        yield problem(fault.slug, f"{given}: {fault.message}", key=key, hint=mend)
    if any(fault.slug == "wheel-name" for fault in found):
        return None
    return name_and_version(path.name)[0]
