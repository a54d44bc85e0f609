"""Whether a container engine that speaks the Docker API answers: one plain question to a socket."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from coopery.findings import Finding
from coopery.indexes import redact

_PATIENCE = 2.0
_QUESTION = b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n"
_NONE = "no container engine answers; the runtime local needs none"


def look() -> Iterator[Finding]:
    """What answers where Docker and Podman listen, or where DOCKER_HOST says."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        yield _named(named)
        return
    paths = [Path("/var/run/docker.sock")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        paths += [Path(runtime) / "docker.sock", Path(runtime) / "podman" / "podman.sock"]
    paths.append(Path("/run/podman/podman.sock"))
    there = [path for path in paths if os.path.lexists(path)]
    found = [_unix(path) for path in there]
    well = [finding for finding in found if finding.state == "ok"]
    if well or found:
        yield (well or found)[0]
    else:
        yield Finding(subject="engine", state="ok", text=_NONE)


def _named(address: str) -> Finding:
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return _unix(Path(parts.path))
    shown = redact(address)
    if parts.scheme != "tcp" or os.environ.get("DOCKER_TLS_VERIFY"):
        text = f"DOCKER_HOST is {shown}, which was not asked"
        return Finding(subject="engine", state="ok", text=text)
    hint = "start the engine there, or unset DOCKER_HOST"
    try:
        place = (parts.hostname or "localhost", parts.port or 2375)
        with socket.create_connection(place, timeout=_PATIENCE) as connection:
            return _ask(connection, shown)
    except (OSError, ValueError) as error:
        return _silent(shown, error, hint)


def _unix(path: Path) -> Finding:
    hint = "start the engine, if the runtime docker is wanted"
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PATIENCE)
    try:
        with connection:
            connection.connect(os.fspath(path))
            return _ask(connection, os.fspath(path))
    except PermissionError as error:
        return _silent(path, error, "become a member of the group that owns the socket")
    except OSError as error:
        return _silent(path, error, hint)


def _silent(place: object, error: Exception, hint: str) -> Finding:
    why = getattr(error, "strerror", None) or error
    text = f"the container engine at {place} does not answer: {why}"
    return Finding(subject="engine", state="warning", text=text, hint=hint)


def _ask(connection: socket.socket, place: str) -> Finding:
    connection.sendall(_QUESTION)
    answer = b""
    while len(answer) < 65536 and (part := connection.recv(4096)):
        answer += part
    if not re.match(rb"HTTP/1\.[01] 200 ", answer):
        text = f"what listens at {place} is no container engine"
        return Finding(subject="engine", state="warning", text=text)
    version = re.search(rb"(?im)^api-version:\s*([\w.]+)", answer)
    shown = f" (API {version[1].decode('ascii')})" if version else ""
    return Finding(subject="engine", state="ok", text=f"one answers at {place}{shown}")
