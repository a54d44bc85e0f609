"""Who one is at a registry of images: what a recipe says under `registries`, for any plugin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coopery.errors import KeyPath, Problem, problem
from coopery.model import Secret

if TYPE_CHECKING:
    from coopery.model import Recipe

HUB = "docker.io"
"""The registry of references that name none."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"localhost|{_LABEL}(?:\.{_LABEL})+|{_LABEL}(?:\.{_LABEL})*:\d+")


@dataclass(frozen=True, kw_only=True)
class RegistryLogin:
    """A registry's `host` (with its port, where it has one), and who one is there.

    The password is never text: `{ secret = "NAME" }` says what it is called.
    """

    host: str
    username: str | Secret
    password: Secret


@dataclass(frozen=True)
class Registries:
    """A recipe's `registries`."""

    items: tuple[RegistryLogin, ...]


def login_at(recipe: Recipe, host: str) -> RegistryLogin | None:
    """What the recipe says of a registry's host; None where it says nothing."""
    known = recipe.facet(Registries)
    return next((x for x in known.items if x.host == host), None) if known else None


def host_of(reference: str) -> str:
    """The host of the registry that a reference to an image, or a repository, is of."""
    first, slash, _ = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else HUB


def check_logins(recipe: Recipe) -> Iterator[Problem]:
    """Hosts are hosts alone, and each is named once."""
    known = recipe.facet(Registries)
    seen: set[str] = set()
    for number, item in enumerate(known.items if known else ()):
        key: KeyPath = ("registries", number, "host")
        if not _HOST.fullmatch(item.host):
            hint = 'write the host alone, with its port: "registry.example:5000"'
            yield problem("wrong-value", f"{item.host!r} is no registry's host", key=key, hint=hint)
        elif item.host in seen:
            hint = "say who you are there in one entry"
            yield problem("duplicate-value", f"{item.host} is named twice", key=key, hint=hint)
        seen.add(item.host)
        for part, given in ("username", item.username), ("password", item.password):
            if isinstance(given, Secret) and given.rotation is not None:
                message = "a rotation has nothing made again here: images are known by their digest"
                where = ("registries", number, part, "rotation")
                yield problem("wrong-value", message, key=where, hint="leave it out")
