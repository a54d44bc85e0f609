"""What is left in an engine: containers of dead runs, and images that no home knows any more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coopery.errors import MachineError
from coopery.findings import Finding
from coopery.quantities import show_bytes
from coopery_docker import cgroups
from coopery_docker.client import Engine, connect
from coopery_docker.giving import give_back_left
from coopery_docker.looking import IMAGE_NOTE, own_tag, seen_note, tags_of
from coopery_docker.notes import (
    HOME,
    NOTE,
    RUN,
    STEP,
    containers_in,
    dead,
    folder_of,
    home_id,
    lives,
    runs_noted,
)

_NONE = "no container engine answers; the runtime local needs none"
_MEND = "coopery doctor --mend removes"


def quick(home: Path) -> Iterator[Finding]:
    """Before a run: remove what dead runs left. Without a note of one, no engine is asked."""
    for run in runs_noted(home):
        with dead(home, run) as note:
            if note is None:
                continue
            try:
                engine = connect()
                for container in (*_containers(engine, home, run), *_of_builds(engine, note)):
                    why = _remove(engine, home, container)
                    yield _told(container, mended=True, why=why)
                for group in cgroups.left(home, run):
                    yield _group_told(group, mended=cgroups.remove(group))
            except MachineError as error:
                # The note stays for when the engine is back; what needs it says so itself.
                said = error.problems[0].message
                text = f"containers of the killed run {run} may be left: {said}"
                yield Finding(subject="containers", state="warning", text=text)
                continue
            note.unlink(missing_ok=True)


def thorough(home: Path, *, mend: bool) -> Iterator[Finding]:
    """For `doctor`: whether an engine answers, and what is left in it."""
    try:
        engine = connect()
    except MachineError as error:
        yield _silent(error)
        return
    kind = "Podman" if engine.is_podman else "Docker"
    text = f"{kind} {engine.version} (API {engine.api.api_version}) at {engine.target.address}"
    yield Finding(subject="engine", state="ok", text=text)
    if not folder_of(home).parent.exists():
        return
    try:
        yield from _dead_containers(engine, home, mend=mend)
        yield from _lost_images(engine, home, mend=mend)
    except MachineError as error:
        yield Finding(subject="engine", state="warning", text=error.problems[0].message)


def _silent(error: MachineError) -> Finding:
    """No engine: that is well where none is meant."""
    found = error.problems[0]
    named = any(os.environ.get(name) for name in ("DOCKER_HOST", "DOCKER_CONTEXT"))
    if found.slug == "missing-extra":
        return Finding(subject="engine", state="ok", text=found.message, hint=found.hint)
    if not named and "No such file" in found.message:
        return Finding(subject="engine", state="ok", text=_NONE)
    return Finding(subject="engine", state="warning", text=found.message, hint=found.hint)


def _containers(engine: Engine, home: Path, run: str | None = None) -> list[Mapping[str, Any]]:
    labels = [f"{HOME}={home_id(home)}", *([f"{RUN}={run}"] if run else [])]
    with engine.asked("listed no containers"):
        return list(engine.api.containers(all=True, filters={"label": labels}))


def _of_builds(engine: Engine, note: Path) -> list[Mapping[str, Any]]:
    """Containers of the classic builder, which bear no labels."""
    known = containers_in(note)
    if not known:
        return []
    with engine.asked("listed no containers"):
        return list(engine.api.containers(all=True, filters={"id": known}))


def _remove(engine: Engine, home: Path, container: Mapping[str, Any]) -> str | None:
    """Also make what it wrote the caller's; why that could not be done, if so."""
    from docker.errors import APIError

    with engine.asked("removed no container"):
        try:
            info = engine.api.inspect_container(container["Id"])
            engine.api.remove_container(container["Id"], v=True, force=True)
        except APIError as error:
            if error.status_code not in (404, 409):  # gone, or being removed
                raise
            return None
    return give_back_left(engine, home, info)


def _told(container: Mapping[str, Any], *, mended: bool, why: str | None = None) -> Finding:
    labels = container.get("Labels") or {}
    of = f" of {labels[STEP]}" if STEP in labels else ""
    what = f"container {container['Id'][:12]}{of} of a run that was killed"
    text = f"removed {what}" if mended else f"{what} is left ({container.get('State')})"
    text += f"; what it wrote as another user is left: {why}" if why else ""
    hint = None if mended else f"{_MEND} it"
    return Finding(subject="containers", state="warning", text=text, hint=hint, mended=mended)


def _group_told(group: str, *, mended: bool) -> Finding:
    what = f"the control group {group} of a run that was killed"
    text = f"removed {what}" if mended else f"{what} is left"
    hint = None if mended else f"{_MEND} it, if you are root"
    return Finding(subject="containers", state="warning", text=text, hint=hint, mended=mended)


def _dead_containers(engine: Engine, home: Path, *, mend: bool) -> Iterator[Finding]:
    # First the containers, then who lives: a run has its note before it has a container.
    groups = cgroups.left(home)
    found = _containers(engine, home)
    for container in found:
        if not lives(home, (container.get("Labels") or {}).get(RUN, "")):
            why = _remove(engine, home, container) if mend else None
            yield _told(container, mended=mend, why=why)
    for run in runs_noted(home):
        with dead(home, run) as note:
            if note is None:
                continue
            for container in _of_builds(engine, note):
                why = _remove(engine, home, container) if mend else None
                yield _told(container, mended=mend, why=why)
            if mend:
                note.unlink(missing_ok=True)
    living = [run for run in runs_noted(home) if lives(home, run)]
    for group in sorted({*groups} & {*cgroups.left(home)}):  # others' runs may have ended meanwhile
        if not any(cgroups.is_of(group, home, run) for run in living):
            yield _group_told(group, mended=mend and cgroups.remove(group))


def _damaged(tag: str) -> Finding:
    text = f"the note of image {tag[:24]} is damaged, so it counts as gone"
    hint = "nothing is to be done: the next run that needs it makes it again"
    return Finding(subject="images", state="warning", text=text, hint=hint)


def _lost_images(engine: Engine, home: Path, *, mend: bool) -> Iterator[Finding]:
    """Images of this home whose note was cleared away: they are made anew when they are wanted."""
    from docker.errors import APIError

    with engine.asked("listed no images"):
        labels = {"label": [f"{HOME}={home_id(home)}"]}
        found = engine.api.images(filters=labels)
    for image in found:
        tags, own = tags_of(image), own_tag(image)
        if tags and own not in tags:
            continue  # somebody's own, that bears the labels of what it was built upon
        note = (image.get("Labels") or {}).get(NOTE)
        if note is not None and (home / note).exists():
            if (home / note / IMAGE_NOTE).exists() and seen_note(home / note) is None:
                yield _damaged(own)
            continue  # it may be in the making; what else is left of it, `cache gc` tells and takes
        named = [own] if tags else []
        shown = named[0][:24] if named else str(image["Id"])[:19]
        what = f"image {shown} ({show_bytes(float(image.get('Size') or 0))}) is of no use any more"
        mended = False
        if mend:
            with engine.asked("removed no image"):
                try:
                    for name in named or [image["Id"]]:
                        engine.api.remove_image(name)
                    mended = True
                except APIError as error:
                    if error.status_code == 404:
                        mended = True  # gone with another
                    elif error.status_code != 409:
                        raise
                    else:
                        what += ", but is in use"
        text = f"removed: {what}" if mended else what
        hint = None if mended else f"{_MEND} it"
        yield Finding(subject="images", state="warning", text=text, hint=hint, mended=mended)
