"""What an image's projects and wheel files are, and what they ask the resolver for."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coopery.dependencies import (
    Contribution,
    IndexOptions,
    LocalDistribution,
    Requirement,
)
from coopery.errors import KeyPath, Place, Problem, RecipeError, problem
from coopery.files import LinkOutside, made_here, project_files
from coopery.installed import Installed, installed, project_root
from coopery.model import Image, Project, Recipe
from coopery.recipes import located
from coopery.secrets import Secrets
from coopery_wheels import metadata
from coopery_wheels.metadata import Metadata, Tree
from coopery_wheels.nouns import Projects, Wheels
from coopery_wheels.preparing import probe
from coopery_wheels.work import Origin

# Where setuptools keeps what it built before, deleted modules included.
_SETUPTOOLS_LEFTOVERS = ("build/lib*", "build/bdist.*")


@dataclass(frozen=True, kw_only=True)
class Local:
    """A project or a wheel file of an image, with its metadata."""

    key: KeyPath
    shown: str
    path: Path
    metadata: Metadata
    file: Path
    """Where its metadata stands."""
    extras: tuple[str, ...] = ()
    tree: Tree | None = None
    files: tuple[str, ...] = ()
    release: bool = False
    """Whether its published wheel is taken, rather than one that is built or given."""


def own_python() -> str:
    """X.Y of the interpreter that plans."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def python_of(image: Image) -> str | None:
    """X.Y of an image; None when what the recipe says is no such version."""
    found = image.python or own_python()
    return found if re.fullmatch(r"\d+\.\d+", found) else None


def resolved(recipe: Recipe, given: str) -> Path:
    """A path of the recipe, absolute."""
    return Path(os.path.normpath(recipe.root.absolute() / given))


def root_of(recipe: Recipe, project: Project) -> Path:
    """Where a project is: at its path, or where it is installed from, if a name is given."""
    return project_root(recipe.root, project.path)


def no_tree(project: Project, there: Installed, key: KeyPath) -> Problem:
    """A project is given by the name of a distribution that was not installed from a tree."""
    message = f"{project.path}: {there.name} {there.version} is installed here, but not editable"
    hint = 'name the folder of its source tree, or write mode = "release"'
    return problem("not-a-project", message, key=key, hint=hint)


def contribution(
    recipe: Recipe,
    image: Image,
    home: Path,
    before: Sequence[Contribution] = (),
    mode: str | None = None,
    *,
    probed: bool,
    secrets: Secrets | None = None,
) -> Contribution:
    """The local distributions of an image, and requirements for the projects in release mode;
    `mode` is that of all projects, where an option says so. Index options `before` it tell where
    what a build needs comes from. Raises RecipeError with every problem at once.

    With `probed`, backends are seen to be there for projects whose metadata is static, too.
    """
    from coopery_wheels.checks import duplicates, unfit, unpublished

    problems: list[Problem] = []
    options = [part.index for part in before if part.index != IndexOptions()]
    index = options[-1] if options else IndexOptions()

    def released(project: Project, name: str) -> bool:
        return (mode or project.mode) == "release"

    found = list(locals_of(recipe, image, home, index, released, problems, probed, secrets))
    python = python_of(image) or own_python()
    for local in found:
        wanted = local.metadata.requires_python
        if wanted and not metadata.fits(wanted, python):
            problems.append(unfit(local.metadata.name, wanted, image, python, local.key))
        for extra, hint in metadata.unknown_extras(local.metadata, local.extras):
            message = f"{local.metadata.name} has no extra {extra!r}"
            problems.append(
                problem("unknown-extra", message, key=(*local.key, "extras"), hint=hint)
            )
    problems += duplicates(image, [(x.metadata.name, x.shown, x.key) for x in found])
    for local in found:
        problems += unpublished(recipe, local) if local.release else ()
    if problems:
        raise RecipeError(*(located(p, recipe.locate) for p in problems))
    from coopery_wheels import gits

    return Contribution(
        requirements=(
            *(_requirement(recipe, local) for local in found if local.release),
            *gits.requirements(recipe, image),
        ),
        locals=tuple(_distribution(local) for local in found if not local.release),
        variant=mode or "" if _overridden(image, mode) else "",
    )


