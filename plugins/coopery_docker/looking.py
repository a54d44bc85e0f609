"""Whether the engine still has an image: asked without the SDK, where a plain question will do.

Importing the SDK takes as long as all the rest of a build in which nothing is to be built, and its
client asks for the engine's version before it asks for anything else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from coopery_docker.notes import KEY

REPOSITORY = "coopery"
IMAGE_NOTE = "image.json"
"""What the result of building an image is in the home: a note of it, in this file."""

_SOCKET = "/var/run/docker.sock"
_PATIENCE = 10.0
"""Seconds without a word after which the SDK is left to find out what is wrong."""


def tag_of(key: str) -> str:
    """How the image with a key is called in the engine."""
    return f"{REPOSITORY}:{key}"


def read_note(folder: Path) -> dict[str, Any]:
    """The note of an image."""
    note: dict[str, Any] = json.loads((folder / IMAGE_NOTE).read_text("utf-8"))
    return note


def is_there(folder: Path) -> bool:
    """Whether the engine has the image that the note in `folder` tells of.

    Raises MachineError when the engine does not answer.
    """
    tag = str(read_note(folder)["tag"])
    try:
        found = _inspect(tag)
    except (OSError, ValueError):
        # There is more to it than a socket of this machine, or something is wrong with that.
        from coopery_docker.client import connect
        from coopery_docker.images import find

        found = find(connect(), tag)
    labels = ((found or {}).get("Config") or {}).get("Labels") or {}
    return tag_of(str(labels.get(KEY))) == tag


def _inspect(tag: str) -> dict[str, Any] | None:
    """An image as the engine has it; None where it has none of this name.

    Raises OSError and ValueError where that cannot be told from here.
    """
    import socket

    path = _socket()
    if path is None:
        raise ValueError("the engine is not simply at a socket")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        connection.connect(path)
        # HTTP/1.0: the answer ends where the connection does, and is in one piece.
        connection.sendall(f"GET /images/{tag}/json HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        with connection.makefile("rb") as file:
            status = file.readline().split(b" ")[1:2]
            head, separator, body = file.read().partition(b"\r\n\r\n")
    if not separator or status not in ([b"200"], [b"404"]):
        raise ValueError(f"no answer: {status}, {head[:200]!r}")
    found: dict[str, Any] = json.loads(body)
    if status == [b"200"]:
        return found
    if "no such image" not in str(found.get("message")).lower():
        raise ValueError(f"whatever answers is no engine: {found}")
    return None


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
