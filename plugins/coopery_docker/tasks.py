"""One task in a container: what it sees and may do there, and how it is judged."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from coopery.errors import MachineError, Problem, StepError, problem
from coopery.images import PROGRAMS, WORKING_FOLDER
from coopery.keeping import Handed, handed
from coopery.quantities import show_bytes
from coopery.staging import (
    CERTIFICATES,
    Mount,
    Staged,
    check_outputs,
    command_of,
    environment_of,
    shown_end,
    stage,
    task_failed,
)
from coopery.steps import Made, Workspace
from coopery.tasks import TaskWork
from coopery_docker import variables
from coopery_docker.client import Engine, connect
from coopery_docker.containers import Ended, Job, Write, run_container
from coopery_docker.facets import AS_ROOT, Container
from coopery_docker.giving import WRITABLE, give_back, own_user
from coopery_docker.leaving import unless_left
from coopery_docker.looking import read_note
from coopery_docker.notes import STEP

ROOM = Path("/coopery")
"""Where a task's own folders are in its container."""

_NOT_FOUND = {
    (126, 127): re.compile(rb"\[FATAL tini \(\d+\)\] exec .* failed: (.*)\s*\Z", re.DOTALL),
    (1,): re.compile(rb"ERROR \(catatonit:\d+\): failed to exec pid1: (.*)\s*\Z"),
}
"""With which exit codes, and in which words, the init processes of Docker and Podman say that they
cannot start the command."""
_KILLED = 137
"""The exit code of what was killed. Where that was for its memory, Podman may not say so."""


def run_task(work: TaskWork, workspace: Workspace) -> Made:
    """Run a task to its end and collect its outputs. Raises StepError when it fails."""
    engine = connect()
    with handed_to(work, workspace) as given:
        return _run_task(engine, work, workspace, given)


def _run_task(engine: Engine, work: TaskWork, workspace: Workspace, given: Handed) -> Made:
    staged = stage(work, workspace, ROOM, given)

    def describe() -> dict[str, Any]:
        return body_of(engine, work, workspace, staged, given)

    # For this too the engine is asked.
    body = unless_left(describe, engine, workspace.cancelled, workspace.killed)
    started = time.monotonic()
    with workspace.log.open("ab", buffering=0) as log:
        write = _writer(log)
        job = Job(
            home=workspace.home,
            run=workspace.run,
            name=workspace.step.name,
            body=body,
            write=write,
            cancelled=workspace.cancelled,
            killed=workspace.killed,
            timeout=work.timeout,
        )
        try:
            ended = run_container(engine, job)
        except StepError:
            with _in_log(write):
                give_back(engine, workspace, workspace.run, staged, body, write)
            raise
        if ended.exit_code:
            with _in_log(write):
                give_back(engine, workspace, workspace.run, staged, body, write)
        else:
            give_back(engine, workspace, workspace.run, staged, body, write)
    facts: dict[str, Any] = {
        "exit_code": ended.exit_code,
        "seconds": round(time.monotonic() - started, 6),
        "peak_memory": ended.peak_memory,
    }
    # What hands variables over comes before the command, in a container.
    _judge(engine, ended, work, facts, command_of(work, staged)[0])
    check_outputs(staged, facts)
    return Made(outputs=staged.results, facts=facts, warnings=_warnings(work, body))


def _warnings(work: TaskWork, body: Mapping[str, Any]) -> tuple[str, ...]:
    """What of the recipe's wishes had no effect."""
    root = str(body["User"]).partition(":")[0] in ("0", "root")
    if not container_of(work).privileged or root:
        return ()
    return (f"`privileged` gives the user {body['User']} no capabilities: {AS_ROOT}",)


@contextmanager
def _in_log(write: Write) -> Iterator[None]:
    """For a task that has failed: why is what is told, and what else went wrong is in its log."""
    try:
        yield
    except StepError as error:
        write(f"coopery: {error.problems[0].message}\n".encode())


def _writer(log: IO[bytes]) -> Any:
    def write(part: bytes) -> None:
        view = memoryview(part)
        while view:
            view = view[log.write(view) :]

    return write


def _judge(
    engine: Engine, ended: Ended, work: TaskWork, facts: dict[str, Any], command: str
) -> None:
    """Raises StepError where the command did not end well."""
    if ended.out_of_memory:
        raise _out_of_memory(ended, work, facts)
    if engine.is_podman and ended.exit_code == _KILLED and work.resources.memory is not None:
        raise _out_of_memory(ended, work, facts, how="killed, as it seems ")
    for codes, words in _NOT_FOUND.items():
        if ended.exit_code in codes and (found := words.search(ended.tail)):
            why = found[1].decode("utf-8", "replace").strip()
            message = f"there is no command {command!r} in the image that can be started: {why}"
            hint = "it is looked for in the image's PATH; add what it comes with to the image"
            raise StepError(problem("command-not-found", message, hint=hint), facts=facts)
    if ended.exit_code:
        raise task_failed(ended.exit_code, work, facts)


