"""A commit of a git repository, fetched once and checked out for a build.

Repositories are kept in the home folder: `git/DIGEST/` for each URL, bare, beside the lock file
`git/DIGEST.lock`. Whoever fetches into one holds that lock alone; whoever reads from one shares it.
The file `complete` in it has the time when it was last used. Nothing else refers to one, so one
that is gone is fetched again. Neither holds anything of the credentials.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coopery import processes
from coopery.digests import digest
from coopery.errors import MachineError, Problem, StepError
from coopery.git_faults import failure, missing, reason, shown, submodule_failure
from coopery.masking import Mask
from coopery.remotes import keychain, without_login
from coopery.steps import Workspace
from coopery_wheels import metadata
from coopery_wheels.work import WheelGit

_POINTER = b"version https://git-lfs.github.com/spec/"
# Of the user's own configuration nothing may change what is checked out.
_ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
_STRICT = ("-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", "-c", "gc.auto=0")


@dataclass(frozen=True, kw_only=True)
class _Git:
    """How git is called for one step: `login` gives the variables that let it in, which are read
    once, where they are needed; `quiet` are those that let nobody in.
    """

    work: WheelGit
    workspace: Workspace
    login: Callable[[], Mapping[str, str]]
    quiet: Mapping[str, str]

    def call(self, cwd: Path, *arguments: str, remote: bool = False) -> str | None:
        """Run git; what it said if it failed, else None. Raises StepError (`cancelled`)."""
        environ = self.login() if remote else self.alone
        said = self.workspace.folder / "git.log"
        said.unlink(missing_ok=True)
        try:
            code = processes.call(
                ["git", *_STRICT, *arguments],
                environ,
                log=said,
                cancelled=self.workspace.cancelled,
                cwd=cwd,
            )
        finally:
            content = said.read_bytes() if said.exists() else b""
            mask = Mask()
            with self.workspace.log.open("ab") as log:
                log.write(mask.feed(content) + mask.end())
        return content.decode("utf-8", "replace") if code else None

    @property
    def alone(self) -> dict[str, str]:
        """Variables for what needs neither the network nor the user's configuration."""
        kept = {k: v for k, v in self.quiet.items() if not k.startswith("GIT_CONFIG_")}
        return {**kept, **_ALONE}

    def must(self, cwd: Path, *arguments: str) -> None:
        """Run git on files of this machine. Raises StepError (`git-failed`)."""
        if said := self.call(cwd, *arguments):
            message = f"git {arguments[0]} failed: {reason(said)}"
            raise StepError(Problem(slug="git-failed", message=message, hint="the log tells more"))


@contextlib.contextmanager
def checked_out(work: WheelGit, workspace: Workspace) -> Iterator[Path]:
    """The folder of the package, in a work tree at the commit with its submodules.

    It stays readable within the `with`. Raises StepError (`git-ref`, `git-repository`,
    `git-submodule`, `git-subdirectory`, `git-lfs`, `not-a-project`, `git-failed`, `cancelled`)
    and MachineError (`git-missing`, `git-unreachable`, `git-credentials`, `git-host-key`).
    """
    if shutil.which("git") is None:
        raise missing()
    base = workspace.folder / "tree"
    shelf = workspace.home / "git"
    with contextlib.ExitStack() as stack:
        # What is built runs code of others: by then, no file holds credentials.
        with contextlib.ExitStack() as fetching:
            login = functools.cache(
                lambda: fetching.enter_context(keychain(work.accesses, workspace.secrets))
            )
            git = _Git(work=work, workspace=workspace, login=login, quiet=without_login())
            mirror = stack.enter_context(_mirror(git, shelf))
            _check_out(git, mirror, base)
        _check_lfs(work, base)
        place = base / work.subdirectory if work.subdirectory else base
        if not place.resolve().is_relative_to(base.resolve()) or not place.is_dir():
            message = f"{_where(work)} has no folder {work.subdirectory!r}"
            hint = "check `subdirectory`, which is a path from the top of the repository"
            raise StepError(Problem(slug="git-subdirectory", message=message, hint=hint))
        if metadata.read_tree(place) is None:
            message = f"{_where(work)} holds no Python project"
            hint = "a package has a pyproject.toml or setup.py; `subdirectory` says in which folder"
            raise StepError(Problem(slug="not-a-project", message=message, hint=hint))
        yield place


def _where(work: WheelGit) -> str:
    return f"{shown(work.repository.url)} at {work.commit[:10]}"


@contextlib.contextmanager
def _mirror(git: _Git, shelf: Path) -> Iterator[Path]:
    """The repository with the commit, which nobody takes away within the `with`."""
    folder = shelf / digest(["git", 1, git.work.repository.url])
    shelf.mkdir(parents=True, exist_ok=True)
    lock = os.open(shelf / f"{folder.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            _lock(lock, fcntl.LOCK_SH, git)
            if _has(git, folder):
                os.utime(folder / "complete")
                yield folder
                return
            fcntl.flock(lock, fcntl.LOCK_UN)
            _lock(lock, fcntl.LOCK_EX, git)
            if not _has(git, folder):
                _fetch(git, folder)
            # Whoever comes in between finds the commit too.
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)


def _lock(descriptor: int, how: int, git: _Git) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if git.workspace.cancelled.is_set():
                raise processes.stopped() from None
            time.sleep(0.05)


def _has(git: _Git, folder: Path) -> bool:
    """Whether a whole repository has the commit, with all that leads to it where that counts."""
    if not (folder / "complete").is_file():
        return False
    commit = git.work.commit
    if not _holds(git, folder, commit):
        return False
    shallow = (folder / "shallow").is_file()
    return not shallow or not _versioned(git, folder)