def _overridden(image: Image, mode: str | None) -> bool:
    """Whether a mode for all projects makes another than the recipe says of any."""
    projects = image.facet(Projects)
    return mode is not None and any(p.mode != mode for p in (projects.items if projects else ()))


def _requirement(recipe: Recipe, local: Local) -> Requirement:
    """What release mode asks the resolver for: this very version, to be brought as a wheel."""
    extras = f"[{','.join(sorted(local.extras))}]" if local.extras else ""
    return Requirement(
        line=f"{local.metadata.name}{extras}=={local.metadata.version}",
        place=recipe.locate(local.key),
        bundled=True,
    )


def _distribution(local: Local) -> LocalDistribution:
    described = local.metadata
    file = str(local.file)
    return LocalDistribution(
        name=described.name,
        version=described.version,
        requires=tuple(
            Requirement(
                line=line.text,
                place=Place(file=file, line=line.number, key=local.key),
                origin=described.name,
            )
            for line in described.requires
        ),
        place=Place(file=file, line=described.number, key=local.key),
        extras=local.extras,
        requires_python=described.requires_python,
    )


def locals_of(
    recipe: Recipe,
    image: Image,
    home: Path,
    index: IndexOptions,
    released: Callable[[Project, str], bool],
    problems: list[Problem] | None = None,
    probed: bool = False,
    secrets: Secrets | None = None,
) -> Iterator[Local]:
    """An image's projects and wheel files; those that cannot be had go into `problems`, if given,
    so that the others are looked at too. `released` says of a project and its name whether its
    published wheel is wanted.
    """
    projects = image.facet(Projects)
    for number, project in enumerate(projects.items if projects else ()):
        key: KeyPath = ("image", image.name, "projects", number)
        origin = Origin(index=index, recipe=recipe.root, secrets=secrets)
        try:
            yield _project(recipe, image, project, home, key, origin, released, probed)
        except RecipeError as error:
            if problems is None:
                raise
            problems += error.problems
    wheels = image.facet(Wheels)
    for number, given in enumerate(wheels.items if wheels else ()):
        from coopery_wheels.archives import read_metadata

        path = resolved(recipe, given)
        described = metadata.parse_metadata(read_metadata(path), ())
        key = ("image", image.name, "wheels", number)
        yield Local(key=key, shown=given, path=path, metadata=described, file=path)


def _project(
    recipe: Recipe,
    image: Image,
    project: Project,
    home: Path,
    key: KeyPath,
    origin: Origin,
    released: Callable[[Project, str], bool],
    probed: bool,
) -> Local:
    root = root_of(recipe, project)
    python = python_of(image) or own_python()
    there = None if root.exists() else installed(project.path)
    if there is not None:
        if not released(project, metadata.canonical(there.name)):
            raise RecipeError(located(no_tree(project, there, key), recipe.locate))
        # Installed from an index: there is no tree, and the recipe wants none.
        return Local(
            key=key,
            shown=project.path,
            path=root,
            metadata=Metadata(
                name=metadata.canonical(there.name),
                version=there.version,
                requires=(),
                extras=project.extras,
            ),
            file=root,
            extras=project.extras,
            release=True,
        )
    tree = metadata.read_tree(root)
    if tree is None:
        hint = "it needs a pyproject.toml with [project] or [build-system], or a setup.py"
        message = f"{root} is not a source tree"
        raise RecipeError(problem("not-a-project", message, key=key, hint=hint))
    leftovers = _SETUPTOOLS_LEFTOVERS if tree.backend.startswith("setuptools.") else ()
    try:
        files = project_files(root, skip=(*made_here(recipe, home), *leftovers))
    except LinkOutside as error:
        hint = "a wheel is built from a copy of the project: ignore the link, or make it relative"
        found = problem("link-outside", str(error), key=key, hint=hint)
        raise RecipeError(located(found, recipe.locate)) from None
    try:
        described = metadata.read_static(tree, project.extras)
        if described is None:
            described = metadata.read_dynamic(tree, files, python, project.extras, home, origin)
        elif probed and not released(project, described.name):
            probe(tree, files, python, home, origin)
    except RecipeError as error:
        raise error.located(recipe.locate(key)) from error
    return Local(
        key=key,
        shown=project.path,
        path=root,
        metadata=described,
        file=tree.file,
        extras=project.extras,
        tree=tree,
        files=files,
        release=released(project, described.name),
    )