def _out_of_memory(
    ended: Ended, work: TaskWork, facts: dict[str, Any], how: str = "killed "
) -> StepError:
    """It was killed for want of memory; `how` sure that is."""
    limit = work.resources.memory
    if limit is None:
        message = (
            f"{shown_end(ended.exit_code)} while the kernel killed for want of memory: {work.shown}"
        )
        hint = "say what the task needs by `memory` under its `resources`, or run fewer at a time"
    else:
        held = f", having held {show_bytes(ended.peak_memory)}" if ended.peak_memory else ""
        message = f"{how}at its memory limit of {show_bytes(limit)}{held}: {work.shown}"
        hint = "raise `memory` under the task's `resources`"
    return StepError(problem("out-of-memory", message, hint=hint), facts=facts)


def handed_to(work: TaskWork, workspace: Workspace) -> AbstractContextManager[Handed]:
    """What a task is given confidentially, readable for the user it runs as."""
    return handed(work, workspace.secrets, others=container_of(work).user is not None)


def container_of(work: TaskWork) -> Container:
    """What the recipe says of a task's container."""
    return next((item for item in work.facets if isinstance(item, Container)), Container())


def body_of(
    engine: Engine, work: TaskWork, workspace: Workspace, staged: Staged, given: Handed
) -> dict[str, Any]:
    """What the API's `create` takes: the safe defaults, then what the recipe asks for."""
    facet = container_of(work)
    command = command_of(work, staged)
    own, certificates = _certificates(staged)
    environ = environment_of(work, staged, own, PROGRAMS)
    folders = [staged.folder / name for name in WRITABLE]
    if facet.user is not None:
        for folder in (*folders, *(staged.folder / "outputs").rglob("*")):
            folder.chmod(0o777)  # whoever that is, it must be able to write there
    mounts = [Mount(source=f, target=ROOM / f.name, read_only=False) for f in folders]
    mounts += [Mount(source=staged.folder / "aux", target=ROOM / "aux")] if work.aux else []
    mounts += [*staged.mounts, *certificates]
    image = read_note(workspace.inputs["image"])["tag"]
    first = command[:1]
    reads = bool(given.variables)
    if reads:
        mounts.append(variables.mount(given, others=facet.user is not None))
    # Podman forgets all limits that it is configured with where the API names one.
    inside = bool(work.secrets) and engine.is_podman
    if reads or inside:
        start = variables.starter(engine, workspace, image, reads=reads)
        first, command = ([*start], ["", *command]) if start else (first, command)
        inside = inside and bool(start)
    return {
        "Image": image,
        "Entrypoint": first,
        "Cmd": command[1:],
        "Env": [f"{name}={value}" for name, value in environ.items()],
        "User": facet.user or own_user(engine),
        "WorkingDir": work.workdir or WORKING_FOLDER,
        "AttachStdout": True,
        "AttachStderr": True,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {**facet.labels, STEP: workspace.step.name},
        "HostConfig": {
            "Init": True,
            "NetworkMode": facet.network or "bridge",
            "SecurityOpt": [] if facet.privileged else ["no-new-privileges"],
            "Privileged": facet.privileged,
            "CapDrop": [] if facet.privileged else ["ALL"],
            "CapAdd": list(facet.capabilities),
            "LogConfig": {"Type": "none"},  # the log is followed as it comes
            "Mounts": [_mount(mount) for mount in mounts],
            **({"Ulimits": [_NO_DUMP]} if work.secrets and not inside else {}),
            **_limits(engine, work, workspace),
        },
    }


_NO_DUMP = {"Name": "core", "Soft": 0, "Hard": 0}
"""What crashes and holds secrets leaves no memory on a disk."""


def _mount(mount: Mount) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(mount.source.resolve()),
        "Target": str(mount.target),
        "ReadOnly": mount.read_only,
    }


def _certificates(staged: Staged) -> tuple[dict[str, str], list[Mount]]:
    """The machine's own certificates, put where the variables in the container say."""
    own: dict[str, str] = {}
    mounts: list[Mount] = []
    for name in CERTIFICATES:
        path = os.environ.get(name)
        if path and os.path.exists(path):  # noqa: PTH110 - it may be too long for a path
            own[name] = str(staged.seen / "certificates" / name)
            mounts.append(Mount(source=Path(path), target=Path(own[name])))
    return own, mounts


def _limits(engine: Engine, work: TaskWork, workspace: Workspace) -> dict[str, Any]:
    """The resources that the task may use, as the engine enforces them."""
    asked = work.resources
    found: dict[str, Any] = {}
    if asked.cpu is not None:
        found["NanoCpus"] = max(int(asked.cpu * 1e9), 10_000_000)  # no engine takes less
    if asked.memory is not None:
        # Without swap: a limit is a limit.
        found["Memory"] = found["MemorySwap"] = int(asked.memory)
    if asked.shm is not None:
        found["ShmSize"] = max(int(asked.shm), 1)
    if asked.gpu and engine.is_podman:
        message = "Podman gives no GPU to containers that it makes for others"  # it says nothing
        hint = "use Docker's own engine, use -r local, or drop `gpu`"
        raise MachineError(Problem(slug="no-gpu", message=message, hint=hint))
    if asked.gpu:
        devices = [str(number) for number in workspace.devices]
        which: dict[str, Any] = {"DeviceIDs": devices} if devices else {"Count": asked.gpu}
        found["DeviceRequests"] = [{"Driver": "", **which, "Capabilities": [["gpu"]]}]
    return found
