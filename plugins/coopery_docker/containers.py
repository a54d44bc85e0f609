"""One container, from its making to its removal: started, followed, measured, stopped."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from coopery.errors import MachineError, Problem, StepError, problem
from coopery.masking import Mask
from coopery.staging import GRACE, timed_out, was_cancelled
from coopery_docker import cgroups
from coopery_docker.client import Engine, refused, said
from coopery_docker.leaving import unless_left
from coopery_docker.memory import Measured, Peak
from coopery_docker.notes import HOME, RUN, Noted, home_id, noted
from coopery_docker.streams import Channel, Interleaved, frames

if TYPE_CHECKING:
    from collections.abc import Mapping

_PULSE = 0.1
"""Seconds between two looks at the clock and at whether the run was cancelled. That a container
has ended is told, not looked for."""
_LINGER = 10.0
"""Seconds that a killed container has for ending."""

Write = Callable[[bytes], object]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a container ended."""

    exit_code: int
    memory: Measured
    out_of_memory: bool
    tail: bytes
    """The end of what it printed."""


@dataclass
class _Following:
    """What the thread that follows a container has found."""

    done: threading.Event = field(default_factory=threading.Event)
    started: float | None = None
    exit_code: int | None = None
    error: Exception | None = None
    tail: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One container to run: for a run of a home folder, under a name for people.

    `body` is what the API's `create` takes, `write` gets what is printed as it comes. It is asked
    to stop once `cancelled` or after `timeout` seconds, and is killed once `killed`. `monitored`:
    it gets a control group of its own where there can be one, so that no peak is missed.
    """

    home: Path
    run: str
    name: str
    body: Mapping[str, Any]
    write: Write
    cancelled: threading.Event | None = None
    killed: threading.Event | None = None
    timeout: float | None = None
    monitored: bool = False

    @property
    def limited(self) -> bool:
        """Whether it has a limit of memory."""
        return bool(self.body["HostConfig"].get("Memory"))


def run_container(engine: Engine, job: Job) -> Ended:
    """Run a container to its end; when this returns or raises, it is removed.

    Raises StepError when it did not end by itself (`cancelled`, `task-timeout`) or could not be
    started (`command-not-found`, `image-gone`), MachineError (`engine-lost`, `engine-refused`,
    `engine-elsewhere`, `no-gpu`). Where the engine does not answer any more when the run must end,
    the container is left to the next run.
    """

    def see_through() -> Ended:
        with noted(job.home, job.run) as note:
            return run_under(note, engine, job)

    return unless_left(see_through, engine, job.cancelled, job.killed)


def run_under(note: Noted, engine: Engine, job: Job) -> Ended:
    """`run_container`, for whoever has the run's note in hand already."""
    own = cgroups.make_own(engine, job.home, job.run) if job.monitored else None
    try:
        ident = create(engine, job if own is None else _within(own, job), note)
        try:
            return _see_through(engine, ident, job, own)
        finally:
            remove(engine, ident, note)
    finally:
        if own is not None and not cgroups.remove(own):
            note.keep = True


def _within(group: str, job: Job) -> Job:
    host = {**job.body["HostConfig"], "CgroupParent": f"/{group}"}
    return replace(job, body={**job.body, "HostConfig": host})


def create(engine: Engine, job: Job, note: Noted) -> str:
    """Make a container that bears the labels of its run; its id."""
    from docker.errors import APIError

    body = job.body
    labels = {**body.get("Labels", {}), RUN: job.run, HOME: home_id(job.home)}
    if engine.is_podman and not engine.is_local and engine.info.get("Name") != gethostname():
        # It would make empty folders where it does not find what it is to mount.
        raise _elsewhere(engine, f"it is Podman of the machine {engine.info.get('Name')}")
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"coopery-{job.run}-{job.name}")[:100]
    with kept_if_lost(note), engine.asked("made no container"):
        try:
            made = engine.api.create_container_from_config(
                {**body, "Labels": labels}, f"{safe}-{secrets.token_hex(2)}"
            )
        except APIError as error:
            raise _not_made(engine, said(error), error.status_code, str(body["Image"])) from error
    for warning in made.get("Warnings") or ():
        job.write(f"the engine warns: {warning}\n".encode())
    return str(made["Id"])


