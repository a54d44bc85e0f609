"""The platform of a base in uv's terms."""

from __future__ import annotations

from coopery.errors import KeyPath, RecipeError, problem
from coopery.images import Base

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC = (17, 28, *range(31, 41))
"""The versions 2.X of glibc that uv knows tags for; a newer library takes what an older does."""

OTHERS = tuple(
    f"{machine}-{system}"
    for machine in _MACHINES.values()
    for system in (f"manylinux_2_{_GLIBC[-1]}", "unknown-linux-musl")
)
"""Platforms that between them take all the files of Linux."""


def platform_of(base: Base, key: KeyPath = ()) -> str:
    """What `uv --python-platform` is told. Raises RecipeError (`unsupported-platform`)."""
    system, _, machine = base.platform.partition("/")
    name = _MACHINES.get(machine.partition("/")[0])
    library, _, version = base.libc.partition(" ")
    if system == "linux" and name is not None:
        if library == "musl" and _minor(version) >= 2:
            return f"{name}-unknown-linux-musl"
        if library in ("", "glibc"):
            minor = _minor(version) if version else _GLIBC[0]
            known = [known for known in _GLIBC if known <= minor]
            if known:
                return f"{name}-manylinux_2_{known[-1]}"
    shown = f"{base.platform} with {base.libc or 'an unknown C library'}"
    message = f"no packages can be installed for the base {base.reference}: it is {shown}"
    hint = "packages are for linux/amd64 or linux/arm64, with glibc from 2.17 or musl from 1.2 on"
    raise RecipeError(problem("unsupported-platform", message, key=key, hint=hint))


def _minor(version: str) -> int:
    """The second number of a version; versions from 3 on count as new, those before 1 as old."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    if not major.isdigit() or not minor.isdigit():
        return 0
    return int(minor)
