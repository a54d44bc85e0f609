"""What kind of file system the home folder is on: whether its locks hold, and copies are cheap."""

from __future__ import annotations

import os
import re
from pathlib import Path

from coopery.findings import Finding
from coopery_store import kernel

_SHARED = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|ceph|lustre|afs|gfs2?|ocfs2|beegfs|gpfs|glusterfs"
    r"|fuse\.(?:sshfs|glusterfs|ceph|s3fs|rclone|davfs\d?)"
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def look_at_file_system(folder: Path) -> Finding:
    """Of a folder that can be written to."""
    kind = file_system_of(folder)
    shares = _has_reflinks(folder)
    copies = "copies share blocks" if shares else "copies are real ones (no reflinks)"
    if _SHARED.fullmatch(kind):
        text = f"{kind} is a network file system: its locks may not hold between machines"
        hint = "put the home on a disk of this machine, with --home or COOPERY_HOME"
        return Finding(subject="file system", state="warning", text=text, hint=hint)
    if kind in ("tmpfs", "ramfs"):
        text = f"{kind}: what is there is gone when the machine restarts, and takes its memory"
        hint = "put the home on a disk, with --home or COOPERY_HOME"
        return Finding(subject="file system", state="warning", text=text, hint=hint)
    return Finding(subject="file system", state="ok", text=f"{kind or 'unknown'}: {copies}")


def file_system_of(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that a path is on, after /proc/self/mountinfo (proc(5))."""
    wanted = path.resolve()
    if mounts is None:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        # Of two at one point, the later one is on top.
        if wanted.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def _has_reflinks(folder: Path) -> bool:
    (folder / "one").write_bytes(b"x" * 4096)
    reading = os.open(folder / "one", os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(folder / "two", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return kernel.reflink(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
