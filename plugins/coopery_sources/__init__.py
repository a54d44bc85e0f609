"""Sources: files and folders of the project that appear under a task's working folder."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from coopery.hooks import hookimpl
from coopery.marks import named, shorthand
from coopery.recipes import Facet

if TYPE_CHECKING:
    from coopery.dependencies import Layer, Lock
    from coopery.errors import Problem
    from coopery.model import Image, Recipe


@dataclass(frozen=True)
class Source:
    """A file or folder of the project that an image's tasks find in their working folder.

    A plain string is short for `path`. Of a folder, files that git would ignore stay out, and
    `include` and `exclude` (globs as in `.gitignore`) narrow the rest. It appears at `to`, by
    default at the path it has in the project.
    """

    path: Annotated[str, shorthand]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    target: Annotated[str | None, named("to")] = None

    def __post_init__(self) -> None:
        # Recipes in Python hand over paths and lists as they come.
        object.__setattr__(self, "path", str(self.path))
        object.__setattr__(self, "include", tuple(self.include))
        object.__setattr__(self, "exclude", tuple(self.exclude))

    @property
    def place(self) -> str:
        """The relative path at which tasks find it; `.` is the working folder itself."""
        return posixpath.normpath(self.path if self.target is None else self.target)


@dataclass(frozen=True)
class Sources:
    """An image's `sources`."""

    items: tuple[Source, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """What lies in the working folder, for plugins that look at what a command names."""
        return self.items


@hookimpl
def declare_facets() -> list[Facet]:
    """The key `sources` of images."""
    return [
        Facet(
            noun="image",
            key="sources",
            type=tuple[Source, ...],
            wrap=Sources,
            keyed=False,
            doc="files and folders of the project, laid under the working folder",
        )
    ]


@hookimpl
def check(recipe: Recipe) -> Iterator[Problem]:
    """Every source that is missing, leads outside, overlaps another, or looks like a secret."""
    for image in recipe.images.values():
        if image.facet(Sources):
            from coopery_sources import choosing

            yield from choosing.check(recipe, image)


@hookimpl
def add_layers(recipe: Recipe, image: Image, lock: Lock, home: Path) -> Iterable[Layer]:
    """The layer of an image's sources."""
    if not image.facet(Sources):
        return ()
    from coopery_sources import choosing

    return choosing.layers(recipe, image, home)
