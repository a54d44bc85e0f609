"""A task's `memory` is a limit for all of its processes together; `shm` is the size of /dev/shm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import coopery_local
from coopery.errors import KeyPath
from coopery.model import Recipe, Resources, Task
from coopery.testing import Project
from coopery_local import namespaces, proc
from coopery_local.proc import (
    Watch,
    children_of,
    descendants,
    family,
    oom_counter,
    oom_kills,
)
from coopery_local.processes import Ended

from .conftest import Scene, wait_until
from .test_processes import in_thread

ALONE = """
import sys, time
print("said before", flush=True)
x = bytearray(b"x") * (int(sys.argv[3]) << 20)
open(sys.argv[2], "w").close()
time.sleep(float(sys.argv[4]))
"""
"""Holds as many MiB as argument 3 says, for argument 4 seconds."""

CHILDREN = """
import os, sys, time
print("said before", flush=True)
for number in range(int(sys.argv[3])):
    if os.fork() == 0:
        os.setsid()
        x = bytearray(b"x") * (int(sys.argv[4]) << 20)
        time.sleep(float(sys.argv[5]))
        os._exit(0)
time.sleep(float(sys.argv[5]))
"""
"""Starts argument 3 daemons with argument 4 MiB each, and stays."""

SHARED = """
import mmap, os, sys, time
x = mmap.mmap(-1, 60 << 20)
own = bytearray(b"x") * (40 << 20)
for at in range(0, len(x), 4096):
    x[at] = 1
children = []
for number in range(4):
    if (pid := os.fork()) == 0:
        sum(x[at] for at in range(0, len(x), 4096))
        open(f"{sys.argv[2]}{number}", "w").close()
        time.sleep(1)
        os._exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
"""
"""Five processes that share 100 MiB, by mapping and by being forks."""

FILE = """
import mmap, os, sys, time
with open("big", "wb") as file:
    file.write(bytes(150 << 20))
with open("big", "rb") as file:
    x = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(x[at] for at in range(0, len(x), 4096))
