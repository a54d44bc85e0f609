"""System packages of images: Debian packages, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from coopery.errors import Problem, problem
from coopery.hooks import hookimpl
from coopery.marks import shorthand
from coopery.recipes import Facet

if TYPE_CHECKING:
    from coopery.dependencies import Layer, Lock
    from coopery.model import Image, Recipe

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
"""What a Debian package may be called (Debian Policy, 5.6.1)."""


@dataclass(frozen=True, kw_only=True)
class SystemPackage:
    """A Debian package. `local = "assume"`: the local runtime takes it for granted."""

    name: Annotated[str, shorthand]
    local: Literal["assume"] | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """The system packages of an image."""

    packages: tuple[SystemPackage, ...]


@hookimpl
def declare_facets() -> Sequence[Facet]:
    """`system` of an image."""
    return [
        Facet(
            noun="image",
            key="system",
            type=tuple[SystemPackage, ...],
            wrap=lambda packages: System(packages=packages),
            doc="Debian packages; `local` cannot install them and must be told to assume them.",
        )
    ]


@hookimpl
def check(recipe: Recipe, runtime: str) -> Iterable[Problem]:
    """Names are Debian's; under `local`, which installs none, each must be assumed."""
    for image in recipe.images.values():
        system = image.facet(System)
        for index, package in enumerate(system.packages if system else ()):
            key = ("image", image.name, "system", index)
            if not _NAME.fullmatch(package.name):
                message = f"{package.name!r} is no name of a Debian package"
                hint = "such names have small letters, digits, +, - and dots: libgomp1"
                yield problem("wrong-value", message, key=key, hint=hint)
            elif runtime == "local" and package.local is None:
                yield problem(
                    "system-package",
                    f"the runtime local cannot install {package.name}",
                    key=key,
                    hint=f'install it yourself and write {{ name = "{package.name}", '
                    'local = "assume" }, or use -r docker',
                )


@hookimpl
def add_layers(recipe: Recipe, image: Image, lock: Lock) -> Iterable[Layer]:
    """One layer with the packages."""
    system = image.facet(System)
    if system is not None:
        from coopery.dependencies import Layer, Stage

        yield Layer(
            name="system",
            stage=Stage.SYSTEM,
            system=tuple(p.name for p in system.packages if p.local is None),
            assumed=tuple(p.name for p in system.packages if p.local == "assume"),
            named={
                package.name: ("image", image.name, "system", index)
                for index, package in enumerate(system.packages)
            },
        )
