"""What recipes say of wheels."""

from __future__ import annotations

from dataclasses import dataclass

from coopery.model import Project


@dataclass(frozen=True)
class Projects:
    """An image's `projects`: source trees that enter it as wheels."""

    items: tuple[Project, ...]


@dataclass(frozen=True)
class Wheels:
    """An image's `wheels`: paths of wheel files, relative to the recipe."""

    items: tuple[str, ...]
