"""Entry points of installed distributions, without what `importlib.metadata` costs to import.

It takes longer to import than Python does to start (it brings in e-mail, zip files and CSV), and
all that is asked at each start is which lines stand under one heading of `entry_points.txt` files.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Any


def entry_points(group: str) -> list[tuple[str, str]]:
    """Name and value of each entry point of a group: those `importlib.metadata` would find.

    Where distributions may hide elsewhere than in plain folders, it is asked indeed.
    """
    if _only_folders():
        return [pair for text in _texts() for pair in _section(text, group)]
    from importlib import metadata

    return [(entry.name, entry.value) for entry in metadata.entry_points(group=group)]


def load(value: str) -> Any:
    """What an entry point's value (`module` or `module:attribute`) stands for."""
    module, _, path = value.partition("[")[0].partition(":")
    names = [name for name in path.strip().split(".") if name]
    return functools.reduce(getattr, names, importlib.import_module(module.strip()))


def _only_folders() -> bool:
    """Whether no import hook brings distributions, and no archive or egg is on the path."""
    hooks = [f for f in sys.meta_path if hasattr(f, "find_distributions") and f is not PathFinder]
    odd = [e for e in sys.path if e.lower().endswith(".egg") or os.path.isfile(e)]  # noqa: PTH113
    return not hooks and not odd


def _texts() -> Iterator[str]:
    """Each distribution's `entry_points.txt`; the first of a name on the path hides the others."""
    seen: set[str] = set()
    for root in sys.path:
        try:
            children = os.listdir(root or ".")  # noqa: PTH208 - names are enough
        except OSError:
            continue
        for child in children:
            low = child.lower()
            if not low.endswith((".dist-info", ".egg-info")):
                continue
            name = re.sub(r"[-_.]+", "-", low.rpartition(".")[0].partition("-")[0])
            if name in seen:
                continue
            seen.add(name)
            try:
                with open(f"{root or '.'}/{child}/entry_points.txt", encoding="utf-8") as file:  # noqa: PTH123
                    yield file.read()
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue


def _section(text: str, group: str) -> Iterator[tuple[str, str]]:
    """The `name = value` lines under `[group]`."""
    heading = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            heading = line.strip("[]")
        elif heading == group and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()
