"""What an image of a recipe can do, and how it begins, as far as its templates need to know.

What an image by its digest holds never changes, so it is looked into once and kept in the home.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coopery.errors import KeyPath, RecipeError, problem
from coopery.images import Base
from coopery.model import Image, Recipe
from coopery.writing import write_atomically
from coopery_taskapi import finding, text
from coopery_taskapi.finding import Look
from coopery_taskapi.models import ProcessingContainer
from coopery_taskapi.reading import check
from coopery_taskapi.uses import SpecificationFile

_KEPT = "specifications"
"""The folder of the home in which what images say is kept."""
_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Specified:
    """What an image can do; None where it does not say. What it runs by itself is its
    `own_command`, and its `workdir` is where that begins, None where that is coopery's to say.
    """

    container: ProcessingContainer | None
    shown: str
    own_command: tuple[str, ...] = ()
    workdir: str | None = None


def specified_by(file: Path, custom: Mapping[str, str] | None = None) -> Specified:
    """What a file says an image can do, in which these `custom` variables are filled in. Raises
    RecipeError with all that is wrong in it.
    """
    found = os.stat(file) if os.path.isfile(file) else None  # noqa: PTH113, PTH116 - may not raise
    stamp = (found.st_mtime_ns, found.st_size, found.st_ino) if found else None
    return _from_file(file, stamp, tuple((custom or {}).items()))


@functools.lru_cache(maxsize=64)
def _from_file(file: Path, stamp: object, custom: tuple[tuple[str, str], ...]) -> Specified:
    read = check(text.read_file(file, str(file)), ProcessingContainer, dict(custom))
    return Specified(container=read.document, shown=str(file))


def specified_of(
    recipe: Recipe, image: Image, base: Base | None, home: Path, look: Look
) -> Specified:
    """What an image of a recipe can do: by its `specification`, else as what it begins with says.

    `base` is what it begins with, where the runtime's images begin with something. Raises
    RecipeError with what is wrong in a specification, MachineError where the image cannot be had.
    """
    own = image.facet(SpecificationFile)
    if own is not None:
        return specified_by(file_of(recipe, image, own))
    reference = base.pinned if base else _reference(image)
    if reference is None:
        message = f"the image {image.name!r} does not say what it can do"
        key: KeyPath = ("image", image.name)
        hint = 'give it a `specification = "processing-container.json"`'
        raise RecipeError(problem("no-specification", message, key=key, hint=hint))
    found = _look(base.identity if base else None, reference, home, look)
    specified = _read(json.dumps(found, sort_keys=True), base.reference if base else reference)
    if image.is_prebuilt:
        return specified
    # Upon that image lies what the recipe puts there; tasks begin in coopery's own folder.
    return Specified(
        container=specified.container, shown=specified.shown, own_command=specified.own_command
    )


def file_of(recipe: Recipe, image: Image, own: SpecificationFile) -> Path:
    """The file of an image's specification. Raises RecipeError (`outside-project`)."""
    from coopery.files import beneath

    key: KeyPath = ("image", image.name, "specification")
    try:
        return beneath(recipe.root, own.path)
    except ValueError:
        message = f"{own.path!r} does not lie inside the project"
        hint = "name a file beneath the recipe's folder"
        raise RecipeError(problem("outside-project", message, key=key, hint=hint)) from None


def _reference(image: Image) -> str | None:
    """What an image is where no runtime has looked: its reference as the recipe says it."""
    found = (getattr(facet, "reference", None) for facet in image.facets)
    return next((text for text in found if isinstance(text, str)), None)


def _look(identity: str | None, reference: str, home: Path, look: Look) -> Mapping[str, Any]:
    if identity is None:
        return _seen(reference, look)
    name = hashlib.sha256(identity.encode()).hexdigest()
    kept = home / _KEPT / f"{name}.json"
    try:
        found: dict[str, Any] = json.loads(kept.read_bytes())
        seen: dict[str, Any] = found["seen"]
        if found["digest"] == _digest(identity, seen):
            os.utime(kept)  # for who evicts what was not used for long
            return seen
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # it was not looked at yet, or is damaged: the image tells
    seen = _seen(reference, look)
    kept.parent.mkdir(parents=True, exist_ok=True)
    note = {"digest": _digest(identity, seen), "image": identity, "seen": seen}
    write_atomically(kept, json.dumps(note, sort_keys=True).encode())
    return seen


def _digest(identity: str, seen: Mapping[str, Any]) -> str:
    """By which what is kept is told from what was damaged, is of another image or another form."""
    content = json.dumps([_FORMAT, identity, seen], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _seen(reference: str, look: Look) -> dict[str, Any]:
    seen = finding.see(reference, look)
    said = None if seen.content is None else seen.content.decode("utf-8", "surrogateescape")
    return {
        "specification": said,
        "shown": seen.shown,
        "command": [*seen.glimpse.entrypoint, *seen.glimpse.command],
        "workdir": seen.glimpse.workdir or "/",
    }


@functools.lru_cache(maxsize=64)
def _read(found: str, reference: str) -> Specified:
    seen = json.loads(found)
    container = None
    if seen["specification"] is not None:
        content = seen["specification"].encode("utf-8", "surrogateescape")
        container = check(text.read(content, seen["shown"]), ProcessingContainer, None).document
    return Specified(
        container=container,
        shown=reference,
        own_command=tuple(seen["command"]),
        workdir=seen["workdir"],
    )
