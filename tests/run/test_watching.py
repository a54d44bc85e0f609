"""`run --watch`: what is affected runs again when files change."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from coopery.testing import Project

DEADLINE = 60.0
RECIPE = """
[image.tools]
sources = ["src"]

[task.raw]
command = "cat {inputs.raw} {inputs.more}/* > {outputs.o}"
inputs.raw = "raw.txt"
inputs.more = "more"
outputs.o = "build/raw"

[task.list]
image = "tools"
command = "ls src > {outputs.o}"
outputs.o = "build/list"
"""


class Watch:
    """`coopery run --watch` in a process group of its own, as a shell would start it."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self.project = project
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coopery", "run", "--watch", *arguments],
            cwd=project.root,
            env={**os.environ, "COOPERY_HOME": str(project.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def until(self, text: str) -> str:
        """Read on until this was printed; what was printed."""
        assert self.process.stdout is not None
        seen = ""
        deadline = time.monotonic() + DEADLINE
        while text not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                block = os.read(self.process.stdout.fileno(), 65536).decode()
                assert block, f"it ended: {seen}"
                seen += block
        return seen

    def idle(self) -> str:
        """Read on until it waits for a change."""
        return self.until("; Ctrl-C ends\n")

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(DEADLINE)


@pytest.fixture
def watch(project: Project) -> Iterator[Watch]:
    project.write("recipe.toml", RECIPE)
    project.write("raw.txt", "1\n")
    project.write("more/a", "a\n")
    project.write("src/one.py", "")
    found = Watch(project)
    yield found
    if found.process.poll() is None:
        os.killpg(found.process.pid, signal.SIGKILL)
    found.process.wait()
    assert found.process.stdout is not None
    found.process.stdout.close()


def test_what_is_affected_runs_again(watch: Watch) -> None:
    project = watch.project
    assert "3 done" in watch.idle()
    project.write("raw.txt", "2\n")
    told = watch.idle()
    assert "changed: raw.txt\n" in told and "1 done, 2 cached" in told
    assert project.read("build/raw") == "2\na\n"
    project.write("more/b", "b\n")  # a new file in a folder that is read
    assert "changed: more/b\n" in watch.idle()
    assert project.read("build/raw") == "2\na\nb\n"
    project.write("src/two.py", "")  # and one among the sources
    assert "changed: src\n" in watch.idle()
    assert project.read("build/list") == "one.py\ntwo.py\n"
    (project.root / "more/a").unlink()
    assert "changed: more/a\n" in watch.idle()
    project.write("unrelated.txt", "nobody reads this\n")
    time.sleep(1)
    assert watch.interrupt() == 130
    assert watch.process.stdout is not None and watch.process.stdout.read() == b""


def test_a_recipe_that_is_wrong_is_told_and_waited_out(watch: Watch) -> None:
    project = watch.project
    watch.idle()
    project.write("recipe.toml", RECIPE + "\n[task.bad")
    told = watch.idle()
    assert "[invalid-toml]" in told and "until the recipe can be read" in told
    project.write("recipe.toml", RECIPE.replace("raw.txt", "new.txt"))
    assert "[missing-input]" in watch.idle()
    project.write("new.txt", "new\n")  # that nobody has read yet
    watch.until(" in ")
    watch.idle()
    assert project.read("build/raw") == "new\na\n"
    assert watch.interrupt() == 130


WRONG = """
[task.a]
command = "cat {inputs.i}"
inputs.i = "missing.txt"
"""


@pytest.mark.parametrize("way", ["> log 2>&1", "2>&1 | tee log >/dev/null"])
def test_its_own_output_is_no_change(project: Project, way: str) -> None:
    """Nor of what the project reads, once the recipe is right."""
    project.write("recipe.toml", WRONG)
    command = f"exec {sys.executable} -m coopery run --watch {way}"
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=project.root, env=project.environment(), start_new_session=True
    )

    def until(text: str, times: int = 1) -> str:
        deadline = time.monotonic() + DEADLINE
        while (project.root / "log").exists() is False or project.read("log").count(text) < times:
            assert time.monotonic() < deadline, project.read("log")
            time.sleep(0.05)
        return project.read("log")

    try:
        until("until the recipe can be read")
        time.sleep(3)
        # Through a pipe it is only known by what it does, after each run.
        most = 1 if way.startswith(">") else 3
        quiet = project.read("log")
        assert quiet.count("[missing-input]") <= most
        time.sleep(2)
        assert project.read("log") == quiet
        project.write("recipe.toml", WRONG + "params.a = 1\n")
        until("[missing-input]", quiet.count("[missing-input]") + 1)
        project.write("missing.txt", "there\n")
        assert "changed: log" not in until("1 done").rpartition("changed: missing.txt")[2]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_change_while_tasks_run_counts(watch: Watch) -> None:
    project = watch.project
    watch.idle()
    project.write(
        "recipe.toml",
        RECIPE.replace('"cat ', '"touch BEGAN; sleep 1; cat ').replace(
            "BEGAN", f"{project.root}/began"
        ),
    )
    deadline = time.monotonic() + DEADLINE
    while not (project.root / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    project.write("raw.txt", "meanwhile\n")
    told = watch.idle()
    assert "[input-modified]" in told and "changed: raw.txt" not in told.partition("failed")[0]
    assert project.read("build/raw") == "meanwhile\na\n"
    assert watch.interrupt() == 130


def test_interrupted_while_tasks_run_it_ends_with_the_run(project: Project) -> None:
    project.write("recipe.toml", "[task.slow]\ncommand = 'sleep 100'\n")
    watch = Watch(project)
    watch.until("start    slow")
    assert watch.interrupt() == 130
    assert "1 cancelled" in watch.until("(run ")
    assert project.coopery("show", "--json").json["state"] == "interrupted"
    other = Watch(project)
    other.until("start    slow")
    other.process.terminate()  # this process alone: it hands that on
    assert other.process.wait(DEADLINE) == 130
    assert project.coopery("show", "--json").json["state"] == "interrupted"
    for each in (watch, other):
        assert each.process.stdout is not None
        each.process.stdout.close()


def test_watching_and_only_telling_do_not_go_together(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    assert "[bad-command-line]" in project.coopery("run", "--watch", "-n").stderr


@pytest.mark.parametrize("into", ["data/out", "data"])
def test_what_a_task_leaves_in_its_input_is_no_change(project: Project, into: str) -> None:
    """An output of a task.json may be the folder of an input, or lie in it."""
    template = {
        "identifier": "t",
        "description": "d",
        "inputs": [{"name": "i", "mounted_path": "/given/i"}],
        "outputs": [{"name": "o", "mounted_path": "/given/o"}],
        "command": ["sh", "-c", "date +%N >> /given/o/said"],
    }
    paths = {"inputs": ("i", "data"), "outputs": ("o", f"{into}/")}
    task: dict[str, Any] = {"name": "a", "image": "nowhere:1", "taskTemplate": template}
    for side, (name, path) in paths.items():
        volume = {"host_path": f"{project.root}/{path}"}
        task[side] = [{"name": name, "volume_source": volume}]
    project.write("t.json", json.dumps(task))
    project.write("data/in/x", "1")
    watch = Watch(project, "-f", "t.json", "-r", "local")
    try:
        watch.idle()
        time.sleep(2)
        if into != "data":
            project.write("data/in/x", "2")
            assert watch.idle().count("changed:") == 1
        assert len(project.read(f"{into}/said").splitlines()) == (1 if into == "data" else 2)
        assert watch.interrupt() == 130
    finally:
        if watch.process.poll() is None:
            os.killpg(watch.process.pid, signal.SIGKILL)
        watch.process.wait()
        assert watch.process.stdout is not None
        watch.process.stdout.close()
