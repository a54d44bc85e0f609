"""Which code travels with a function, and which its task's environment provides."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from coopery.installed import project_root
from coopery.model import Image, Project, Recipe


@dataclass(frozen=True)
class Reach:
    """The recipe's own code: what lies under `root` (real paths), but is neither installed nor of
    one of the image's `projects`, nor coopery's. It goes by value; everything else by name.
    """

    recipe: str
    root: str
    projects: tuple[str, ...]
    reading: int = 0
    """Which reading of the recipe it is for: what was found of a function in one of them does not
    hold in the next, when a notebook has changed what the function captures."""

    def travels(self, module: str) -> bool:
        """Whether code of the module of this name is taken along by value."""
        known = sys.modules.get(module)
        return known is None or self.holds(known)

    def holds(self, module: ModuleType) -> bool:
        """Whether the module is the recipe's own code."""
        name = module.__name__
        if name == "__main__":
            return True
        file = _file_of(module)
        if file is None or name.split(".")[0].startswith("coopery"):
            return False
        if file == self.recipe:
            return True
        if not _beneath(file, self.root) or _installed(file):
            return False
        return not any(distributes(project, module) for project in self.projects)

    def modules(self) -> Iterator[ModuleType]:
        """The imported modules that travel."""
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType) and self.holds(module):
                yield module

    def provides(self, target: Any) -> bool:
        """Whether one of the image's projects brings this function, so that its name will do."""
        module = sys.modules.get(getattr(target, "__module__", None) or "")
        if module is None or _file_of(module) == self.recipe:
            return False
        found: Any = module
        for part in target.__qualname__.split("."):
            found = getattr(found, part, None)
        # a task's decorator may stand around the function
        same = found is target or getattr(found, "function", None) is target
        return same and any(distributes(project, module) for project in self.projects)


def reach_of(recipe: Recipe, image: Image | None) -> Reach:
    """What travels with functions of this recipe that run in this image."""
    return Reach(
        recipe=_real(str(recipe.file)),
        root=_real(str(recipe.root)),
        reading=_reading(recipe),
        projects=tuple(
            _real(str(project_root(recipe.root, project.path)))
            for facet in (image.facets if image else ())
            for project in _projects(facet)
        ),
    )


class _Readings:
    """Numbers the recipes that are read one after the other."""

    last: Callable[[], Recipe | None] = staticmethod(lambda: None)
    number = 0


def _reading(recipe: Recipe) -> int:
    if _Readings.last() is not recipe:
        _Readings.last = weakref.ref(recipe)
        _Readings.number += 1
    return _Readings.number


def _projects(facet: object) -> tuple[Project, ...]:
    """The projects in a facet of any plugin."""
    values = [getattr(facet, item.name) for item in fields(facet)] if is_dataclass(facet) else []
    several = [value for value in values if isinstance(value, tuple)]
    return tuple(p for value in several for p in value if isinstance(p, Project))


def distributes(project: str, module: ModuleType) -> bool:
    """Whether a project's wheel holds this module, as far as its folder tells.

    With a `src` folder, the modules in it; else packages, while a single file beside a
    `pyproject.toml` is a script more often than a part of the distribution: taking it by value is
    right in either case.
    """
    file = _file_of(module)
    if file is None or not _beneath(file, project):
        return False
    source = Path(project, "src")
    if source.is_dir():
        return _beneath(file, str(source))
    return "." in module.__name__ or hasattr(module, "__path__")


def _file_of(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return _real(file) if isinstance(file, str) else None


@cache
def _real(path: str) -> str:
    return os.path.realpath(path)


def _beneath(file: str, folder: str) -> bool:
    return file.startswith(folder.rstrip(os.sep) + os.sep)


def _installed(file: str) -> bool:
    folders = {"site-packages", "dist-packages"}
    return not folders.isdisjoint(Path(file).parts) or any(
        _beneath(file, folder) for folder in _installed_folders()
    )


@cache
def _installed_folders() -> tuple[str, ...]:
    """Where installed packages and the standard library are."""
    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(sorted(os.path.realpath(folder) for folder in found))
