"""What Linux can do and Python has no name for: reflinks, exchanges, one file system's sync."""

from __future__ import annotations

import errno
import fcntl
import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

_FICLONE = 0x40049409
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_HERE = {
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ETXTBSY,
}
"""What a file system or a kernel says that cannot do it; the caller then does it otherwise."""


def reflink(source: int, target: int) -> bool:
    """Make the open file `target` share the blocks of `source`; False where that is impossible."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return False
        raise
    return True


def copy_range(source: int, target: int, count: int) -> int | None:
    """Let the kernel copy up to `count` bytes; None where it cannot."""
    try:
        return os.copy_file_range(source, target, count)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise


@cache
def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def sync_file_system(descriptor: int) -> None:
    """Make all that was written to the file system of an open file durable."""
    import ctypes

    if not hasattr(_libc(), "syncfs"):
        os.sync()
    elif _libc().syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def exchange(one: bytes, other: bytes) -> bool:
    """Let two paths swap what they name, atomically; False where that is impossible."""
    import ctypes

    if not hasattr(_libc(), "renameat2"):
        return False
    if _libc().renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), os.fsdecode(other))
