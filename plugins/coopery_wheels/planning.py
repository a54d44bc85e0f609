"""Plan wheels: which distributions there are, what they require, and the steps that make them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coopery.dependencies import (
    Contribution,
    IndexOptions,
    Layer,
    LocalDistribution,
    Lock,
    Requirement,
    Stage,
)
from coopery.errors import KeyPath, Place, Problem, RecipeError, problem
from coopery.files import LinkOutside, made_here, project_files
from coopery.model import Image, Project, Recipe
from coopery.recipes import located
from coopery.steps import FileSet, FileSource, Need, Step, StepSource
from coopery_wheels import metadata
from coopery_wheels.metadata import Metadata, Tree
from coopery_wheels.nouns import Projects, Wheels
from coopery_wheels.preparing import probe
from coopery_wheels.work import Origin, WheelBuild, WheelFile

# Where setuptools keeps what it built before, deleted modules included.
_SETUPTOOLS_LEFTOVERS = ("build/lib*", "build/bdist.*")


@dataclass(frozen=True, kw_only=True)
class _Local:
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


def contribution(
    recipe: Recipe,
    image: Image,
    home: Path,
    before: Sequence[Contribution] = (),
    *,
    probed: bool,
) -> Contribution:
    """The local distributions of an image; index options `before` it tell where what a build
    needs comes from. Raises RecipeError with every problem at once.

    With `probed`, backends are seen to be there for projects whose metadata is static, too.
    """
    from coopery_wheels.checks import duplicates, unfit

    problems: list[Problem] = []
    options = [part.index for part in before if part.index != IndexOptions()]
    index = options[-1] if options else IndexOptions()
    found = list(_locals(recipe, image, home, index, problems, probed))
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
    if problems:
        raise RecipeError(*(located(p, recipe.locate) for p in problems))
    return Contribution(locals=tuple(_distribution(local) for local in found))


def _distribution(local: _Local) -> LocalDistribution:
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


def layers(recipe: Recipe, image: Image, lock: Lock, home: Path) -> Iterator[Layer]:
    """The one layer of an image's wheels."""
    index = lock.index.get(image.name, IndexOptions())
    steps = tuple(
        _step(recipe, image, lock, local) for local in _locals(recipe, image, home, index)
    )
    needs = tuple(
        Need(
            role=f"wheel {step.subject}",
            source=StepSource(step=step.name, output="wheel"),
            name=step.subject,
        )
        for step in steps
    )
    if steps:
        yield Layer(name="wheels", stage=Stage.WHEELS, wheels=needs, steps=steps)


def _locals(
    recipe: Recipe,
    image: Image,
    home: Path,
    index: IndexOptions,
    problems: list[Problem] | None = None,
    probed: bool = False,
) -> Iterator[_Local]:
    """An image's projects and wheel files; those that cannot be had go into `problems`, if given,
    so that the others are looked at too.
    """
    projects = image.facet(Projects)
    for number, project in enumerate(projects.items if projects else ()):
        key: KeyPath = ("image", image.name, "projects", number)
        origin = Origin(index=index, recipe=recipe.root)
        try:
            yield _project(recipe, image, project, home, key, origin, probed)
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
        yield _Local(key=key, shown=given, path=path, metadata=described, file=path)


def _project(
    recipe: Recipe,
    image: Image,
    project: Project,
    home: Path,
    key: KeyPath,
    origin: Origin,
    probed: bool,
) -> _Local:
    root = resolved(recipe, project.path)
    python = python_of(image) or own_python()
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
        elif probed:
            probe(tree, files, python, home, origin)
    except RecipeError as error:
        raise error.located(recipe.locate(key)) from error
    return _Local(
        key=key,
        shown=project.path,
        path=root,
        metadata=described,
        file=tree.file,
        extras=project.extras,
        tree=tree,
        files=files,
    )


def _step(recipe: Recipe, image: Image, lock: Lock, local: _Local) -> Step:
    name = local.metadata.name
    if local.tree is None:
        return Step(
            name=f"wheel {name}{_apart(recipe, local)}",
            subject=name,
            work=WheelFile(distribution=name),
            needs=(
                Need(
                    role="wheel",
                    source=FileSource(path=local.path, shown=local.shown),
                    name=local.path.name,
                ),
            ),
            outputs=("wheel",),
        )
    from coopery_wheels.trees import vcs_state

    tree = local.tree
    python = python_of(image) or own_python()
    work = WheelBuild(
        distribution=name,
        python=python,
        platform=f"{sys.platform}-{os.uname().machine}",
        requires=tree.build_requires,
        backend=tree.backend,
        vcs=vcs_state(tree.root) if tree.versioned else None,
        static_version=tree.version,
        root=tree.root,
        origin=Origin(index=_index(recipe, lock, local), recipe=recipe.root),
    )
    suffix = "" if python == own_python() else f" ({python})"
    source = FileSet(root=tree.root, files=local.files, shown=local.shown)
    return Step(
        name=f"wheel {name}{_apart(recipe, local)}{suffix}",
        subject=name,
        work=work,
        needs=(Need(role="project", source=source),),
        outputs=("wheel",),
        key_path=_first_key(recipe, local),
    )


def _first_key(recipe: Recipe, local: _Local) -> KeyPath:
    """Where a recipe first names this project: images that have it share one step."""
    for name, image in recipe.images.items():
        projects = image.facet(Projects)
        for number, project in enumerate(projects.items if projects else ()):
            if resolved(recipe, project.path) == local.path:
                return ("image", name, "projects", number)
    return local.key


def _index(recipe: Recipe, lock: Lock, local: _Local) -> IndexOptions:
    """The index options for a project's build: those of the first image that has the project and
    says any, so that all images with it share one step.
    """
    for name in sorted(recipe.images):
        projects = recipe.images[name].facet(Projects)
        paths = {resolved(recipe, item.path) for item in (projects.items if projects else ())}
        found = lock.index.get(name, IndexOptions())
        if local.path in paths and found != IndexOptions():
            return found
    return IndexOptions()


def _apart(recipe: Recipe, local: _Local) -> str:
    """What sets a step's name apart from that of another source of a like-named distribution.

    Images of one recipe may have different ones. Names that only a backend knows may be equal.
    """
    own = local.metadata.name if local.tree is None else local.tree.name
    for path, name in _sources(recipe):
        if path != local.path and (own is None or name is None or name == own):
            return f" [{local.shown}]"
    return ""


def _sources(recipe: Recipe) -> Iterator[tuple[Path, str | None]]:
    """Every project and wheel file of a recipe, with its static name."""
    seen = set()
    for image in recipe.images.values():
        projects, wheels = image.facet(Projects), image.facet(Wheels)
        for project in projects.items if projects else ():
            path = resolved(recipe, project.path)
            if path not in seen:
                seen.add(path)
                tree = metadata.read_tree(path) if path.is_dir() else None
                yield path, tree.name if tree else None
        for given in wheels.items if wheels else ():
            path = resolved(recipe, given)
            yield path, metadata.canonical(path.name.split("-", 1)[0])
