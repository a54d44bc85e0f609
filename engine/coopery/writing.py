"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_LONGEST = 80  # bytes of a name, so that one with more at both ends still fits


def sync_path(path: Path | bytes) -> None:
    """Make a file's contents, or a folder's names, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing, as of a network
            raise
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside, make durable, rename: readers see the old contents or the new.

    What stood there passes its permissions on. Raises OSError; nothing is left beside then.
    """
    start = os.fsdecode(os.fsencode(path.name)[:_LONGEST])
    beside = path.with_name(f".{start}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_path(path.parent)
