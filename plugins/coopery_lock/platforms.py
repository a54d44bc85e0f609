"""For which platforms a resolution holds: those with the same packages, and files for each."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

COMMON = ("darwin-arm64", "darwin-x86_64", "linux-aarch64", "linux-x86_64", "win32-amd64")
"""The platforms that a resolution is compared on, besides the one it was made on."""
_SYSTEMS = {"darwin": ("Darwin", "posix"), "linux": ("Linux", "posix"), "win32": ("Windows", "nt")}
_UNKNOWABLE = re.compile(r"platform_(?:release|version)")

Table = Mapping[str, Any]
"""A package in pylock.toml (PEP 751): `name`, `version`, `marker`, `wheels`, `sdist`, `archive`."""


def own_platform() -> str:
    """This machine's: `linux-x86_64`."""
    return f"{sys.platform}-{os.uname().machine.lower()}"


def platforms_of(
    tables: Sequence[Table], chosen: Mapping[str, str | None], python: str, own: str
) -> tuple[str, ...]:
    """The platforms on which a universal resolution (`tables`) has exactly the `chosen` versions.

    A version is None where a URL stands for it. The platform `own` is always among them, since
    `chosen` was resolved for it.
    """
    others = (platform for platform in COMMON if platform != own)
    same = [p for p in others if _same(tables, chosen, python, p)]
    return tuple(sorted([own, *same]))


def _same(
    tables: Sequence[Table], chosen: Mapping[str, str | None], python: str, platform: str
) -> bool:
    found: dict[str, str | None] = {}
    for table in tables:
        marker = table.get("marker")
        if marker and _UNKNOWABLE.search(marker):
            return False
        if not marker or _applies(marker, python, platform):
            name = table["name"]
            found[name] = table.get("version") if chosen.get(name, "") is not None else None
            if "vcs" not in table and not any(
                suits(file, python, platform) for file in file_names(table)
            ):
                return False
    return found == dict(chosen)


def _applies(marker: str, python: str, platform: str) -> bool:
    from packaging.markers import Marker

    system, _, machine = platform.partition("-")
    name, os_name = _SYSTEMS[system]
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": os_name,
        "platform_machine": machine.upper() if system == "win32" else machine,
        "platform_python_implementation": "CPython",
        "platform_system": name,
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": system,
    }
    return Marker(marker).evaluate(environment)


def files_of(table: Table) -> list[Mapping[str, Any]]:
    """The tables of a package's files."""
    if archive := table.get("archive"):
        return [archive]
    return [*table.get("wheels", ()), *([table["sdist"]] if "sdist" in table else ())]


def file_names(table: Table) -> Iterable[str]:
    """The names of a package's files."""
    return (file_name(file) for file in files_of(table))


def file_name(file: Mapping[str, Any]) -> str:
    """A file's name, from what pylock.toml says of it."""
    where = file.get("name") or file.get("path") or urlsplit(file.get("url", "")).path
    return unquote(str(where)).rsplit("/", 1)[-1]


def suits(file: str, python: str, platform: str) -> bool:
    """Whether Python X.Y on a platform can install from a file: any sdist, wheels by their tags.

    Only kinds of systems are told apart: not their releases, nor one C library from another.
    """
    if not file.endswith(".whl"):
        return True
    interpreters, abis, systems = (
        part.split(".") for part in file.removesuffix(".whl").split("-")[-3:]
    )
    return any(_runs(tag, "abi3" in abis, python) for tag in interpreters) and any(
        _fits(tag, platform) for tag in systems
    )


def _runs(tag: str, stable: bool, python: str) -> bool:
    major, _, minor = python.partition(".")
    match = re.fullmatch(r"(py|cp)(\d)(\d*)", tag)
    if not match or match[2] != major:
        return False
    if match[1] == "cp" and not stable:
        return match[3] in ("", minor)
    return int(match[3] or 0) <= int(minor)


def _fits(tag: str, platform: str) -> bool:
    system, _, machine = platform.partition("-")
    if tag == "any":
        return True
    match system:
        case "linux":
            return "linux" in tag and tag.endswith(machine)
        case "darwin":
            both = ("universal2", "universal") if machine == "arm64" else ("universal2", "intel")
            return tag.startswith("macosx") and tag.endswith((machine, *both))
    return tag == f"win_{machine}"
