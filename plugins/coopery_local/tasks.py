"""One task as a process: its scratch folder, its environment, its log, its end."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coopery import placeholders
from coopery.errors import MachineError, Problem, StepError, problem
from coopery.files import beneath
from coopery.quantities import show_bytes
from coopery.steps import Made, Workspace
from coopery.tasks import Channel, TaskWork
from coopery_local.copies import Copies, damage, set_aside
from coopery_local.namespaces import NO_MOUNTS, Mount, View, lacks_shm
from coopery_local.processes import Ended, has_mounts, run_process

CARRIED = (
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"),
    *("NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
)
"""Variables about the way to the network: handed on, never keyed (semantics 12)."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the parts of a task are: on disk, and as the task sees them."""

    folder: Path
    inputs: dict[str, str]
    outputs: dict[str, str]
    aux: dict[str, str]
    results: dict[str, Path]
    view: View
    image: Path | None


def run_task(work: TaskWork, workspace: Workspace) -> Made:
    """Run a task to its end and collect its outputs. Raises StepError when it fails."""
    layout = lay_out(work, workspace)
    values = {"inputs": layout.inputs, "outputs": layout.outputs, "aux": layout.aux}
    command = [placeholders.render(placeholders.parse(item), values) for item in work.command]
    environ = environment_of(work, workspace, layout)
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
        message = f"{_shown(ended.exit_code)}: {work.shown}"
        raise StepError(problem("task-failed", message), facts=facts)
    if copies is not None and (changed := copies.changed()):
        message = f"the task changed its input {changed}"
        hint = "nothing was remembered; let it copy the input and change the copy"
        raise StepError(problem("input-modified", message, hint=hint), facts=facts)
    for name, path in layout.results.items():
        if not os.path.lexists(path):
            message = f"the task succeeded, but its output {name!r} is missing"
            hint = f"it is expected at {{outputs.{name}}}, this time {layout.outputs[name]}"
            raise StepError(problem("missing-output", message, hint=hint), facts=facts)
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
    for mount in view.mounts:
        if mount.target != layout.image:
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
        seen, excess = show_bytes(ended.over), show_bytes(ended.over - limit)
        over = f"{excess} over its limit of {show_bytes(limit)}"
        message = f"killed at {seen} of memory, {over}: {work.shown}"
        hint = "raise `memory` under the task's `resources`"
    else:
        how = _shown(ended.exit_code)
        message = f"{how} while the kernel killed for want of memory: {work.shown}"
        hint = "say what the task needs by `memory` under its `resources`, or run fewer at a time"
    return StepError(problem("out-of-memory", message, hint=hint), facts=facts)


def _shown(exit_code: int) -> str:
    if exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"


def lay_out(work: TaskWork, workspace: Workspace) -> Layout:
    """Make the scratch folders, put sources and small files there, and list the mounts."""
    folder = workspace.folder
    for name in ("cwd", "home", "tmp", "aux", "inputs", "outputs"):
        (folder / name).mkdir()
    aux = {}
    for item in work.aux:
        path = beneath(folder / "aux", item.name)
        path.write_bytes(item.content)
        aux[item.name] = str(path)
    for path_text in work.sources:
        target = beneath(folder / "cwd", path_text)
        _place_source(workspace.inputs[f"source {path_text}"], target)
    mounts: list[Mount] = []
    inputs = {c.name: _input(c, workspace, folder, mounts) for c in work.inputs}
    outputs, results = {}, {}
    for channel in work.outputs:
        outputs[channel.name], results[channel.name] = _output(channel, folder, mounts)
    image = workspace.inputs.get("image")
    if image is not None:
        mounts.append(Mount(source=image, target=image))
    return Layout(
        folder=folder,
        inputs=inputs,
        outputs=outputs,
        aux=aux,
        results=results,
        view=View(mounts=tuple(mounts), folder=folder / "root", shm=work.resources.shm),
        image=image,
    )


def _place_source(source: Path, target: Path) -> None:
    """A source is a private copy already, or a file of the project, which is copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def _input(channel: Channel, workspace: Workspace, folder: Path, mounts: list[Mount]) -> str:
    """Where a task reads a channel; adds the mounts that put it there, read-only."""
    role = f"input {channel.name}"
    path = folder / "inputs" / channel.name / channel.base
    target = Path(channel.mount) if channel.mount else path
    fixed = channel.mount is not None
    if role in workspace.gathered:
        for relative, source in workspace.gathered[role]:
            mounts.append(Mount(source=source, target=target / relative, fixed=fixed))
    else:
        mounts.append(Mount(source=workspace.inputs[role], target=target, fixed=fixed))
    return str(target)


def _output(channel: Channel, folder: Path, mounts: list[Mount]) -> tuple[str, Path]:
    """Where a task writes a channel, as it sees it and in truth.

    A fixed path is a name in a mounted folder, so that the task can make it itself.
    """
    parent = folder / "outputs" / channel.name
    parent.mkdir()
    if channel.mount is None:
        result = parent / channel.base
        seen = str(result)
    else:
        seen = channel.mount
        target = Path(seen).parent
        shared = next((m for m in mounts if m.target == target and not m.read_only), None)
        if shared is None:
            mounts.append(Mount(source=parent, target=target, fixed=True, read_only=False))
        result = (shared.source if shared else parent) / Path(seen).name
    if channel.folder:
        result.mkdir()
    return seen, result


def environment_of(work: TaskWork, workspace: Workspace, layout: Layout) -> dict[str, str]:
    """The variables of a task (semantics 12): fixed ones, its channels, declared, passed on."""
    image = workspace.inputs.get("image")
    python = image / "bin" if image else Path(sys.executable).parent
    path = [str(python), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
    environ = {
        "PATH": os.pathsep.join([*path, "/sbin", "/bin"]),
        "HOME": str(layout.folder / "home"),
        "TMPDIR": str(layout.folder / "tmp"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONNOUSERSITE": "1",
    }
    environ |= {name: os.environ[name] for name in CARRIED if name in os.environ}
    if workspace.devices:
        environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, workspace.devices))
    environ |= {f"COOPERY_INPUT_{name.upper()}": path for name, path in layout.inputs.items()}
    environ |= {f"COOPERY_OUTPUT_{name.upper()}": path for name, path in layout.outputs.items()}
    environ |= work.env
    environ |= {name: value for name, value in work.pass_env.items() if value is not None}
    return environ


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
        )
    except OSError as error:
        message = f"{shlex.join(command[:1])} could not be started: {error.strerror}"
        raise StepError(problem("command-not-found", message)) from error
