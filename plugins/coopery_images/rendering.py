"""An image as a base and parts: what is copied to where, and the instructions around it (C2)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from coopery.dependencies import IndexOptions, Layer, Pin
from coopery.errors import KeyPath, RecipeError, problem
from coopery.images import (
    PREFIX,
    PROGRAMS,
    WORKING_FOLDER,
    Base,
    Blueprint,
    Copied,
    Instruction,
    Part,
    path_from,
)
from coopery.model import HOST_PYTHON, Image, Recipe
from coopery.recipes import located
from coopery.steps import Need, Step, StepSource
from coopery_images import quoting
from coopery_images.platforms import platform_of
from coopery_images.work import ENVIRONMENT, SCRIPT, PackageTree, checker_digest

USER = "1000:1000"
"""Who a container of an image runs as, unless it is told otherwise."""

_APT = """\
apt-get update
apt-get install --yes --no-install-recommends -o Dir::Cache::archives=/var/cache/apt/kept/ -- "$@"
for folder in /var/cache/apt /var/lib/apt/lists; do
  grep -q " $folder " /proc/mounts || rm -rf "$folder"/*
done
"""
"""Debian's images remove what lies in the usual cache, so packages are kept beside it; and what
no builder keeps does not stay in the image."""
_CACHES = ("/var/cache/apt", "/var/lib/apt/lists")


def render(
    recipe: Recipe, image: Image, layers: Sequence[Layer], base: Base, limit: int | None = None
) -> Blueprint:
    """The blueprint of an image; a context of more than `limit` bytes is warned of.

    Raises RecipeError (`base-python`, `unsupported-platform`, `not-quotable`).
    """
    from coopery_images.labels import description_of, labels_of

    try:
        _check_python(recipe, image, layers, base)
        parts = _parts(recipe, image, layers, base)
    except RecipeError as error:
        raise RecipeError(*(located(p, recipe.locate) for p in error.problems)) from None
    pins = pins_of(layers)
    return Blueprint(
        image=image.name,
        base=base,
        parts=parts,
        labels=labels_of(recipe, image, layers, base),
        description=description_of(recipe, image),
        packages=tuple(pin.line for pin in pins),
        context_limit=limit,
    )


def render_prebuilt(
    recipe: Recipe, image: Image, layers: Sequence[Layer], base: Base, limit: int | None = None
) -> Blueprint:
    """The blueprint of an image that is used as it is: its base, and nothing upon it.

    Its Python matters to functions alone. Raises RecipeError (`base-python`, `prebuilt-alone`).
    """
    from coopery_images.labels import description_of

    if layers:
        message = f"the image is used as it is: {layers[0].name} cannot be put upon it"
        key: KeyPath = ("image", image.name, "prebuilt")
        hint = "begin with it and put more upon it: `base` instead of `prebuilt`"
        raise RecipeError(
            located(problem("prebuilt-alone", message, key=key, hint=hint), recipe.locate)
        )
    if image.python or _functions(recipe, image):
        try:
            _check_python(recipe, image, (), base, "prebuilt")
        except RecipeError as error:
            raise RecipeError(*(located(p, recipe.locate) for p in error.problems)) from None
    return Blueprint(
        image=image.name, base=base, parts=(), description=description_of(recipe, image)
    )


def _functions(recipe: Recipe, image: Image) -> list[str]:
    """The tasks of an image that call functions, which need its Python."""
    return [
        task.name
        for task in recipe.tasks.values()
        if task.image == image.name
        and any(getattr(facet, "needs_python", False) for facet in task.facets)
    ]


def pins_of(layers: Sequence[Layer]) -> tuple[Pin, ...]:
    """The packages that come from indexes, by name; a wheel of one's own wins over a published
    one, which then is not installed at all.
    """
    own = {_canonical(need.name) for layer in layers for need in layer.wheels}
    pins = {pin.name: pin for layer in layers for pin in layer.pins}
    return tuple(pins[name] for name in sorted(pins) if _canonical(name) not in own)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _check_python(
    recipe: Recipe, image: Image, layers: Sequence[Layer], base: Base, word: str = "base"
) -> None:
    python = image.python or HOST_PYTHON
    key: KeyPath = ("image", image.name, word)
    if base.python is None:
        wants = [f"the package {pin.name}" for pin in pins_of(layers)]
        wants += [f"the wheel of {need.name}" for layer in layers for need in layer.wheels]
        wants += [f"the task {name}" for name in _functions(recipe, image)]
        if wants:
            message = f"the base {base.reference} has no Python, which {wants[0]} needs"
            hint = f"choose one with Python {python}, such as python:{python}-slim"
            raise RecipeError(problem("base-python", message, key=key, hint=hint))
        return
    found = ".".join(base.python.split(".")[:2])
    if found != python:
        said = "says" if image.python else "has, as coopery does here,"
        message = f"the base {base.reference} has Python {found}, but the image {said} {python}"
        hint = f'write python = "{found}" for the image, or choose a base with Python {python}'
        if not image.python and _functions(recipe, image):
            hint = f"run coopery with Python {found}, or choose a base with Python {python}; or "
            hint += f'write python = "{found}" for the image, and name its functions, as in '
            hint += '"module:function": what is imported by name runs in any Python'
        raise RecipeError(problem("base-python", message, key=key, hint=hint))


def _parts(recipe: Recipe, image: Image, layers: Sequence[Layer], base: Base) -> tuple[Part, ...]:
    parts = [
        *_system(image, layers),
        _dependencies(recipe, image, layers, base),
        *_wheels(recipe, image, layers, base),
        *_sources(layers),
    ]
    parts[0] = replace(parts[0], instructions=(quoting.user("0:0"), *parts[0].instructions))
    last = parts[-1]
    settings = _settings(image, layers, base)
    parts[-1] = replace(last, instructions=(*last.instructions, *settings))
    return tuple(parts)


def _system(image: Image, layers: Sequence[Layer]) -> list[Part]:
    """Debian packages; those that other runtimes take for granted are installed too."""
    names = sorted({name for layer in layers for name in (*layer.system, *layer.assumed)})
    if not names:
        return []
    shell = ["/bin/sh", "-ec", f"export DEBIAN_FRONTEND=noninteractive\n{_APT}", "apt", *names]
    named = {name: key for layer in layers for name, key in layer.named.items()}
    return [Part(name="system", instructions=(quoting.run(shell, _CACHES),), named=named)]


def _dependencies(recipe: Recipe, image: Image, layers: Sequence[Layer], base: Base) -> Part:
    """Packages from indexes in a virtual environment, and the folder that tasks run in."""
    pins = pins_of(layers)
    step = _tree_step(recipe, image, layers, base, f"packages {image.name}", pins, ())
    copies = [_copied(step, "work", f"packages{WORKING_FOLDER}", writable=True)]
    instructions = [quoting.copy("packages/", "/")]
    if base.python is not None:
        copies.append(_copied(step, "env", f"packages{ENVIRONMENT}"))
        copies.append(_copied(step, "install.py", f"packages{SCRIPT}"))
    if pins:
        instructions.append(_python("compile"))
    return Part(
        name="dependencies",
        instructions=tuple(instructions),
        copies=tuple(copies),
        steps=(step,),
    )


def _wheels(recipe: Recipe, image: Image, layers: Sequence[Layer], base: Base) -> list[Part]:
    """Projects and wheel files, installed over the packages and checked in the image."""
    # In an order of their own: that in which a recipe names them does not matter.
    found = (need for layer in layers for need in layer.wheels)
    wheels = tuple(sorted(found, key=lambda need: need.role))
    if not wheels:
        return []
    step = _tree_step(recipe, image, layers, base, f"own packages {image.name}", (), wheels)
    copies = (
        _copied(step, "env", f"wheels{ENVIRONMENT}"),
        _copied(step, "wheels.json", f"wheels{PREFIX}/wheels.json"),
    )
    names = sorted(_canonical(need.name) for need in wheels)
    return [
        Part(
            name="wheels",
            instructions=(quoting.copy("wheels/", "/"), _python("check", *names)),
            copies=copies,
            steps=(*(s for layer in layers if layer.wheels for s in layer.steps), step),
        )
    ]


def _python(*arguments: str) -> Instruction:
    return quoting.run([f"{ENVIRONMENT}/bin/python", "-I", SCRIPT, *arguments])


def _sources(layers: Sequence[Layer]) -> list[Part]:
    """Files of the project under the working folder, which whoever runs a task may change."""
    files = sorted(
        ((path, need) for layer in layers for path, need in layer.files),
        key=lambda item: item[0],
    )
    rooted = sorted((item for layer in layers for item in layer.rooted), key=lambda item: item[0])
    if not files and not rooted:
        return []
    copies = tuple(
        Copied(path=posixpath.normpath(f"sources{WORKING_FOLDER}/{path}"), need=need, writable=True)
        for path, need in files
    )
    copies += tuple(
        Copied(path=posixpath.normpath(f"sources/{path}"), need=need) for path, need in rooted
    )
    steps = tuple(step for layer in layers if layer.files or layer.rooted for step in layer.steps)
    return [
        Part(
            name="sources",
            instructions=(quoting.copy("sources/", "/"),),
            copies=copies,
            steps=steps,
        )
    ]


def _settings(image: Image, layers: Sequence[Layer], base: Base) -> list[Instruction]:
    variables: dict[str, str] = {}
    for layer in layers:
        variables.update(layer.env)
    variables.update(image.env)
    found = []
    if base.python is not None and "PATH" in variables:
        variables["PATH"] = path_from(PROGRAMS, variables["PATH"])
    elif base.python is not None:
        found.append(quoting.path_begins(PROGRAMS))
    for name, value in sorted(variables.items()):
        try:
            found.append(quoting.env({name: value}))
        except quoting.Unquotable as error:
            message = f"the variable {name!r} cannot be one of an image: {error}"
            key: KeyPath = ("image", image.name, "env", name)
            hint = "give it to the tasks instead (`env` of a task), or write it in one line"
            raise RecipeError(problem("not-quotable", message, key=key, hint=hint)) from None
    return [*found, quoting.working_folder(WORKING_FOLDER), quoting.user(USER)]


def _copied(step: Step, inside: str, path: str, *, writable: bool = False) -> Copied:
    source = StepSource(step=step.name, output="tree", inside=inside)
    return Copied(path=path, need=Need(role=f"copy {path}", source=source), writable=writable)


def _tree_step(
    recipe: Recipe,
    image: Image,
    layers: Sequence[Layer],
    base: Base,
    name: str,
    pins: tuple[Pin, ...],
    wheels: tuple[Need, ...],
) -> Step:
    key: Mapping[str, KeyPath] = {"base": ("image", image.name, "base")}
    python = image.python or HOST_PYTHON if base.python is not None else None
    needed = bool(pins or wheels)
    index = next((x.index for x in layers if x.index != IndexOptions()), IndexOptions())
    work = PackageTree(
        python=python,
        executable=base.executable if python else None,
        platform=platform_of(base, key["base"]) if needed else "any",
        package=tuple((pin.name, pin.url or pin.version) for pin in pins),
        hashes=tuple((pin.name, tuple(sorted(pin.hashes))) for pin in pins),
        checker=checker_digest() if python else None,
        rotated=index.rotated if pins else (),
        wheels=tuple(need.role for need in wheels),
        pins=pins,
        index=index,
        base=f"{base.reference} ({', '.join(filter(None, (base.platform, base.libc)))})",
        root=recipe.root,
    )
    return Step(
        name=name,
        subject=image.name,
        work=work,
        needs=wheels,
        outputs=("tree",),
        key_path=("image", image.name),
    )
