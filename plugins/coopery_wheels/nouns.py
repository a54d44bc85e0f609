"""What recipes say of wheels."""

from __future__ import annotations

from dataclasses import dataclass

from coopery.model import Git, Project


@dataclass(frozen=True)
class Projects:
    """An image's `projects`: source trees that enter it as wheels."""

    items: tuple[Project, ...]


@dataclass(frozen=True)
class Wheels:
    """An image's `wheels`: paths of wheel files, relative to the recipe."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Gits:
    """An image's `git`: packages in repositories, which enter it as wheels."""

    items: tuple[Git, ...]
