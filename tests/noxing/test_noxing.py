"""Coopery under nox: called from a session, and each task as a session."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coopery.testing import Project

DEADLINE = 60.0
RECIPE = """
[task.prepare]
description = \"\"\"Make the table
from nothing\"\"\"
command = "echo table > {outputs.table}"
outputs.table = "build/table"

[task.fit]
command = "cp {inputs.table} {outputs.model}"
inputs.table = { from = "prepare.table" }
outputs.model = "build/model"
"""
SESSIONS = """
from coopery.noxing import sessions

sessions("recipe.toml")
"""


def environment(project: Project) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "COOPERY_HOME": str(project.home), "NO_COLOR": "1"}


def nox(project: Project, *arguments: str, code: int = 0) -> str:
    """Call nox in the project; all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "nox", *arguments],
        cwd=project.root,
        env=environment(project),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def test_a_session_calls_coopery(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    project.write(
        "noxfile.py",
        """
        import nox

        @nox.session(venv_backend="none")
        def results(session: nox.Session) -> None:
            session.run("coopery", "run", *session.posargs)
        """,
    )
    nox(project, "-s", "results", "--", "prepare")
    assert project.read("build/table") == "table\n"
    assert not (project.root / "build/model").exists()
    project.write("recipe.toml", RECIPE.replace("echo table >", "exit 5 >"))
    assert "[task-failed]" in nox(project, code=1)


def test_each_task_is_a_session(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    project.write("noxfile.py", SESSIONS)
    listed = nox(project, "-l")
    assert re.search(r"^- prepare -> Make the table$", listed, re.MULTILINE)
    assert re.search(r"^- fit -> Bring the task fit up to date\.$", listed, re.MULTILINE)
    nox(project, "-s", "fit")
    assert project.read("build/model") == "table\n"
    assert "2 cached" in nox(project, "-s", "fit")
    assert "1 done, 1 cached" in nox(project, "-s", "fit", "--", "--force")
    assert "[bad-command-line]" in nox(project, "-s", "fit", "--", "--farce", code=1)


def test_prefix_default_and_tags(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    calls = 'names = sessions(prefix="run-", default=True, tags=["data"])\nassert len(names) == 2\n'
    project.write("noxfile.py", SESSIONS.replace('sessions("recipe.toml")\n', calls))
    assert "* run-fit [data] -> Bring" in nox(project, "-l")
    nox(project, "-t", "data")
    assert project.read("build/model") == "table\n"


def test_what_is_wrong_is_told_without_a_traceback(project: Project) -> None:
    project.write("noxfile.py", SESSIONS)
    assert nox(project, "-l", code=2).startswith("error: there is no file recipe.toml [no-recipe]")
    project.write("recipe.toml", RECIPE.replace("[task.fit]\n", "[task.fit]\nretires = 1\n"))
    told = nox(project, "-l", code=2)
    assert "recipe.toml:8 (task.fit.retires)" in told and "Traceback" not in told
    project.write("recipe.toml", RECIPE)
    project.write(
        "noxfile.py", "import nox\n@nox.session\ndef fit(session):\n    pass\n" + SESSIONS
    )
    assert "[duplicate-name]" in nox(project, "-l", code=2)


def living(marker: str) -> list[int]:
    """The processes whose command line has this text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended
    return found


@pytest.mark.parametrize("helper", [True, False])
def test_an_interrupt_leaves_no_process(project: Project, helper: bool) -> None:
    """nox sends SIGINT to its group, as a terminal does; then it is impatient, if not told."""
    marker = f"{os.getpid()}{time.monotonic_ns()}"
    stubborn = f"trap '' INT TERM; touch {project.root}/began; while true; do sleep 0.1; done"
    project.write("recipe.toml", f'[task.slow]\ncommand = """{stubborn}; : {marker}"""\n')
    own = """
        import nox

        @nox.session(venv_backend="none")
        def slow(session: nox.Session) -> None:
            session.run("coopery", "run")
        """
    project.write("noxfile.py", SESSIONS if helper else own)
    process = subprocess.Popen(
        [sys.executable, "-m", "nox", "-s", "slow"],
        cwd=project.root,
        env=environment(project),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + DEADLINE
        while not (project.root / "began").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        assert living(marker)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(DEADLINE) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    deadline = time.monotonic() + DEADLINE
    while left := living(marker):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    record = project.coopery("show", "--json").json
    if helper:  # it had time to say how it ended
        assert (record["state"], record["exit_code"]) == ("interrupted", 130)
    assert [step["state"] for step in record["steps"]] == ["cancelled"]
