"""The layer of an image's wheels, and the steps that make them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from coopery.dependencies import IndexOptions, Layer, Lock, Stage
from coopery.errors import KeyPath, RecipeError, problem
from coopery.fitting import unfit
from coopery.model import Image, Project, Recipe
from coopery.recipes import located
from coopery.steps import FileSet, FileSource, Need, Step, StepSource
from coopery.targets import Target, target_of
from coopery_wheels import gits, metadata
from coopery_wheels.nouns import Projects, Wheels
from coopery_wheels.planning import Local, locals_of, own_python, python_of, resolved, root_of
from coopery_wheels.work import Origin, WheelBuild, WheelFile, WheelRelease


def layers(recipe: Recipe, image: Image, lock: Lock, home: Path) -> Iterator[Layer]:
    """The one layer of an image's wheels."""
    index = lock.index.get(image.name, IndexOptions())
    bundled = lock.bundled.get(image.name, frozenset())

    def released(project: Project, name: str) -> bool:
        return name in bundled  # the lock was made for this mode

    found = locals_of(recipe, image, home, index, released)
    steps = (
        *(_step(recipe, image, lock, local) for local in found),
        *gits.steps(recipe, image, lock),
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


def _step(recipe: Recipe, image: Image, lock: Lock, local: Local) -> Step:
    name = local.metadata.name
    if local.release:
        return _release(recipe, image, lock, local)
    if local.tree is None:
        _check_fit(recipe, image, lock, local)
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


def _check_fit(recipe: Recipe, image: Image, lock: Lock, local: Local) -> None:
    """Raises RecipeError (`wheel-unavailable`) for a wheel file that the base cannot have."""
    target = _target(lock, image.name)
    reason = unfit(local.path, target.uv) if target else None
    if reason is not None:
        base = lock.bases[image.name]
        shown = ", ".join(filter(None, (base.platform, base.libc)))
        message = f"{local.shown} does not fit the base {base.reference} ({shown}): {reason}"
        hint = "choose another `base`, or a wheel that was built in it or made portable for it"
        found = problem("wheel-unavailable", message, key=local.key, hint=hint)
        raise RecipeError(located(found, recipe.locate))


def _target(lock: Lock, image: str) -> Target | None:
    base = lock.bases.get(image)
    return target_of(base) if base else None


def _release(recipe: Recipe, image: Image, lock: Lock, local: Local) -> Step:
    """Fetch the wheel that the lock pins."""
    name = local.metadata.name
    pin = next(pin for pin in lock.pins[image.name] if pin.name == name)
    python = python_of(image) or own_python()
    target = _target(lock, image.name)
    index = _index(recipe, lock, local)
    work = WheelRelease(
        package=((name, pin.version),),
        hashes=((name, tuple(sorted(pin.hashes))),),
        python=python,
        platform=target.uv if target else f"{sys.platform}-{os.uname().machine}",
        target=target.uv if target else None,
        rotated=index.rotated,
        origin=Origin(index=index, recipe=recipe.root),
    )
    # Images that were locked at different times may be pinned to different files.
    names = [n for n, bundled in lock.bundled.items() if name in bundled]
    pins = {p for n in names for p in lock.pins.get(n, ()) if p.name == name}
    apart = f" [{image.name}]" if len(pins) > 1 else _apart(recipe, local)
    suffix = "" if python == own_python() else f", {python}"
    if target and len({_target(lock, n) for n in names}) > 1:
        suffix += f", {target.uv}"
    return Step(
        name=f"wheel {name}{apart} (release{suffix})",
        subject=name,
        work=work,
        outputs=("wheel",),
        notes=("release",),
        key_path=_first_key(recipe, local),
    )


def _first_key(recipe: Recipe, local: Local) -> KeyPath:
    """Where a recipe first names this project: images that have it share one step."""
    for name, image in recipe.images.items():
        projects = image.facet(Projects)
        for number, project in enumerate(projects.items if projects else ()):
            if root_of(recipe, project) == local.path:
                return ("image", name, "projects", number)
    return local.key


def _index(recipe: Recipe, lock: Lock, local: Local) -> IndexOptions:
    """The index options for a project's build: those of the first image that has the project and
    says any, so that all images with it share one step.
    """
    for name in sorted(recipe.images):
        projects = recipe.images[name].facet(Projects)
        paths = {root_of(recipe, item) for item in (projects.items if projects else ())}
        found = lock.index.get(name, IndexOptions())
        if local.path in paths and found != IndexOptions():
            return found
    return IndexOptions()


def _apart(recipe: Recipe, local: Local) -> str:
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
            path = root_of(recipe, project)
            if path not in seen:
                seen.add(path)
                tree = metadata.read_tree(path) if path.is_dir() else None
                named = None if path.exists() else metadata.canonical(project.path)
                yield path, tree.name if tree else named
        for given in wheels.items if wheels else ():
            path = resolved(recipe, given)
            yield path, metadata.canonical(path.name.split("-", 1)[0])
