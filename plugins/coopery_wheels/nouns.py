"""What recipes say of wheels, and the work it takes to have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from coopery.model import Project
from coopery.shapes import unkeyed


@dataclass(frozen=True)
class Projects:
    """An image's `projects`: source trees that enter it as wheels."""

    items: tuple[Project, ...]


@dataclass(frozen=True)
class Wheels:
    """An image's `wheels`: paths of wheel files, relative to the recipe."""

    items: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WheelBuild:
    """Build a project's wheel. Its sources are the step's need, so they are not said here.

    `vcs` stands for the commit and the tags, where the backend takes the version from them.
    """

    kind: ClassVar[str] = "wheel"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    distribution: str
    python: str
    platform: str
    requires: tuple[str, ...]
    backend: str
    vcs: str | None
    static_version: str | None
    root: Annotated[Path, unkeyed]


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """Verify a wheel file that the recipe names, and repack it."""

    kind: ClassVar[str] = "wheel-file"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    distribution: str
