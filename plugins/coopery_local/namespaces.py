"""What a task sees of the file system: inputs read-only in a private mount namespace.

A mount namespace belongs to a thread, so each worker thread makes itself one and mounts what its
task reads; its supervisor, and so the task, inherits it. Nothing has to be started for a mount.
Where the system does not allow that (not root, a locked-down container), inputs are copied instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coopery.errors import MachineError, Problem
from coopery.quantities import show_bytes

_CLONE_NEWNS = 0x00020000
_CLONE_FS = 0x00000200
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_MS_NOSUID, _MS_NODEV = 2, 4
_MNT_DETACH = 2
_SHM = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """`source` seen at `target`; a `fixed` target lies outside the scratch folder."""

    source: Path
    target: Path
    fixed: bool = False
    read_only: bool = True
    fallback: Literal["copy", "leave"] = "copy"


@dataclass(frozen=True, kw_only=True)
class View:
    """A view that is set up; processes see `root` as `/`, if it is given."""

    root: Path | None = None


_thread = threading.local()


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def has_namespace() -> bool:
    """Whether this thread has a mount namespace of its own; makes one at the first call."""
    if not hasattr(_thread, "private"):
        _thread.private = _unshare()
    return bool(_thread.private)


def _unshare() -> bool:
    if threading.current_thread() is threading.main_thread():
        return False  # the whole program's view would change
    if _libc().unshare(_CLONE_NEWNS | _CLONE_FS) != 0:
        return False
    return bool(_libc().mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) == 0)


def _mount(source: Path, target: Path, flags: int) -> None:
    if _libc().mount(os.fsencode(source), os.fsencode(target), None, flags, None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount: {os.strerror(code)}", str(target))


def _bind(source: Path, target: Path, read_only: bool) -> None:
    _mount(source, target, _MS_BIND)
    if read_only:
        # A bind mount becomes read-only only when it is mounted a second time; flags that the
        # underlying mount has locked must be kept.
        kept = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
        _mount(source, target, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)


@contextlib.contextmanager
def private_view(mounts: Sequence[Mount], root: Path, shm: float | None = None) -> Iterator[View]:
    """Set up what a task sees; undone at the end. Raises MachineError (`no-mounts`, `no-shm`).

    With `shm`, /dev/shm is the task's own and of that many bytes; where there are no mounts it is
    the machine's, if that is no smaller.
    """
    fixed = any(mount.fixed for mount in mounts)
    if not has_namespace():
        if shm is not None and (lack := lacks_shm(shm)):
            raise MachineError(Problem(slug="no-shm", message=lack[0], hint=lack[1]))
        if fixed:
            raise MachineError(
                Problem(
                    slug="no-mounts",
                    message="a channel with a fixed path needs a mount namespace, "
                    "which this system does not allow",
                    hint="run as root, use -r docker, or drop `mount`",
                )
            )
        for mount in mounts:
            if mount.fallback == "copy":
                _copy_read_only(mount.source, mount.target)
        yield View()
        return
    done: list[Path] = []
    try:
        if shm is not None:
            _mount_shm(shm)
            done.append(_SHM)
        if fixed:
            root.mkdir()
            # A mount of its own, so that everything below goes with one unmount.
            _mount(root, root, _MS_BIND)
            done.append(root)
        # Shorter targets first: what lies inside another mount comes after it.
        for mount in sorted(mounts, key=lambda m: len(m.target.parts)):
            if not mount.fixed:
                _point(mount.source, mount.target)
                _bind(mount.source, mount.target, mount.read_only)
                done.append(mount.target)
        if fixed:
            _build_root(root, [mount for mount in mounts if mount.fixed])
        yield View(root=root if fixed else None)
    finally:
        for target in reversed(done):
            _libc().umount2(os.fsencode(target), _MNT_DETACH)


def lacks_shm(size: float) -> tuple[str, str] | None:
    """What is wrong with the machine's /dev/shm for a task that needs so many bytes, and a hint."""
    there = 0
    if _SHM.is_dir():
        told = os.statvfs(_SHM)
        there = told.f_blocks * told.f_frsize
    if there >= size:
        return None
    message = f"{_SHM} of this machine has {show_bytes(there)}, not the {show_bytes(size)} of `shm`"
    return message, "as root, tasks get one of their own; or lower `shm`, or enlarge it"


def _mount_shm(size: float) -> None:
    options = f"size={max(int(size), 1)},mode=1777".encode()  # 0 would mean any size
    flags = _MS_NOSUID | _MS_NODEV
    if _libc().mount(b"coopery", os.fsencode(_SHM), b"tmpfs", flags, options) != 0:
        message = f"no {_SHM} could be made: {os.strerror(ctypes.get_errno())}"
        raise MachineError(Problem(slug="no-shm", message=message, hint="drop `shm`"))


def _point(source: Path, target: Path) -> None:
    """Something to mount on, of the kind of `source`."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _copy_read_only(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
        for folder, _, names in os.walk(target):
            for name in names:
                _take_write_bits(Path(folder, name))
            _take_write_bits(Path(folder))
    else:
        shutil.copy2(source, target)
        _take_write_bits(target)


def _take_write_bits(path: Path) -> None:
    if not path.is_symlink():
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def _build_root(root: Path, mounts: Sequence[Mount]) -> None:
    """A root like the machine's, with the fixed targets in it; the machine's stays untouched."""
    targets = {mount.target: mount for mount in mounts}
    above = {parent for target in targets for parent in target.parents}

    def fill(folder: Path) -> None:
        for entry in sorted(os.scandir(folder), key=lambda e: e.name) if folder.is_dir() else ():
            path = Path(entry.path)
            here = root / path.relative_to("/")
            if path in targets:
                continue
            if path in above:
                here.mkdir()
            elif entry.is_symlink():
                here.symlink_to(path.readlink())
            else:
                _point(path, here)
                _mount(path, here, _MS_BIND | _MS_REC)

    for folder in sorted(above, key=lambda path: len(path.parts)):
        inside = [t for t in targets if t in folder.parents or t == folder]
        here = root / folder.relative_to("/")
        if inside:
            continue  # it is inside another mount, which comes below
        here.mkdir(parents=True, exist_ok=True)
        fill(folder)
    for target in sorted(targets, key=lambda path: len(path.parts)):
        mount = targets[target]
        here = root / target.relative_to("/")
        _point(mount.source, here)
        _bind(mount.source, here, mount.read_only)