_NO_NETWORK = re.compile(r"network (\S+) not found|unable to find network with name or ID (\S+):")
_TOO_LITTLE = re.compile(r"minimum memory limit[^\n]*", re.IGNORECASE)
_NO_USER = re.compile(r"unable to find (user|group) (\S+?):")


def _not_there(why: str) -> StepError | None:
    """For what a recipe says of a task's container, and the engine or the image does not know."""
    if found := _NO_NETWORK.search(why):
        message = f"the container engine has no network {found[1] or found[2]!r}"
        hint = "make it (docker network create), or mend `network` of the task's `container`"
    elif found := _NO_USER.search(why):
        message = f"the image has no {found[1]} {found[2]!r}"
        hint = "write its number in `user` of the task's `container`, or add it to the image"
    elif found := _TOO_LITTLE.search(why):
        message = f"its limit of memory is below what the container engine gives: {found[0]}"
        hint = "state a limit of memory that is enough; a scale rule asks for more than that only"
    else:
        return None
    return StepError(problem("bad-container", message, hint=hint))


def _elsewhere(engine: Engine, why: str) -> MachineError:
    message = f"the engine at {engine.target.address} does not see this machine's files: {why}"
    hint = "use an engine of this machine: unset DOCKER_HOST, or choose another context"
    return MachineError(Problem(slug="engine-elsewhere", message=message, hint=hint))


def _not_made(engine: Engine, why: str, status: int, image: str) -> StepError | MachineError:
    if (found := _not_there(why)) is not None:
        return found
    if "bind source path does not exist" in why:
        return _elsewhere(engine, why)
    if "container-init binary not found" in why:
        hint = "install catatonit, or name an init program by `init_path` in its containers.conf"
        message = f"the container engine has no init program for containers: {why}"
        return MachineError(Problem(slug="engine-refused", message=message, hint=hint))
    if status == 404 and "image" in why.lower():
        hint = "somebody removed it during the run; run again: it is made anew"
        return StepError(problem("image-gone", f"there is no image {image}: {why}", hint=hint))
    return refused("made no container", why)


def remove(engine: Engine, ident: str, note: Noted) -> None:
    """Remove a container, alive or not; where the engine cannot, the note is kept."""
    from docker.errors import APIError

    with kept_if_lost(note), engine.asked("removed no container"):
        try:
            engine.api.remove_container(ident, v=True, force=True)
        except APIError as error:
            # Gone already, or somebody else is removing it.
            if error.status_code not in (404, 409):
                raise


@contextmanager
def kept_if_lost(note: Noted) -> Iterator[None]:
    """Where the engine fails, whether there is a container now is for the next run to find out."""
    try:
        yield
    except MachineError:
        note.keep = True
        raise


def _see_through(engine: Engine, ident: str, job: Job, own: str | None) -> Ended:
    channel = attach(engine, ident, stdout=1, stderr=1)
    lines = Interleaved(job.write)
    following = _Following()
    follower = threading.Thread(
        target=_follow, args=(engine, ident, channel, lines, following), name="container"
    )
    follower.daemon = True
    follower.start()
    peak = Peak(engine, ident, lambda: following.started is not None, own)
    peak.begin()
    try:
        reason = _wait(engine, ident, job, following, lines)
    finally:
        memory = peak.end()
    if following.error is not None:
        with engine.asked("did not say how the container ended"):
            raise following.error
    if reason is not None:
        raise reason
    if following.exit_code is None:
        raise engine.lost()
    # What ends well without a limit was not killed for one: that question can be spared.
    state = _state(engine, ident) if following.exit_code or job.limited else {}
    return Ended(
        exit_code=following.exit_code,
        memory=memory,
        out_of_memory=bool(state.get("OOMKilled")),
        tail=following.tail,
    )


