"""Which images the engine still has: asked without the SDK, where a plain question will do.

Importing the SDK takes as long as all the rest of a build in which nothing is to be built, and its
client asks for the engine's version before it asks for anything else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from coopery.errors import MachineError
from coopery.writing import write_atomically
from coopery_docker.notes import KEY

REPOSITORY = "coopery"
IMAGE_NOTE = "image.json"
"""What the result of building an image is in the home: a note of it, in this file."""

_BEFORE = re.compile(r"\A(?:localhost|docker\.io/library)/")
"""What Podman puts before a name without a registry: by its own API, and by Docker's."""
_SOCKET = "/var/run/docker.sock"
_PATIENCE = 20.0
"""Seconds without a word after which the engine counts as one that does not answer."""


def tag_of(key: str) -> str:
    """How the image with a key is called in the engine."""
    return f"{REPOSITORY}:{key}"


def read_note(folder: Path) -> dict[str, Any]:
    """The note of an image."""
    note: dict[str, Any] = json.loads((folder / IMAGE_NOTE).read_text("utf-8"))
    return note


def seen_note(folder: Path) -> dict[str, Any] | None:
    """The note of an image; None where it cannot be read, as after a machine failed."""
    try:
        note = read_note(folder)
        return note if isinstance(note["tag"], str) and isinstance(note["id"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_note(folder: Path, note: Mapping[str, Any]) -> None:
    """Write the note of an image, whole or not at all. Raises OSError."""
    write_atomically(folder / IMAGE_NOTE, json.dumps(note).encode())


def own_tag(described: Mapping[str, Any]) -> str:
    """The tag that an image was given when it was built; that name may be another image's now."""
    return tag_of(str((described.get("Labels") or {}).get(KEY)))


def tags_of(listed: Mapping[str, Any]) -> list[str]:
    """What an image is called, as coopery calls its own; Podman puts a registry's name before."""
    tags = (tag for tag in listed.get("RepoTags") or () if tag != "<none>:<none>")
    return [_BEFORE.sub("", tag) for tag in tags]


def find_gone(folders: Mapping[str, Path]) -> list[str]:
    """The names whose folders have notes of images that the engine does not have: in one question.

    An image whose note cannot be read is gone too: it is made again, and the note with it. Raises
    MachineError when the engine does not answer.
    """
    seen = {name: seen_note(folder) for name, folder in folders.items()}
    lost = [name for name, note in seen.items() if note is None]
    notes = {name: note for name, note in seen.items() if note is not None}
    tags = {name: str(note["tag"]) for name, note in notes.items() if not note.get("prebuilt")}
    others = [name for name, note in notes.items() if note.get("prebuilt") and not _has(note)]
    if not tags:
        return [*lost, *others]
    if len(tags) == 1:
        found = inspect(*tags.values())
        there = {own_tag((found or {}).get("Config") or {})}
    else:
        there = {own_tag(image) for image in _listed() if own_tag(image) in tags_of(image)}
    return [*lost, *others, *(name for name, tag in tags.items() if tag not in there)]


def _has(note: Mapping[str, Any]) -> bool:
    """Whether the engine still has an image that is used as it is."""
    found = inspect(str(note["tag"]))
    return found is not None and found["Id"] == note["id"]


def inspect(tag: str) -> dict[str, Any] | None:
    """An image as the engine has it; None where it has none of this name. Raises MachineError."""
    try:
        status, found = _ask(f"/images/{quote(tag, safe='/:@')}/json")
        if status == 200:
            return dict(found)
        if "no such image" in str(found.get("message")).lower():
            return None
    except (OSError, ValueError):
        pass  # the SDK finds out: there is more to it than a socket here, or something is wrong
    from coopery_docker.client import connect
    from coopery_docker.images import find

    return find(connect(), tag)


def _listed() -> list[dict[str, Any]]:
    """All images that coopery has made."""
    try:
        status, found = _ask(f"/images/json?filters={quote(json.dumps({'label': [KEY]}))}")
        if status == 200:
            return list(found)
    except (OSError, ValueError):
        pass  # as above
    from coopery_docker.client import connect

    engine = connect()
    with engine.asked("listed no images"):
        return list(engine.api.images(filters={"label": [KEY]}))


def _ask(path: str) -> tuple[int, Any]:
    """An answer's status and what it says. Raises OSError and ValueError where there is none, and
    MachineError (`no-engine`) where one is waited for in vain.
    """
    import socket

    place = _socket()
    if place is None:
        raise ValueError("the engine is not simply at a socket")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        connection.connect(place)
        # HTTP/1.0: the answer ends where the connection does, and is in one piece.
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        try:
            with connection.makefile("rb") as file:
                status = file.readline().split(b" ")[1:2]
                _, separator, body = file.read().partition(b"\r\n\r\n")
        except TimeoutError as error:
            raise _silent() from error
    if not separator or status not in ([b"200"], [b"404"]):
        raise ValueError(f"no answer: {status}")
    return int(status[0]), json.loads(body)


def _silent() -> MachineError:
    from coopery_docker.client import no_engine
    from coopery_docker.targets import find_target

    return no_engine(find_target(), f"it was asked, and said nothing for {_PATIENCE:.0f} s")


def _socket() -> str | None:
    """The engine's socket on this machine, as `find_target` finds it; None where it may not be."""
    environ = os.environ
    if any(environ.get(name) for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY")):
        return None
    if host := environ.get("DOCKER_HOST"):
        return host.removeprefix("unix://") if host.startswith("unix:///") else None
    folder = environ.get("DOCKER_CONFIG")
    config = Path(folder) if folder else Path.home() / ".docker"
    try:
        text = (config / "config.json").read_text("utf-8")
    except FileNotFoundError:
        return _SOCKET
    return None if "currentContext" in text else _SOCKET
