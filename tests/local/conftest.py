"""What the tests of processes share: a project to interrupt, and a look at what is running."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coopery.testing import Project, make_project
from coopery_local.proc import descendants

SECONDS = 30
"""How long to wait for what must happen: much longer than it takes, for loaded machines."""


def marked(marker: str) -> list[int]:
    """The processes with `marker` among their arguments, the dead but unburied left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            # A zombie has no arguments left.
            if marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def children(pid: int) -> list[int]:
    """The children of a process, dead ones too: here its supervisors."""
    return [child for child in descendants(pid) if parent_of(child) == pid]


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


LOCKED = [
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all "$@"',
    "sh",
]
"""Runs a command as in a locked-down container: without powers, and without a way to any."""

ORDINARY = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
"""Runs a command as an ordinary user, who reaches all that the one before could."""


class Scene:
    """A project with one task that runs a Python program with a marker in its arguments."""

    def __init__(self, project: Project, prefix: list[str]) -> None:
        self.project = project
        self.prefix = prefix
        self.marker = f"marker-{secrets.token_hex(8)}"
        self.sign = project.root / "sign"

    def task(self, program: str, *arguments: str, more: str = "") -> None:
        self.project.write("program.py", textwrap.dedent(program))
        parts = [sys.executable, "-S", str(self.project.root / "program.py"), self.marker]
        items = ", ".join(f'"{item}"' for item in (*parts, str(self.sign), *arguments))
        self.project.write("recipe.toml", f"[task.a]\ncommand = [{items}]\n{more}\n")

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "coopery", "run"],
            cwd=self.project.root,
            env={**os.environ, "COOPERY_HOME": str(self.project.home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self) -> tuple[int, str]:
        process = self.start()
        _, told = process.communicate(timeout=2 * SECONDS)
        return process.returncode, told

    @property
    def alive(self) -> list[int]:
        return marked(self.marker)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Scene]:
    """A scene where no mounts are possible."""
    yield from make_scene(tmp_path, LOCKED)


def make_scene(folder: Path, prefix: list[str]) -> Iterator[Scene]:
    if prefix and (why := lacks(prefix)):
        pytest.skip(why)
    scene = Scene(make_project(folder), prefix)
    yield scene
    for pid in scene.alive:  # of a test that failed
        os.kill(pid, signal.SIGKILL)


def lacks(prefix: list[str]) -> str | None:
    """Why commands cannot be run with this prefix here, if they cannot."""
    if shutil.which(prefix[0]) is None:
        return f"{prefix[0]} is not installed"
    command = [*prefix, sys.executable, "-c", "import coopery"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{prefix[0]} is refused here: {done.stderr}" if done.returncode else None


@pytest.fixture(params=["as it is", "powerless", "ordinary"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A scene with the rights of this user, and with those that others have."""
    prefix = []
    if request.param == "powerless":
        if os.geteuid() != 0:
            pytest.skip("this user has no powers to lay down")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    if request.param == "ordinary":
        prefix = ORDINARY
    yield from make_scene(tmp_path, prefix)
