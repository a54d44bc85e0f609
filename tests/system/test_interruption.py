"""Killed anywhere, run again: exit 0, right bytes, only what was in flight is repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from coopery.testing import Project, performed

RECIPE = """
[task.first]
command = "echo first >> {log}; echo 1 > {{outputs.o}}"
outputs.o = "build/1"

[task.second]
command = "echo second >> {log}; sleep {{params.seconds}}; cat {{inputs.i}} > {{outputs.o}}"
params.seconds = 1
inputs.i = {{ from = "first.o" }}
outputs.o = "build/2"

[task.third]
command = "echo third >> {log}; cat {{inputs.i}} > {{outputs.o}}"
inputs.i = {{ from = "second.o" }}
outputs.o = "build/3"
"""


def start(project: Project) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "coopery", "run"],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(project: Project, word: str) -> None:
    log = project.root / "log"
    deadline = time.monotonic() + 20
    while not (log.exists() and word in log.read_text().split()):
        assert time.monotonic() < deadline, "the task did not start"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_only_what_was_in_flight_is_repeated(project: Project, number: signal.Signals) -> None:
    project.write("recipe.toml", RECIPE.format(log=project.root / "log"))
    process = start(project)
    wait_for(project, "second")
    process.send_signal(number)
    code = process.wait(20)
    assert code == (130 if number == signal.SIGINT else -number)
    assert not (project.root / "build/2").exists()
    steps = project.run()
    assert performed(steps) == ["second", "third"]
    assert project.read("log").split() == ["first", "second", "second", "third"]
    assert [project.read(f"build/{n}") for n in (1, 2, 3)] == ["1\n"] * 3
    assert list((project.home / "scratch").iterdir()) == []


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.25, 0.35, 0.45, 0.55])
def test_killed_at_any_time(project: Project, delay: float) -> None:
    project.write(
        "recipe.toml",
        "[task.a]\nmatrix.n = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
        "command = 'seq {matrix.n} 1000 > {outputs.o}'\noutputs.o = 'build/{matrix.n}'\n",
    )
    process = start(project)
    time.sleep(delay)
    process.kill()
    process.wait()
    steps = project.run()
    assert len(steps) == 10
    for n in range(10):
        expected = "".join(f"{i}\n" for i in range(n, 1001))
        assert project.read(f"build/{n}") == expected
    assert performed(project.run()) == []
