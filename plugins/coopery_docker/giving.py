"""What a task wrote as somebody else, given back to whoever calls coopery.

Only root can, which the caller need not be: so the engine does, in a short container of the task's
own image that sees nothing but the task's writable folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from coopery.errors import StepError, problem
from coopery.staging import Staged
from coopery.steps import Workspace
from coopery_docker.client import Engine
from coopery_docker.containers import Ended, Job, run_container, run_under
from coopery_docker.notes import RUN, STEP, Noted, folder_of

WRITABLE = ("home", "tmp", "outputs")
"""The folders in a task's scratch folder that it may write to."""


def own_user(engine: Engine) -> str:
    """Who a task runs as, so that its outputs are the caller's.

    In a rootless engine's containers root is the user that the engine runs as.
    """
    return "0:0" if engine.is_rootless else f"{os.geteuid()}:{os.getegid()}"


def give_back(
    engine: Engine,
    workspace: Workspace,
    run: str,
    staged: Staged,
    body: Mapping[str, Any],
    write: Callable[[bytes], object],
) -> None:
    """Make the caller the owner of all that a task left whose container was made with `body`.

    Does nothing where all is the caller's. Raises StepError (`not-given-back`), MachineError.
    """
    if body["User"] == own_user(engine) and not body["HostConfig"]["Privileged"]:
        return  # it could not become anybody else
    folders = {staged.folder / name: str(staged.seen / name) for name in WRITABLE}

    def run_it(made: Mapping[str, Any]) -> Ended:
        name = f"{workspace.step.name} (giving back)"
        killed = workspace.killed  # it is short: a run that is to stop waits for it
        job = Job(home=workspace.home, run=run, name=name, body=made, write=write, killed=killed)
        return run_container(engine, job)

    if (why := _change_owner(engine, folders, body["Image"], body["Labels"], run_it)) is not None:
        message = f"what the task wrote as the user {body['User']} could not be given back: {why}"
        hint = "the image needs the command chown; or drop `user` of the task's `container`"
        raise StepError(problem("not-given-back", message, hint=hint))


def give_back_left(engine: Engine, home: Path, info: Mapping[str, Any]) -> str | None:
    """The same for what a container of a dead run wrote, which is removed already.

    `info` is what the engine said of it before. Returns why that could not be done, if so. Raises
    MachineError.
    """
    top = (home / "scratch").resolve()
    folders = {
        Path(mount["Source"]): str(mount["Destination"])
        for mount in info.get("Mounts") or ()
        if mount.get("RW") and Path(mount.get("Source") or "/").is_relative_to(top)
    }
    labels = info["Config"].get("Labels") or {}
    run, name = labels.get(RUN, ""), f"{labels.get(STEP, '')} (giving back)"

    def run_it(made: Mapping[str, Any]) -> Ended:
        note = Noted(folder_of(home) / run, -1)  # whoever calls has it in hand, where there is one
        job = Job(home=home, run=run, name=name, body=made, write=lambda _: None)
        return run_under(note, engine, job)

    return _change_owner(engine, folders, info["Image"], labels, run_it)


def _change_owner(
    engine: Engine,
    folders: Mapping[Path, str],
    image: str,
    labels: Mapping[str, str],
    run_it: Callable[[Mapping[str, Any]], Ended],
) -> str | None:
    """Why that could not be done; None where it was, or need not be."""
    if not any(True for folder in folders for _ in _foreign(folder)):
        return None
    try:
        ended = run_it(_body(engine, image, {STEP: labels.get(STEP, "")}, folders))
    except StepError as error:
        return error.problems[0].message
    if not ended.exit_code:
        return None
    return ended.tail.decode("utf-8", "replace").strip() or f"exit code {ended.exit_code}"


def _body(
    engine: Engine, image: str, labels: Mapping[str, str], folders: Mapping[Path, str]
) -> dict[str, Any]:
    mounts = [
        {"Type": "bind", "Source": str(folder.resolve()), "Target": target, "ReadOnly": False}
        for folder, target in folders.items()
    ]
    return {
        "Image": image,
        "Entrypoint": ["chown"],
        # Links themselves, not what they lead to.
        "Cmd": ["-R", "-h", own_user(engine), *folders.values()],
        "User": "0:0",
        "WorkingDir": "/",
        "AttachStdout": True,
        "AttachStderr": True,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": dict(labels),
        "HostConfig": {
            "NetworkMode": "none",
            "SecurityOpt": ["no-new-privileges"],
            "CapDrop": ["ALL"],
            # To change owners, and to find what lies in folders that only others may enter.
            "CapAdd": ["CHOWN", "DAC_READ_SEARCH"],
            "ReadonlyRootfs": True,
            "LogConfig": {"Type": "none"},
            "Mounts": mounts,
        },
    }


def _foreign(folder: Path) -> Iterator[Path]:
    """What lies in a folder and belongs to somebody else; one's own folders are looked into."""
    try:
        found = list(os.scandir(folder))
    except FileNotFoundError:
        return
    except PermissionError:  # the caller's own, yet closed: what is in it is not known
        yield folder
        return
    for entry in found:
        path = Path(entry.path)
        if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
            yield path
        elif entry.is_dir(follow_symlinks=False):
            yield from _foreign(path)
