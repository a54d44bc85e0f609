"""A task's secrets while it runs: files on a memory file system, which go with it, and variables.

A folder for each task, closed to everybody else and held by a kernel lock that dies with its
holder: one that nobody holds is of a run that was killed, and `sweep` clears it away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.errors import MachineError, Problem, StepError, problem

if TYPE_CHECKING:
    from coopery.secrets import Secrets
    from coopery.tasks import TaskWork

_IN_MEMORY = ("tmpfs", "ramfs")
_SHM = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What a task is handed: by the names it knows them by, files and the values of variables."""

    files: Mapping[str, Path] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    """Where the files are, and more may be put for the task alone; none without secrets."""

    def write(self, name: str, text: str, *, others: bool = False) -> Path:
        """One more file beside them; with `others`, readable for whoever the task runs as."""
        assert self.folder is not None
        return _write(self.folder / name, text, others=others)


NOTHING = Handed()


@contextmanager
def handed(work: TaskWork, secrets: Secrets, *, others: bool = False) -> Iterator[Handed]:
    """Read what a task is given confidentially, and keep it for as long as the task runs.

    With `others`, the files may be read by whoever the task runs as, who still cannot enter their
    folder on this machine. Raises MachineError (`secret-missing`, `no-memory-files`, and what
    providers raise), StepError (`bad-secret`).
    """
    if not work.secrets:
        yield NOTHING
        return
    values = _read(work, secrets)
    files = {n: value for n, value in values.items() if work.secrets[n].how == "file"}
    variables = {n: value for n, value in values.items() if n not in files}
    for name, value in variables.items():
        if "\0" in value:
            message = f"the secret {work.secrets[name].name} holds a zero byte: no variable can"
            hint = f"hand it over as a file: {name} = {{ secret = … }}"
            raise StepError(problem("bad-secret", message, hint=hint))
    with memory_folder() as folder:
        paths = {n: _write(folder / n, value, others=others) for n, value in files.items()}
        yield Handed(files=paths, variables=variables, folder=folder)


def _read(work: TaskWork, secrets: Secrets) -> dict[str, str]:
    """All values; what is wrong with any is told of all at once."""
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for name, given in work.secrets.items():
        try:
            values[name] = secrets.read(given)
        except MachineError as error:
            problems += error.problems
    if problems:
        raise MachineError(*dict.fromkeys(problems))
    return values


@contextmanager
def memory_folder() -> Iterator[Path]:
    """An empty folder in memory that nobody else can enter; it is gone afterwards.

    Raises MachineError (`no-memory-files`).
    """
    top = _top()
    while True:
        folder = top / f"{_prefix()}{os.urandom(8).hex()}"
        folder.mkdir(mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, folder):
            break
        os.close(descriptor)  # somebody who looked for the dead has just removed it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=not folder.exists())
        os.close(descriptor)


def sweep() -> list[Path]:
    """Remove what runs of this user left that were killed; where it was."""
    return _abandoned(remove=True)


def abandoned() -> list[Path]:
    """Where runs of this user that were killed left something."""
    return _abandoned(remove=False)


def _abandoned(*, remove: bool) -> list[Path]:
    found = []
    for top in _tops():
        for folder in _left_in(top):
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, PermissionError):
                continue  # it went; or it is another's, who may have taken our number's name
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its task runs
            else:
                if remove:
                    shutil.rmtree(folder, ignore_errors=not folder.exists())
                found.append(folder)
            finally:
                os.close(descriptor)
    return found


def _left_in(top: Path) -> list[Path]:
    prefix = _prefix()
    with os.scandir(top) as entries:
        mine = (e for e in entries if e.name.startswith(prefix))
        return [Path(e.path) for e in mine if e.stat(follow_symlinks=False).st_uid == os.geteuid()]


def _prefix() -> str:
    return f"coopery-secrets-{os.geteuid()}-"


def _tops() -> list[Path]:
    """The folders in which this user's secrets may be."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    tops = [_SHM, *([Path(own)] if own and Path(own).is_absolute() else [])]
    return [top for top in tops if os.access(top, os.W_OK | os.X_OK)]


def _top() -> Path:
    top = next((top for top in _tops() if _is_in_memory(top)), None)
    if top is None:
        message = "secrets are kept in memory while a task runs, and no folder here is in memory"
        hint = (
            "mount a tmpfs at /dev/shm, or name one in XDG_RUNTIME_DIR; "
            "on a disk they would leave traces"
        )
        raise MachineError(Problem(slug="no-memory-files", message=message, hint=hint))
    return top


def _is_in_memory(folder: Path) -> bool:
    """Whether a folder's file system is in memory, by what the kernel says is mounted there."""
    number = os.stat(folder).st_dev  # noqa: PTH116
    device = f"{os.major(number)}:{os.minor(number)}"
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        place, _, kind = line.partition(" - ")
        if place.split(" ")[2] == device:
            return kind.split(" ")[0] in _IN_MEMORY
    return False


def _write(path: Path, text: str, *, others: bool) -> Path:
    """A file for the task to read, and for nobody to change."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        os.fchmod(file.fileno(), 0o444 if others else 0o400)
    return path


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
