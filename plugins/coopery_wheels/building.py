"""Run a project's build backend in an isolated environment that is kept between builds.

Environments are kept in the home folder: `build-envs/DIGEST/` for each Python, set of build
requirements and index options, beside the lock file `build-envs/DIGEST.lock`. Whoever makes one or
takes it away holds that lock alone; whoever uses one shares it until its process ends. The file
`complete` in it says that it is whole, and its time when it was last used. Nothing else refers to
an environment: one that is gone is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from build import BuildBackendException, BuildException, FailedProcessError, ProjectBuilder

from coopery import processes
from coopery.digests import digest
from coopery.errors import MachineError, Problem, StepError, problem
from coopery.secrets import known_to_children
from coopery_wheels.work import Origin

SOURCE_DATE_EPOCH = "315532800"
"""1980-01-01, the earliest time a zip file can tell."""
_TAIL = 20
"""How many lines of its log a failure shows."""
# What of the surrounding Python or git would leak into the backend's own.
_DROPPED = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV",
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where a backend works: for Python X.Y, below `home`, printing to `log`."""

    python: str
    home: Path
    log: Path
    scratch: Path
    cancelled: threading.Event
    origin: Origin = field(default_factory=Origin)


def build_wheel(tree: Path, bench: Bench) -> Path:
    """The wheel of the project in `tree`, a copy that the backend may write to.

    Raises StepError (`build-failed`, `build-requires`, `cancelled`) and MachineError
    (`python-missing`, `disk-full`, `index-credentials`).
    """
    with _told(bench):
        return Path(_backend(tree, bench).build("wheel", bench.scratch / "built"))


def prepare_metadata(tree: Path, bench: Bench) -> str:
    """The METADATA of the project in `tree`. Raises as `build_wheel` does."""
    with _told(bench):
        folder = Path(_backend(tree, bench).metadata_path(bench.scratch / "metadata"))
    return (folder / "METADATA").read_text("utf-8", "replace")


def check_backend(tree: Path, bench: Bench) -> None:
    """Install the backend of the project in `tree`, and ask it what it needs.

    Raises as `build_wheel` does.
    """
    with _told(bench):
        _backend(tree, bench)


def tail(log: Path) -> str:
    """The last lines of a log."""
    if not log.exists():
        return ""
    lines = log.read_text("utf-8", "replace").rstrip().splitlines()
    return "\n".join(lines[-_TAIL:])


@contextlib.contextmanager
def _told(bench: Bench) -> Iterator[None]:
    """Turn what the build library raises into a step's failure, or `disk-full`."""
    try:
        yield
    except (BuildBackendException, BuildException, FailedProcessError) as error:
        if bench.cancelled.is_set():
            raise processes.stopped() from None
        from coopery.installing import full_disk, said_in

        if full := full_disk(said_in(bench.log), bench.scratch):
            raise full from error
        reason = str(error).strip().splitlines()
        message = f"the build backend failed: {reason[0] if reason else type(error).__name__}"
        shown = tail(bench.log)
        raise StepError(
            problem(
                "build-failed",
                f"{message}\n{shown}" if shown else message,
                hint="mend what the backend complains of, in the project's pyproject.toml or "
                "setup.py; `python -m build --wheel` in its folder does the same",
            )
        ) from error


def _backend(tree: Path, bench: Bench) -> ProjectBuilder:
    """A builder in an environment that has all the backend asks for."""
    requires = ProjectBuilder(tree).build_system_requires
    builder = _builder(tree, bench, requires)
    extra = builder.get_requires_for_build("wheel") - requires
    return _builder(tree, bench, requires | extra) if extra else builder


def _builder(tree: Path, bench: Bench, requires: Iterable[str]) -> ProjectBuilder:
    binaries = _environment(bench, sorted(requires)) / "bin"
    return ProjectBuilder(
        tree, python_executable=str(binaries / "python"), runner=_runner(bench, binaries)
    )


