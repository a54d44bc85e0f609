"""Which files an image's sources stand for, and what is wrong with them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coopery.credentials import is_credential_file
from coopery.dependencies import Layer, Stage
from coopery.errors import KeyPath, Problem, RecipeError, problem
from coopery.files import LinkOutside, beneath, made_here, project_files
from coopery.lengths import too_long
from coopery.model import Image, Recipe
from coopery.recipes import located
from coopery.steps import FileSet, FileSource, Need
from coopery_sources import Source, Sources


@dataclass(frozen=True)
class _Taken:
    """The files and folders that sources bring, each with the first source that does."""

    files: dict[str, str]
    folders: dict[str, str]


def check(recipe: Recipe, image: Image) -> Iterator[Problem]:
    """Every problem of an image's `sources`."""
    taken = _Taken({}, {})
    for source, key in _sources(image):
        problems = list(_check(recipe, source, key))
        yield from problems
        if problems:
            continue
        try:
            files = _targets(source, _chosen(recipe, source, None))
        except LinkOutside as error:
            yield _link(error, key)
            continue
        if not files:
            hint = "what .gitignore ignores is left out" if source.include else None
            message = f"{source.path}: no file is left of it"
            yield problem("no-files", message, key=key, hint=hint)
        yield from _credentials(source, files, key)
        yield from _overlaps(source, files, taken, key)


def layers(recipe: Recipe, image: Image, home: Path) -> Iterator[Layer]:
    """The one layer of an image's sources. Raises RecipeError (`link-outside`)."""
    needs = []
    for source, key in _sources(image):
        path = beneath(recipe.root.absolute(), source.path)
        try:
            chosen = _chosen(recipe, source, home)
        except LinkOutside as error:
            raise RecipeError(located(_link(error, key), recipe.locate)) from None
        what: FileSet | FileSource = (
            FileSource(path=path, shown=source.path)
            if chosen is None
            else FileSet(root=path, files=chosen, shown=source.path)
        )
        needs.append((source.place, Need(role=f"source {source.place}", source=what)))
    if needs:
        yield Layer(name="sources", stage=Stage.SOURCES, files=tuple(needs))


def _sources(image: Image) -> Iterator[tuple[Source, KeyPath]]:
    facet = image.facet(Sources)
    for number, source in enumerate(facet.items if facet else ()):
        yield source, ("image", image.name, "sources", number)


def _check(recipe: Recipe, source: Source, key: KeyPath) -> Iterator[Problem]:
    """What is wrong with one source, without looking at its files."""
    long = too_long(recipe.root.absolute() / source.path, key) or too_long(
        source.place, (*key, "to")
    )
    if long:
        yield long
        return
    try:
        path = beneath(recipe.root.absolute(), source.path)
    except ValueError as error:
        hint = "sources lie in the recipe's folder; other trees may be `projects`"
        yield problem("outside-project", f"{source.path}: {error}", key=key, hint=hint)
        return
    if not path.exists():
        hint = "paths are relative to the recipe file"
        yield problem("missing-path", f"{source.path}: there is no {path}", key=key, hint=hint)
        return
    target = source.place
    if target.startswith(("/", "../")) or target == ".." or "\0" in target:
        message = f"{source.target}: not a path under the working folder"
        hint = "write a relative path, such as data/tables"
        yield problem("outside-project", message, key=(*key, "to"), hint=hint)
    if path.is_file():
        for name in ("include", "exclude"):
            if getattr(source, name):
                message = f"{source.path} is a file; {name!r} chooses among a folder's files"
                hint = f"leave {name!r} out, or name the folder"
                yield problem("not-a-folder", message, key=(*key, name), hint=hint)
        if target == ".":
            message = f"{source.path} is a file; it cannot be the working folder itself"
            yield problem("not-a-folder", message, key=(*key, "to"), hint="name the file in `to`")
    elif not path.is_dir():
        message = f"{source.path} is neither a file nor a folder"
        hint = "a source is a file or a folder: copy what it gives into a file"
        yield problem("not-a-folder", message, key=key, hint=hint)


def _chosen(recipe: Recipe, source: Source, home: Path | None) -> tuple[str, ...] | None:
    """The files of a folder that a source stands for; None for a single file."""
    path = beneath(recipe.root.absolute(), source.path)
    if path.is_file():
        return None
    return project_files(
        path,
        include=source.include,
        exclude=source.exclude,
        skip=made_here(recipe, home),
    )


def _targets(source: Source, chosen: tuple[str, ...] | None) -> tuple[str, ...]:
    """Where the files of a source land, relative to the working folder."""
    if chosen is None:
        return (source.place,)
    return tuple(posixpath.normpath(f"{source.place}/{name}") for name in chosen)


def _link(error: LinkOutside, key: KeyPath) -> Problem:
    return problem("link-outside", str(error), key=key, hint="exclude it, or make it a file")


def _credentials(source: Source, files: tuple[str, ...], key: KeyPath) -> Iterator[Problem]:
    """Files that look like secrets, unless the recipe names them to their last letter."""
    given = {posixpath.basename(name) for name in (source.path, *source.include)}
    for file in files:
        name = posixpath.basename(file)
        if is_credential_file(name) and name not in given:
            message = f"{source.path} holds {file}, which looks like credentials"
            hint = f"exclude = [{name!r}], or name it in `include` if it is none"
            yield problem("credential-file", message, key=key, hint=hint)


def _overlaps(source: Source, files: tuple[str, ...], taken: _Taken, key: KeyPath) -> list[Problem]:
    """One problem for the first path that an earlier source of the image writes too."""
    found = []
    for file in files:
        other = taken.files.get(file) or taken.folders.get(file)
        other = other or next((taken.files[p] for p in _parents(file) if p in taken.files), None)
        if other is not None:
            message = f"{other} and {source.path} both bring {file}"
            hint = "exclude it from one of them, or set `to`"
            found.append(problem("layer-overlap", message, key=key, hint=hint))
            break
    for file in files:
        taken.files.setdefault(file, source.path)
        for folder in _parents(file):
            taken.folders.setdefault(folder, source.path)
    return found


def _parents(file: str) -> Iterator[str]:
    while "/" in file:
        file = file.rsplit("/", 1)[0]
        yield file
