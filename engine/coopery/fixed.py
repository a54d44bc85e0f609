"""Fixed paths of channels (`mount`): which ones a task can have, the same under every runtime."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from coopery import lengths
from coopery.errors import KeyPath, Problem, problem
from coopery.model import Task

_OWN = ("/coopery", "/opt/coopery", "/work", "/proc", "/sys", "/dev")
"""Folders in which coopery, or the system, has what is its own: nothing else is put there."""
_SYSTEM = frozenset(
    (
        *("/", "/bin", "/boot", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/media"),
        *("/mnt", "/opt", "/root", "/run", "/sbin", "/srv", "/tmp", "/usr", "/var"),
        *("/usr/bin", "/usr/include", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec"),
        *("/usr/libx32", "/usr/local", "/usr/sbin", "/usr/share", "/usr/src"),
        *("/usr/local/bin", "/usr/local/lib", "/usr/local/sbin", "/usr/local/share"),
        *("/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool", "/var/tmp"),
    )
)
"""Folders of every Linux (Filesystem Hierarchy Standard 3.0), which a mount at them would hide,
and the task's programs with them."""
_PLAIN = "write a path such as /data/table.csv"
_ELSEWHERE = "choose a folder that systems do not have, such as /data"


def check_mounts(task: Task) -> Iterator[Problem]:
    """What is wrong with the fixed paths of a task (`bad-mount`, `name-too-long`).

    An input is mounted at its path; of an output it is the folder, in which the task makes it.
    """
    fixed: dict[PurePosixPath, KeyPath] = {}
    sides = [("inputs", name, channel.mount) for name, channel in task.inputs.items()]
    sides += [("outputs", name, channel.mount) for name, channel in task.outputs.items()]
    for side, name, mount in sides:
        if mount is None:
            continue
        key: KeyPath = ("task", task.name, side, name, "mount")
        if not _is_plain(mount):
            message = f"mount {mount!r} is not an absolute, plain path"
            yield problem("bad-mount", message, key=key, hint=_PLAIN)
            continue
        if long := lengths.too_long(mount, key):
            yield long
            continue
        path = PurePosixPath(mount)
        if reason := misplaced(path.parent if side == "outputs" else path):
            message = f"the mount {mount!r} {reason}"
            yield problem("bad-mount", message, key=key, hint=_ELSEWHERE)
            continue
        fixed.setdefault(path, key)  # that two have one place is told elsewhere
    yield from _inside_each_other(fixed)


def _is_plain(mount: str) -> bool:
    return (
        mount.startswith("/")
        and not mount.startswith("//")  # which POSIX lets mean something of its own
        and posixpath.normpath(mount) == mount.rstrip("/")
        and mount.isprintable()
    )


def misplaced(hidden: PurePosixPath) -> str | None:
    """Why nothing can be mounted at a path, whose contents would be hidden; None where it can."""
    own = next((top for top in _OWN if hidden.is_relative_to(top)), None)
    if own is not None:
        return f"lies in {own}, which is not for a recipe's files"
    return f"would hide what is in {hidden}" if str(hidden) in _SYSTEM else None


def _inside_each_other(fixed: Mapping[PurePosixPath, KeyPath]) -> Iterator[Problem]:
    """An input is read-only, so nothing can be made in it; and an output is the task's alone."""
    for path, key in fixed.items():
        above = next((fixed[parent] for parent in path.parents if parent in fixed), None)
        if above is not None:
            side, name = above[2], above[3]
            message = f"the mount {str(path)!r} lies inside that of {side}.{name}"
            hint = "give each channel a place of its own, beside the other"
            yield problem("bad-mount", message, key=key, hint=hint)
