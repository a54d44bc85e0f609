"""Images in an engine: built part by part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from coopery.contexts import Entry, entries_of
from coopery.errors import KeyPath, StepError, problem
from coopery.images import ImageBuild, ImagePull, wheel_labels
from coopery.quantities import show_bytes
from coopery.steps import Made, Workspace
from coopery_docker.building import DOCKERFILE, Building, NoBuildKit, build, layers
from coopery_docker.buildkit import exit_code_of, shown_error
from coopery_docker.client import FULL, Engine, connect, refused
from coopery_docker.containers import kept_if_lost
from coopery_docker.leaving import unless_left
from coopery_docker.looking import REPOSITORY, read_note, tag_of, write_note
from coopery_docker.notes import HOME, KEY, NOTE, ON, OVER, folder_of, home_id, noted

_LARGE = 100_000_000
"""Bytes of sources from which on a build tells how to have fewer."""
_MOST = 3
"""How many lines of what a program printed the error of a build shows."""
_ERROR = re.compile(r"E: |error\b|fatal\b", re.IGNORECASE)
"""How a line begins that says what went wrong."""
_LACKS = re.compile(
    r"E: (?:Unable to locate package |Couldn't find any package by \w+ |Package |Version .* for )"
    r"['‘]?(?P<name>[a-z0-9][a-z0-9+.-]+)"
)
"""How apt says that there is no package, or none to be installed, and which."""


def find(engine: Engine, reference: str) -> dict[str, Any] | None:
    """An image as the engine has it; None where it has none of this name."""
    from docker.errors import APIError

    with engine.asked("told nothing of the image"):
        try:
            found: dict[str, Any] = engine.api.inspect_image(reference)
        except APIError as error:
            if error.status_code == 404:
                return None
            raise
    return found


def build_image(work: ImageBuild, workspace: Workspace) -> Made:
    """Build one part of an image on the part before it. Raises StepError, MachineError."""
    engine = connect()

    def build_it() -> Made:
        return _build_image(engine, work, workspace)

    return unless_left(build_it, engine, workspace.cancelled, workspace.killed)


def _build_image(engine: Engine, work: ImageBuild, workspace: Workspace) -> Made:
    tag = tag_of(workspace.key)
    # That it is there says that an engine has something of this home.
    folder_of(workspace.home).mkdir(parents=True, exist_ok=True)
    former = find(engine, tag) if workspace.anew else None
    with workspace.log.open("ab", buffering=0) as log:
        before, on, over = _before(engine, work, workspace, log.write)
        labels = {**work.labels, **wheel_labels(workspace.inputs)}
        labels |= {KEY: workspace.key, HOME: home_id(workspace.home), ON: on, OVER: str(over)}
        folder, home = workspace.folder.resolve(), workspace.home.resolve()
        if folder.is_relative_to(home):
            labels[NOTE] = str(folder.relative_to(home))
        found = _build(engine, work, workspace, before, tag, labels, log.write)
    if found.error is not None:
        raise _failed(found, work)
    image = find(engine, tag)
    if image is None:
        raise refused("did not build", f"it told of no error, yet there is no image {tag}")
    if former is not None and former["Id"] != image["Id"]:
        _drop(engine, former["Id"])
    lines = [(i.keyword, f"{i.keyword} {i.arguments}") for i in work.instructions]
    note = {"tag": tag, "id": image["Id"], "size": image["Size"], "on": on, "over": over}
    write_note(workspace.folder, note)
    facts = {
        "image": tag,
        "id": image["Id"],
        "size": image["Size"],
        "context": found.context,
        "layers": layers(engine, tag, before, lines, found),
        "hints": hints(work.part, found.context),
    }
    warnings: tuple[str, ...] = ()
    if work.context_limit is not None and found.context > work.context_limit:
        sent, limit = show_bytes(found.context), show_bytes(work.context_limit)
        hint = f"`coopery context {work.image}` lists what is in it"
        warnings = (f"{sent} were sent to build it, over the limit of {limit}: {hint}",)
    return Made(outputs={"image": workspace.folder}, facts=facts, warnings=warnings)


def _drop(engine: Engine, former: str) -> None:
    """Remove what an image was before it was made anew, unless something still stands on it."""
    from docker.errors import APIError

    with engine.asked("did not remove an image"):
        try:
            engine.api.remove_image(former)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise


def hints(part: str, context: int) -> list[str]:
    """What would make a part of an image smaller, by the bytes that were sent for it."""
    if part != "sources" or context < _LARGE:
        return []
    return [
        f"the sources are {show_bytes(context)}: `exclude` what no task reads, and make data that "
        "some tasks read their input"
    ]


def _before(
    engine: Engine, work: ImageBuild, workspace: Workspace, write: Callable[[bytes], object]
) -> tuple[str, str, int]:
    """What the part begins with: the part before, or the base, which must be the locked one.

    Its reference, its key if it is a part, and its size in bytes.
    """
    if "base" in workspace.inputs:
        note = read_note(workspace.inputs["base"])
        return str(note["tag"]), str(note["tag"]).removeprefix(f"{REPOSITORY}:"), int(note["size"])
    reference, image = _locked(engine, work, workspace, write)
    return reference, "", int(image.get("Size") or 0)


def have_image(work: ImagePull, workspace: Workspace) -> Made:
    """An image that is used as it is: had, or pulled. Raises StepError, MachineError."""
    engine = connect()

    def have_it() -> Made:
        return _have_image(engine, work, workspace)

    return unless_left(have_it, engine, workspace.cancelled, workspace.killed)


def _have_image(engine: Engine, work: ImagePull, workspace: Workspace) -> Made:
    with workspace.log.open("ab", buffering=0) as log:
        reference, image = _locked(engine, work, workspace, log.write)
    note = {"tag": reference, "id": image["Id"], "size": image["Size"], "prebuilt": True}
    write_note(workspace.folder, note)
    facts = {"image": reference, "id": image["Id"], "size": image["Size"]}
    return Made(outputs={"image": workspace.folder}, facts=facts)


def _locked(
    engine: Engine,
    work: ImageBuild | ImagePull,
    workspace: Workspace,
    write: Callable[[bytes], object],
) -> tuple[str, dict[str, Any]]:
    """The base as the lock pins it, had or pulled: how the engine calls it, and what it is."""
    base = work.base
    found = find(engine, base.pinned)
    if found is None and base.digest is not None:
        from coopery_docker.bases import pull

        def tell(line: str) -> None:
            write(f"{line}\n".encode())

        stop = workspace.cancelled
        pull(engine, base.pinned, tell, work.login, workspace.secrets, cancelled=stop)
        found = find(engine, base.pinned)
    if found is None:
        message = f"the base image {base.reference} is not in the engine any more"
        raise StepError(problem("base-moved", message, hint=_again(base.reference)))
    if base.digest is None and found["Id"] != base.id:
        message = (
            f"the base image {base.reference} is another than the lock has: "
            f"{found['Id'][:19]}, not {base.id[:19]}"
        )
        raise StepError(problem("base-moved", message, hint=_again(base.reference)))
    return base.pinned, found


def _again(reference: str) -> str:
    return f"`coopery lock --upgrade` takes {reference} as it is now; or bring back the old one"


def _build(
    engine: Engine,
    work: ImageBuild,
    workspace: Workspace,
    before: str,
    tag: str,
    labels: dict[str, str],
    write: Callable[[bytes], object],
) -> Building:
    # BuildKit looks for a base of the engine's own platform, else.
    own = f"{work.base.platform}/".startswith(f"{engine.platform}/")
    elsewhere = "" if own else work.base.platform

    def attempt(*, buildkit: bool) -> Building:
        entries = _context(work, workspace, before, buildkit=buildkit)
        stop = workspace.cancelled
        build_on = partial(build, engine, entries, tag, labels, write, stop, platform=elsewhere)
        build_on = partial(build_on, anew=workspace.anew)
        if buildkit:
            return build_on(buildkit=True)
        # The classic builder's containers bear no labels, and an engine that dies leaves them.
        with noted(workspace.home, workspace.run) as note, kept_if_lost(note):
            return build_on(buildkit=False, begun=note.add)

    if engine.has_buildkit:
        try:
            return attempt(buildkit=True)
        except NoBuildKit:
            engine.has_buildkit = False
    return attempt(buildkit=False)


def _context(
    work: ImageBuild, workspace: Workspace, before: str, *, buildkit: bool
) -> Iterator[Entry]:
    """The Dockerfile, then what it copies."""
    lines = [f"FROM {before}", *(i.line(buildkit=buildkit) for i in work.instructions)]
    content = "".join(f"{line}\n" for line in lines).encode()
    yield Entry(path=DOCKERFILE, mode=0o644, content=content, size=len(content))
    for role, source in workspace.inputs.items():
        kind, _, path = role.partition(" ")
        if kind == "copy":
            yield from entries_of(source, path, writable=path in work.writable)


def _failed(found: Building, work: ImageBuild) -> Exception:
    """What the failed program said that matters, in a few whole lines: the log has all."""
    from coopery.indexes import redact

    error = found.error or ""
    said = [line.strip() for line in found.said.splitlines() if line.strip()]
    # The builder says it itself, or a program that it ran, of whose end it tells the code alone.
    for line in (error, *reversed(said)):
        if FULL.search(line):
            return refused("did not build", redact(line.strip()))
    key: KeyPath = ()
    end, hint = shown_error(error), "the log tells more"
    if exit_code_of(error) is not None and said:
        told = [line for line in said if _ERROR.match(line)][:_MOST] or said[-_MOST:]
        end = "\n".join(told) + f" ({end})"
        lacking = (m["name"] for line in told if (m := _LACKS.search(line)))
        if name := next((name for name in lacking if name in work.named), None):
            key = work.named[name]
            hint = f"the base {work.base.reference} knows no such Debian package: check its name"
    part = f" ({work.part})" if work.part else ""
    message = f"the image {work.image!r} could not be built{part}: {redact(end)}"
    return StepError(problem("image-failed", message, key=key, hint=hint))
