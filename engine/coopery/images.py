"""Images as values: a base, then parts. Dockerfile, context and archive are made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from coopery.errors import KeyPath
from coopery.logins import RegistryLogin
from coopery.marks import unkeyed
from coopery.steps import Need, Step, StepSource

WORKING_FOLDER = "/work"
"""Where an image's sources lie in a container, and a task's command starts."""

PREFIX = "/opt/coopery"
"""Where coopery puts what is its own in an image: the Python environment in `env`."""

PROGRAMS = f"{PREFIX}/env/bin"
"""The programs of that environment, before which no others are looked for."""


def path_from(programs: str, path: str) -> str:
    """The PATH of a task for which `path` is declared: an environment's `programs` come first.

    Nothing is filled in: a `$PATH` in it stands for itself.
    """
    return ":".join([programs, *(part for part in path.split(":") if part and part != programs)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The image that another begins with, as an engine found it and the lock pins it.

    `reference` is what the recipe means (`python:3.11-slim`); `digest` is that of its manifest,
    by which every machine gets the same (None for one that was only made on this machine, where
    `id`, the digest of its configuration, must do). `python` is the X.Y.Z of the Python in it at
    `executable`, both None where there is none; `libc` is `glibc 2.36`, `musl 1.2` or empty;
    `platform` is in OCI's terms (`linux/amd64`).
    """

    reference: str
    id: str
    platform: str
    digest: str | None = None
    python: str | None = None
    executable: str | None = None
    libc: str = ""

    @property
    def identity(self) -> str:
        """What enters keys: the same wherever the digest is the same."""
        return self.digest or self.id

    @property
    def pinned(self) -> str:
        """How a Dockerfile names it: by its digest where it has one."""
        if self.digest is None:
            return self.reference
        named = self.reference.partition("@")[0]
        name, _, tag = named.rpartition(":")
        repository = named if not name or "/" in tag else name
        return f"{repository}@{self.digest}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, quoted already: `arguments` is a single line.

    `caches` are folders that a builder with BuildKit keeps from one build to the next; they are
    no part of the image, and of no key.
    """

    keyword: str
    arguments: str
    caches: Annotated[tuple[str, ...], unkeyed] = ()

    def line(self, *, buildkit: bool) -> str:
        """The instruction as a builder with or without BuildKit reads it."""
        mounts = (f"--mount=type=cache,sharing=locked,target={folder} " for folder in self.caches)
        return f"{self.keyword} {''.join(mounts) if buildkit else ''}{self.arguments}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """What a part takes from the build context: a need's bytes, at `path` in the context.

    What is `writable` may be changed by whoever a task runs as; all else is root's.
    """

    path: str
    need: Need
    writable: bool = False


def wheel_labels(inputs: Mapping[str, Path]) -> dict[str, str]:
    """The label that tells the digests of an image's own wheels, which only their bytes tell.

    `inputs` are the paths of what a part copies, by the needs' roles; most parts have none.
    """
    listing = next(
        (p for role, p in inputs.items() if role.endswith(f"{PREFIX}/wheels.json")), None
    )
    if listing is None:
        return {}
    wheels = json.loads(listing.read_text("utf-8"))
    told = sorted(f"{wheel['file']}@sha256:{wheel['sha256']}" for wheel in wheels)
    return {"coopery.wheels.digests": ",".join(told)}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an image, built by itself on the part before it: `steps` make what it copies."""

    name: str
    instructions: tuple[Instruction, ...]
    copies: tuple[Copied, ...] = ()
    steps: tuple[Step, ...] = ()
    named: Mapping[str, KeyPath] = field(default_factory=dict)
    """Where the recipe says what a failed build may name: Debian packages."""


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """An image before it is built: its base, then its parts, each on the one before.

    `labels` tell where it comes from; like the `description` (Markdown) they enter no key.
    `packages` are the lines of the locked requirements, for people and for archives.
    """

    image: str
    base: Base
    parts: tuple[Part, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    packages: tuple[str, ...] = ()
    context_limit: int | None = None
    """Bytes of all that is sent to be built, over which a warning is told."""
    login: RegistryLogin | None = None
    """Who one is at the base's registry, where the recipe says it."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that make what goes into the build context."""
        return tuple(step for part in self.parts for step in part.steps)


@dataclass(frozen=True, kw_only=True)
class ImageBuild:
    """The work of building one part of an image in an engine: the image's last part is the image.

    Needs have the roles `base` (the part before; without one the part begins with `base`) and
    `copy PATH`. The result lies in the engine; what is kept in place is a note of it.
    """

    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = True
    lost: ClassVar[str] = "the image is gone from the container engine"
    """What is said where the note of it is there, and it is not."""

    origin: str
    """The identity of the base; empty where the role `base` says what comes before."""
    instructions: tuple[Instruction, ...]

    image: Annotated[str, unkeyed]
    part: Annotated[str, unkeyed]
    runtime: Annotated[str, unkeyed]
    base: Annotated[Base, unkeyed]
    context_limit: Annotated[int | None, unkeyed] = None
    """Bytes of the part's own context, over which a warning is told."""
    writable: Annotated[tuple[str, ...], unkeyed] = ()
    """The paths of the context that tasks may change."""
    labels: Annotated[Mapping[str, str], unkeyed] = field(default_factory=dict)
    login: Annotated[RegistryLogin | None, unkeyed] = None
    """Who one is at the base's registry, where the recipe says it."""
    named: Annotated[Mapping[str, KeyPath], unkeyed] = field(default_factory=dict)
    """Where the recipe says what a failed build may name."""


@dataclass(frozen=True, kw_only=True)
class ImagePull:
    """The work of having an image as it is in an engine: nothing is put upon it.

    The result lies in the engine; what is kept in place is a note of it.
    """

    kind: ClassVar[str] = "pull"
    version: ClassVar[int] = 1
    in_place: ClassVar[bool] = True

    origin: str
    """The identity of the image."""

    image: Annotated[str, unkeyed]
    runtime: Annotated[str, unkeyed]
    base: Annotated[Base, unkeyed]
    login: Annotated[RegistryLogin | None, unkeyed] = None


def plan_builds(blueprint: Blueprint, runtime: str) -> tuple[Step, ...]:
    """The steps that build an image, one for each part; the last makes the image.

    Each has one output, `image`. An image without parts is its base as it is.
    """
    steps: list[Step] = []
    if not blueprint.parts:
        return (_pull(blueprint, runtime),)
    for number, part in enumerate(blueprint.parts):
        last = number == len(blueprint.parts) - 1
        name = f"image {blueprint.image}" + ("" if last else f" {part.name}")
        needs = [Need(role=f"copy {item.path}", source=item.need.source) for item in part.copies]
        if steps:
            before = StepSource(step=steps[-1].name, output="image")
            needs.insert(0, Need(role="base", source=before))
        work = ImageBuild(
            origin="" if steps else blueprint.base.identity,
            instructions=part.instructions,
            image=blueprint.image,
            part=part.name,
            runtime=runtime,
            base=blueprint.base,
            context_limit=blueprint.context_limit,
            writable=tuple(item.path for item in part.copies if item.writable),
            labels=blueprint.labels if last else {},
            login=blueprint.login,
            named=part.named,
        )
        steps.append(
            Step(
                name=name,
                subject=blueprint.image,
                work=work,
                needs=tuple(needs),
                outputs=("image",),
                key_path=("image", blueprint.image),
            )
        )
    return tuple(steps)


def _pull(blueprint: Blueprint, runtime: str) -> Step:
    work = ImagePull(
        origin=blueprint.base.identity,
        image=blueprint.image,
        runtime=runtime,
        base=blueprint.base,
        login=blueprint.login,
    )
    return Step(
        name=f"image {blueprint.image}",
        subject=blueprint.image,
        work=work,
        outputs=("image",),
        key_path=("image", blueprint.image),
    )
