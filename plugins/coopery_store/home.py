"""The home folder: its layout, whether it can be used, and how its troubles are told."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from coopery.errors import CooperyError, MachineError, problem
from coopery.writing import sync_path, write_atomically

VERSION = 1
"""Of the layout. A newer home is refused; an older one would be converted here."""
FOLDERS = ("objects", "places", "scratch", "runs", "locks", "quarantine", "records")
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@=+,-")
_LONGEST = 160  # bytes; names may grow suffixes, and file systems allow 255


def open_home(home: Path) -> MachineError | None:
    """Make or check the home folder; why it can only be read, if so.

    Raises MachineError (`home-unusable`, `home-newer`).
    """
    with machine_errors(home):
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            what = "it is not a folder"
            if home.is_symlink():
                what = f"it is a link to {home.readlink()}, which is no folder"
            raise _unusable(home, what) from None
        home = home.resolve()  # from here on, no link may be in the way
        status = home.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise _unusable(home, "it is not a folder")
        if status.st_uid != os.geteuid():
            raise _unusable(home, f"it belongs to user {status.st_uid}, not to {os.geteuid()}")
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            is_read_only = os.statvfs(home).f_flag & os.ST_RDONLY
            why = _read_only(home) if is_read_only else _unusable(home, "it cannot be written to")
            if not os.access(home, os.R_OK | os.X_OK) or not _has_version(home):
                raise why
            return why
        # Somebody may have cleared away a folder: what was in it is made again, like the folder.
        if not _has_version(home) or not all((home / name).exists() for name in FOLDERS):
            _lay_out(home)
    return None


def _has_version(home: Path) -> bool:
    try:
        text = (home / "version").read_text("ascii").strip()
    except FileNotFoundError:
        return False
    except UnicodeDecodeError:
        text = ""
    if not text.isdigit():
        raise _unusable(home, "its file `version` is damaged")
    if int(text) > VERSION:
        hint = "use that coopery, or name another home folder with --home"
        message = f"the home folder {home} was made by a newer coopery (layout {text})"
        raise MachineError(problem("home-newer", message, hint=hint))
    return True


def _lay_out(home: Path) -> None:
    for name in FOLDERS:
        (home / name).mkdir(mode=0o700, exist_ok=True)
    for number in range(256):
        (home / "objects" / f"{number:02x}").mkdir(exist_ok=True)
    for name in ("objects", "."):
        sync_path(home / name)
    # Last, so that a home with a version is whole.
    write_atomically(home / "version", f"{VERSION}\n".encode())


def _unusable(home: Path, why: str) -> MachineError:
    hint = "`coopery doctor` tells more; or name another one with --home or COOPERY_HOME"
    message = f"the home folder {home} cannot be used: {why}"
    return MachineError(problem("home-unusable", message, hint=hint))


def _read_only(home: Path) -> MachineError:
    hint = "mount it for writing, or name another home folder with --home or COOPERY_HOME"
    message = f"the home folder {home} cannot be used: it is on a disk that is read-only"
    return MachineError(problem("home-unusable", message, hint=hint))


def disk_full(where: Path) -> MachineError:
    """The error for a file system without room."""
    hint = "make room there, or move the home folder with --home or COOPERY_HOME"
    return MachineError(problem("disk-full", f"no space is left for {where}", hint=hint))


def has_no_room(where: Path) -> bool:
    """Whether hardly anything can be written to this file system: SQLite does not say so."""
    status = os.statvfs(where)
    return status.f_bavail * status.f_frsize < 1 << 16 or (
        status.f_files > 0 and status.f_favail == 0
    )


@contextmanager
def machine_errors(home: Path) -> Iterator[None]:
    """Tell what the system refuses within the home folder as a MachineError."""
    try:
        yield
    except CooperyError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(home) from error
        if error.errno == errno.EROFS:
            raise _read_only(home) from error
        where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        raise _unusable(home, f"{error.strerror or error}{where}") from error


def safe_name(name: str) -> str:
    """A file name for any text: distinct texts have distinct names, plain ones stay as they are."""
    encoded = "".join(
        chr(byte) if chr(byte) in _SAFE else f"%{byte:02X}"
        for byte in name.encode("utf-8", "surrogatepass")
    )
    if encoded.startswith(".") or not encoded:
        encoded = f"%2E{encoded[1:]}" if encoded else "%"
    if len(encoded) <= _LONGEST:
        return encoded
    # No encoded name holds a `~`, so a shortened one equals no other.
    return f"{encoded[: _LONGEST - 40]}~{sha256(encoded.encode()).hexdigest()[:32]}"
