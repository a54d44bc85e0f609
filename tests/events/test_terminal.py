"""The command as a person meets it: in a terminal, in a pipe, in CI, and when these break."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from coopery.testing import Project

from .conftest import Opener, terminal_env

ESCAPE = b"\x1b"
RECIPE = r"""
[task.prep]
command = '''
    printf "reading\r50%%\r\033[32m99%%\033[0m"
    until test -e GO; do sleep 0.05; done
    echo 1 > {outputs.o}
'''
outputs.o = "build/prep"

[task.fit]
matrix.fold = [0, 1]
params.bad = 0
command = '''
    echo fold {matrix.fold}
    test {matrix.fold} != {params.bad} && cp {inputs.i} {outputs.o}
'''
inputs.i = { from = "prep.o" }
outputs.o = {}
"""


@pytest.fixture
def paused(project: Project) -> Project:
    """A recipe whose first task waits until the file `go` is there, and of whose last one fails."""
    project.write("recipe.toml", RECIPE.replace("GO", str(project.root / "go")))
    return project


def home(project: Project) -> dict[str, str]:
    return {"COOPERY_HOME": str(project.home)}


def go(project: Project) -> None:
    (project.root / "go").touch()


def test_a_run_in_a_terminal(paused: Project, terminal: Opener) -> None:
    one = terminal(160, 30)
    process = one.start("run", "-j2", cwd=paused.root, env=home(paused))
    text = one.wait(lambda text: "99%" in text)
    first, row, status = text.splitlines()
    assert first == "recipe.toml: runtime local (default), 2 at a time"
    assert re.fullmatch(r"run      prep +\d+s  99%", row)
    assert re.fullmatch(r"0/3  \[ +\]  1 running  \d+s", status)
    assert one.cursor_hidden
    go(paused)
    text = one.wait(lambda text: "(run " in text)
    assert process.wait(20) == 1
    assert not one.cursor_hidden
    lines = text.splitlines()
    assert lines[0] == first
    assert lines[1].startswith("done     prep in ")
    assert "  | fold 0" in lines and "  run it again:  coopery run fit@fold=0" in lines
    assert "[task-failed]" in text and "  the whole log: " in text
    assert lines[-1].startswith("2 done, 1 failed in ")
    assert not any(line.startswith(("run ", "start ")) or "running" in line for line in lines)
    assert b"\x1b[1;31mfailed\x1b[0m" in one.raw


def test_the_command_that_is_offered_runs_just_that(paused: Project) -> None:
    go(paused)
    other = paused.write("other recipe.toml", paused.read("recipe.toml"))
    for arguments, expected in (
        ((), "coopery run fit@fold=0"),
        (("-f", str(paused.root / "recipe.toml")), "coopery run fit@fold=0"),
        (("-f", other.name), "coopery run -f 'other recipe.toml' fit@fold=0"),
        (("--set", "fit.bad=1"), "coopery run --set fit.bad=1 fit@fold=1"),
        (("-r", "local"), "coopery run --runtime local fit@fold=0"),
    ):
        told = paused.coopery("run", *arguments).stderr
        line = next(line for line in told.splitlines() if "run it again:" in line)
        command = line.split(":  ", 1)[1]
        assert command == expected
        again = paused.coopery(*shlex.split(command)[1:], "--json")
        assert again.exit_code == 1
        performed = [step["step"] for step in again.json["steps"] if not step["cached"]]
        assert performed == [command.split()[-1]]


def test_the_recipe_is_named_where_it_is_not_the_nearest(paused: Project, tmp_path: Path) -> None:
    go(paused)
    file = os.path.relpath(paused.root / "recipe.toml", tmp_path)
    told = paused.coopery("run", "-f", file, cwd=tmp_path).stderr
    assert f"run it again:  coopery run -f {file} fit@fold=0" in told


def test_stdout_in_the_same_terminal_is_whole(paused: Project, terminal: Opener) -> None:
    one = terminal(1000, 500)
    process = one.start("run", "--json", "--set", "fit.bad=7", cwd=paused.root, env=home(paused))
    one.wait(lambda text: "1 running" in text)
    go(paused)
    assert process.wait(20) == 0
    text = one.wait(lambda text: text.endswith("\n}"))
    document = json.loads(text[text.index("\n{") :])
    assert [step["state"] for step in document["steps"]] == ["succeeded"] * 3


@pytest.mark.parametrize(
    ("env", "moves", "colored"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"COOPERY_COLOR": "never"}, True, False),
        ({"CI": "true", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"COOPERY_QUIET": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_what_kind_of_terminal(
    project: Project, terminal: Opener, env: Mapping[str, str], moves: bool, colored: bool
) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'sleep 0.4; exit 3'\n")
    one = terminal(100, 30)
    process = one.start("run", cwd=project.root, env={**home(project), **env})
    one.wait(lambda text: "1 failed in" in text)
    assert process.wait(20) == 1
    assert (b"\x1b[?25l" in one.raw) is moves
    assert (re.search(rb"\x1b\[[0-9;]+m", one.raw) is not None) is colored
    assert (ESCAPE in one.raw) is (moves or colored)


def test_a_pipe_gets_plain_lines(paused: Project) -> None:
    go(paused)
    told = paused.coopery("run", "--color", "auto", env={"TERM": "xterm"}).stderr
    assert "\x1b" not in told and "\r" not in told
    words = [line.split()[0] for line in told.splitlines() if line[:1].isalpha()]
    assert words[:3] == ["recipe.toml:", "start", "done"]
    assert sorted(words[3:]) == ["done", "failed", "start", "start"]
    assert "\x1b[32mdone\x1b[0m" in paused.coopery("run", "--force-all", "--color=always").stderr


def test_interrupted_once_and_twice(project: Project, terminal: Opener) -> None:
    project.write(
        "recipe.toml",
        "[task.a]\ncommand = \"trap '' TERM; echo up; while :; do sleep 0.1; done\"\n",
    )
    one = terminal(100, 20)
    process = one.start("run", cwd=project.root, env=home(project))
    one.wait(lambda text: re.search(r"run +a +\d+s  up", text) is not None)
    one.press(b"\x03")
    text = one.wait(lambda text: "stopping  1 running" in text)
    assert "stopping: nothing more starts" in text and "Ctrl-C again kills it" in text
    one.press(b"\x03")
    text = one.wait(lambda text: "(run " in text)
    assert process.wait(20) == 130
    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["killing:", "cancelled", "1"]
    assert not one.cursor_hidden


def test_stopping_is_told_in_a_pipe_too(paused: Project) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "coopery", "run"],
        cwd=paused.root,
        env=terminal_env(home(paused)),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("start "):
            break
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait(20) == 130
    assert rest.startswith("stopping: nothing more starts")
    assert "cancelled prep in " in rest


def test_a_terminal_that_is_closed_ends_the_run_in_order(paused: Project, terminal: Opener) -> None:
    one = terminal()
    process = one.start("run", cwd=paused.root, env=home(paused))
    one.wait(lambda text: "1 running" in text)
    one.close()
    assert process.wait(20) == 130
    assert paused.coopery("show", "--json").json["state"] == "interrupted"


def test_a_pipe_that_is_closed_does_not_break_the_run(paused: Project) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "coopery", "run", "--set", "fit.bad=7"],
        cwd=paused.root,
        env=terminal_env(home(paused)),
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    go(paused)
    assert process.wait(20) == 0
    steps = paused.run("--set", "fit.bad=7")
    assert all(step["cached"] for step in steps.values())


@pytest.mark.parametrize(
    ("arguments", "redirect", "code"),
    [("run --json", "2>&-", 1), ("run --json", "2>/dev/full", 1), ("run --nonsense", "2>&-", 2)],
)
def test_without_stderr(paused: Project, arguments: str, redirect: str, code: int) -> None:
    go(paused)
    done = subprocess.run(
        ["sh", "-c", f"{shlex.quote(sys.executable)} -m coopery {arguments} {redirect}"],
        cwd=paused.root,
        env=terminal_env(home(paused)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    if code == 2:
        assert done.stdout == ""
    else:
        assert len(json.loads(done.stdout)["steps"]) == 3


def test_small_and_resized_while_it_runs(paused: Project, terminal: Opener) -> None:
    one = terminal(20, 6)
    process = one.start("run", cwd=paused.root, env=home(paused))
    one.wait(lambda text: re.search(r"^prep +\d+s$", text, re.MULTILINE) is not None)
    one.resize(70, 20)
    one.wait(lambda text: re.search(r"^run +prep +\d+s  99%$", text, re.MULTILINE) is not None)
    one.resize(1, 1)
    time.sleep(0.3)
    one.resize(100, 30)
    one.wait(lambda text: "0/3  [" in text)
    go(paused)
    one.wait(lambda text: "2 done, 1 failed in" in text)
    assert process.wait(20) == 1


def test_quiet_and_verbose_are_refused_together(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    answer = project.coopery("run", "-q", "-v")
    assert (answer.exit_code, answer.slugs) == (2, ("contradicting-options",))
    assert re.fullmatch(r"1 done in .*\n", project.coopery("run", "-q").stderr)
