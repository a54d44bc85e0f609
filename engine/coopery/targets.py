"""What packages are installed for: the platform of a base image, for installers and by tags."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coopery.images import Base

if TYPE_CHECKING:
    from packaging.tags import Tag

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""The kernel's names of OCI's machines."""
GLIBC = (17, 28, *range(31, 41))
"""The versions 2.X of glibc that uv knows tags for; a newer library takes what an older does."""
_MUSL = 2
"""Of the musl that packages are installed for: 1.2, which all supported bases have."""
_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""Older names of platforms, by the minor version of the glibc that they stand for (PEP 600)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Linux on a `machine` as the kernel names it, with glibc 2.X, or with musl where that is None.

    `uv` is what an installer is told, `kind` how locks name it: they do not tell C libraries apart.
    """

    machine: str
    glibc: int | None

    @property
    def uv(self) -> str:
        """For `uv --python-platform`: `x86_64-manylinux_2_36`, `aarch64-unknown-linux-musl`."""
        library = "unknown-linux-musl" if self.glibc is None else f"manylinux_2_{self.glibc}"
        return f"{self.machine}-{library}"

    @property
    def kind(self) -> str:
        """`linux-x86_64`."""
        return f"linux-{self.machine}"

    @property
    def platforms(self) -> Iterator[str]:
        """The platform tags that fit, best first (PEP 600, PEP 656)."""
        if self.glibc is None:
            yield from (f"musllinux_1_{minor}_{self.machine}" for minor in range(_MUSL, -1, -1))
        else:
            oldest = 5 if self.machine == "x86_64" else 17
            for minor in range(self.glibc, oldest - 1, -1):
                yield f"manylinux_2_{minor}_{self.machine}"
                if minor in _LEGACY:
                    yield f"{_LEGACY[minor]}_{self.machine}"
        yield f"linux_{self.machine}"

    def takes(self, files: Iterable[str], python: str) -> bool:
        """Whether Python X.Y there can install one of these files, which is a wheel."""
        from packaging.utils import InvalidWheelFilename, parse_wheel_filename

        known = _tags(self, python)
        for file in files:
            try:
                if file.endswith(".whl") and parse_wheel_filename(file)[3] & known:
                    return True
            except InvalidWheelFilename:
                continue
        return False


@functools.cache
def _tags(target: Target, python: str) -> frozenset[Tag]:
    from packaging.tags import compatible_tags, cpython_tags

    major, minor = (int(part) for part in python.split("."))
    name, platforms = f"cp{major}{minor}", [*target.platforms]
    return frozenset(
        (
            *cpython_tags((major, minor), abis=[name], platforms=platforms),
            *compatible_tags((major, minor), interpreter=name, platforms=platforms),
        )
    )


def target_of(base: Base) -> Target | None:
    """What packages for a base are installed for; None where none can be.

    That is linux/amd64 or linux/arm64, with glibc from 2.17 or musl from 1.2 on; a base that does
    not tell its C library counts as one with the oldest glibc.
    """
    system, _, machine = base.platform.partition("/")
    name = _MACHINES.get(machine.partition("/")[0])
    library, _, version = base.libc.partition(" ")
    if system != "linux" or name is None:
        return None
    if library == "musl":
        return Target(machine=name, glibc=None) if _minor(version) >= _MUSL else None
    minor = _minor(version) if version else GLIBC[0]
    known = [known for known in GLIBC if known <= minor]
    return Target(machine=name, glibc=known[-1]) if known and library in ("", "glibc") else None


def _minor(version: str) -> int:
    """The second number of a version; 0 where it cannot be read."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return int(minor) if major.isdigit() and minor.isdigit() else 0
