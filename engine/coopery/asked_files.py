"""Write a file that was asked for: found unwritable before a run where it can be, then whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from coopery.errors import MachineError, Problem
from coopery.masking import masked_bytes
from coopery.writing import write_atomically


def unwritable(name: str, option: str) -> Problem | None:
    """Why a file of this name cannot be written, as far as looking tells; nothing is made."""
    path = Path(name)
    try:
        if path.is_dir():
            return _problem(name, option, "it is a folder")
        if path.exists():
            folder = path.resolve().parent
            good = os.access(folder if path.is_file() else path, os.W_OK)
            return None if good else _problem(name, option, "permission denied")
        folder = path.absolute().parent
        while not folder.exists() and not folder.is_symlink():
            folder = folder.parent
        if not folder.is_dir():
            return _problem(name, option, f"{folder} is not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            return _problem(name, option, f"nothing can be written to {folder}")
    except (OSError, ValueError) as error:
        return _problem(name, option, _why(error))
    return None


def write(name: str, text: str, option: str) -> None:
    """Write a file, atomically; missing folders are made. What is no file is written to directly.

    Raises MachineError (`not-writable`, `disk-full`).
    """
    # Logs that work wrote past coopery may hold what must not be handed around.
    content = masked_bytes(text.encode("utf-8", "replace"))
    try:
        path = Path(name)
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a terminal or pipe: nothing may take its place
        else:
            path = path.resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"{option}: no space is left for {name}"
            raise MachineError(Problem(slug="disk-full", message=message)) from None
        raise MachineError(_problem(name, option, _why(error))) from None


def _why(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _problem(name: str, option: str, why: str) -> Problem:
    message = f"{option}: {name} cannot be written: {why}"
    return Problem(slug="not-writable", message=message, hint="name another file")
