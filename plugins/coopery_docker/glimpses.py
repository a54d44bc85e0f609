"""A look into an image that the engine has: files are read from a container that never starts."""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import tarfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coopery.errors import MachineError
from coopery.glimpses import LARGEST_FILE, Glimpse, damaged, glimpse_of, too_large
from coopery.staging import was_cancelled
from coopery_docker.client import Engine, connect, refused, said
from coopery_docker.containers import kept_if_lost, remove
from coopery_docker.leaving import unless_left
from coopery_docker.looking import inspect
from coopery_docker.notes import HOME, RUN, Noted, home_id, noted

SOURCE = "engine"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*(?:/[A-Za-z0-9][A-Za-z0-9._:@-]*)*", re.ASCII)
_LINK = 1 << 27
_OTHERS = sum(1 << bit for bit in (31, 27, 26, 25, 24, 21, 19))
"""Bits of a mode as Go has it (io/fs.FileMode): of a link, and of all that is no regular file."""
_STAT = "X-Docker-Container-Path-Stat"
"""The header by which an engine tells what is at a path: base64 of JSON."""
_HEADERS = 1 << 16
"""Bytes that an archive of one file may have beyond it."""
_NOT_THERE = re.compile(r"not a directory|no such file|could not find the file", re.IGNORECASE)
_CIRCLE = re.compile(r"too many (?:links|levels of symbolic)|error resolving", re.IGNORECASE)
"""How Docker and Podman say that links lead in circles."""
_PLACEHOLDERS = frozenset({"/.dockerenv", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
"""Empty files that Docker puts into each container where the image has none."""


def look(
    reference: str, paths: tuple[str, ...], home: Path, tell: Callable[[str], None]
) -> Glimpse | None:
    """An image as the engine has it, and files in it; None where no engine has one of this name,
    which is told with its reason. Raises MachineError (`image-…`, `engine-…`).
    """
    if not _NAME.fullmatch(reference):
        return None  # no engine gives names like that
    try:
        image = inspect(reference)
    except MachineError as error:
        tell(f"look     {error.problems[0].message}")
        return None
    if image is None:
        tell(f"look     the container engine has no image {reference}")
        return None
    ident = str(image["Id"])
    ident = ident if ":" in ident else f"sha256:{ident}"
    config = image.get("Config")
    files = _files(reference, ident, config, paths, home, tell) if paths else {}
    try:
        return glimpse_of(config, id=ident, source=SOURCE, files=files)
    except ValueError as error:
        raise damaged(reference, str(error)) from None


def _files(
    reference: str,
    ident: str,
    config: Any,
    paths: tuple[str, ...],
    home: Path,
    tell: Callable[[str], None],
) -> Mapping[str, bytes]:
    engine = connect()
    if engine.is_podman:
        volumes = tuple((config or {}).get("Volumes") or ())
        for path in paths:
            if any(f"{path}/".startswith(f"{volume.rstrip('/')}/") for volume in volumes):
                why = "in a volume of the image, into which Podman looks only once it runs"
                tell(f"warning: {path} is not read: it lies {why}")
    stop = threading.Event()  # set when somebody interrupts

    def read() -> dict[str, bytes]:
        with noted(home, f"look-{secrets.token_hex(4)}") as note:
            container = _create(engine, ident, home, note)
            try:
                found = {}
                for path in paths:
                    if stop.is_set():
                        raise was_cancelled()
                    content = _read(engine, container, reference, path)
                    if content is not None:
                        found[path] = content
                return found
            finally:
                remove(engine, container, note)

    return unless_left(read, engine, stop, stop)


def _create(engine: Engine, ident: str, home: Path, note: Noted) -> str:
    """A container that will not be started; it bears the labels by which what is left is found."""
    body = {
        "Image": ident,
        # An image that says nothing of this makes no container; there need be no such program.
        "Entrypoint": ["/coopery-never-starts-this"],
        "Cmd": [],
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {RUN: note.path.name, HOME: home_id(home)},
        "HostConfig": {"NetworkMode": "none", "CapDrop": ["ALL"], "LogConfig": {"Type": "none"}},
    }
    with kept_if_lost(note), engine.asked("made no container"):
        name = f"coopery-{note.path.name}"
        return str(engine.api.create_container_from_config(body, name)["Id"])


def _read(engine: Engine, container: str, reference: str, path: str) -> bytes | None:
    """What a regular file in a container holds; None where there is none."""
    place = path
    for _ in range(2):
        found = _open(engine, container, reference, place)
        if found is None:
            return None
        response, status = found
        with response, engine.asked("did not read from the image"):
            mode, size = int(status["mode"]), int(status["size"])
            target = str(status.get("linkTarget") or "")
            if mode & _LINK and target != place:
                place = target  # followed to its end, within the image
                continue
            if mode & _OTHERS:
                return None
            if size > LARGEST_FILE:
                raise too_large(reference, path, size)
            content = _content(response.raw)
        if content is None:
            raise refused("did not read from the image", f"what it gives of {path} is no archive")
        return content if content or path not in _PLACEHOLDERS else None
    raise damaged(reference, f"the links at {path} lead in circles")


def _open(
    engine: Engine, container: str, reference: str, path: str
) -> tuple[Any, dict[str, Any]] | None:
    """The engine's answer with the archive of a path, to be closed, and what it says of it; None
    where nothing is there.
    """
    from docker.errors import APIError

    api = engine.api
    with engine.asked("did not read from the image"):
        url = api._url("/containers/{0}/archive", container)
        response = api._get(url, params={"path": path}, stream=True)
        try:
            api._raise_for_status(response)
            status = json.loads(base64.b64decode(response.headers[_STAT]))
        except APIError as error:
            response.close()
            if _NOT_THERE.search(said(error)):
                return None
            if _CIRCLE.search(said(error)):
                raise damaged(reference, f"the links at {path} lead in circles") from None
            raise
        except (LookupError, ValueError) as error:
            response.close()
            raise refused("did not say what the image holds", f"of {path}: {error}") from error
        except BaseException:
            response.close()
            raise
    return response, status


def _content(stream: Any) -> bytes | None:
    """The file that an archive of one holds; None where it is none of that kind."""
    raw = stream.read(LARGEST_FILE + _HEADERS)
    try:
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            member = archive.next()
            if member is None or not member.isreg():
                return None
            file = archive.extractfile(member)
            content = file.read() if file is not None else b""
            return content if len(content) == member.size else None
    except (tarfile.TarError, EOFError, OSError):
        return None
