"""The platform of a base in uv's terms."""

from __future__ import annotations

from coopery.errors import KeyPath, RecipeError, problem
from coopery.images import Base
from coopery.targets import GLIBC, Target, target_of

OTHERS = tuple(
    Target(machine=machine, glibc=glibc).uv
    for machine in ("x86_64", "aarch64")
    for glibc in (GLIBC[-1], None)
)
"""Platforms that between them take all the files of Linux."""


def platform_of(base: Base, key: KeyPath = ()) -> str:
    """What `uv --python-platform` is told. Raises RecipeError (`unsupported-platform`)."""
    if (found := target_of(base)) is not None:
        return found.uv
    shown = f"{base.platform} with {base.libc or 'an unknown C library'}"
    message = f"no packages can be installed for the base {base.reference}: it is {shown}"
    hint = "packages are for linux/amd64 or linux/arm64, with glibc from 2.17 or musl from 1.2 on"
    raise RecipeError(problem("unsupported-platform", message, key=key, hint=hint))
