"""Making what enters the store ours alone, and telling at a glance whether it still is.

Paths are bytes here, which pathlib does not know.
"""

# ruff: noqa: PTH101, PTH105, PTH114, PTH118

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from coopery.errors import StepError
from coopery.trees import Entry, is_executable, scan, special_file
from coopery_store.copying import copy


def settle_in(path: Path) -> None:
    """Make what enters ours alone: no other name for its inodes, and read-only files.

    Folders stay writable for us, else they could not be moved or removed.
    """
    top = os.fsencode(path)
    status = os.lstat(top)
    if stat.S_ISREG(status.st_mode):
        _settle_file(top, status)
        return
    if not stat.S_ISDIR(status.st_mode):
        raise special_file(top, status.st_mode)
    os.chmod(top, 0o755)
    for folder, names, files in os.walk(top):  # folders first: one may be closed to us as yet
        for name in names:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o755)
        for name in files:
            inner = os.path.join(folder, name)
            status = os.lstat(inner)
            if stat.S_ISREG(status.st_mode):
                _settle_file(inner, status)


def _settle_file(path: bytes, status: os.stat_result) -> None:
    if status.st_nlink > 1:
        # A hard link elsewhere would let its owner change the object.
        beside = path + b".coopery"
        copy(path, beside)
        os.replace(beside, path)
    mode = 0o555 if is_executable(status) else 0o444
    if stat.S_IMODE(status.st_mode) != mode or status.st_nlink > 1:
        os.chmod(path, mode)


def fingerprint_of(path: Path) -> str | None:
    """Sizes, times and inodes of what is there as a short text; None if no object is like that.

    Raises FileNotFoundError.
    """
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        return of_file(status)
    if not stat.S_ISDIR(status.st_mode):
        return None
    try:
        return of_folder(scan(path))
    except StepError:
        return None


def of_file(status: os.stat_result) -> str:
    exec_bit = "x" if is_executable(status) else "-"
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {exec_bit}"


def of_folder(entries: Sequence[Entry]) -> str:
    hashed = sha256()
    for name, kind, status, target in entries:
        seen = of_file(status).encode() if kind == "f" else target
        hashed.update(b"%b\0%b\0%b\0" % (kind.encode(), name, seen))
    return hashed.hexdigest()
