"""What can be seen of an image without starting it: its configuration, and files in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coopery.errors import MachineError, Problem
from coopery.quantities import show_bytes

LARGEST_FILE = 1 << 20
"""Bytes that a file may have which is looked at."""


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """An image as it was seen: `id` is the digest of its configuration (`sha256:…`), which names
    its labels and layers, so that what was seen may be remembered by it.

    `source` says where: `engine`, or a registry's host. The fields from `labels` to `workdir` are
    the configuration's own, empty where it has none. `files` holds the contents of those of the
    paths asked for that are regular files in the image, or links to such, by the path asked for.
    """

    id: str
    source: str
    labels: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def glimpse_of(config: object, *, id: str, source: str, files: Mapping[str, bytes]) -> Glimpse:
    """A glimpse of an image whose configuration came from elsewhere, as the `config` of the OCI's
    image-spec (config.md) has it, and the `Config` of engines. Raises ValueError, saying what is
    wrong with it.
    """
    found = {} if config is None else config
    if not isinstance(found, dict):
        raise ValueError("its configuration is no table")
    labels = found.get("Labels") or {}
    if not isinstance(labels, dict) or not _are_texts([*labels, *labels.values()]):
        raise ValueError("its labels are not texts with names")
    env = dict(text.partition("=")[::2] for text in _texts(found, "Env"))
    return Glimpse(
        id=id,
        source=source,
        labels=labels,
        entrypoint=_texts(found, "Entrypoint"),
        command=_texts(found, "Cmd"),
        env=env,
        user=_text(found, "User"),
        workdir=_text(found, "WorkingDir"),
        files=files,
    )


def _are_texts(values: list[object]) -> bool:
    return all(isinstance(value, str) and _can_be_said(value) for value in values)


def _can_be_said(text: str) -> bool:
    """Whether it is text: JSON may hold halves of characters, which nothing can print."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _texts(found: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = found.get(name) or []
    if isinstance(value, str):  # so old images have it
        return (value,)
    if not isinstance(value, list) or not _are_texts(value):
        raise ValueError(f"{name} in its configuration is no list of texts")
    return tuple(value)


def _text(found: Mapping[str, object], name: str) -> str:
    value = found.get(name) or ""
    if not isinstance(value, str) or not _can_be_said(value):
        raise ValueError(f"{name} in its configuration is no text")
    return value


def too_large(reference: str, path: str, size: int) -> MachineError:
    """A file that is not read."""
    message = f"{path} in the image {reference} has {show_bytes(size)}"
    hint = f"no more than {show_bytes(LARGEST_FILE)} of a file in an image are read"
    return MachineError(Problem(slug="image-file-size", message=message, hint=hint))


def damaged(reference: str, why: str) -> MachineError:
    """An image that is not as it should be, by mistake or on purpose."""
    message = f"the image {reference} cannot be looked into: {why}"
    hint = "build it and push it anew, or take another one, of people you trust"
    return MachineError(Problem(slug="image-damaged", message=message, hint=hint))


def not_found(reference: str, why: str) -> MachineError:
    """An image that nobody has."""
    message = f"there is no image {reference}: {why}"
    hint = (
        "check its name and tag; build, pull or load it into the container engine; where it is "
        "private, log in at its registry with `docker login`"
    )
    return MachineError(Problem(slug="image-not-found", message=message, hint=hint))


def check_paths(paths: tuple[str, ...]) -> None:
    """Raises ValueError for what is no absolute path of a file, written the shortest way."""
    for path in paths:
        parts = path.split("/")
        if parts[0] or len(parts) < 2 or {"", ".", ".."} & {*parts[1:]} or "\0" in path:
            raise ValueError(f"{path!r} is no absolute path of a file in an image")
