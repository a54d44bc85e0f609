"""The work of this plugin: trees of installed packages, and archives."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from coopery.dependencies import IndexOptions, Pin
from coopery.images import PREFIX
from coopery.marks import unkeyed

ENVIRONMENT = f"{PREFIX}/env"
"""The virtual environment of an image."""
SCRIPT = f"{PREFIX}/install.py"
"""What checks and compiles in an image."""


INSTALLER = Path(__file__).with_name("install.py")
"""The same, as it lies here."""


@functools.cache
def checker_digest() -> str:
    """The sha256 of what checks and compiles: images made with another one are other images."""
    return hashlib.sha256(INSTALLER.read_bytes()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class PackageTree:
    """A virtual environment for an image's Python, installed without running it.

    The result is a folder of `env` (laid out as at /opt/coopery/env), `work` (empty), and, where
    there is a Python, `install.py` and, of own wheels, `wheels.json`. It is input-addressed: what
    it is made of is all that matters.
    """

    kind: ClassVar[str] = "packages"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = True

    python: str | None
    """X.Y, or None for a base without Python."""
    executable: str | None
    """Where the base has it."""
    platform: str
    """The platform in uv's terms, with the version of its C library."""
    package: tuple[tuple[str, str], ...] = ()
    hashes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    checker: str | None = None
    """The digest of `install.py`, which lies in the tree; None where there is no Python."""
    rotated: tuple[tuple[str, str], ...] = ()
    """See `coopery.dependencies.IndexOptions.rotated`."""
    wheels: Annotated[tuple[str, ...], unkeyed] = ()
    """The roles of the needs that hold wheels, in the order to install them."""
    pins: Annotated[tuple[Pin, ...], unkeyed] = ()
    index: Annotated[IndexOptions, unkeyed] = field(default_factory=IndexOptions)
    base: Annotated[str, unkeyed] = ""
    """What people are told of the base: its reference, platform and C library."""
    root: Annotated[Path | None, unkeyed] = None
    """The recipe's folder, where a project's own index configuration is looked for."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A build context with its Dockerfile as one .tar.gz.

    Needs have the roles `copy PATH`; `texts` are small files beside them, by path.
    """

    kind: ClassVar[str] = "archive"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    texts: Mapping[str, bytes]
    folders: tuple[str, ...] = ()
    """Empty folders that anybody may write to."""
    writable: tuple[str, ...] = ()