def attach(engine: Engine, ident: str, **streams: int) -> Channel:
    """A socket to a container's streams, without a limit in time; whoever gets it closes it.

    Raises as `start`: Podman readies a container already when somebody attaches to it.
    """
    from docker.errors import APIError

    with engine.asked("did not attach to the container"):
        try:
            return Channel(engine.api.attach_socket(ident, params={**streams, "stream": 1}))
        except APIError as error:
            if "preparing container" in said(error):
                raise _not_started(said(error)) from error
            raise


def start(engine: Engine, ident: str) -> None:
    """Start a container. Raises StepError (`command-not-found`), MachineError."""
    from docker.errors import APIError

    with engine.asked("did not start the container"):
        try:
            engine.api.start(ident)
        except APIError as error:
            raise _not_started(said(error)) from error


def _not_started(why: str) -> StepError | MachineError:
    if (found := _not_there(why)) is not None:
        return found
    if "capabilities: [[gpu]]" in why or "nvidia" in why.lower():
        message = f"the container engine has no GPU to give: {why}"
        hint = "install the driver and the NVIDIA container toolkit, or drop `gpu`"
        return MachineError(Problem(slug="no-gpu", message=message, hint=hint))
    if "exec" in why and re.search(r"not found|no such file|permission denied", why, re.I):
        return StepError(problem("command-not-found", f"the command could not be started: {why}"))
    return refused("did not start the container", why)


def _follow(
    engine: Engine, ident: str, channel: Channel, lines: Interleaved, following: _Following
) -> None:
    """In a thread: start, pass on what is printed until nothing more comes, wait for the end."""
    try:
        start(engine, ident)
        following.started = time.monotonic()
        masks = {1: Mask(), 2: Mask()}
        for stream, part in frames(channel):
            shown = masks[stream].feed(part)
            lines.take(stream, shown)
            following.tail = (following.tail + shown)[-4096:]
        for stream, mask in masks.items():
            lines.take(stream, mask.end())
        lines.look(end=True)
        following.exit_code = int(engine.api.wait(ident, timeout=None)["StatusCode"])
    except Exception as error:
        following.error = error
    finally:
        channel.close()
        following.done.set()


def _wait(
    engine: Engine,
    ident: str,
    job: Job,
    following: _Following,
    lines: Interleaved,
) -> StepError | None:
    """Wait for the end, which is asked for where it must be; the reason for that, if any."""
    last: float | None = None
    reason: StepError | None = None
    while not following.done.wait(_PULSE):
        now = time.monotonic()
        lines.look()
        if following.started is None:
            continue  # there is nothing to stop yet
        if reason is None:
            if job.cancelled is not None and job.cancelled.is_set():
                reason = was_cancelled()
            elif job.timeout is not None and now > following.started + job.timeout:
                reason = timed_out(job.timeout)
            else:
                continue
            _kill(engine, ident, "SIGTERM")
            last = now + GRACE
        if last is not None and (now > last or (job.killed is not None and job.killed.is_set())):
            _kill(engine, ident, "SIGKILL")
            if not following.done.wait(_LINGER):
                return reason  # removing it by force is what is left
    return reason


def _kill(engine: Engine, ident: str, signal: str) -> None:
    from docker.errors import APIError

    with engine.asked("did not stop the container"):
        try:
            engine.api.kill(ident, signal=signal)
        except APIError as error:
            if error.status_code not in (404, 409):  # it has ended meanwhile
                raise


def _state(engine: Engine, ident: str) -> Mapping[str, Any]:
    with engine.asked("did not say how the container ended"):
        state: Mapping[str, Any] = engine.api.inspect_container(ident)["State"]
    return state
