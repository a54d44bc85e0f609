"""Images as what a home keeps in an engine: what they weigh, and how they are let go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coopery.elsewhere import Holding, Kept
from coopery.errors import MachineError
from coopery_docker.client import Engine, connect
from coopery_docker.looking import IMAGE_NOTE, own_tag, read_note, tags_of
from coopery_docker.notes import HOME, KEY, ON, OVER, folder_of, home_id

KIND = "images"


def weigh(home: Path, places: Mapping[str, Path]) -> Iterator[Holding]:
    """The images of a home: those in the engine that is meant now, with one question or two.

    Where no engine answers, what the notes tell.
    """
    noted = [k for key, folder in places.items() for k in _noted(key, folder)]
    if not noted and not folder_of(home).is_dir():
        return
    try:
        engine = connect()
        kept = tuple(_listed(engine, home))
        kind = "Podman" if engine.is_podman else "Docker"
        where = f"{kind} {engine.version} at {engine.target.address}"
        yield Holding(kind=KIND, kept=kept, where=where, room=_room(engine) if kept else None)
    except MachineError as error:
        yield Holding(kind=KIND, kept=tuple(noted), unseen=error.problems[0].message)


def let_go(kept: Kept) -> bool:
    """Remove an image by its own name; False if a container, or another image, needs it.

    What else it may be called stays, and with it the image. Raises MachineError.
    """
    from docker.errors import APIError

    engine = connect()
    with engine.asked("removed no image"):
        try:
            engine.api.remove_image(kept.name)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise
            return bool(error.status_code == 404)  # then it is gone already
    return True


def _noted(key: str, folder: Path) -> Iterator[Kept]:
    """What the note in a folder tells; nothing where there is none, or a build has not ended."""
    if not (folder / IMAGE_NOTE).is_file():
        return
    try:
        note = read_note(folder)
        if note.get("prebuilt"):
            return  # it is a registry's, or the user's own
        size = max(0, int(note["size"]) - int(note.get("over", 0)))
        yield Kept(key=key, name=str(note["tag"]), size=size, on=str(note.get("on", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return  # half written: nothing is known by it


def _listed(engine: Engine, home: Path) -> Iterator[Kept]:
    with engine.asked("listed no images"):
        images = engine.api.images(filters={"label": [f"{HOME}={home_id(home)}"]})
    for image in images:
        labels: Mapping[str, Any] = image.get("Labels") or {}
        tags, own = tags_of(image), own_tag(image)
        if not tags and any("@sha256:" in each for each in image.get("RepoDigests") or ()):
            continue  # it was published, and pulled again by its digest
        if tags and own not in tags:
            continue  # somebody built upon one of ours, or gave it a name: it is theirs
        over = str(labels.get(OVER, "0"))
        size = max(0, int(image.get("Size") or 0) - (int(over) if over.isdigit() else 0))
        yield Kept(
            key=str(labels.get(KEY, "")),
            name=own if tags else str(image["Id"]),
            size=size if len(tags) < 2 else 0,  # what has another name stays by that
            on=str(labels.get(ON, "")),
            spare=not tags,
        )


def _room(engine: Engine) -> int | None:
    """The size of the disk on which an engine of this machine keeps its images."""
    if not engine.is_local:
        return None
    try:
        status = os.statvfs(str(engine.info.get("DockerRootDir") or ""))
    except OSError:
        return None  # it is not for everybody to see
    return status.f_blocks * status.f_frsize
