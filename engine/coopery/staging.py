"""A task made ready: its scratch folders, sources, small files and mounts; and how it is judged.

What every runtime does alike, wherever the task sees its folders.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery import placeholders
from coopery.errors import MachineError, StepError, StepSkipped, problem
from coopery.files import beneath
from coopery.images import path_from
from coopery.quantities import show_seconds
from coopery.steps import Workspace
from coopery.tasks import Channel, TaskWork

if TYPE_CHECKING:
    from coopery.keeping import Handed

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a task that must stop."""

PROXIES = (
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"),
    *("NO_PROXY", "ALL_PROXY"),
)
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
"""Variables about the way to the network: handed on, never keyed (semantics 12)."""

FOLDERS = ("home", "tmp", "aux", "inputs", "outputs")
"""The folders in a task's scratch folder, besides the one it runs in."""
_FRAMES = "frames"
"""Where the frames of gathered inputs are made, beside them."""


@dataclass(frozen=True, kw_only=True)
class Mount:
    """`source` seen at `target`; a `fixed` target lies outside the task's own folders.

    A `frame` holds nothing but empty places, at which other mounts come. A `secret` one must never
    be copied.
    """

    source: Path
    target: Path
    fixed: bool = False
    read_only: bool = True
    frame: bool = False
    secret: bool = False


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Where the parts of a task are: on disk in `folder`, and at `seen` as the task sees it."""

    folder: Path
    seen: Path
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    aux: Mapping[str, str]
    secrets: Mapping[str, str]
    """The files of the task's secrets, as it sees them."""
    results: Mapping[str, Path]
    """By output, where it is in truth once the task has written it."""
    mounts: tuple[Mount, ...]


def stage(work: TaskWork, workspace: Workspace, seen: Path, handed: Handed | None = None) -> Staged:
    """Make the scratch folders, put sources and small files there, and list the mounts.

    `seen` is where the task will see the scratch folder; `handed` are its secrets, within
    `coopery.keeping.handed`. Raises MachineError (`no-secrets`) for a task that has some, and a
    runtime that hands none over.
    """
    if work.secrets and handed is None:
        message = f"the runtime {work.runtime!r} hands no secrets to tasks"
        raise MachineError(problem("no-secrets", message, hint="use another, such as -r local"))
    folder = workspace.folder
    for name in ("cwd", *FOLDERS):
        (folder / name).mkdir()
    aux = {}
    for item in work.aux:
        beneath(folder / "aux", item.name).write_bytes(item.content)
        aux[item.name] = str(seen / "aux" / item.name)
    for path_text in work.sources:
        target = beneath(folder / "cwd", path_text)
        _place_source(workspace.inputs[f"source {path_text}"], target)
    mounts: list[Mount] = []
    inputs, outputs, results = {}, {}, {}
    for channel in work.inputs:
        if (place := work.bound.inputs.get(channel.name)) is not None:
            inputs[channel.name] = _bound(channel, "inputs", Path(place), folder, seen, mounts)
        else:
            inputs[channel.name] = _input(channel, workspace, seen, mounts)
    for channel in work.outputs:
        if (place := work.bound.outputs.get(channel.name)) is not None:
            _make_folder(Path(place), workspace)
            outputs[channel.name] = _bound(channel, "outputs", Path(place), folder, seen, mounts)
        else:
            outputs[channel.name], results[channel.name] = _output(channel, folder, seen, mounts)
    _make_places(mounts)
    secrets = {}
    if handed and handed.files:
        (folder / "secrets").mkdir()
    for name, path in handed.files.items() if handed else ():
        mounts.append(Mount(source=path, target=seen / "secrets" / name, secret=True))
        secrets[name] = str(seen / "secrets" / name)
    return Staged(
        folder=folder,
        seen=seen,
        inputs=inputs,
        outputs=outputs,
        aux=aux,
        secrets=secrets,
        results=results,
        mounts=tuple(mounts),
    )


