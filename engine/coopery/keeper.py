"""A program that runs another, and lets nothing of it outlive itself or who started it.

`python -I -S keeper.py COMMAND…`, with the reading end of a pipe as standard input: once nobody
holds the other end, as when coopery was killed, all that the command started is ended. It stays
in one process group with the command, which can be signalled as a whole. Its exit code is the
command's, or 128 and the number of the signal that ended that, as a shell's. It is started for its
speed: standard library only, and as little of that as will do.
"""

# Without pathlib, which takes as long to import as all the rest.
# ruff: noqa: PTH123
from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

GRACE = 2.0
"""Seconds between asking the command to stop and killing it."""
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl (2): what daemonises itself becomes a child of this process."""
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, and what it starts shall not."""


def main() -> int:
    """Run the command to its end; its exit code."""
    for number in _IGNORED:  # meant for the command, which is in the same group
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    command = sys.argv[1:]
    try:
        child = os.posix_spawnp(
            command[0],
            command,
            _environment(),
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)],
            setsigmask=(),
            setsigdef=(*_IGNORED, *_PYTHONS),
        )
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    ended = os.pidfd_open(child)
    poller = select.poll()
    poller.register(ended, select.POLLIN)
    poller.register(0, select.POLLIN)
    if not any(descriptor == ended for descriptor, _ in poller.poll()):
        poller.unregister(0)
        os.killpg(0, signal.SIGTERM)
        poller.poll(GRACE * 1000)
    status = _end_all(child)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _environment() -> dict[bytes, bytes]:
    """The variables that this process was given: Python may have added one for its locale."""
    with open("/proc/self/environ", "rb") as file:
        pairs = (item.partition(b"=") for item in file.read().split(b"\0") if item)
        return {name: value for name, _, value in pairs}


def _end_all(child: int) -> int:
    """Kill all that is left, and what that leaves in turn; the wait status of `child`."""
    found = 0
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == child:
            found = status
        elif pid == 0:
            for number in _children():
                try:
                    os.kill(number, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
            time.sleep(0.002)


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
        return [int(number) for number in file.read().split()]


if __name__ == "__main__":
    sys.exit(main())
