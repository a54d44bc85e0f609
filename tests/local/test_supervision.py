"""Nothing that a task started outlives it, however the task or the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from coopery.testing import performed
from coopery_local.strays import end_strays, find_strays, has_abandoned

from .conftest import SECONDS, Scene, children, lives, wait_until

DAEMON = """
import os, sys, time
if os.fork():
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
    sys.exit(int(sys.argv[3]))
os.setsid()
if os.fork():
    os._exit(0)
open(sys.argv[2], "w").close()
time.sleep(600)
"""
"""Forks twice into a session of its own; the first process ends with argument 3 after that."""

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
open(sys.argv[2], "w").close()
time.sleep(600)
"""

REFORKING = """
import os, sys, time
if os.fork():
    time.sleep(0.3)
    sys.exit()
os.setsid()
open(sys.argv[2], "w").close()
end = time.monotonic() + 60
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
"""

WRITER = """
import os, sys, time
if os.fork():
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
    sys.exit()
os.setsid()
with open(sys.argv[3], "w", buffering=1) as out:
    for line in range(60_000):
        print(line, file=out)
        if line == 10:
            open(sys.argv[2], "w").close()
        time.sleep(0.001)
"""

LASTING = DAEMON.replace("sys.exit(int(sys.argv[3]))", "time.sleep(600)")


@pytest.mark.parametrize("code", [0, 3])
def test_a_daemon_ends_with_its_task(scene: Scene, code: int) -> None:
    scene.task(DAEMON, str(code))
    exit_code, told = scene.run()
    assert (exit_code, scene.sign.exists(), scene.alive) == (min(code, 1), True, []), told


def test_a_daemon_that_forks_on_and_on_ends_too(scene: Scene) -> None:
    scene.task(REFORKING)
    exit_code, told = scene.run()
    assert (exit_code, scene.sign.exists(), scene.alive) == (0, True, []), told


def test_a_timeout_ends_what_ignores_it(scene: Scene) -> None:
    scene.task(STUBBORN, more="timeout = '1s'")
    exit_code, told = scene.run()
    assert exit_code == 1
    assert "[task-timeout]" in told
    assert scene.sign.exists()
    assert scene.alive == []


def test_a_writer_in_the_background_is_dead_before_outputs_are_taken(scene: Scene) -> None:
    scene.task(WRITER, "{outputs.o}", more="outputs.o = 'o'")
    exit_code, told = scene.run()
    assert (exit_code, scene.alive) == (0, []), told
    lines = scene.project.read("o").split()
    assert 10 < len(lines) < 59_000
    assert list(map(int, lines)) == list(range(len(lines)))


@pytest.mark.parametrize(
    ("number", "program"),
    [(signal.SIGINT, STUBBORN), (signal.SIGTERM, LASTING), (signal.SIGHUP, LASTING)],
)
def test_an_interrupt_ends_all(scene: Scene, number: signal.Signals, program: str) -> None:
    scene.task(program)
    process = scene.start()
    wait_until(scene.sign.exists, "the task's start")
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert scene.alive == []


def test_an_interrupt_leaves_time_to_end_also_below_a_shell(scene: Scene) -> None:
    last = scene.project.root / "last"
    program = """
        import signal, sys, time
        def end(number, frame):
            time.sleep(0.5)
            open(sys.argv[3], "w").close()
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        open(sys.argv[2], "w").close()
        time.sleep(600)
    """
    scene.task(program)
    path = scene.project.root / "program.py"
    command = f"{sys.executable} -S {path} {scene.marker} {scene.sign} {last}; true"
    scene.project.write("recipe.toml", f"[task.a]\ncommand = '{command}'\n")
    process = scene.start()
    wait_until(scene.sign.exists, "the task's start")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert last.exists()
    assert scene.alive == []


@pytest.mark.parametrize("program", [LASTING, STUBBORN, REFORKING])
@pytest.mark.parametrize("group", [False, True])
def test_a_killed_run_takes_its_tasks_along(scene: Scene, program: str, group: bool) -> None:
    scene.task(program.replace("time.sleep(0.3)", "time.sleep(600)"))
    process = scene.start()
    wait_until(scene.sign.exists, "the task's start")
    supervisors = children(process.pid)
    assert scene.alive
    assert supervisors
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate(timeout=SECONDS)
    wait_until(lambda: not scene.alive, "the end of the killed run's processes")
    wait_until(lambda: not any(map(lives, supervisors)), "the end of the supervisors")
    assert find_strays(scene.project.home) == ()


def test_a_killed_supervisor_fails_the_task_and_leaves_nothing(scene: Scene) -> None:
    scene.task(LASTING)
    process = scene.start()
    wait_until(scene.sign.exists, "the task's start")
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "[supervisor-lost]" in told
    assert scene.alive == []


def kill_with_supervisors(scene: Scene, process: subprocess.Popen[str]) -> None:
    """Kill the scene's run so that its tasks live on."""
    supervisors = children(process.pid)
    # Stopped first, so that neither sees the other's end.
    for pid in (process.pid, *supervisors):
        os.kill(pid, signal.SIGSTOP)
    for pid in (process.pid, *supervisors):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=SECONDS)
    wait_until(lambda: find_strays(scene.project.home), "finding the strays")


def test_strays_of_a_run_killed_with_its_supervisors_are_found(scene: Scene) -> None:
    # A home that is reached through a link, as home folders on other disks often are.
    link = scene.project.root / "link"
    link.symlink_to(scene.project.home.parent)
    scene.project = replace(scene.project, home=link / scene.project.home.name)
    scene.task(LASTING)
    process = scene.start()
    wait_until(scene.sign.exists, "the task's start")
    assert find_strays(scene.project.home) == ()  # the run lives
    assert not has_abandoned(scene.project.home)
    kill_with_supervisors(scene, process)
    assert sorted(s.pid for s in find_strays(scene.project.home)) == sorted(scene.alive)
    assert has_abandoned(scene.project.home)
    ended = end_strays(scene.project.home)
    assert all(scene.marker in stray.command for stray in ended)
    assert ended
    assert scene.alive == []
    assert find_strays(scene.project.home) == ()


LOOKS = ["doctor"], ["cache", "gc", "--dry-run"], ["cache", "info"], ["cache", "verify"]


@pytest.mark.parametrize("looks", [LOOKS, [["cache", "gc"]], [["doctor", "--mend"]]])
def test_strays_are_ended_by_the_next_run_whoever_looked_before(
    scene: Scene, looks: Sequence[Sequence[str]]
) -> None:
    scene.task(STUBBORN)
    scene.project.write(
        "recipe.toml", f"{scene.project.read('recipe.toml')}\n[task.quick]\ncommand = 'true'\n"
    )
    scene.project.run("quick")
    process = scene.start()
    wait_until(scene.sign.exists, "the task's start")
    kill_with_supervisors(scene, process)
    left = sorted(scene.project.home.glob("scratch/*")), scene.alive
    assert all(left)
    for look in looks:
        assert scene.project.coopery(*look).exit_code == 0
    if looks is LOOKS:
        assert (sorted(scene.project.home.glob("scratch/*")), scene.alive) == left
    else:
        assert scene.alive == []
    # All of this run is cached; it clears away all the same.
    assert performed(scene.project.run("quick")) == []
    assert scene.alive == []
    assert list((scene.project.home / "scratch").iterdir()) == []
    assert not list(scene.project.home.glob("runs/*/lock"))
