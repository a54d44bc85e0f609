"""Mounts for a task, made where the task is started: in its supervisor, or in the shell's process.

They are in a mount namespace of that process, which ends with it. Whoever may not have one as
himself gets one in a user namespace that knows him alone, under his own number: this needs a
process with a single thread, and gives what it starts no right that it did not have. Standard
library only, and as little of that as will do.
"""

# Without pathlib, which takes as long to import as all the rest.
# ruff: noqa: PTH102, PTH103, PTH112, PTH115, PTH118, PTH120, PTH123, PTH208, PTH211
from __future__ import annotations

import ctypes
import marshal
import os
import signal
import stat
import sys

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 32, 4096, 16384, 1 << 19
_MNT_DETACH = 2
_PR_CAPBSET_DROP = 24
_SYS_MOUNT_SETATTR = 442
"""The number of the system call mount_setattr (2), the same on all machines; since Linux 5.12."""
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
SHM = b"/dev/shm"

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take as long as all the rest
    from typing import Any

    Plan = dict[str, Any]
    """`mounts`: (source, target, fixed, read_only) each, paths in bytes; `root`, where the fixed
    ones are seen, or None; `shm`, bytes of a /dev/shm of its own, or None."""


class NoMount(OSError):
    """A mount that the system refused; `filename` is where."""


def enter() -> bool:
    """Give this process, which has one thread, a mount namespace; False if it may not have one."""
    if _unshare(_CLONE_NEWNS):
        return _keep_apart()
    # Some systems allow a user namespace, but nothing inside; and there is no way back out. So
    # somebody else tries it first.
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _enter_user_namespace()
            bind(b"/proc", b"/proc", read_only=True)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1] != 0:
        return False
    _enter_user_namespace()
    return True


def _enter_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    if not _unshare(_CLONE_NEWUSER | _CLONE_NEWNS):
        raise NoMount(ctypes.get_errno(), "no user namespace")
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, content.encode())
        finally:
            os.close(descriptor)
    # Root within would hand on the powers it has got over this namespace, and undo the mounts.
    number = 0
    while _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    if not _keep_apart():
        raise NoMount(ctypes.get_errno(), "the mounts cannot be kept apart")


_libc = ctypes.CDLL(None, use_errno=True)


def _unshare(flags: int) -> bool:
    return bool(_libc.unshare(flags) == 0)


def _keep_apart() -> bool:
    """No mount gets out of here; those of the machine still get in, as of a network's homes."""
    return bool(_libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None) == 0)


def set_up(plan: Plan) -> list[bytes]:
    """Make the mounts of a plan; returns what `take_down` wants. Raises OSError, all undone."""
    done: list[bytes] = []
    try:
        root = plan["root"]
        if root is not None:
            os.mkdir(root)
            # A mount of its own, so that everything below goes with one unmount.
            _mount(root, root, _MS_BIND)
            done.append(root)
        # Shorter targets first: what lies inside another mount comes after it.
        for source, target, fixed, read_only in sorted(plan["mounts"], key=_depth):
            if not fixed:
                point(source, target)
                bind(source, target, read_only)
                done.append(target)
        if plan["shm"] is not None:
            # After those whose sources lie in the machine's own, as secrets do.
            _mount_shm(plan["shm"])
            done.append(SHM)
        if root is not None:
            _build_root(root, [mount for mount in plan["mounts"] if mount[2]])
    except BaseException:
        take_down(done)
        raise
    return done


def take_down(done: list[bytes]) -> None:
    """Undo `set_up`."""
    for target in reversed(done):
        _libc.umount2(target, _MNT_DETACH)


def _depth(mount: tuple[bytes, bytes, bool, bool]) -> int:
    return mount[1].count(b"/")


def _mount(source: bytes, target: bytes, flags: int) -> None:
    if _libc.mount(source, target, None, flags, None) != 0:
        raise _refused(target)


def _refused(target: bytes) -> NoMount:
    code = ctypes.get_errno()
    return NoMount(code, os.strerror(code), target)


def bind(source: bytes, target: bytes, read_only: bool) -> None:
    """Show `source` at `target`, with all that is mounted below. Raises NoMount."""
    _mount(source, target, _MS_BIND | _MS_REC)
    if read_only and not _make_read_only(target):
        # An older kernel, which can do this for a mount without those below it, and wants its
        # other flags kept.
        kept = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
        _mount(source, target, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)


def _make_read_only(target: bytes) -> bool:
    attributes = (ctypes.c_uint64 * 4)(_MS_RDONLY, 0, 0, 0)  # to set, to clear, propagation, user
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    where = ctypes.c_long(_AT_FDCWD)
    number = ctypes.c_long(_SYS_MOUNT_SETATTR)
    flags = ctypes.c_uint(_AT_RECURSIVE)
    return bool(_libc.syscall(number, where, target, flags, attributes, size) == 0)


def _mount_shm(size: int) -> None:
    options = f"size={max(size, 1)},mode=1777".encode()  # 0 would mean any size
    flags = _MS_NOSUID | _MS_NODEV
    if _libc.mount(b"coopery", SHM, b"tmpfs", flags, options) != 0:
        raise _refused(SHM)


def point(source: bytes, target: bytes) -> None:
    """Something to mount on, of the kind of `source`, unless there is something."""
    if os.path.lexists(target):
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))


def _parents(path: bytes) -> list[bytes]:
    found = []
    while path != b"/":
        path = os.path.dirname(path)
        found.append(path)
    return found


def _build_root(root: bytes, mounts: list[tuple[bytes, bytes, bool, bool]]) -> None:
    """A root like the machine's, with the fixed targets in it; the machine's stays untouched."""
    targets = {mount[1]: mount for mount in mounts}
    above = {parent for target in targets for parent in _parents(target)}

    def fill(folder: bytes) -> None:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name)
            here = root + path
            kind = os.lstat(path).st_mode
            if path in targets:
                continue
            if path in above:
                os.makedirs(here, exist_ok=True)
            elif stat.S_ISLNK(kind):
                os.symlink(os.readlink(path), here)
            else:
                point(path, here)
                bind(path, here, read_only=False)

    for folder in sorted(above, key=lambda path: path.count(b"/") if path != b"/" else 0):
        if folder in targets or not targets.keys().isdisjoint(_parents(folder)):
            continue  # it is inside another mount, which comes below
        os.makedirs(root + folder, exist_ok=True)
        fill(folder)
    for mount in sorted(mounts, key=_depth):
        source, target, _, read_only = mount
        point(source, root + target)
        bind(source, root + target, read_only)


def probe() -> None:
    """A program: succeeds where mounts are possible."""
    raise SystemExit(0 if enter() else 1)


def become() -> None:
    """A program: reads what to become from the open file it is given, mounts, becomes it."""
    with open(int(sys.argv[2]), "rb") as file:
        plan, folder, command, environ = marshal.load(file)
    if plan is not None:
        if not enter():
            sys.exit("mounts are not possible any more")
        try:
            set_up(plan)
        except OSError as error:
            sys.exit(f"{error.strerror}: {os.fsdecode(error.filename or b'/')}")
        if plan["root"] is not None:
            os.chroot(plan["root"])
    os.chdir(folder)
    for number in (signal.SIGPIPE, signal.SIGINT):  # which Python has taken for itself
        signal.signal(number, signal.SIG_DFL)
    os.execve(command[0], command, environ)