def _holds(git: _Git, folder: Path, commit: str) -> bool:
    ref = folder / "refs" / "coopery" / commit
    return ref.is_file() and git.call(folder, "cat-file", "-e", f"{commit}^{{tree}}") is None


def _versioned(git: _Git, folder: Path) -> bool:
    """Whether the package takes its version from the history; it may wherever none is written."""
    inside = f"{git.work.subdirectory}/" if git.work.subdirectory else ""
    commit = git.work.commit
    text = _read(git, folder, f"{commit}:{inside}pyproject.toml")
    if text is None:
        return True
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return not isinstance(table.get("project", {}).get("version"), str)


def _read(git: _Git, folder: Path, name: str) -> str | None:
    """A file of a commit, as text."""
    done = subprocess.run(
        ["git", "cat-file", "blob", name], cwd=folder, env=git.alone, capture_output=True
    )
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _fetch(git: _Git, folder: Path) -> None:
    """Fetch the commit, alone where that is enough and the server gives it."""
    commit, url = git.work.commit, git.work.repository.url
    if not (folder / "complete").is_file():
        if folder.exists():
            shutil.rmtree(folder)  # Left behind by a process that was killed.
        folder.mkdir()
        git.must(folder, "init", "--quiet", "--bare", "--template=")
        (folder / "complete").touch()
    fetch = ("fetch", "--force", "--quiet", "--no-write-fetch-head", "--no-recurse-submodules")
    wanted = f"+{commit}:refs/coopery/{commit}"
    if not (folder / "refs" / "coopery" / commit).is_file():
        said = git.call(folder, *fetch, "--depth=1", "--no-tags", "--", url, wanted, remote=True)
        if said is not None and _final(said, url):
            raise _failed(git, said)
        if said is None and not _versioned(git, folder):
            return
    # The whole history: for the version, or from a server that gives no single commit.
    deep = ("--unshallow",) if (folder / "shallow").is_file() else ()
    heads = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    said = git.call(folder, *fetch, *deep, "--tags", "--", url, wanted, *heads, remote=True)
    if said is not None:
        said = git.call(folder, *fetch, *deep, "--tags", "--", url, *heads, remote=True)
        if said is None and _holds_object(git, folder, commit):
            git.must(folder, "update-ref", f"refs/coopery/{commit}", commit)
            return
        message = f"{shown(url)} does not have the commit {commit[:10]} any more"
        if said is None:
            hint = "take what is there now: coopery lock --upgrade"
            raise StepError(Problem(slug="git-ref", message=message, hint=hint))
        raise _failed(git, said)


def _final(said: str, url: str) -> bool:
    """Whether nothing else can be tried: of a single commit, a server may only refuse that."""
    found = failure(said, url)
    return found is not None and found.problems[0].slug != "git-ref"


def _holds_object(git: _Git, folder: Path, commit: str) -> bool:
    return git.call(folder, "cat-file", "-e", f"{commit}^{{commit}}") is None


def _failed(git: _Git, said: str) -> StepError | MachineError:
    found = failure(said, git.work.repository.url)
    if isinstance(found, MachineError):
        return found
    if found is not None:
        return StepError(*found.problems)
    message = f"git cannot fetch {_where(git.work)}: {reason(said)}"
    return StepError(Problem(slug="git-failed", message=message, hint="the log tells more"))


def _check_out(git: _Git, mirror: Path, base: Path) -> None:
    """A work tree with objects borrowed from the mirror, and a remote that is the real one."""
    commit = git.work.commit
    base.mkdir()
    git.must(base, "init", "--quiet", "--template=")
    private = base / ".git"
    (private / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (private / "objects" / "info" / "alternates").write_text(f"{mirror / 'objects'}\n", "utf-8")
    if (mirror / "shallow").is_file():
        shutil.copyfile(mirror / "shallow", private / "shallow")
    for line in _tags(git, mirror):
        place = private / line[1]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{line[0]}\n", "utf-8")
    git.must(base, "config", "remote.origin.url", git.work.repository.url)
    git.must(base, "checkout", "--quiet", "--detach", "--force", commit)
    if (base / ".gitmodules").is_file():
        _submodules(git, base)


def _tags(git: _Git, mirror: Path) -> Iterator[tuple[str, str]]:
    """The tags of the mirror: object and name."""
    done = subprocess.run(
        ["git", "show-ref", "--tags"], cwd=mirror, env=git.alone, capture_output=True, text=True
    )
    for line in done.stdout.splitlines():
        commit, _, name = line.partition(" ")
        if re.fullmatch(r"refs/tags/[^\x00-\x20]+", name) and ".." not in name:
            yield commit, name


def _submodules(git: _Git, base: Path) -> None:
    update = ("submodule", "--quiet", "update", "--init", "--recursive", "--recommend-shallow")
    said = git.call(base, *update, remote=True)
    if said is None:
        return
    message, hint = submodule_failure(said, _where(git.work))
    raise StepError(Problem(slug="git-submodule", message=message, hint=hint))


def _check_lfs(work: WheelGit, base: Path) -> None:
    """Refuse files of which the repository has pointers alone."""
    for attributes in sorted(base.rglob(".gitattributes")):
        if attributes.is_symlink() or "filter=lfs" not in attributes.read_text("utf-8", "replace"):
            continue
        for path in sorted(attributes.parent.rglob("*")):
            if ".git" in path.relative_to(base).parts or path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size < 1024 and path.read_bytes().startswith(_POINTER):
                message = f"{path.relative_to(base)} of {_where(work)} is kept in Git LFS"
                hint = "coopery fetches no large files: commit those that the package needs"
                raise StepError(Problem(slug="git-lfs", message=message, hint=hint))


__all__ = ["checked_out"]
