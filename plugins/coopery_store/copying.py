"""Copies of files and folders that share no inode with the original, and removal of folders."""

# Paths are bytes here, which pathlib does not know.
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH114, PTH115, PTH118, PTH120, PTH211

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coopery.trees import is_executable, scan, special_file
from coopery_store import kernel

_SMALL = 1 << 16
_PIECE = 1 << 30


def copy(source: Path | bytes, target: Path | bytes) -> None:
    """Copy a file, a link or a folder to a path that does not exist yet.

    Exec bits, links and empty folders are kept; all else is as the umask has it. Whatever goes
    wrong, nothing is left at `target`. Raises OSError, and StepError as `coopery.trees.scan` does.
    """
    start, end = os.fsencode(source), os.fsencode(target)
    status = os.lstat(start)
    if stat.S_ISREG(status.st_mode):
        _copy_file(start, end)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(start), end)
    elif stat.S_ISDIR(status.st_mode):
        _copy_folder(start, end)
    else:
        raise special_file(start, status.st_mode)


def _copy_folder(source: bytes, target: bytes) -> None:
    entries = scan(source)
    os.mkdir(target)
    try:
        for name, kind, _, link in entries:  # by name, so that folders precede what they hold
            path = os.path.join(target, name)
            match kind:
                case "d":
                    os.mkdir(path)
                case "l":
                    os.symlink(link, path)
                case _:
                    _copy_file(os.path.join(source, name), path)
    except BaseException:
        remove(os.fsdecode(target))
        raise


def _copy_file(source: bytes, target: bytes) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(reading)
        mode = 0o777 if is_executable(status) else 0o666
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            if status.st_size <= _SMALL or not kernel.reflink(reading, writing):
                _copy_contents(reading, writing, status.st_size)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_contents(reading: int, writing: int, size: int) -> None:
    if size > _SMALL:
        while count := kernel.copy_range(reading, writing, _PIECE):
            size -= count
    # The rest: small files, file systems without the call, and what was appended meanwhile.
    while block := os.read(reading, 1 << 20):
        view = memoryview(block)
        while view:
            view = view[os.write(writing, view) :]


def remove(path: Path | str) -> None:
    """Remove a file, link or folder, read-only folders too; nothing there is fine."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        Path(path).unlink(missing_ok=True)
        return

    def again(call: Callable[..., Any], failed: str, cause: Any) -> None:
        """Make the folder around it writable, and try once more."""
        error = cause[1]
        if isinstance(error, FileNotFoundError):
            return
        if not isinstance(error, PermissionError):
            raise error
        for folder in (os.path.dirname(failed), failed):
            if os.path.isdir(folder) and not os.path.islink(folder):
                os.chmod(folder, 0o700)
        if call in (os.rmdir, os.unlink):
            call(failed)
        else:
            shutil.rmtree(failed)

    shutil.rmtree(path, onerror=again)
