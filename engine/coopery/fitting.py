"""Which wheels fit a base: by the tags of their platforms, and by what is compiled in them."""

from __future__ import annotations

import platform
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

_TARGET = re.compile(r"(?P<machine>\w+?)-(?:manylinux_2_(?P<glibc>\d+)|unknown-linux-musl)")
_GLIBC = re.compile(r"manylinux_2_(\d+)_(\w+)")
_MUSL = re.compile(r"musllinux_1_(\d+)_(\w+)")
_LEGACY = (("manylinux1_", 5), ("manylinux2010_", 12), ("manylinux2014_", 17))
"""Older names of platforms, with the minor version of the glibc that they stand for (PEP 600)."""
_MUSL_MINOR = 2
"""Of the musl that packages are installed for: 1.2, which all supported bases have."""
_WANTS_GLIBC = re.compile(rb"\0GLIBC_2\.(\d+)")
_WANTS_MUSL = re.compile(rb"\0(?:libc\.musl-|ld-musl-)")


def unfit(wheel: Path, target: str) -> str | None:
    """Why a wheel file does not fit the platform `target` (in uv's terms); None if it may.

    A tag `linux_MACHINE` says nothing of the C library: its objects are asked what they want.
    Where there is none to ask, it counts as made for the C library of this machine.
    """
    tags = wheel.name.removesuffix(".whl").rsplit("-", 1)[-1].split(".")
    found = _TARGET.fullmatch(target)
    if found is None or "any" in tags:
        return None
    machine, glibc = found["machine"], int(found["glibc"]) if found["glibc"] else None
    reasons = [_unfit_tag(_modern(tag), wheel, machine, glibc) for tag in tags]
    return reasons[0] if all(reasons) else None


def _modern(tag: str) -> str:
    for old, minor in _LEGACY:
        if tag.startswith(old):
            return f"manylinux_2_{minor}_{tag.removeprefix(old)}"
    return tag


def _unfit_tag(tag: str, wheel: Path, machine: str, glibc: int | None) -> str | None:
    """`glibc` is the minor version of the target's; None for one with musl."""
    if found := _GLIBC.fullmatch(tag):
        return _other(found[2], machine) or _wanting(int(found[1]), glibc)
    if found := _MUSL.fullmatch(tag):
        if reason := _other(found[2], machine):
            return reason
        fits = glibc is None and int(found[1]) <= _MUSL_MINOR
        return None if fits else f"it is for musl 1.{found[1]}"
    if tag.startswith("linux_"):
        return _other(tag.removeprefix("linux_"), machine) or _unfit_objects(wheel, glibc)
    return f"it is for {tag}"


def _other(machine: str, wanted: str) -> str | None:
    return None if machine == wanted else f"it is for {machine}"


def _wanting(minor: int, glibc: int | None) -> str | None:
    return None if glibc is not None and minor <= glibc else f"it needs glibc 2.{minor} or later"


def _unfit_objects(wheel: Path, glibc: int | None) -> str | None:
    objects = list(_objects(wheel))
    if not objects:
        kind, minor = own_libc()
        if kind == "musl":
            return None if glibc is None else "it was built for musl"
        return _wanting(minor, glibc)
    wanted = [int(minor) for content in objects for minor in _WANTS_GLIBC.findall(content)]
    if wanted:
        return _wanting(max(wanted), glibc)
    if glibc is not None and any(_WANTS_MUSL.search(content) for content in objects):
        return "it was built for musl"
    return None


def _objects(wheel: Path) -> Iterator[bytes]:
    """What is compiled in a wheel: libraries and programs (ELF)."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                if file.read(4) == b"\x7fELF":
                    yield file.read()


def own_libc() -> tuple[str, int]:
    """The C library of this machine: `glibc` or `musl`, and its minor version."""
    name, version = platform.libc_ver()
    if name == "glibc":
        return "glibc", int(version.split(".")[1])
    return "musl", _MUSL_MINOR
