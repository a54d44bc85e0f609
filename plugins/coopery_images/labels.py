"""Labels of images: OCI's annotations, and coopery's own. None of them enters a key.

See the OCI image specification, annotations.md. `created` is not among them: the same image made
twice would differ.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from coopery import __version__
from coopery.dependencies import Layer
from coopery.digests import digest
from coopery.files import run_git
from coopery.images import Base
from coopery.model import Image, Recipe

_OCI = "org.opencontainers.image"
_LONGEST = 4000
"""Characters of a description in a label."""


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """What git tells of a recipe's folder: the commit, whether a tracked file differs from it, and
    where it was cloned from, without credentials.
    """

    commit: str
    dirty: bool
    source: str | None


def checkout_of(root: Path) -> Checkout | None:
    """The checkout that a folder belongs to; None where git knows of none."""
    folders = (root.absolute(), *root.absolute().parents)
    if not any(os.path.lexists(folder / ".git") for folder in folders):
        return None
    told = run_git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    lines = os.fsdecode(told or b"").splitlines()
    commit = next((x.split()[2] for x in lines if x.startswith("# branch.oid ")), "(initial)")
    if commit == "(initial)":
        return None
    url = os.fsdecode(run_git(root, "remote", "get-url", "origin") or b"").strip()
    dirty = any(not line.startswith("#") for line in lines)
    return Checkout(commit=commit, dirty=dirty, source=_bare(url))


def _bare(url: str) -> str | None:
    """A URL without credentials; paths of this machine say nothing elsewhere."""
    parts = urlsplit(url)
    if "://" not in url or parts.scheme == "file":
        return url if "@" in url.partition(":")[0] and not url.startswith("/") else None
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def description_of(recipe: Recipe, image: Image) -> str:
    """What an image is, in Markdown: what the recipe says, else which tasks run in it."""
    if image.description:
        return image.description
    tasks = sorted(task.name for task in recipe.tasks.values() if task.image == image.name)
    told = f"for the tasks {', '.join(tasks)}" if tasks else "for no task yet"
    return f"The image `{image.name}`, {told}."


def labels_of(recipe: Recipe, image: Image, layers: Sequence[Layer], base: Base) -> dict[str, str]:
    """An image's labels: text in one line each."""
    from coopery_images.rendering import pins_of

    own = {need.name for layer in layers for need in layer.wheels}
    versions = {
        step.subject: version
        for layer in layers
        for step in layer.steps
        if (version := getattr(step.work, "static_version", None)) and step.subject in own
    }
    pins = [[pin.name, pin.version, pin.url, sorted(pin.hashes)] for pin in pins_of(layers)]
    found = {
        f"{_OCI}.title": image.name,
        f"{_OCI}.description": description_of(recipe, image),
        f"{_OCI}.base.name": base.reference,
        "coopery.image": image.name,
        "coopery.version": __version__,
        "coopery.lock": f"sha256:{digest(['lock', base.identity, pins])}",
    }
    if base.digest:
        found[f"{_OCI}.base.digest"] = base.digest
    if own:
        named = (f"{name}=={versions[name]}" if name in versions else name for name in own)
        found["coopery.wheels"] = ",".join(sorted(named))
    if len(own) == 1 and versions:
        found[f"{_OCI}.version"] = next(iter(versions.values()))
    if checkout := checkout_of(recipe.root):
        found["coopery.commit"] = found[f"{_OCI}.revision"] = checkout.commit
        found["coopery.dirty"] = "true" if checkout.dirty else "false"
        if checkout.source:
            found[f"{_OCI}.source"] = checkout.source
    return {name: _line(text) for name, text in sorted(found.items())}


def _line(text: str) -> str:
    """A text in one line, of what can be printed."""
    text = " ".join(text.split())
    return "".join(c for c in text if c.isprintable())[:_LONGEST]
