"""Distributions that are installed beside coopery, and the source trees of editable ones."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Installed:
    """An installed distribution; `root` is where its source tree is, if it is installed editable
    (PEP 610: `direct_url.json`).
    """

    name: str
    version: str
    root: Path | None = None


@cache
def installed(name: str) -> Installed | None:
    """The distribution of this name in the environment that coopery runs in, if there is one."""
    if not _NAME.fullmatch(name):
        return None
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return Installed(found.metadata["Name"], found.version, _root(found.read_text(_ORIGIN)))


_ORIGIN = "direct_url.json"


def _root(text: str | None) -> Path | None:
    """The folder in a `direct_url.json`, if that tells of an editable installation."""
    try:
        told = json.loads(text or "{}")
        editable = told.get("dir_info", {}).get("editable")
        url = urlsplit(told.get("url", ""))
    except (ValueError, AttributeError):
        return None  # another installer's mistake: as if it told nothing
    if not editable or url.scheme != "file":
        return None
    root = Path(unquote(url.path), unquote(told.get("subdirectory", "")))
    return root if root.is_dir() else None


def project_root(recipe_root: Path, given: str) -> Path:
    """Where a project of a recipe is: a path relative to the recipe, or where nothing is there, the
    source tree of the distribution of that name.
    """
    import os

    path = Path(os.path.normpath(recipe_root.absolute() / given))
    if os.path.lexists(path):
        return path
    found = installed(given)
    return found.root if found and found.root else path


__all__ = ["Installed", "installed", "project_root"]