def _place_source(source: Path, target: Path) -> None:
    """A source is a private copy already, or a file of the project, which is copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def _input(channel: Channel, workspace: Workspace, seen: Path, mounts: list[Mount]) -> str:
    """Where a task reads a channel; adds the mounts that put it there, read-only."""
    role = f"input {channel.name}"
    path = seen / "inputs" / channel.name / channel.base
    target = Path(channel.mount) if channel.mount else path
    fixed = channel.mount is not None
    if role in workspace.gathered:
        # Else the folder that they lie in would be whoever's who mounts them: writable.
        frame = workspace.folder / _FRAMES / channel.name
        frame.mkdir(parents=True)
        mounts.append(Mount(source=frame, target=target, fixed=fixed, frame=True))
        for relative, source in workspace.gathered[role]:
            make_place(source, beneath(frame, relative))
            mounts.append(Mount(source=source, target=target / relative, fixed=fixed))
    else:
        mounts.append(Mount(source=workspace.inputs[role], target=target, fixed=fixed))
    return str(target)


def _bound(
    channel: Channel, side: str, path: Path, folder: Path, seen: Path, mounts: list[Mount]
) -> str:
    """Where a task sees a channel that is used where it is; adds its mount, if it needs one."""
    if channel.mount is None and seen == folder:
        return str(path)  # the task sees this machine's files
    target = Path(channel.mount or seen / side / channel.name / channel.base)
    read_only = side == "inputs"
    mounts.append(
        Mount(source=path, target=target, fixed=channel.mount is not None, read_only=read_only)
    )
    return str(target)


def _make_folder(path: Path, workspace: Workspace) -> None:
    """Raises StepError (`bad-destination`)."""
    home = os.path.realpath(workspace.home)
    if Path(os.path.realpath(path)).is_relative_to(home):
        message = f"the folder {path} lies in {home}, where coopery keeps what it remembers"
        hint = "name one elsewhere: what a task writes there would pass for results of others"
        raise StepError(problem("bad-destination", message, hint=hint))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder {path} cannot be made: {error.strerror}"
        hint = "name one that you may write to"
        raise StepError(problem("bad-destination", message, hint=hint)) from None


def make_place(source: Path, target: Path) -> None:
    """Something empty to mount on, of the kind of `source`, where there is nothing yet."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _make_places(mounts: Sequence[Mount]) -> None:
    """The places of mounts that lie in a mounted folder of an output, which are the caller's then:
    who mounts makes what is missing, as whoever that is.
    """
    writable = {mount.target: mount.source for mount in mounts if not mount.read_only}
    for mount in mounts:
        above = next((parent for parent in mount.target.parents if parent in writable), None)
        if above is not None:
            make_place(mount.source, writable[above] / mount.target.relative_to(above))


def _output(channel: Channel, folder: Path, seen: Path, mounts: list[Mount]) -> tuple[str, Path]:
    """Where a task writes a channel, as it sees it and in truth.

    A fixed path is a name in a mounted folder, so that the task can make it itself.
    """
    parent = folder / "outputs" / channel.name
    parent.mkdir()
    if channel.mount is not None and channel.whole:
        result = parent / Path(channel.mount).name
        result.mkdir()
        target = Path(channel.mount)
        mounts.append(Mount(source=result, target=target, fixed=True, read_only=False))
        return channel.mount, result
    if channel.mount is None:
        result = parent / channel.base
        shown = str(seen / "outputs" / channel.name / channel.base)
    else:
        shown = channel.mount
        target = Path(shown).parent
        shared = next((m for m in mounts if m.target == target and not m.read_only), None)
        if shared is None:
            mounts.append(Mount(source=parent, target=target, fixed=True, read_only=False))
        result = (shared.source if shared else parent) / Path(shown).name
    if channel.folder:
        result.mkdir()
    return shown, result


def command_of(work: TaskWork, staged: Staged) -> list[str]:
    """The command, with the paths of channels and small files filled in."""
    values = {"inputs": staged.inputs, "outputs": staged.outputs, "aux": staged.aux}
    values["secrets"] = staged.secrets
    return [placeholders.render(placeholders.parse(item), values) for item in work.command]


