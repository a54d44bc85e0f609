"""One task as a process: its scratch folder, its environment, its log, its end."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from coopery.errors import MachineError, Problem, StepError, problem
from coopery.fixed import misplaced
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
from coopery_local.copies import Copies, damage, set_aside
from coopery_local.namespaces import NO_MOUNTS, View, lacks_shm
from coopery_local.processes import Ended, has_mounts, run_process


@dataclass(frozen=True, kw_only=True)
class Layout(Staged):
    """A task made ready, and what it sees besides its own folders."""

    view: View
    image: Path | None
    given: Handed


def run_task(work: TaskWork, workspace: Workspace) -> Made:
    """Run a task to its end and collect its outputs. Raises StepError when it fails."""
    with handed(work, workspace.secrets) as given:
        return _run_task(work, workspace, given)


def _run_task(work: TaskWork, workspace: Workspace, given: Handed) -> Made:
    layout = lay_out(work, workspace, given)
    command = command_of(work, layout)
    environ = variables_of(work, workspace, layout)
    view, copies = (layout.view, None) if has_mounts() else (None, copy_inputs(layout))
    started = time.monotonic()
    damaged = None
    try:
        ended = _run(command, environ, layout, view, work, workspace)
    finally:
        seconds = time.monotonic() - started
        if copies is not None:
            damaged = _look_at_image(layout)
    facts: dict[str, Any] = {
        "exit_code": ended.exit_code,
        "seconds": round(seconds, 6),
        "peak_memory": ended.peak_memory,
    }
    if damaged is not None:
        raise _environment_modified(damaged, facts)
    if ended.over or ended.starved:
        raise _out_of_memory(ended, work, facts)
    if ended.exit_code:
        raise task_failed(ended.exit_code, work, facts)
    if copies is not None and (changed := copies.changed()):
        message = f"the task changed its input {changed}"
        hint = "nothing was remembered; let it copy the input and change the copy"
        raise StepError(problem("input-modified", message, hint=hint), facts=facts)
    check_outputs(layout, facts)
    return Made(outputs=layout.results, facts=facts)


def copy_inputs(layout: Layout) -> Copies:
    """What is done where there are no mounts.

    Raises MachineError (`no-mounts`, `no-shm`), StepError (`environment-modified`).
    """
    view = layout.view
    if view.shm is not None and (lack := lacks_shm(view.shm)):
        raise MachineError(Problem(slug="no-shm", message=lack[0], hint=lack[1]))
    if view.is_fixed:
        raise MachineError(Problem(slug="no-mounts", message=NO_MOUNTS[0], hint=NO_MOUNTS[1]))
    if (damaged := _look_at_image(layout)) is not None:
        raise _environment_modified(damaged, {})
    copies = Copies()
    # The members of a frame go before it, which then lets nothing more in.
    for mount in sorted(view.mounts, key=lambda mount: mount.frame):
        if mount.secret:
            mount.target.symlink_to(mount.source)  # a copy would be on a disk
        elif mount.frame:
            copies.frame(mount.source, mount.target)
        elif mount.target != layout.image:
            copies.add(mount.source, mount.target)
    return copies


def _look_at_image(layout: Layout) -> str | None:
    """What of the task's environment was changed, if anything; then it is to be made anew."""
    if layout.image is None or (damaged := damage(layout.image)) is None:
        return None
    set_aside(layout.image, layout.folder)
    return damaged


def _environment_modified(damaged: str, facts: dict[str, Any]) -> StepError:
    message = f"the environment of the task is not as it was made: {damaged} was changed"
    hint = "the next run makes it anew; a task may not install or write into its environment"
    return StepError(problem("environment-modified", message, hint=hint), facts=facts)


def _out_of_memory(ended: Ended, work: TaskWork, facts: dict[str, Any]) -> StepError:
    limit = work.resources.memory
    if ended.over and limit is not None:
        # 137 whatever a shell above would have made of it: as container engines say it.
        facts = {**facts, "exit_code": 128 + signal.SIGKILL}
        held = f"having held {show_bytes(ended.over)}"
        message = f"killed at its memory limit of {show_bytes(limit)}, {held}: {work.shown}"
        hint = "raise `memory` under the task's `resources`"
    else:
        how = shown_end(ended.exit_code)
        message = f"{how} while the kernel killed for want of memory: {work.shown}"
        hint = "say what the task needs by `memory` under its `resources`, or run fewer at a time"
    return StepError(problem("out-of-memory", message, hint=hint), facts=facts)


def lay_out(work: TaskWork, workspace: Workspace, given: Handed) -> Layout:
    """Make the scratch folders, put sources and small files there, and list the mounts.

    Raises StepError (`bad-mount`) for those that would hide what the task needs.
    """
    staged = stage(work, workspace, workspace.folder, given)
    image = workspace.inputs.get("image")
    own = () if image is None else (Mount(source=image, target=image),)
    for mount in staged.mounts:
        if mount.fixed and (reason := _hides(mount, workspace)):
            hint = "use -r docker, whose tasks see nothing of this machine"
            message = f"the mount {str(mount.target)!r} {reason}"
            raise StepError(problem("bad-mount", message, key=workspace.step.key_path, hint=hint))
    root = staged.folder / "root"
    view = View(mounts=(*staged.mounts, *own), folder=root, shm=work.resources.shm)
    return Layout(**vars(staged), view=view, image=image, given=given)


def _hides(mount: Mount, workspace: Workspace) -> str | None:
    """Why a fixed path cannot be one on this machine; what a recipe itself says was checked."""
    if reason := misplaced(PurePosixPath(mount.target)):
        return reason
    needed = (workspace.folder, Path(sys.prefix), Path(sys.base_prefix), workspace.home)
    if any(path.is_relative_to(mount.target) for path in needed):
        return "would hide the task's folder, coopery or its Python"
    return None


def variables_of(work: TaskWork, workspace: Workspace, layout: Layout) -> dict[str, str]:
    """The variables of a task: those of every runtime, and where its programs are."""
    python = layout.image / "bin" if layout.image else Path(sys.executable).parent
    own = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    own |= {name: os.environ[name] for name in CERTIFICATES if name in os.environ}
    if workspace.devices:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, workspace.devices))
    return environment_of(work, layout, own, str(python)) | dict(layout.given.variables)


def _run(
    command: list[str],
    environ: dict[str, str],
    layout: Layout,
    view: View | None,
    work: TaskWork,
    workspace: Workspace,
) -> Ended:
    """Start the process and see it through."""
    program = shutil.which(command[0], path=environ["PATH"])
    if program is None and "/" not in command[0]:
        message = f"there is no command {command[0]!r}"
        hint = f"it was looked for in {environ['PATH']}"
        raise StepError(problem("command-not-found", message, hint=hint))
    limit = work.resources.memory
    try:
        return run_process(
            command,
            program=program or command[0],
            environ=environ,
            cwd=layout.folder / "cwd",
            view=view,
            log=workspace.log,
            folder=layout.folder,
            cancelled=workspace.cancelled,
            killed=workspace.killed,
            timeout=work.timeout,
            memory=None if limit is None else int(limit),
            secrets=layout.given.folder,
        )
    except OSError as error:
        message = f"{shlex.join(command[:1])} could not be started: {error.strerror}"
        raise StepError(problem("command-not-found", message)) from error