def _runner(bench: Bench, binaries: Path) -> Callable[..., None]:
    temporary = bench.scratch / "tmp"
    temporary.mkdir(exist_ok=True)

    def run(
        cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None
    ) -> None:
        inherited = known_to_children(os.environ)
        environment = {k: v for k, v in inherited.items() if k not in _DROPPED}
        environment |= {
            "PATH": f"{binaries}{os.pathsep}{environment.get('PATH', os.defpath)}",
            "PYTHONNOUSERSITE": "1",
            "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH,
            "TMPDIR": str(temporary),
            **(extra_environ or {}),
        }
        call(cmd, environment, bench, cwd)

    return run


def call(
    command: Sequence[str], environment: Mapping[str, str], bench: Bench, cwd: str | None = None
) -> None:
    """Run a process group to its end, or to the step's cancellation, printing to the log.

    Raises CalledProcessError and StepError (`cancelled`).
    """
    code = processes.call(command, environment, log=bench.log, cancelled=bench.cancelled, cwd=cwd)
    if code != 0:
        raise subprocess.CalledProcessError(code, command)


def find_python(version: str) -> str:
    """An interpreter of Python X.Y. Raises MachineError (`python-missing`)."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is not None:
        # Version managers leave launchers on PATH for versions that are not there.
        probe = [found, "-c", "import sys; print(sys.executable)"]
        done = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    raise MachineError(
        Problem(
            slug="python-missing",
            message=f"there is no Python {version} on this machine",
            hint=f"put python{version} on PATH, or change the image's `python`",
        )
    )


def _environment(bench: Bench, requires: Sequence[str]) -> Path:
    """A virtual environment that holds these build requirements, made once and kept."""
    python = find_python(bench.python)
    where = os.path.realpath(python)
    stamp = int(Path(where).stat().st_mtime)
    name = digest(["build-env", 2, bench.python, where, stamp, list(requires), bench.origin.index])
    shelf = bench.home / "build-envs"
    folder = shelf / name
    complete = folder / "complete"
    if folder in _shared and _used(complete):
        return folder
    shelf.mkdir(parents=True, exist_ok=True)
    lock = os.open(shelf / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            _lock(lock, fcntl.LOCK_SH, bench)
            if _used(complete):
                _shared.setdefault(folder, os.dup(lock))
                return folder
            fcntl.flock(lock, fcntl.LOCK_UN)
            if folder in _shared:  # somebody removed it by hand
                os.close(_shared.pop(folder))
            _lock(lock, fcntl.LOCK_EX, bench)
            if not complete.exists():
                if folder.exists():
                    shutil.rmtree(folder)  # Left behind by a process that was killed.
                _install(bench, python, folder, requires)
                complete.touch()
    finally:
        os.close(lock)


_shared: dict[Path, int] = {}
"""The environments that this process uses, with descriptors that keep their locks until it ends."""


def _lock(descriptor: int, how: int, bench: Bench) -> None:
    """Take a lock, waiting for it. Raises StepError (`cancelled`)."""
    while True:
        try:
            return fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if bench.cancelled.is_set():
                raise processes.stopped() from None
            time.sleep(0.05)


def _used(complete: Path) -> bool:
    """Whether an environment is whole; if so, note that it is used now."""
    try:
        os.utime(complete)
    except FileNotFoundError:
        return False
    return True


def _install(bench: Bench, python: str, folder: Path, requires: Sequence[str]) -> None:
    from coopery.indexes import redact
    from coopery.installing import installer

    origin = bench.origin
    uv = installer(
        origin.index,
        origin.recipe,
        log=bench.log,
        folder=folder,
        cancelled=bench.cancelled,
        secrets=origin.secrets,
        without=_DROPPED,
    )
    failed = uv.run("venv", "--quiet", "--no-project", "--python", python, str(folder))
    if failed is None and requires:
        install = ("pip", "install", "--quiet", "--python", str(folder / "bin" / "python"))
        failed = uv.run(*install, *uv.flags, "--", *requires)
    if failed is not None:
        if found := failed.why():
            raise found
        wanted = redact(", ".join(requires))
        message = f"the build requirements ({wanted}) cannot be installed\n{tail(bench.log)}"
        hint = "check `requires` of [build-system], and the indexes of pip or uv"
        raise StepError(problem("build-requires", message, hint=hint))