time.sleep(0.6)
"""
"""Maps a file of 150 MiB: memory that the kernel can take back."""

LIMIT = "resources.memory = '100Mi'"


def patch_supervisor(monkeypatch: pytest.MonkeyPatch, patch: str) -> None:
    """Let the supervisors that are started from now on do something first."""
    patch = patch.replace("{", "{{").replace("}", "}}")
    program = namespaces._PROGRAM.replace(
        "{module}.{function}", f"{patch}; {{module}}.{{function}}"
    )
    monkeypatch.setattr(namespaces, "_PROGRAM", program)


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (ALONE, ("200", "600")),
        (f"import os\nif os.fork():\n    os.wait()\n    sys.exit()\n{ALONE}", ("200", "600")),
        (CHILDREN, ("4", "50", "600")),
    ],
)
def test_more_than_the_limit_ends_a_task(
    scene: Scene, program: str, arguments: tuple[str, ...]
) -> None:
    scene.task(f"import sys\n{program}", *arguments, more=LIMIT)
    exit_code, told = scene.run()
    assert exit_code == 1
    assert "[out-of-memory]" in told
    assert "killed at its memory limit of 100 MiB, having held " in told
    assert "| said before" in told
    assert scene.alive == []
    facts = scene.project.coopery("show", "--json").json["steps"][0]["facts"]
    assert facts["exit_code"] == 137
    assert facts["peak_memory"] > 100 << 20


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (ALONE, ("85", "0.6")),
        (CHILDREN, ("3", "20", "0.6")),
        (FILE, ()),
    ],
)
def test_less_than_the_limit_does_not(
    scene: Scene, program: str, arguments: tuple[str, ...]
) -> None:
    scene.task(program, *arguments, more=LIMIT)
    exit_code, told = scene.run()
    assert exit_code == 0, told


def test_shared_memory_counts_once(scene: Scene) -> None:
    scene.task(SHARED, more="resources.memory = '90Mi'")
    exit_code, told = scene.run()
    assert (exit_code, "[out-of-memory]" in told) == (1, True), told
    scene.task(SHARED, more="resources.memory = '180Mi'")
    exit_code, told = scene.run()
    assert exit_code == 0, told


def test_a_limit_below_what_an_interpreter_needs(scene: Scene) -> None:
    scene.task(ALONE, "1", "600", more="resources.memory = '1Mi'")
    exit_code, told = scene.run()
    assert (exit_code, "[out-of-memory]" in told, scene.alive) == (1, True, []), told


def test_quick_tasks_with_a_limit(tmp_path: Path) -> None:
    answers = in_thread(tmp_path, *[["/bin/true"]] * 30, memory=1 << 30)
    assert [(a.exit_code, a.over) for a in answers if isinstance(a, Ended)] == [(0, 0)] * 30


def test_a_task_that_is_over_does_not_spoil_the_next(tmp_path: Path) -> None:
    program = "import time; x = bytearray(b'x') * (99 << 20); time.sleep(600)"
    big = [sys.executable, "-S", "-c", program]
    answers = in_thread(tmp_path, big, ["/bin/true"], big, ["/bin/true"], memory=50 << 20)
    ends = [(a.exit_code, a.over > 50 << 20) for a in answers if isinstance(a, Ended)]
    assert ends == [(-signal.SIGKILL, True), (0, False)] * 2


VFORK = """
import os, subprocess, time
os.mkfifo("fifo")
x = bytearray(b"x") * (60 << 20)
opener = subprocess.Popen(["/bin/sh", "-c", "sleep 1; : > fifo"])
# The child, which is in our memory till exec, waits for a writer; and we for its exec.
action = (os.POSIX_SPAWN_OPEN, 0, "fifo", os.O_RDONLY, 0)
started = time.monotonic()
pid = os.posix_spawn("/bin/true", ["true"], {}, file_actions=[action])
assert time.monotonic() - started > 0.5, "this libc does not vfork"
assert os.waitpid(pid, 0)[1] == opener.wait() == 0
"""


@pytest.mark.parametrize("told", [True, False])
def test_a_child_before_its_exec_is_not_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    if not told:
        patch_supervisor(monkeypatch, "from coopery_local import proc; proc._KCMP = {}")
    command = [sys.executable, "-S", "-c", VFORK]
    (answer,) = in_thread(tmp_path, command, memory=100 << 20)
    assert isinstance(answer, Ended)
    assert (answer.exit_code, answer.over) == (0, 0), (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("script", "kills", "starved"),
    [
        ("kill -KILL $$", (3, 4), True),
        ("/bin/sh -c 'kill -KILL $$'; exit $?", (3, 4), True),
        ("kill -KILL $$", (3, 3), False),
        ("kill -SEGV $$", (3, 4), False),
        ("exit 1", (3, 4), False),
    ],
)
def test_the_kernel_s_count_is_evidence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    kills: tuple[int, int],
    starved: bool,
) -> None:
    patch_supervisor(monkeypatch, f"supervisor.oom_kills = iter({kills}).__next__")
    (answer,) = in_thread(tmp_path, ["/bin/sh", "-c", script])
    assert isinstance(answer, Ended)
    assert answer.exit_code
    assert (answer.starved, answer.over) == (starved, 0)


def test_an_end_by_the_kernel_is_told_as_such(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'echo hello; kill -KILL $$'\n")
    assert "[task-failed]" in project.coopery("run").stderr
    program = """
        import sys
        from coopery import cli
        from coopery_local import namespaces
        patch = "supervisor.oom_kills = iter([3, 4]).__next__; supervisor.main()"
        namespaces._PROGRAM = namespaces._PROGRAM.replace("{module}.{function}()", patch)
        sys.exit(cli.main(["run"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "killed by SIGKILL while the kernel killed for want of memory" in done.stderr
    assert "[out-of-memory]" in done.stderr


def test_the_kernel_s_count_is_found() -> None:
    place = Path(oom_counter())
    assert f"\n{place.read_text()}".count("\noom_kill ") == 1
    assert oom_kills() >= 0


def test_the_family_is_all_that_is_below(tmp_path: Path) -> None:
    script = "sleep 600 & (setsid sleep 600 & echo > sign; wait) & wait"
    process = subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path, start_new_session=True)
    try:
        wait_until((tmp_path / "sign").exists, "the start")
        wait_until(lambda: len(family(process.pid)) == 3, "all to be there")
        below = family(process.pid)
        assert sorted(below) == sorted(descendants(process.pid))
        assert sorted(c for c, parent in below.items() if parent == process.pid) == sorted(
            children_of(process.pid)
        )
    finally:
        for pid in [*family(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()


def test_who_cannot_be_looked_into_counts_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = proc.contents

    def refuse(path: str) -> bytes:
        if path.endswith("/smaps_rollup"):
            raise PermissionError(path)
        return whole(path)

    monkeypatch.setattr(proc, "contents", refuse)
    process = subprocess.Popen(["sleep", "600"])
    try:
        wait_until(lambda: proc._held(process.pid), "its start")
        assert proc._share(process.pid) > 0
    finally:
        process.kill()
    wait_until(lambda: proc._held(process.pid) == 0, "its death")  # it is not yet buried
    process.wait()
    assert proc._share(process.pid) == 0


def test_looking_takes_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(pid: int) -> int:
        time.sleep(0.1)
        return 0

    watch = Watch(1 << 30)
    monkeypatch.setattr(proc, "_held", slow)
    process = subprocess.Popen(["sleep", "600"])
    try:
        assert not watch.is_over()
        assert watch.due - time.monotonic() > 0.9
    finally:
        process.kill()
        process.wait()


SHM = "stat -f -c '%b*%S' /dev/shm"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("mount", ["", ', mount = "/made/here/o"'])
def test_shm_is_the_size_of_a_private_folder(project: Project, mount: str) -> None:
    name = f"coopery-test-{os.getpid()}"
    project.write(
        "recipe.toml",
        f"""
        [task.a]
        command = "{SHM} > {{outputs.o}}; echo x > /dev/shm/{name}"
        outputs.o = {{ path = "o"{mount} }}
        resources.shm = "3Mi"

        [task.b]
        command = "test ! -e /dev/shm/{name} && {SHM} > {{outputs.o}}"
        inputs.i = "o"
        outputs.o = "b"
        """,
    )
    project.run("-j", "1")
    assert sized(project.read("o")) == 3 << 20
    there = os.statvfs("/dev/shm")
    assert sized(project.read("b")) == there.f_blocks * there.f_frsize
    assert not Path("/dev/shm", name).exists()


def sized(text: str) -> int:
    blocks, size = text.split("*")
    return int(blocks) * int(size)


def test_without_mounts_shm_is_at_least_that(locked: Scene) -> None:
    scene = locked
    scene.task("", more="resources.shm = '900Ti'")
    exit_code, told = scene.run()
    assert exit_code in (2, 3) and ("[no-shm]" in told or "[never-fits]" in told), told
    scene.task("", more="resources.shm = '4Ki'")
    exit_code, told = scene.run()
    assert exit_code == 0, told


def test_too_much_shm_is_told_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    def problems(size: float) -> list[tuple[str, KeyPath]]:
        task = Task(name="a", resources=Resources(shm=size))
        recipe = cast(Recipe, SimpleNamespace(images={}, tasks={"a": task}, root=Path("/")))
        return [(p.slug, p.place.key) for p in coopery_local.check(recipe, "local")]

    monkeypatch.setattr(namespaces, "can_mount", lambda: False)
    assert problems(float(900 << 40)) == [("no-shm", ("task", "a", "resources", "shm"))]
    assert problems(1.0) == []
    monkeypatch.setattr(namespaces, "can_mount", lambda: True)
    assert problems(float(900 << 40)) == []