def environment_of(
    work: TaskWork, staged: Staged, own: Mapping[str, str], programs: str
) -> dict[str, str]:
    """The variables of a task (semantics 12): fixed ones, its channels, declared, passed on.

    `own` are the runtime's, which what is declared goes before. `programs` is the folder of the
    environment's programs: they come first whatever PATH is declared.
    """
    environ = {
        "HOME": str(staged.seen / "home"),
        "TMPDIR": str(staged.seen / "tmp"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONNOUSERSITE": "1",
    }
    environ |= {name: os.environ[name] for name in PROXIES if name in os.environ}
    environ |= own
    environ |= {f"COOPERY_INPUT_{upper(name)}": path for name, path in staged.inputs.items()}
    environ |= {f"COOPERY_OUTPUT_{upper(name)}": path for name, path in staged.outputs.items()}
    environ |= {f"COOPERY_SECRET_{name.upper()}": path for name, path in staged.secrets.items()}
    environ |= work.env
    environ |= {name: value for name, value in work.pass_env.items() if value is not None}
    if "PATH" in environ:
        environ["PATH"] = path_from(programs, environ["PATH"])
    return environ


def upper(name: str) -> str:
    """A channel's name as it is in the names of variables."""
    return name.upper().replace("-", "_")


def greeting(work: TaskWork, workspace: Workspace, staged: Staged) -> str:
    """What a person in a task's place must know: the command, and where its channels are."""
    import shlex

    lines = [f"a shell in the place of {workspace.step.name}; nothing of it is kept"]
    lines += [f"  input {name}: {path}" for name, path in sorted(staged.inputs.items())]
    lines += [f"  output {name}: {path}" for name, path in sorted(staged.outputs.items())]
    lines += [f"  secret {name}: {path}" for name, path in sorted(staged.secrets.items())]
    lines += [
        f"  secret {name}: the variable of that name"
        for name, given in sorted(work.secrets.items())
        if given.how == "variable"
    ]
    lines += [f"  command: {shlex.join(command_of(work, staged))}"]
    return "".join(f"{line}\n" for line in lines)


def was_cancelled() -> StepError:
    """The run was told to stop."""
    return StepError(problem("cancelled", "cancelled"))


def timed_out(seconds: float) -> StepError:
    """The task took longer than it may."""
    message = f"still running after its timeout of {show_seconds(seconds)}"
    return StepError(problem("task-timeout", message))


def shown_end(exit_code: int) -> str:
    """How a process ended; a negative code is a signal's.

    So is 128 and its number, if it came by way of a shell or of a container's init process.
    """
    if exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    if exit_code - 128 in _DEADLY:
        return f"exit code {exit_code}, as after {signal.Signals(exit_code - 128).name}"
    return f"exit code {exit_code}"


_DEADLY = frozenset(
    {
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP),
        *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV),
        *(signal.SIGPIPE, signal.SIGALRM, signal.SIGTERM, signal.SIGXCPU, signal.SIGSYS),
    }
)


def task_failed(exit_code: int, work: TaskWork, facts: dict[str, Any]) -> StepError:
    """The command ended badly; or it says by its exit code that it is skipped (StepSkipped)."""
    message = f"{shown_end(exit_code)}: {work.shown}"
    if exit_code in work.skip_codes:
        return StepSkipped(problem("task-skipped", message), facts=facts)
    return StepError(problem("task-failed", message), facts=facts)


def check_outputs(staged: Staged, facts: dict[str, Any]) -> None:
    """Every output must be there. Raises StepError (`missing-output`)."""
    for name, path in staged.results.items():
        if not os.path.lexists(path):
            message = f"the task succeeded, but its output {name!r} is missing"
            hint = f"it is expected at {{outputs.{name}}}, this time {staged.outputs[name]}"
            raise StepError(problem("missing-output", message, hint=hint), facts=facts)
