"""Clean copies of a project's files, with a private git repository where the version needs one."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from coopery.errors import StepError, problem
from coopery.files import run_git
from coopery.secrets import known_to_children


def copy_files(root: Path, files: Iterable[str], target: Path) -> None:
    """Copy chosen files of `root` into a new folder; links stay links."""
    target.mkdir(parents=True)
    for name in files:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, place, follow_symlinks=False)


def content_digest(root: Path, files: Iterable[str]) -> str:
    """The sha256 (hex) of names, exec bits and contents."""
    total = hashlib.sha256()
    for name in files:
        path = root / name
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            kind, content = "link", os.fsencode(path.readlink())
        else:
            kind, content = f"file {bool(mode & 0o100)}", path.read_bytes()
        each = hashlib.sha256(content).hexdigest()
        total.update(f"{name}\0{kind}\0{each}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def stat_digest(root: Path, files: Iterable[str]) -> tuple[str, int]:
    """A digest of names, sizes, times and inodes, and the latest change in nanoseconds."""
    total = hashlib.sha256()
    latest = 0
    for name in files:
        s = os.lstat(f"{root}/{name}")
        latest = max(latest, s.st_ctime_ns, s.st_mtime_ns)
        line = f"{name}\0{s.st_mode} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}\n"
        total.update(line.encode("utf-8", "surrogateescape"))
    return total.hexdigest(), latest


def vcs_state(root: Path) -> str | None:
    """What stands for the commit and all tags of the repository around `root`; None without one."""
    listed = run_git(root, "show-ref", "--head", "--tags", "--dereference")
    return hashlib.sha256(listed).hexdigest() if listed else None


def commit(root: Path) -> tuple[str | None, bool]:
    """The commit a project stands at, and whether its files differ from it."""
    head = run_git(root, "rev-parse", "HEAD")
    if head is None:
        return None, False
    changes = run_git(root, "status", "--porcelain", "-z", "--", ".")
    return head.decode("ascii").strip(), bool(changes)


def changed(root: Path, files: Collection[str]) -> list[str]:
    """Those of a project's files that differ from its commit, and those that it has lost: relative
    to it, sorted. Without a repository nothing is known to.
    """
    prefix = os.fsdecode(run_git(root, "rev-parse", "--show-prefix") or b"").rstrip("\n")
    status = run_git(
        root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", "."
    )
    entries = [os.fsdecode(entry) for entry in (status or b"").split(b"\0") if entry]
    found = {entry[3:].removeprefix(prefix): entry[:2] for entry in entries}
    known = {*files}
    return sorted(name for name, state in found.items() if name in known or "D" in state)


def place_in(root: Path, base: Path) -> Path:
    """Where a copy of `root` belongs under `base`, so that its repository can stand around it."""
    prefix = run_git(root, "rev-parse", "--show-prefix")
    return base / os.fsdecode(prefix).rstrip("\n") if prefix else base


def add_repository(root: Path, base: Path) -> None:
    """Give the copy of `root` below `base` a repository of its own: same commit, tags and index.

    Objects are borrowed from the original, to which nothing is ever written. Files that the copy
    leaves out on purpose do not count as deleted. Raises StepError (`vcs-unreadable`).
    """
    common = _text(root, "rev-parse", "--path-format=absolute", "--git-common-dir")
    private = base / ".git"
    _run(base, ["init", "--quiet", "--template="])
    (private / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (private / "objects" / "info" / "alternates").write_text(f"{common}/objects\n")
    if (Path(common) / "shallow").is_file():
        shutil.copyfile(Path(common) / "shallow", private / "shallow")
    refs = run_git(root, "show-ref") or b""
    (private / "packed-refs").write_bytes(refs)
    branch = run_git(root, "symbolic-ref", "--quiet", "HEAD")
    head = b"ref: " + branch if branch else run_git(root, "rev-parse", "HEAD")
    if head is None:
        raise _unreadable(root, "it has no commit")
    (private / "HEAD").write_bytes(head)
    top = Path(_text(root, "rev-parse", "--show-toplevel"))
    index = run_git(top, "ls-files", "--stage", "-z")
    if index is None:
        raise _unreadable(root, "its index cannot be listed")
    _run(base, ["update-index", "-z", "--index-info"], index)
    tracked = {os.fsdecode(line.split(b"\t", 1)[1]) for line in index.split(b"\0") if line}
    prefix = os.path.relpath(root.resolve(), top.resolve())
    left_out = sorted(
        name for name in tracked if not os.path.lexists(base / name) and _kept(top, prefix, name)
    )
    names = b"".join(os.fsencode(name) + b"\0" for name in left_out)
    _run(base, ["update-index", "-z", "--skip-worktree", "--stdin"], names)


def _kept(top: Path, prefix: str, name: str) -> bool:
    """Whether a tracked file that the copy lacks is no deletion in the project itself."""
    inside = prefix == "." or name.startswith(f"{prefix}/")
    return not inside or os.path.lexists(top / name)


def _text(root: Path, *arguments: str) -> str:
    found = run_git(root, *arguments)
    if found is None:
        raise _unreadable(root, f"git {' '.join(arguments)} failed")
    return os.fsdecode(found).rstrip("\n")


def _run(base: Path, arguments: Sequence[str], given: bytes = b"") -> None:
    environment: Mapping[str, str] = {
        k: v for k, v in known_to_children(os.environ).items() if not k.startswith("GIT_")
    }
    done = subprocess.run(
        ["git", *arguments], cwd=base, env=environment, input=given, capture_output=True
    )
    if done.returncode != 0:
        raise _unreadable(base, done.stderr.decode("utf-8", "replace").strip())


def _unreadable(root: Path, reason: str) -> StepError:
    message = f"the version comes from git, but the repository of {root} cannot be read: {reason}"
    hint = "see what `git status` says there; or write the version into pyproject.toml"
    return StepError(problem("vcs-unreadable", message, hint=hint))
