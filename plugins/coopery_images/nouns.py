"""What a recipe says about bases: the key `base` and `gpu` of images, and `family` of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from coopery.marks import shorthand

DEFAULT = "python:{python}-slim"
"""The base of images that say nothing of one."""

GPU_FAMILY = "cuda"
"""The family of images with `gpu = true` that name no base; a recipe may define it itself."""


@dataclass(frozen=True, kw_only=True)
class BaseChoice:
    """The base of an image: a `reference`, for which plain text is short, or a `family`."""

    has_base: ClassVar[bool] = True
    """That the image may be of another platform than this machine, which others ask of facets."""

    reference: Annotated[str | None, shorthand] = None
    family: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prebuilt:
    """An image that is used as it is, by its `reference`, for which plain text is short.

    The rest tells what is in it, as bundles do, so that no engine needs to look: its `platform` in
    OCI's terms, the X.Y.Z of its `python`, where that is (`executable`), and its C library. It
    holds for a reference by digest alone.
    """

    has_base: ClassVar[bool] = True
    is_prebuilt: ClassVar[bool] = True
    """That there is nothing to be made of packages, which others ask of facets."""

    reference: Annotated[str, shorthand]
    platform: str | None = None
    python: str | None = None
    executable: str | None = None
    libc: str | None = None


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Whether an image is for tasks that use a GPU."""

    wanted: bool


@dataclass(frozen=True, kw_only=True)
class Family:
    """Base images that differ by a version and by their Python.

    `template` is a reference with `{version}` and `{python}` (X.Y) in it. The version is that of
    `package` as it is installed beside coopery, but at least `minimum`; `version` overrides it.
    """

    template: str
    package: str | None = None
    minimum: str | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Families:
    """A recipe's families, by name."""

    items: Mapping[str, Family] = field(default_factory=dict)


BUILTIN: Mapping[str, Family] = {
    GPU_FAMILY: Family(
        template="rapidsai/miniforge-cuda:{version}-cuda12.8.0-base-ubuntu22.04-py{python}",
        version="25.08",
    ),
}
"""Families that every recipe has, unless it defines one of that name."""
