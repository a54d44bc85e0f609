"""The supervisor: a program that starts one process after another and lets nothing outlive them.

It runs beside each thread that performs tasks, told what to start through a socket. As a child
subreaper it inherits what daemonises itself, so all that a task leaves behind is among its own
children; and since the socket closes when coopery dies, however it dies, so do the tasks. It is
started for its speed: standard library only, and as little of that as will do.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import select
import signal
import sys
import time

from coopery_local.mounting import enter, set_up, take_down
from coopery_local.proc import Watch, children_of, descendants, oom_kills

LINGER = 5.0
"""Seconds that killed processes have for disappearing; longer takes only what nobody can kill."""

_PR_SET_CHILD_SUBREAPER, _PR_SET_DUMPABLE = 36, 4
_DEFAULT = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that Python or the supervisor ignores, and the processes it starts shall not."""
_KILLED = (signal.SIGKILL, (128 + signal.SIGKILL) << 8)
"""Wait statuses: killed, and having exited as a shell does whose child was killed."""

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take as long as all the rest
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]


def send(channel: int, message: Message) -> None:
    """Write a message: its length, then its marshalled self (both ends are one interpreter)."""
    data = marshal.dumps(message)
    view = memoryview(len(data).to_bytes(8, "little") + data)
    while view:
        view = view[os.write(channel, view) :]


def receive(channel: int) -> Message | None:
    """Read a message; None when the other end is gone."""
    try:
        size = _read(channel, 8)
        data = size and _read(channel, int.from_bytes(size, "little"))
    except ConnectionError:
        return None
    return dict(marshal.loads(data)) if data else None


def _read(channel: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = os.read(channel, size - len(data))
        if not part:
            return None
        data += part
    return data


class Gone(Exception):
    """Coopery has closed the socket or died."""


class Supervisor:
    """Starts what the messages on `channel` say, and answers how it ended."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._main = 0
        self._ended: tuple[int, int] | None = None
        self._secrets: bytes | None = None
        # The deaths of children wake the poll; a handler must be there for the kernel to tell.
        self._wakened, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._poll = select.poll()
        self._poll.register(self._wakened, select.POLLIN)
        self._poll.register(channel, select.POLLIN)

    def serve(self) -> None:
        """Work until the other end is gone; then nothing that was started is left."""
        try:
            # The first thing said: whether tasks can have mounts of their own.
            send(self._channel, {"private": enter()})
            while (message := receive(self._channel)) is not None:
                if "command" in message:  # else a request to stop that came too late
                    send(self._channel, self._perform(message))
        except (Gone, ConnectionError):
            pass  # nobody is there to be told
        finally:
            self._end_children()
            if self._secrets is not None:
                clear(self._secrets)  # whoever would have done it has died

    def _perform(self, message: Message) -> Message:
        """Do what is asked for, within its mounts."""
        self._secrets = message["secrets"]
        if self._secrets is not None:
            # From now on this process leaves no memory behind either; what it starts, as it may.
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        answer = self._see_to(message)
        self._secrets = None
        return answer

    def _see_to(self, message: Message) -> Message:
        if message["view"] is None:
            return self._start_and_see(message)
        try:
            mounts = set_up(message["view"])
        except OSError as error:
            return {"unseen": (error.strerror, os.fsencode(error.filename or b"/"))}
        try:
            return self._start_and_see(message)
        finally:
            take_down(mounts)

    def _start_and_see(self, message: Message) -> Message:
        self._ended = None
        limit = message["memory"]
        watch = None if limit is None else Watch(limit)
        kills = oom_kills()
        try:
            self._main = start(message)
        except OSError as error:
            return {"error": (error.errno, error.strerror)}
        except ValueError as error:  # a zero byte, or a variable with "=" in its name
            return {"error": (errno.EINVAL, str(error))}
        over = self._see_through(watch)
        left = self._end_children()
        status, peak = self._ended or (None, 0)
        # The kernel counts before it kills; a shell says 137 where its child was killed.
        starved = not over and status in _KILLED and oom_kills() > kills
        return {"status": status, "peak": peak, "left": left, "over": over, "starved": starved}

    def _see_through(self, watch: Watch | None) -> int:
        """Wait for the process to end, or, once told to stop, for all that it started.

        Returns early, with what is held, when that is more memory than `watch` allows; else 0.
        """
        deadline: float | None = None
        while True:
            children = self._reap()
            if self._ended and (deadline is None or not children):
                return 0
            if deadline is not None and time.monotonic() >= deadline:
                return 0
            if watch and time.monotonic() >= watch.due and watch.is_over():
                return watch.seen
            times = [t for t in (deadline, watch.due if watch else None) if t is not None]
            rest = max(min(times) - time.monotonic(), 0.0) if times else None
            for descriptor, _ in self._poll.poll(None if rest is None else rest * 1000 + 1):
                if descriptor == self._wakened:
                    self._drain()
                    continue
                message = receive(self._channel)
                if message is None:
                    raise Gone
                if deadline is None:
                    self._terminate()
                until = time.monotonic() + message["stop"]
                deadline = until if deadline is None else min(deadline, until)

    def _drain(self) -> None:
        try:
            while os.read(self._wakened, 4096):
                pass
        except BlockingIOError:
            return

    def _reap(self) -> bool:
        """Bury the dead; whether any child lives."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._main:
                self._ended = (status, usage.ru_maxrss * 1024)

    def _terminate(self) -> None:
        """SIGTERM to everything below, so that each may end in its own way."""
        for pid in descendants(os.getpid()):
            _signal(pid, signal.SIGTERM)

    def _end_children(self) -> list[int]:
        """Kill all that is left, and whatever it leaves in turn; returns what cannot be killed.

        Only own children are killed, whose numbers nobody else can get before they are buried.
        """
        deadline = time.monotonic() + LINGER
        busy = time.monotonic() + LINGER / 10
        while self._reap():
            children = children_of(os.getpid())
            for pid in children:
                _signal(pid, signal.SIGKILL)
            now = time.monotonic()
            if now > deadline:
                return children
            if now > busy:  # until then no pause, in which a process could fork once more
                time.sleep(0.005)
        return []


def start(message: Message) -> int:
    """Start a process in a group of its own; its id. Raises OSError when that cannot be."""
    log = os.open(message["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    root = message["view"] and message["view"]["root"]
    limits = no_dump() if message["secrets"] is not None else None
    try:
        if root is not None:
            os.chroot(root)
        os.chdir(message["cwd"])
        return os.posix_spawn(
            message["program"],
            message["command"],
            message["environ"],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=_DEFAULT,
        )
    finally:
        if limits is not None:
            limits()
        os.fchdir(outside)
        if root is not None:
            os.chroot(".")
        os.close(outside)
        os.close(log)


def no_dump() -> Callable[[], None]:
    """What is started now leaves no memory on a disk when it crashes; returns what undoes that."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_CORE, before)


def clear(folder: bytes) -> None:
    """Remove a folder of files; one that is gone, or going, is well."""
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - without pathlib, as all here
            os.unlink(folder + b"/" + name)  # noqa: PTH108
        os.rmdir(folder)  # noqa: PTH106
    except OSError:
        return  # the next run looks again


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # it ended; or runs as another user, and shows up as left over


def main() -> None:
    """Serve the socket that is standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # How a run is stopped is coopery's to say; a signal to all of a session must not differ.
        signal.signal(number, signal.SIG_IGN)
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("this kernel has no child subreapers")
    Supervisor(0).serve()
