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
from coopery_docker.containers import run_container
from coopery_docker.notes import STEP

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
    folders = [staged.folder / name for name in WRITABLE]
    first = next((path for folder in folders for path in _foreign(folder)), None)
    if first is None:
        return
    seen = [str(staged.seen / folder.name) for folder in folders]
    try:
        name = f"{workspace.step.name} (giving back)"
        ended = run_container(
            engine, workspace.home, run, name, _body(engine, body, folders, seen), write
        )
        why = ended.tail.decode("utf-8", "replace").strip() or f"exit code {ended.exit_code}"
    except StepError as error:
        why = error.problems[0].message
    else:
        if not ended.exit_code:
            return
    shown = first.relative_to(staged.folder)
    message = f"{shown}, written as the user {body['User']}, could not be given back: {why}"
    hint = "the image needs the command chown; or drop `user` of the task's `container`"
    raise StepError(problem("not-given-back", message, hint=hint))


def _body(
    engine: Engine, body: Mapping[str, Any], folders: list[Path], seen: list[str]
) -> dict[str, Any]:
    mounts = [
        {"Type": "bind", "Source": str(folder.resolve()), "Target": target, "ReadOnly": False}
        for folder, target in zip(folders, seen, strict=True)
    ]
    return {
        "Image": body["Image"],
        "Entrypoint": ["chown"],
        "Cmd": ["-R", "-h", own_user(engine), *seen],  # links themselves, not what they lead to
        "User": "0:0",
        "WorkingDir": "/",
        "AttachStdout": True,
        "AttachStderr": True,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {STEP: body["Labels"][STEP]},
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
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                yield path
            elif entry.is_dir(follow_symlinks=False):
                yield from _foreign(path)
