"""The work it takes to have a wheel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from coopery.dependencies import IndexOptions
from coopery.marks import unkeyed
from coopery.repositories import Access, Repository
from coopery.secrets import Secrets


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where build requirements come from: the image's index options, and the
    recipe's folder, from which a project's own configuration of uv is looked for.
    """

    index: IndexOptions = field(default_factory=IndexOptions)
    recipe: Path | None = None
    secrets: Secrets | None = field(default=None, compare=False, repr=False)
    """What reads their credentials, once there is need of them."""


@dataclass(frozen=True, kw_only=True)
class WheelBuild:
    """Build a project's wheel. Its sources are the step's need, so they are not said here.

    `vcs` stands for the commit and the tags, where the backend takes the version from them.
    """

    kind: ClassVar[str] = "wheel"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    distribution: str
    python: str
    platform: str
    requires: tuple[str, ...]
    backend: str
    vcs: str | None
    static_version: str | None
    root: Annotated[Path, unkeyed]
    origin: Annotated[Origin, unkeyed] = field(default_factory=Origin)


@dataclass(frozen=True, kw_only=True)
class WheelRelease:
    """Fetch the wheel of a project's published version: one of the locked `hashes`."""

    kind: ClassVar[str] = "wheel-release"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    package: tuple[tuple[str, str], ...]
    """Name and version."""
    hashes: tuple[tuple[str, tuple[str, ...]], ...]
    python: str
    platform: str
    rotated: tuple[tuple[str, str], ...] = ()
    """See `coopery.dependencies.IndexOptions.rotated`."""
    target: Annotated[str | None, unkeyed] = None
    """The platform of the image's base in uv's terms; without a base it is this machine's."""
    origin: Annotated[Origin, unkeyed] = field(default_factory=Origin)

    @property
    def distribution(self) -> str:
        """The canonical name."""
        return self.package[0][0]

    @property
    def release(self) -> str:
        """The version."""
        return self.package[0][1]

    @property
    def static_version(self) -> str:
        """The version, which is known before it is fetched."""
        return self.release


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """Verify a wheel file that the recipe names, and repack it."""

    kind: ClassVar[str] = "wheel-file"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    distribution: str


@dataclass(frozen=True, kw_only=True)
class WheelGit:
    """Fetch a commit of a git repository, and build the wheel of the package in it.

    The commit stands for all that is in it, wherever it is fetched from and whoever may. `rotated`
    are the secrets, by name and rotation, that are to be taken for others than before.
    """

    kind: ClassVar[str] = "wheel-git"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    distribution: str
    release: str | None
    commit: str
    subdirectory: str | None
    python: str
    platform: str
    rotated: tuple[tuple[str, str], ...] = ()
    repository: Annotated[Repository, unkeyed]
    accesses: Annotated[tuple[Access, ...], unkeyed] = ()
    origin: Annotated[Origin, unkeyed] = field(default_factory=Origin)

    @property
    def static_version(self) -> str | None:
        """The version that the lock has, which is known before it is built."""
        return self.release
